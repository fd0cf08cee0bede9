"""ADE ``DRUG-AE.rel``: one drug-effect relation a line, fields separated by a vertical bar.

``PubMed id | sentence | effect | begin | end | drug | begin | end``, where the four offsets count characters of a
*document* that is not part of the file. So the place of the sentence in its document (its shift) must be found: it is
the one number that puts both texts where they stand in the sentence.

Words are those of :func:`trimf.runtime.text.split` (spaCy's rules for English, without white space), as in serving,
cut further wherever a mention begins or ends inside one, so that every annotation falls on word borders.

Source: Gurulingappa et al., "Development of a benchmark corpus to support the automatic extraction of drug-related
adverse effects from medical case reports", Journal of Biomedical Informatics 45, 2012. Types and direction (head
``Adverse-Effect``, tail ``Drug``) are those of Eberts & Ulges, ECAI 2020.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from trimf.runtime.errors import DataError, InputError
from trimf.runtime.text import split

from .sentence import EntityMention, RelationMention, Sentence
from .source import problem, read_lines
from .statistics import overlapping_entities
from .validate import check

EFFECT = "Adverse-Effect"
DRUG = "Drug"
RELATION = "Adverse-Effect"

_FIELDS = "PubMed id|sentence|effect|begin|end|drug|begin|end"

Span = tuple[int, int]


class _Mention(NamedTuple):
    """A text with its first and last (exclusive) character in the document."""

    text: str
    begin: int
    end: int


class _Row(NamedTuple):
    """One line: the two mentions, and every shift that fits both."""

    effect: _Mention
    drug: _Mention
    shifts: frozenset[int]
    place: str


def read(path: str | Path) -> Iterator[Sentence]:
    """The sentences of a ``DRUG-AE.rel`` file; lines of the same PubMed id and sentence make one, at the first's place.

    ``id`` is ``PUBMED_ID:K``, K counting the document's sentences in the file from 0. Where several shifts fit every
    line of a sentence, the mentions are taken where they occur first. A repeated line gives a repeated relation.

    Raises:
        DataError: The file or a line cannot be used: a field is missing, an offset is no number or does not fit its
            text, a text is not in the sentence, or no shift puts both texts at their place. The message names line,
            field, value and expectation.
    """
    path = Path(path)
    groups: dict[tuple[str, str], list[_Row]] = {}
    for number, line in read_lines(path):
        if line.strip():
            document, text, row = _row(line.decode(), f"{path}: line {number}")
            groups.setdefault((document, text), []).append(row)
    seen: Counter[str] = Counter()
    for (document, text), rows in groups.items():
        yield _sentence(text, rows, f"{document}:{seen[document]}")
        seen[document] += 1


def looks_like(line: str) -> bool:
    """Whether a line has the fields of this format: eight or more, offsets where they belong."""
    fields = line.split("|")
    return len(fields) >= 8 and all(fields[i].strip().isdecimal() for i in (-5, -4, -2, -1))


def folds(sentences: Sequence[Sentence], k: int = 10, seed: int = 0) -> Iterator[tuple[list[Sentence], list[Sentence]]]:
    """``k`` pairs of (train, test) for cross-validation: every sentence is tested once, sizes differ by one at most.

    The same sentences, ``k`` and ``seed`` give the same folds everywhere. Folds are drawn over sentences, as in the
    literature on this corpus, not over documents; both parts keep the order of ``sentences``.

    Raises:
        InputError: ``k`` is below 2 or above the number of sentences.
    """
    if not 2 <= k <= len(sentences):
        raise InputError(f"k: got {k}, expected 2 to {len(sentences)} folds, the number of sentences")
    draw = random.Random(seed)  # of its methods, only random() is promised to be the same in every Python version
    order = [i for _, i in sorted((draw.random(), i) for i in range(len(sentences)))]
    return (_split(sentences, set(order[fold::k])) for fold in range(k))


def _split(sentences: Sequence[Sentence], tested: set[int]) -> tuple[list[Sentence], list[Sentence]]:
    train = [sentence for i, sentence in enumerate(sentences) if i not in tested]
    return train, [sentence for i, sentence in enumerate(sentences) if i in tested]


def without_overlap(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """The setting "without overlapping entities": every sentence in which two entities share a word is left out.

    Whole sentences go, not single relations: dropping only the relation of two overlapping entities would leave a
    sentence whose text states a relation that its annotation denies.
    """
    return (sentence for sentence in sentences if not overlapping_entities(sentence))


def _row(line: str, place: str) -> tuple[str, str, _Row]:
    fields = line.split("|")
    if len(fields) < 8:
        raise DataError(f"{place}: got {len(fields)} fields, expected 8: {_FIELDS}")
    # A bar inside the sentence makes more than eight fields; the last six are still the annotation.
    text = "|".join(fields[1:-6])
    effect = _mention("effect", fields[-6:-3], text, place)
    drug = _mention("drug", fields[-3:], text, place)
    shifts = _shifts(effect, text) & _shifts(drug, text)
    if not shifts:
        wanted = f"offsets that put {effect.text!r} and {drug.text!r} where they stand in the sentence"
        raise problem(place, "begin of effect and drug", [effect.begin, drug.begin], wanted)
    return fields[0], text, _Row(effect, drug, frozenset(shifts), place)


def _mention(name: str, fields: list[str], sentence: str, place: str) -> _Mention:
    text = fields[0]
    if not text.strip() or text not in sentence:
        raise problem(place, name, text, "a text that occurs in the sentence")
    offsets = []
    for end, value in zip(("begin", "end"), fields[1:], strict=True):
        if not (value.strip().isascii() and value.strip().isdecimal()):
            raise problem(place, f"{name} {end}", value, "a number of characters")
        offsets.append(int(value))
    begin, stop = offsets
    if stop - begin != len(text):
        raise problem(place, f"{name} end", stop, f"begin + length of {text!r} = {begin + len(text)}")
    return _Mention(text, begin, stop)


def _shifts(mention: _Mention, sentence: str) -> set[int]:
    """Every place in the document at which the sentence may begin, going by this mention."""
    found: set[int] = set()
    at = sentence.find(mention.text)
    while 0 <= at <= mention.begin:
        found.add(mention.begin - at)
        at = sentence.find(mention.text, at + 1)
    return found


def _sentence(text: str, rows: list[_Row], name: str) -> Sentence:
    # Lines may disagree where one document holds the same sentence twice: then each has its own shift.
    shared = frozenset.intersection(*(row.shifts for row in rows))
    pairs = []
    for row in rows:
        shift = max(shared or row.shifts)
        pairs.append((_within(text, row.effect, shift), _within(text, row.drug, shift)))
    words = words_between(text, {border for pair in pairs for span in pair for border in span})
    starts = {start: i for i, (start, _) in enumerate(words)}
    ends = {end: i + 1 for i, (_, end) in enumerate(words)}

    def mention(label: str, span: Span) -> EntityMention:
        return EntityMention(label, starts[span[0]], ends[span[1]])

    related = [(mention(EFFECT, effect), mention(DRUG, drug)) for effect, drug in pairs]
    entities = sorted(
        {entity for pair in related for entity in pair}, key=lambda entity: (entity.start, entity.end, entity.type)
    )
    index = {entity: i for i, entity in enumerate(entities)}
    sentence = Sentence(
        tokens=[text[start:end] for start, end in words],
        entities=entities,
        relations=[RelationMention(RELATION, index[effect], index[drug]) for effect, drug in related],
        id=name,
    )
    return check(sentence, rows[0].place)


def _within(text: str, mention: _Mention, shift: int) -> Span:
    """The mention's span in the sentence, without white space at its ends."""
    start, end = mention.begin - shift, mention.end - shift
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return start, end


def words_between(text: str, borders: Iterable[int] = ()) -> list[Span]:
    """The words of a text as character spans: those of the runtime, cut at every border that falls inside one."""
    inside = sorted(set(borders))
    words: list[Span] = []
    for part in split(text):
        for start, end in zip(part.starts, part.ends, strict=True):
            words.extend(pairwise([start, *(border for border in inside if start < border < end), end]))
    return words
