"""What teachers say of the training sentences, for a student to learn (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from trimf.runtime.errors import ConfigError
from trimf.runtime.labels import Labels
from trimf_train.checkpoint import Checkpoint
from trimf_train.data.sentence import Sentence
from trimf_train.inference import subgraphs
from trimf_train.loading import read_items
from trimf_train.reading import read
from trimf_train.sampling import Soft, example, with_row


def check(teacher: Checkpoint, name: str, labels: Labels, max_width: int) -> None:
    """Refuse a teacher that cannot teach these types, or spans of up to ``max_width`` words.

    Raises:
        ConfigError: it cannot.
    """
    its = teacher.description.labels
    kinds = (("entity", labels.entities, its.entities), ("relation", labels.relations, its.relations))
    for kind, mine, yours in kinds:
        if mine != yours:
            raise ConfigError(
                f"train.teachers: {name} has the {kind} types {', '.join(yours)}, but the data {', '.join(mine)}"
            )
    width = teacher.description.model.span.max_width
    if width < max_width:
        raise ConfigError(f"train.teachers: {name} knows spans of up to {width} words, but {max_width} are asked for")


def soft_targets(
    teachers: Sequence[Checkpoint], sentences: Sequence[Sentence], max_width: int, device: torch.device
) -> list[Soft | None]:
    """The mean of what the teachers say of each sentence, in half precision on the CPU.

    None of a sentence that one of them cannot read in one window of its encoder.
    """
    total: list[Soft | None] = []
    for number, teacher in enumerate(teachers):
        found = _said(teacher, sentences, max_width, device)
        total = [_sum(*pair) for pair in zip(total, found, strict=True)] if number else found
    count = len(teachers)
    return [one and Soft((one.types / count).half(), (one.relations / count).half()) for one in total]


def _sum(one: Soft | None, other: Soft | None) -> Soft | None:
    return one and other and Soft(one.types + other.types, one.relations + other.relations)


def _said(
    teacher: Checkpoint, sentences: Sequence[Sentence], max_width: int, device: torch.device
) -> list[Soft | None]:
    model, description = teacher.model.to(device), teacher.description
    found: list[Soft | None] = [None] * len(sentences)
    given = [(place, item) for place, item in enumerate(read_items(sentences, teacher)) if item is not None]
    examples = [example(sentences[place], item, description.labels, max_width) for place, item in given]
    relations = subgraphs(model, description.stage)["relations"]
    for places, arrays in read(model, description.stage, [item for _, item in given]):
        chosen = [examples[place] for place in places]
        counts = np.array([len(one.entities) for one in chosen])
        starts = np.cumsum(counts) - counts
        spans = np.concatenate([with_row(row, one.entities) for row, one in enumerate(chosen)])
        pairs = np.concatenate([one.pairs + start for one, start in zip(chosen, starts, strict=True)])
        logits = torch.from_numpy(relations.run({**arrays, "spans": spans, "pairs": pairs})["relation_logits"])
        of_pairs = logits.sigmoid().split([len(one.pairs) for one in chosen])
        of_spans = torch.from_numpy(arrays["entity_logits"][:, :, :max_width]).softmax(-1)
        for row, (place, one) in enumerate(zip(places, chosen, strict=True)):
            found[given[place][0]] = Soft(of_spans[row, : one.item.length], of_pairs[row])
    return found
