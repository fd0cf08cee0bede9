"""Turn decoded sentences of word indices into an ``Extraction`` of the caller's text; pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from .bundle.labels import Labels
from .decoding.span_decoding import EntitySpan, RelationSpan
from .document_reader import SentenceInText
from .pipeline import DependencyArcs, SentenceResult
from .results import Arc, Candidates, Entity, Extraction, Relation, Trigger
from .text.plain_text import read_text
from .text.tokenization import TokenizedSentence
from .text.words import find_unsplit_letters
from .triggers.trigger_scores import RelationTriggers, SentenceTriggers

#: Maximum number of unknown words that a notice names, and of characters of each.
MAX_NAMED_WORDS = 3
MAX_NAMED_CHARS = 20


class SentenceExtraction(NamedTuple):
    """Contribution of one sentence to an ``Extraction``; heads of ``arcs`` are indices into its own words."""

    span: tuple[int, int]
    entities: list[Entity]
    relations: list[Relation]
    notices: list[str]
    arcs: list[Arc]
    candidates: Candidates | None = None


def assemble_sentence(
    sentence: SentenceInText,
    result: SentenceResult,
    labels: Labels,
    triggers: SentenceTriggers,
    *,
    candidates: bool = False,
) -> SentenceExtraction:
    """Convert the word indices of a decoded sentence to character offsets and its type indices to names.

    Args:
        sentence: The sentence, with at least one word.
        result: Result of the pipeline for it.
        labels: Label sets of the model.
        triggers: What each of its relations, and each of its relation candidates, rests on.
        candidates: Add the candidates.

    Returns:
        The extraction of the sentence.
    """
    words, decoded = sentence.words, result.decoded
    entities = [_build_entity(sentence, span, labels) for span in decoded.entities]
    considered = None
    if candidates:
        considered = Candidates(
            tuple(_build_entity(sentence, span, labels) for span in decoded.entity_candidates),
            tuple(_build_relations(sentence, decoded.relation_candidates, triggers.candidates, entities, labels)),
        )
    return SentenceExtraction(
        (words.starts[0], words.ends[-1]),
        entities,
        _build_relations(sentence, decoded.relations, triggers.relations, entities, labels),
        list(_build_notices(words, result, labels)),
        [] if result.arcs is None else _build_arcs(words, result.arcs),
        considered,
    )


def join_sentences(
    text: str, sentences: Sequence[SentenceExtraction], language: str | None = None, *, candidates: bool = False
) -> Extraction:
    """Join the extractions of all sentences of a text.

    Args:
        text: The caller's text.
        sentences: Extraction of each sentence, in order.
        language: Language whose rules split the text into words; None if the caller gave the words.
        candidates: Add the candidates of the sentences.

    Returns:
        The extraction of the text.
    """
    unsplit = None if language is None else find_unsplit_letters(text, language)
    script_notices = [] if unsplit is None else [_describe_unsplit_letters(text, unsplit, str(language))]
    return Extraction(
        text,
        tuple(entity for sentence in sentences for entity in sentence.entities),
        tuple(relation for sentence in sentences for relation in sentence.relations),
        tuple(sentence.span for sentence in sentences),
        (*script_notices, *(notice for sentence in sentences for notice in sentence.notices)),
        tuple(_shift_arcs(sentences)),
        candidates=_join_candidates([sentence.candidates for sentence in sentences if sentence.candidates])
        if candidates
        else None,
    )


def _join_candidates(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        tuple(entity for part in parts for entity in part.entities),
        tuple(relation for part in parts for relation in part.relations),
    )


def _build_entity(sentence: SentenceInText, span: EntitySpan, labels: Labels) -> Entity:
    start, end = sentence.words.starts[span.start], sentence.words.ends[span.end - 1]
    return Entity(start, end, sentence.text[start:end], labels.entity_types[span.type_index], span.score)


def _build_relations(
    sentence: SentenceInText,
    found: Sequence[RelationSpan],
    triggers: Sequence[RelationTriggers],
    entities: list[Entity],
    labels: Labels,
) -> list[Relation]:
    text, starts, ends = sentence.text, sentence.words.starts, sentence.words.ends
    relations = []
    for relation, (spans, basis) in zip(found, triggers, strict=True):
        shown = tuple(
            Trigger(starts[first], ends[last - 1], text[starts[first] : ends[last - 1]], score)
            for first, last, score in spans
        )
        head, tail, name = entities[relation.head], entities[relation.tail], labels.relation_types[relation.type_index]
        relations.append(Relation(head, name, tail, relation.score, shown, basis))
    return relations


def _build_arcs(sentence: TokenizedSentence, arcs: DependencyArcs) -> list[Arc]:
    words, starts, ends = sentence
    labels = map(read_text, arcs.labels)  # a caller's parser may use a string type of its own
    return [Arc(*arc) for arc in zip(starts, ends, words, map(int, arcs.heads), labels, strict=True)]


def _shift_arcs(sentences: Sequence[SentenceExtraction]) -> Iterator[Arc]:
    """Yield the arcs of all sentences with heads shifted to indices into the words of the text."""
    offset = 0
    for sentence in sentences:
        for arc in sentence.arcs:
            yield msgspec.structs.replace(arc, head=arc.head + offset)
        offset += len(sentence.arcs)


def _describe_unsplit_letters(text: str, span: tuple[int, int], language: str) -> str:
    """Return the notice for letters of a script that the rules of a language do not split into words."""
    start, end = span
    letters = _shorten_word(text[start:end])
    return (
        f"the rules of language {language!r} do not split {letters} at characters {start}-{end} into words, so each"
        " character is one; use a bundle trained with model.language = 'zh', 'ja' or 'th', or pass words to words()"
    )


def _shorten_word(word: str) -> str:
    """Return a word in quotes, cut to ``MAX_NAMED_CHARS`` characters."""
    return repr(word) if len(word) <= MAX_NAMED_CHARS else repr(word[:MAX_NAMED_CHARS]) + "…"


def _build_notices(sentence: TokenizedSentence, result: SentenceResult, labels: Labels) -> Iterator[str]:
    """Yield a message for each limitation that affected the sentence."""
    if not result.unknown_words and result.window_count <= 1 and not result.unpaired_entities:
        return
    where = f"characters {sentence.starts[0]}-{sentence.ends[-1]}"
    if result.unknown_words:
        count = len(result.unknown_words)
        named = ", ".join(
            f"{_shorten_word(sentence.words[index])} at character {sentence.starts[index]}"
            for index in result.unknown_words[:MAX_NAMED_WORDS]
        )
        yield (
            f"{count} word{'s' * (count > 1)} at {where} became the unknown token, wholly or in part: {named}"
            + ", …" * (count > MAX_NAMED_WORDS)
        )
    if result.window_count > 1:
        yield (
            f"the sentence at {where} was split into {result.window_count} overlapping windows"
            + "; relations between entities that share no window are not found" * labels.has_relations
        )
    if result.unpaired_entities:
        yield (
            f"the sentence at {where} has too many entities to score every pair; relations were scored only between "
            f"the most confident entities, {result.unpaired_entities} left out"
        )
