"""Choose the settings of a run from its training sentences, for a user who has no configuration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from trimf_train.config import SpanConfig
from trimf_train.data.data_questions import MIN_EXAMPLES
from trimf_train.data.sentence import Sentence
from trimf_train.data.statistics import find_overlapping_entities

#: Steps divided by the square root of the number of sentences. It gives the 922 sentences of CoNLL04 the 30 epochs of
#: their recipe. Few sentences need many epochs, and still take few steps: with 30 epochs, 50 sentences take 210 steps,
#: after which losses still fall, and with this 832.
STEPS_BY_ROOT = 112.5

#: Sentences per batch, and what they are below ``FEW_SENTENCES``: there, steps are worth more than the calm of a larger
#: batch, and half the sentences give as many.
BATCH_SIZE, SMALL_BATCH_SIZE, FEW_SENTENCES = 8, 4, 200

#: Least and most epochs of both stages together, and the share of stage 1; 18 and 12 in the recipe for CoNLL04.
MIN_EPOCHS, MAX_EPOCHS = 8, 150
FIRST_STAGE_SHARE = 0.6

#: Share of the epochs of stage 2 that may score worse than the best on dev, and the fewest that may.
PATIENCE_SHARE = 1 / 3
MIN_PATIENCE = 5

#: Entities up to this length set the span limit; longer ones only if they are more than ``MAX_LOST`` of all. Memory and
#: time grow with the limit.
LONG_SPAN = 20
MAX_LOST = 0.01
MAX_SPAN = 64


class DataSettings(NamedTuple):
    """Settings in nested tables, as a TOML file has them, and a line that says what the data decided."""

    values: dict[str, Any]
    summary: str


def choose_settings(train: Sequence[Sentence], has_dev: bool, known_encoder: bool = True) -> DataSettings:
    """Choose the settings that depend on the data, and add those of the recipe `conll04-syntax`.

    Args:
        train: The training sentences.
        has_dev: Development sentences choose the best epoch.
        known_encoder: The encoder is the default one, which lower-cases its input.

    Returns:
        The settings, without ``data`` and ``output``.
    """
    width = choose_span_limit(train)
    overlap = any(find_overlapping_entities(sentence) for sentence in train)
    first, second, batch = choose_epochs(len(train))
    relations = Counter(relation.type for sentence in train for relation in sentence.relations)
    # Few examples of a relation type may lack combinations of entity types that are possible.
    types = "seen" if all(count >= MIN_EXAMPLES for count in relations.values()) else "any"
    values: dict[str, Any] = {
        "decode": {"overlap": overlap, "types": types},
        "model": {
            "span": {"max_width": width},
            "encoder": {"casing": True} if known_encoder else {},
            # In-model parser: inference needs no spaCy parser.
            "syntax": {"source": "encoder", "bases": 4},
            "flow": {"residual": "add"},
        },
        "train": {
            "batch_size": batch,
            "lr": 1e-4,
            "head_lr": 5e-4,
            "syntax_weight": 0.1,
            "stage1": {"epochs": first},
            "stage2": {"epochs": second},
        },
    }
    summary = (
        f"entities of up to {width} words, which {'may' if overlap else 'do not'} overlap; {first} + {second} epochs "
        f"of {len(train)} sentences in batches of {batch}"
    )
    if has_dev:
        patience = max(MIN_PATIENCE, math.ceil(PATIENCE_SHARE * second))
        values["train"]["patience"] = patience
        summary += f", fewer if {patience} in a row score worse on dev"
    return DataSettings(values, summary)


def choose_span_limit(sentences: Sequence[Sentence]) -> int:
    """Return the longest entity that a model should find, in words: the longest of the sentences, within reason."""
    widths = Counter(entity.end - entity.start for sentence in sentences for entity in sentence.entities)
    allowed = MAX_LOST * sum(widths.values())
    limit = max(widths, default=1)
    while limit > LONG_SPAN and sum(count for width, count in widths.items() if width >= limit) <= allowed:
        limit -= 1
    return min(MAX_SPAN, max(SpanConfig().max_width, limit))


def choose_epochs(sentences: int) -> tuple[int, int, int]:
    """Return the epochs of stage 1 and of stage 2, and the batch size, for a number of training sentences."""
    batch = SMALL_BATCH_SIZE if sentences < FEW_SENTENCES else BATCH_SIZE
    total = min(MAX_EPOCHS, max(MIN_EPOCHS, round(STEPS_BY_ROOT * batch / math.sqrt(max(1, sentences)))))
    first = round(FIRST_STAGE_SHARE * total)
    return first, total - first, batch
