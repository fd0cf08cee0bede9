"""Build documents with the entities of a caller, each placed on the words of its sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, NamedTuple

from ..decoding.span_decoding import EntitySpan
from ..document_reader import Document, GivenEntities
from ..errors import InputError, describe_value
from ..results import Entity
from ..text.tokenization import SplittingRules, TokenizedSentence
from ..text.word_alignment import WordFinder, WordRange
from .entity_reading import SpanInput, read_entities
from .entity_types import EntityTypes

#: What to do with an entity that begins or ends inside a word; see ``Extractor.relate``.
Misaligned = Literal["error", "snap", "skip"]

#: Number of entities that a notice names.
_NAMED = 3


class GivenReading(NamedTuple):
    """How the texts and entities of a caller are read.

    Attributes:
        rules: How a text is split into sentences of words.
        types: The entity types that the caller may use.
        misaligned: What to do with an entity that begins or ends inside a word.
        words: Whether sentences of words are given instead of texts.
    """

    rules: SplittingRules
    types: EntityTypes
    misaligned: Misaligned = "error"
    words: bool = False

    def build_document(self, item: object, name: str) -> Document:
        """Build the document of a pair of a text, or a list of words, and its entities.

        Args:
            item: The pair.
            name: Name of the text in error messages.

        Raises:
            InputError: The item is no such pair, or the text or an entity cannot be used.
        """
        noun = "words" if self.words else "text"
        if isinstance(item, str) or not isinstance(item, tuple | list) or len(item) != 2:
            raise InputError(f"{name}: every item is a pair ({noun}, entities), got {describe_value(item)}")
        source, entities = item
        document = Document.from_words(source, name) if self.words else Document.from_text(source, name, self.rules)
        sentences = list(document.sentences)
        placing = _Placing(document.text, sentences, self, name)
        for where, span in read_entities(entities, name, words=self.words):
            placing.add(where, span)
        sent = [word for sentence in sentences for word in sentence.words] if self.words else document.text
        return Document(document.text, sentences, placing.finish(sent))


class _Placing:
    """Placing of the entities of one text, one after another."""

    def __init__(self, text: str, sentences: list[TokenizedSentence], reading: GivenReading, name: str) -> None:
        self._text, self._sentences, self._reading, self._name = text, sentences, reading, name
        self._finder = WordFinder(text, sentences)
        self._spans: list[list[EntitySpan]] = [[] for _ in sentences]
        self._indices: list[list[int]] = [[] for _ in sentences]
        self._entities: list[Entity] = []
        self._inputs: list[SpanInput] = []
        self._placed: dict[tuple[int, int, int, int], int] = {}
        self._found: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, where: str, span: SpanInput) -> None:
        """Add the next entity of the caller."""
        kind = self._reading.types.find_index(span.label, where)
        place = self._place_words(where, span) if span.counts_words else self._place_characters(where, span)
        start, end = span.start, span.end
        if place is not None:
            _, starts, ends = self._sentences[place.sentence]
            start, end = starts[place.first], ends[place.end - 1]
        index = len(self._entities)
        self._inputs.append(span)
        self._entities.append(Entity(start, end, self._text[start:end], span.label, span.score))
        if place is None:
            return
        key = (place.sentence, place.first, place.end, kind)
        if key in self._placed:
            self._found["repeated"].append(f"{self._describe(index)} repeats entities[{self._placed[key]}]")
            return
        self._placed[key] = index
        self._spans[place.sentence].append(EntitySpan(place.first, place.end, kind, span.score))
        self._indices[place.sentence].append(index)

    def finish(self, source: str | list[str]) -> GivenEntities:
        """Return the entities of the text.

        Args:
            source: The text, or its words.
        """
        entities, notices = tuple(self._entities), tuple(self._list_notices())
        return GivenEntities(entities, self._spans, self._indices, notices, (source, self._inputs))

    def _place_words(self, where: str, span: SpanInput) -> WordRange:
        count = len(self._sentences[0].words) if self._sentences else 0
        if not 0 <= span.start < span.end <= count:
            raise InputError(f"{where}: words {span.start} to {span.end} do not lie in the {count} words")
        place = WordRange(0, span.start, span.end, True)
        self._check_text(where, span, self._sentences[0].starts[span.start], self._sentences[0].ends[span.end - 1])
        return place

    def _place_characters(self, where: str, span: SpanInput) -> WordRange | None:
        size = len(self._text)
        if not 0 <= span.start < span.end <= size:
            raise InputError(f"{where}: characters {span.start} to {span.end} do not lie in the {size} of the text")
        self._check_text(where, span, span.start, span.end)
        covered = self._text[span.start : span.end]
        if covered.isspace():
            raise InputError(f"{where}: characters {span.start} to {span.end} are all white space")
        place = self._finder.find(span.start, span.end)
        shown = f"{covered!r:.60} ({where.removeprefix(f'{self._name}, ')})"
        if place is None:
            self._found["across"].append(shown)
            return None
        if place.aligned:
            return place
        _, starts, ends = self._sentences[place.sentence]
        words = self._text[starts[place.first] : ends[place.end - 1]]
        if self._reading.misaligned == "error":
            raise InputError(
                f"{where}: {covered!r:.60} begins or ends inside a word of {words!r:.60}; correct the offsets, or pass "
                "misaligned='snap' to extend such entities to whole words, or 'skip' to look for no relations of them"
            )
        if self._reading.misaligned == "skip":
            self._found["skipped"].append(f"{shown} within {words!r:.60}")
            return None
        self._found["snapped"].append(f"{shown} to {words!r:.60}")
        return place

    def _check_text(self, where: str, span: SpanInput, start: int, end: int) -> None:
        """Refuse an entity whose text is not that of its place, such as one whose offsets count bytes."""
        if span.text is not None and span.text != self._text[start:end]:
            raise InputError(
                f"{where}: its text is {span.text!r:.60}, but characters {start} to {end} are "
                f"{self._text[start:end]!r:.60}; offsets count characters (Unicode code points)"
            )

    def _describe(self, index: int) -> str:
        return f"entities[{index}]"

    def _list_notices(self) -> Iterable[str]:
        messages = {
            "snapped": "extended to whole words: ",
            "skipped": "no relations are looked for, as it begins or ends inside a word: ",
            "across": "no relations are looked for, as it does not lie in one sentence: ",
            "repeated": "relations name the first of equal entities: ",
        }
        for kind, message in messages.items():
            if found := self._found[kind]:
                more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
                yield message + "; ".join(found[:_NAMED]) + more
        if (count := sum(map(bool, self._spans))) > 1:
            yield f"the entities lie in {count} sentences; relations are looked for only within a sentence"
