"""Compare two models on the same texts: paired differences of scores, and sentences that one alone gets right."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from trimf_train.evaluation.annotation import EntityKey, RelationKey

from .bootstrap import sum_resamples
from .error_schema import ComparedSentence, Link
from .passages import cut_passage, shift_link, shift_span
from .schema import Comparison
from .score_schema import DifferenceTable
from .score_tables import ItemCounts, build_difference_table
from .scored_text import ScoredText


class _Sentence(NamedTuple):
    """A sentence: number of its text, and its place in it."""

    text: int
    start: int
    end: int


class _Items(NamedTuple):
    """Entities and relations of a sentence."""

    entities: set[EntityKey]
    relations: set[RelationKey]


def compare_models(
    other: str,
    texts: tuple[Sequence[ScoredText], Sequence[ScoredText]],
    counts: Mapping[str, tuple[ItemCounts, ItemCounts]],
    resamples: int,
    seed: int,
    limit: int,
) -> Comparison:
    """Compare a model with another one.

    Args:
        other: Name of the other model.
        texts: The same texts with the predictions of the model and of the other.
        counts: Items of both models by ``entities``, ``strict`` and ``boundary``, with the same labels and units.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resamples.
        limit: Maximum number of examples for each model.

    Returns:
        The comparison.
    """
    tables: dict[str, DifferenceTable] = {}
    flat = [part.counts for pair in counts.values() for part in pair]
    sums = iter(sum_resamples(flat, resamples, seed))
    for name, (model, second) in counts.items():
        totals = (model.counts.sum(0), second.counts.sum(0))
        tables[name] = build_difference_table(model.labels, totals, (next(sums), next(sums)))
    groups: defaultdict[tuple[bool, bool], list[_Sentence]] = defaultdict(list)
    for number, pair in enumerate(zip(*texts, strict=True)):
        verdicts = [_judge_sentences(text, pair[0].sentences) for text in pair]
        for (start, end), *right in zip(pair[0].sentences, *verdicts, strict=True):
            groups[right[0], right[1]].append(_Sentence(number, start, end))
    return Comparison(
        other,
        tables["entities"],
        tables["strict"],
        tables["boundary"],
        both_right=len(groups[True, True]),
        model_right=len(groups[True, False]),
        other_right=len(groups[False, True]),
        both_wrong=len(groups[False, False]),
        model_right_examples=[_show_sentence(texts, place) for place in groups[True, False][:limit]],
        other_right_examples=[_show_sentence(texts, place) for place in groups[False, True][:limit]],
    )


def _judge_sentences(text: ScoredText, sentences: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each sentence whether all of it is right."""
    gold = _divide(text.gold_entities, text.gold_relations, sentences)
    predicted = _divide(text.predicted.entities, text.predicted.relations, sentences)
    return [one == other for one, other in zip(gold, predicted, strict=True)]


def _divide(
    entities: Iterable[EntityKey], relations: Iterable[RelationKey], sentences: Sequence[tuple[int, int]]
) -> list[_Items]:
    """Give each sentence the entities that begin in it, and the relations whose head begins in it."""
    parts = [_Items(set(), set()) for _ in sentences]
    starts = [start for start, _ in sentences]
    for entity in entities:
        parts[max(bisect_right(starts, entity[0]) - 1, 0)].entities.add(entity)
    for relation in relations:
        parts[max(bisect_right(starts, relation[0][0]) - 1, 0)].relations.add(relation)
    return parts


def _show_sentence(texts: tuple[Sequence[ScoredText], Sequence[ScoredText]], place: _Sentence) -> ComparedSentence:
    model, other = (part[place.text] for part in texts)
    passage = cut_passage(model, place.text + 1, place.start, place.end, model.predicted.entities, context=None)
    first, last = passage.start, passage.start + len(passage.text)

    def link(relations: Collection[RelationKey]) -> list[Link]:
        inside = sorted(one for one in relations if all(first <= end[0] and end[1] <= last for end in one[:2]))
        return [shift_link(model, one, first) for one in inside]

    seen = sorted(one for one in other.predicted.entities if first <= one[0] and one[1] <= last)
    return ComparedSentence(
        passage,
        [shift_span(model, one, first) for one in seen],
        link(model.gold_relations),
        link(model.predicted.relations),
        link(other.predicted.relations),
    )
