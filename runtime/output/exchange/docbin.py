"""Write a file of spaCy documents (``DocBin``) with entities, spans and relations."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import BackendError
from ...files.atomic import atomic_path
from ...results import Extraction, RecordExtraction
from ...text.spacy_import_guard import hide_torch_from_spacy, leave_out_spacy_commands
from ...text.words import iterate_words
from .settings import Losses, ToolSettings

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span
    from spacy.vocab import Vocab

#: Group of all entities in ``doc.spans``, as spaCy's span categorizer has it.
SPANS_KEY = "sc"

#: Key of the extension ``doc._.rel`` in ``doc.user_data``.
RELATIONS = ("._.", "rel", None, None)


def write_docbin(extractions: Iterable[Extraction], output: Path, settings: ToolSettings, losses: Losses) -> None:
    """Write a ``DocBin`` with user data, which needs memory for all documents.

    Args:
        extractions: Extractions to write; each is consumed once.
        output: File to write, which appears only when it is complete.
        settings: The language whose rules give the words.
        losses: Counts relations whose place in ``doc._.rel`` is that of another pair of entities.

    Raises:
        BackendError: spaCy is not installed.
        InputError: The file cannot be written.
    """
    try:
        with hide_torch_from_spacy(), leave_out_spacy_commands():
            from spacy.tokens import DocBin
            from spacy.vocab import Vocab
    except ImportError as error:
        raise BackendError(
            f"--format spacy needs spaCy, which cannot be imported: {error}; pip install spacy"
        ) from None
    vocab = Vocab()
    with atomic_path(output) as new:
        docs = DocBin(attrs=["ENT_IOB", "ENT_TYPE", "SENT_START"], store_user_data=True)
        for extraction in extractions:
            docs.add(build_doc(extraction, vocab, settings.language, losses))
        docs.to_disk(new)


def build_doc(extraction: Extraction, vocab: Vocab, language: str, losses: Losses) -> Doc:
    """Build a spaCy document whose text is that of an extraction.

    Args:
        extraction: The extraction.
        vocab: Vocabulary of the document.
        language: Language whose rules give the words; an entity that begins or ends inside a word cuts it.
        losses: See ``write_docbin``.

    Returns:
        The document. ``doc.ents`` has the entities, and the longest of those that overlap; ``doc.spans["sc"]`` has all
        of them, with their scores. ``doc._.rel`` has 1.0 for each relation type by the first tokens of head and tail,
        as annotation has in spaCy's tutorial. ``doc.user_data`` has their scores as ``relation_scores``, and
        ``id`` and ``path`` of the record.
    """
    from spacy.tokens import Doc, Span, SpanGroup
    from spacy.util import filter_spans

    tokens = _split_text(extraction, language)
    doc = Doc(vocab, tokens.words, tokens.spaces, sent_starts=tokens.sentence_starts)
    spans: list[Span] = [
        Span(doc, tokens.starts[entity.start], tokens.ends[entity.end], label=entity.label)
        for entity in extraction.entities
    ]
    doc.set_ents(filter_spans(spans), default="outside")
    scores = {"scores": [float(entity.score) for entity in extraction.entities]}
    doc.spans[SPANS_KEY] = SpanGroup(doc, name=SPANS_KEY, spans=spans, attrs=scores)
    user_data: dict[Any, Any] = doc.user_data
    scores_of_pairs = _map_relations(extraction, tokens.starts, losses)
    # A model may accept a relation with a score below 0.5, from which on readers of ``doc._.rel`` take one as true.
    user_data[RELATIONS] = {pair: dict.fromkeys(scores, 1.0) for pair, scores in scores_of_pairs.items()}
    user_data["relation_scores"] = scores_of_pairs
    fields = extraction.fields if isinstance(extraction, RecordExtraction) else {}
    for key in ("id", "path"):
        if fields.get(key) is not None:
            doc.user_data[key] = str(fields[key])
    if extraction.error:
        doc.user_data["error"] = extraction.error
    return doc


class _Tokens(NamedTuple):
    """Tokens of a text; ``starts`` and ``ends`` map characters to a token and to the one after it."""

    words: list[str]
    spaces: list[bool]
    sentence_starts: list[bool | int | None]
    starts: dict[int, int]
    ends: dict[int, int]


def _split_text(extraction: Extraction, language: str) -> _Tokens:
    """Split a text into tokens that together are the text, cut at the ends of words and of entities."""
    text = extraction.text
    first = {entity.start for entity in extraction.entities}
    last = {entity.end for entity in extraction.entities}
    cuts = {0, len(text)} | first | last
    for word in iterate_words(text, language):
        cuts |= {word.start, word.start + len(word.text)}
    tokens = _Tokens([], [], [], {}, {})
    sentences = [start for start, _ in reversed(extraction.sentences)]
    places = sorted(cuts)
    has_words = False
    for start, end in pairwise(places):
        # As in spaCy, one space after a token belongs to it, and other white space is a token.
        if text[start] == " " and tokens.words and not tokens.spaces[-1] and not ({start} & first or {end} & last):
            tokens.spaces[-1] = True
            start += 1
            if start == end:
                continue
        begins = False
        while sentences and sentences[-1] <= start:
            sentences.pop()
            begins = True
        tokens.starts[start] = len(tokens.words)
        tokens.words.append(text[start:end])
        tokens.spaces.append(False)
        # spaCy begins a sentence at the first token, so white space before the first word is part of its sentence.
        tokens.sentence_starts.append((begins and has_words) or len(tokens.words) == 1)
        has_words = has_words or not text[start:end].isspace()
        tokens.ends[end] = len(tokens.words)
    return tokens


def _map_relations(extraction: Extraction, starts: dict[int, int], losses: Losses) -> dict[Any, dict[str, float]]:
    """Map the first tokens of head and tail to the score of each relation type."""
    pairs: dict[tuple[int, int], dict[str, float]] = {}
    owners: dict[tuple[int, int], tuple[int, int]] = {}
    for relation in extraction.relations:
        key = starts[relation.head.start], starts[relation.tail.start]
        ends = relation.head.end, relation.tail.end
        if owners.setdefault(key, ends) != ends:
            losses.add(
                "relations that doc._.rel cannot tell apart, because entities begin with the same word",
                f"{relation.head.text!r} {relation.label} {relation.tail.text!r}",
            )
        scores = pairs.setdefault(key, {})
        scores[relation.label] = max(float(relation.score), scores.get(relation.label, 0.0))
    return pairs
