"""Study the triggers of a model on sentences: effects of leaving words out, agreement of methods, deletion curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from trimf.runtime.errors import InputError, check_integer
from trimf.runtime.pipeline import Pipeline
from trimf_train.data.sentence import Sentence

from .deletion_curves import measure_falls
from .effects import EFFECT_THRESHOLD, measure_effects
from .found_relations import find_relations
from .leaving_out import ReducedScores
from .measures import GroupMeasures, measure_group
from .resampling import Resamples
from .word_table import Example, TypeWords, count_words, list_examples
from .word_weights import CONTRIBUTION, WeightFunction, weigh_words

#: Name of the group with all relations.
ALL = "all"


class StudyOptions(NamedTuple):
    """Settings of a study.

    Attributes:
        max_deleted: Largest number of deleted words. The first one costs nothing: its scores are those of the effects.
        sentences: Size of a fixed random sample of the sentences; None means all.
        resamples: Number of bootstrap resamples.
        seed: Seed of the random orders and of the resamples.
        batch_size: Maximum number of sentences in a batch.
    """

    max_deleted: int = 5
    sentences: int | None = None
    resamples: int = 1000
    seed: int = 0
    batch_size: int = 32

    def check(self) -> None:
        """Check the settings.

        Raises:
            InputError: A number is too small.
        """
        check_integer("max_deleted", self.max_deleted, 1)
        if self.sentences is not None:
            check_integer("sentences", self.sentences, 1)


class TriggerStudy(msgspec.Struct, frozen=True):
    """Measures of the triggers of a model.

    Attributes:
        sentences: Number of sentences that were read.
        split_sentences: Number of them that were left out because they do not fit one window of the encoder.
        effect_threshold: Effect in logits above which a word is a trigger.
        resamples: Number of resamples of the sentences.
        seed: Seed of the random numbers.
        left_out: For each method that was not measured, the reason.
        groups: Measures over all relations, then per relation type, most frequent first.
        words: First words per relation type, in the same order.
        examples: Relations with their triggers.
    """

    sentences: int
    split_sentences: int
    effect_threshold: float
    resamples: int
    seed: int
    left_out: dict[str, str]
    groups: list[GroupMeasures]
    words: list[TypeWords]
    examples: list[Example]


def study_triggers(
    pipeline: Pipeline,
    relation_types: Sequence[str],
    sentences: Sequence[Sentence],
    gradients: WeightFunction | str,
    options: StudyOptions,
) -> TriggerStudy:
    """Study the triggers of all relations that a model finds in sentences.

    Args:
        pipeline: The model.
        relation_types: Names of its relation types.
        sentences: Sentences, parsed unless the model parses; their gold annotation is ignored.
        gradients: Function that computes gradient times input, or the reason why that method is left out.
        options: The settings.

    Returns:
        The measures.

    Raises:
        InputError: A setting is out of range, or the model has no relation types.
    """
    options.check()
    if not relation_types:
        raise InputError("the model has no relation types, so there are no triggers to study")
    chosen = select_sample(sentences, options.sentences)
    found = find_relations(pipeline, chosen, options.batch_size)
    weighed = weigh_words(pipeline, found.sentences, gradients, options.batch_size)
    scores = ReducedScores(pipeline, found.sentences, options.batch_size)
    relations = measure_effects(found.sentences, scores, weighed.weights)
    methods = list(weighed.weights)
    falls = measure_falls(scores, relations, methods, options.max_deleted, options.seed)
    resamples = Resamples(len(found.sentences), options.resamples, options.seed)
    by_type: dict[int, list[int]] = {}
    for index, relation in enumerate(relations):
        by_type.setdefault(relation.type_index, []).append(index)
    types = sorted(by_type, key=lambda one: (-len(by_type[one]), one))
    groups = [measure_group(ALL, relations, methods, falls, resamples)]
    words = []
    for one in types:
        columns, label = by_type[one], relation_types[one]
        members = [relations[column] for column in columns]
        part = {name: table[:, columns] for name, table in falls.items()}
        groups.append(measure_group(label, members, methods, part, resamples))
        words.append(count_words(label, members, found.sentences, CONTRIBUTION))
    return TriggerStudy(
        sentences=len(chosen),
        split_sentences=found.split,
        effect_threshold=EFFECT_THRESHOLD,
        resamples=options.resamples,
        seed=options.seed,
        left_out=weighed.left_out,
        groups=groups,
        words=words,
        examples=list_examples(relations, found.sentences, relation_types, CONTRIBUTION),
    )


def select_sample(sentences: Sequence[Sentence], count: int | None) -> list[Sentence]:
    """Select a fixed random sample of sentences, in their order; all if ``count`` is None or not below their number."""
    if count is None or count >= len(sentences):
        return list(sentences)
    sample = np.random.default_rng(0).permutation(len(sentences))[:count]
    return [sentences[index] for index in sorted(sample.tolist())]
