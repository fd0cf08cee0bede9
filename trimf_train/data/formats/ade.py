"""Read ADE ``DRUG-AE.rel``: one drug-effect relation per line, fields separated by a vertical bar.

The fields are ``PubMed id | sentence | effect | begin | end | drug | begin | end``. The four offsets count characters
of a *document* that is not part of the file. The reader therefore infers the offset of the sentence in its document
(its shift): the number for which both mentions match the text of the sentence.

Words are those of ``tokenization.split_sentences`` (spaCy's rules for English, without white space), as at inference.
A word is split further where a mention begins or ends inside it, so that every annotation falls on word boundaries.

Source: Gurulingappa et al., "Development of a benchmark corpus to support the automatic extraction of drug-related
adverse effects from medical case reports", Journal of Biomedical Informatics 45, 2012. Types and direction (head
``Adverse-Effect``, tail ``Drug``) are those of Eberts & Ulges, ECAI 2020.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trimf.runtime.errors import DataError, InputError
from trimf.runtime.text.tokenization import split_sentences

from ..json_errors import field_error, read_lines
from ..sentence import EntityMention, RelationMention, Sentence
from ..statistics import find_overlapping_entities
from ..validate import validate_sentence

#: Entity type of effects.
EFFECT_TYPE = "Adverse-Effect"

#: Entity type of drugs.
DRUG_TYPE = "Drug"

#: The only relation type, from effect (head) to drug (tail).
RELATION_TYPE = "Adverse-Effect"

#: First and last (exclusive) character of a text in a sentence.
Span = tuple[int, int]

#: Fields of a line, for error messages.
_FIELDS = "PubMed id|sentence|effect|begin|end|drug|begin|end"


class _Mention(NamedTuple):
    """Mention with its first and last (exclusive) character in the document."""

    text: str
    begin: int
    end: int


class _Row(NamedTuple):
    """Line with its two mentions, every shift that fits both, and its location for error messages."""

    effect: _Mention
    drug: _Mention
    shifts: frozenset[int]
    location: str


def read_ade(path: str | Path) -> Iterator[Sentence]:
    """Read the sentences of a ``DRUG-AE.rel`` file.

    Lines with the same PubMed id and sentence text form one sentence. If several shifts fit every line of a sentence,
    the first occurrence of each mention is used. A repeated line gives a repeated relation.

    Args:
        path: The file.

    Yields:
        The checked sentences, in the order of their first lines. ``id`` is ``PUBMED_ID:K``, where K counts the
        sentences of the document from 0.

    Raises:
        DataError: The file or a line cannot be used: a field is missing, an offset is not a number or does not fit
            its mention, a mention is not in the sentence, or no shift fits both mentions. The message names the line,
            the field, the value and what was expected.
    """
    path = Path(path)
    groups: dict[tuple[str, str], list[_Row]] = {}
    for line_number, line in read_lines(path):
        if line.strip():
            document, text, row = _parse_line(line.decode(), f"{path}: line {line_number}")
            groups.setdefault((document, text), []).append(row)
    seen: Counter[str] = Counter()
    for (document, text), rows in groups.items():
        yield _build_sentence(text, rows, f"{document}:{seen[document]}")
        seen[document] += 1


def is_ade_line(line: str) -> bool:
    """Return True if a line has at least eight fields with numbers in the four offset fields."""
    fields = line.split("|")
    return len(fields) >= 8 and all(fields[i].strip().isdecimal() for i in (-5, -4, -2, -1))


def split_into_folds(
    sentences: Sequence[Sentence], count: int = 10, seed: int = 0
) -> Iterator[tuple[list[Sentence], list[Sentence]]]:
    """Split sentences into folds for cross-validation.

    Every sentence is in exactly one test set, and the sizes of the test sets differ by one at most. Sentence i of a
    random permutation is tested in fold i mod ``count``. Folds are drawn over sentences, not over documents, as in the
    literature on this corpus. Equal arguments give equal folds.

    Args:
        sentences: The sentences to split.
        count: Number of folds.
        seed: Seed of the permutation.

    Returns:
        For each fold its training set, in the order of the permutation, and its test set, in the order of
        ``sentences``.

    Raises:
        InputError: ``count`` is below 2 or above the number of sentences.
    """
    if not 2 <= count <= len(sentences):
        raise InputError(
            f"the number of folds must be from 2 to {len(sentences)} (the number of sentences), got {count}"
        )
    order = np.random.default_rng(seed).permutation(len(sentences)).tolist()
    return (
        (
            [sentences[index] for rank, index in enumerate(order) if rank % count != fold],
            [sentences[index] for index in sorted(order[fold::count])],
        )
        for fold in range(count)
    )


def drop_overlapping_sentences(sentences: Iterable[Sentence]) -> list[Sentence]:
    """Drop sentences with overlapping entities (the ADE setting "without overlapping entities").

    Complete sentences are dropped, not single relations: without the relation of two overlapping entities, the
    annotation would deny a relation that the text states.

    Args:
        sentences: Annotated sentences.

    Returns:
        The sentences in which no two entities share a word.
    """
    return [sentence for sentence in sentences if not find_overlapping_entities(sentence)]


def _parse_line(line: str, location: str) -> tuple[str, str, _Row]:
    """Return the PubMed id, the sentence and the annotation of a line."""
    fields = line.split("|")
    if len(fields) < 8:
        raise DataError(f"{location}: a line must have 8 fields ({_FIELDS}), got {len(fields)}")
    # A bar inside the sentence gives more than eight fields; the last six are always the annotation.
    text = "|".join(fields[1:-6])
    effect = _parse_mention("effect", fields[-6:-3], text, location)
    drug = _parse_mention("drug", fields[-3:], text, location)
    shifts = _possible_shifts(effect, text) & _possible_shifts(drug, text)
    if not shifts:
        expected = f"offsets that match the positions of {effect.text!r} and {drug.text!r} in the sentence"
        raise field_error(location, "begin of effect and drug", [effect.begin, drug.begin], expected)
    return fields[0], text, _Row(effect, drug, frozenset(shifts), location)


def _parse_mention(name: str, fields: list[str], sentence: str, location: str) -> _Mention:
    """Check and convert the three fields of a mention: text, begin, end."""
    text = fields[0]
    if not text.strip() or text not in sentence:
        raise field_error(location, name, text, "a text that occurs in the sentence")
    offsets = []
    for end, value in zip(("begin", "end"), fields[1:], strict=True):
        if not (value.strip().isascii() and value.strip().isdecimal()):
            raise field_error(location, f"{name} {end}", value, "a character offset (digits only)")
        offsets.append(int(value))
    begin, stop = offsets
    if stop - begin != len(text):
        raise field_error(location, f"{name} end", stop, f"{begin + len(text)} (begin + length of {text!r})")
    return _Mention(text, begin, stop)


def _possible_shifts(mention: _Mention, sentence: str) -> set[int]:
    """Return every document offset at which the sentence may begin according to this mention."""
    shifts: set[int] = set()
    start = sentence.find(mention.text)
    while 0 <= start <= mention.begin:
        shifts.add(mention.begin - start)
        start = sentence.find(mention.text, start + 1)
    return shifts


def _build_sentence(text: str, rows: list[_Row], id: str) -> Sentence:
    """Build the record of a sentence from all of its lines."""
    # If a document contains the same sentence twice, its lines have no common shift; then each line uses its own.
    shared = frozenset.intersection(*(row.shifts for row in rows))
    pairs = []
    for row in rows:
        shift = max(shared or row.shifts)
        pairs.append((_locate_mention(text, row.effect, shift), _locate_mention(text, row.drug, shift)))
    words = split_at_borders(text, {border for pair in pairs for span in pair for border in span})
    starts = {start: i for i, (start, _) in enumerate(words)}
    ends = {end: i + 1 for i, (_, end) in enumerate(words)}

    def build_entity(label: str, span: Span) -> EntityMention:
        return EntityMention(label, starts[span[0]], ends[span[1]])

    related = [(build_entity(EFFECT_TYPE, effect), build_entity(DRUG_TYPE, drug)) for effect, drug in pairs]
    entities = sorted(
        {entity for pair in related for entity in pair}, key=lambda entity: (entity.start, entity.end, entity.type)
    )
    index = {entity: i for i, entity in enumerate(entities)}
    sentence = Sentence(
        tokens=[text[start:end] for start, end in words],
        entities=entities,
        relations=[RelationMention(RELATION_TYPE, index[effect], index[drug]) for effect, drug in related],
        id=id,
    )
    return validate_sentence(sentence, rows[0].location)


def _locate_mention(text: str, mention: _Mention, shift: int) -> Span:
    """Return the span of a mention in the sentence, without white space at its ends."""
    start, end = mention.begin - shift, mention.end - shift
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return start, end


def split_at_borders(text: str, borders: Iterable[int] = ()) -> list[Span]:
    """Split a text into words, and split each word at the given character offsets.

    Args:
        text: The text.
        borders: Character offsets at which a word must begin or end.

    Returns:
        The character spans of the words.
    """
    ordered = sorted(set(borders))
    words: list[Span] = []
    for part in split_sentences(text):
        for start, end in zip(part.starts, part.ends, strict=True):
            words.extend(pairwise([start, *(border for border in ordered if start < border < end), end]))
    return words
