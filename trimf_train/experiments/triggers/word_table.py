"""List which words are triggers, per relation type and for example relations (paper, Table 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from trimf.runtime.decoding.span_decoding import FloatArray

from .agreement import rank_words, shows_none
from .effects import RelationEffects
from .found_relations import FoundSentence

#: Number of words listed for a relation type, and for an example.
WORDS_PER_TYPE, WORDS_PER_EXAMPLE = 8, 3

#: Number of example relations.
MAX_EXAMPLES = 12


class TypeWords(msgspec.Struct, frozen=True):
    """First words of the relations of a type, in lower case, with how often they are first, most frequent first.

    Attributes:
        label: Relation type.
        relations: Number of relations.
        exact: Words with the largest effect, where it is above the threshold.
        none_exact: Number of relations without such a word.
        shown: Words that a method shows first.
        none_shown: Number of relations for which it shows none.
    """

    label: str
    relations: int
    exact: list[tuple[str, int]]
    none_exact: int
    shown: list[tuple[str, int]]
    none_shown: int


class Example(msgspec.Struct, frozen=True):
    """Predicted relation with its trigger words.

    Attributes:
        text: The sentence.
        head: The head.
        label: Relation type.
        tail: The tail.
        triggers: Words that the model shows, highest weight first.
        exact: Words with the largest effect, and by how many points of probability the relation falls without each.
    """

    text: str
    head: str
    label: str
    tail: str
    triggers: list[str]
    exact: list[tuple[str, float]] = []


def count_words(
    label: str, relations: Sequence[RelationEffects], sentences: Sequence[FoundSentence], method: str
) -> TypeWords:
    """Count the first words of the relations of a type.

    Args:
        label: Relation type.
        relations: Its relations.
        sentences: The sentences.
        method: The method whose words are shown; relations without weights by it show none.

    Returns:
        The words.
    """
    exact, shown = Counter[str](), Counter[str]()
    for relation in relations:
        words = sentences[relation.sentence].sentence.words
        if relation.has_trigger:
            exact[_name_first(relation, relation.logits, words)] += 1
        weights = _read_weights(relation.weights, method)
        if not shows_none(weights):
            shown[_name_first(relation, weights, words)] += 1
    return TypeWords(
        label,
        len(relations),
        exact.most_common(WORDS_PER_TYPE),
        len(relations) - exact.total(),
        shown.most_common(WORDS_PER_TYPE),
        len(relations) - shown.total(),
    )


def list_examples(
    relations: Sequence[RelationEffects], sentences: Sequence[FoundSentence], labels: Sequence[str], method: str
) -> list[Example]:
    """List the triggers of the first relations.

    Args:
        relations: The relations.
        sentences: The sentences.
        labels: Names of the relation types.
        method: The method whose words are shown.

    Returns:
        At most ``MAX_EXAMPLES`` examples.
    """
    examples = []
    for relation in relations[:MAX_EXAMPLES]:
        found = sentences[relation.sentence]
        words, (head, tail) = found.sentence.words, found.pairs[relation.row]
        weights = _read_weights(relation.weights, method)
        shown = [place for place in rank_words(weights) if weights[place] > 0][:WORDS_PER_EXAMPLE]
        exact = [place for place in rank_words(relation.logits) if relation.logits[place] > 0][:WORDS_PER_EXAMPLE]
        examples.append(
            Example(
                text=" ".join(words),
                head=" ".join(words[head.start : head.end]),
                label=labels[relation.type_index],
                tail=" ".join(words[tail.start : tail.end]),
                triggers=[words[relation.candidates[place]] for place in shown],
                exact=[(words[relation.candidates[place]], float(relation.points[place])) for place in exact],
            )
        )
    return examples


def _read_weights(weights: Mapping[str, FloatArray], method: str) -> FloatArray:
    return weights.get(method, np.empty(0))


def _name_first(relation: RelationEffects, values: FloatArray, words: Sequence[str]) -> str:
    return str(words[relation.candidates[int(np.argmax(values))]]).lower()
