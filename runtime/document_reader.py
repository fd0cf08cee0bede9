"""Read documents sentence by sentence, and keep those whose results are outstanding, in order.

The source is read in the thread that calls ``DocumentReader.read_next``, never by two threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Self, TypeVar

from .decoding.span_decoding import EntitySpan
from .errors import InputError, describe_value
from .results import Entity
from .text.plain_text import are_plain_texts, read_text
from .text.tokenization import DEFAULT_RULES, SplittingRules, TokenizedSentence, iterate_sentences, join_words

#: Number of words after which a sentence counts as one more sentence where sentences are counted to bound memory.
WORDS_PER_WEIGHT = 64

P = TypeVar("P")


class GivenEntities(NamedTuple):
    """Entities of a caller in a text, between which relations are looked for.

    Attributes:
        entities: All of them, in the caller's order.
        spans: For each sentence, the entities whose relations are looked for, in the caller's order.
        indices: For each sentence, the index in ``entities`` of each of its spans.
        notices: Messages about entities that were changed or have no relations.
        item: Text or words, and the entities as the caller gave them, for another process.
    """

    entities: tuple[Entity, ...]
    spans: list[list[EntitySpan]]
    indices: list[list[int]]
    notices: tuple[str, ...]
    item: tuple[Any, list[Any]]


class Document(NamedTuple):
    """A text with its sentences, which may be produced lazily, and perhaps with entities of the caller."""

    text: str
    sentences: Iterable[TokenizedSentence]
    given: GivenEntities | None = None

    @classmethod
    def from_text(cls, text: object, name: str = "text", rules: SplittingRules = DEFAULT_RULES) -> Self:
        """Build a document of raw text, whose sentences are split when they are read.

        Args:
            text: The text, a string of any kind (``text.plain_text.read_text``).
            name: Name of the text in error messages.

        Raises:
            InputError: ``text`` is not a string, or contains a lone surrogate.
        """
        plain = read_text(text, name)
        return cls(plain, iterate_sentences(plain, rules))

    @classmethod
    def from_words(cls, sentence: object, name: str = "sentence") -> Self:
        """Build a document of one sentence whose text is its words joined by one space.

        Args:
            sentence: The words, strings of any kind.
            name: Name of the sentence in error messages.

        Raises:
            InputError: ``sentence`` is not a list of words, or a word contains a lone surrogate.
        """
        if isinstance(sentence, str | bytes | Mapping) or not isinstance(sentence, Iterable):
            if isinstance(sentence, str):
                description = f"{str.__str__(sentence)!r:.80}; pass raw text to stream()"
            else:
                description = describe_value(sentence)
            raise InputError(f"{name}: words() takes sentences as lists of words, got {description}")
        words = list(sentence)
        if not are_plain_texts(words):
            words = [read_text(word, f"word {position} of {name}") for position, word in enumerate(words)]
        text, located = join_words(words)
        return cls(text, [located] if words else [])


class SentenceInText(NamedTuple):
    """A sentence with the text it belongs to, and perhaps with entities of the caller."""

    text: str
    words: TokenizedSentence
    given: Sequence[EntitySpan] | None = None


class OpenDocument(Generic[P]):
    """A document that was started, with the parts computed so far.

    Attributes:
        index: Index of the document in the source.
        text: Its text.
        given: Entities of the caller in it.
        parts: One part for each sentence read so far; None until it is computed.
        weight: Number of sentences that the document counts for.
        missing: Number of sentences read whose parts are still outstanding.
        complete: True once all its sentences have been read.
        failed_index: Index of the first sentence that failed, -1 if none did.
        error: Exception of that sentence.
    """

    def __init__(self, index: int, text: str = "", given: GivenEntities | None = None) -> None:
        self.index = index
        self.text = text
        self.given = given
        self.parts: list[P | None] = []
        self.weight = 0
        self.missing = 0
        self.complete = False
        self.failed_index = -1
        self.error: Exception | None = None

    def fail(self, index: int, error: Exception) -> None:
        """Record a failure for sentence ``index``; only the earliest failure is reported."""
        if self.error is None or index < self.failed_index:
            self.failed_index, self.error = index, error


class QueuedSentence(NamedTuple, Generic[P]):
    """A sentence waiting for its part.

    Attributes:
        sentence: The sentence.
        document: Its document.
        sentence_index: Its index there.
        length: Number of words.
        weight: Number of sentences that it counts for.
    """

    sentence: SentenceInText
    document: OpenDocument[P]
    sentence_index: int
    length: int
    weight: int


class DocumentReader(Generic[P]):
    """Reader of the source, one sentence at a time, until it ends or fails.

    Attributes:
        documents: Documents that were started and not yet returned, in order.
        buffered: Number of sentences that these documents count for.
        unprocessed: Number of sentences read whose parts are still outstanding, by weight.
        has_more: False once the source has ended or a failure was recorded.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents: deque[OpenDocument[P]] = deque()
        self.buffered = 0
        self.unprocessed = 0
        self.has_more = True
        self._source = iter(documents)
        self._sentences: Iterator[TokenizedSentence] | None = None
        self._count = 0

    def can_read(self, max_buffered: int) -> bool:
        """Return True if the source has more and the limit ``max_buffered`` leaves room for it."""
        return self.has_more and (self.buffered if self._sentences is None else self.unprocessed) < max_buffered

    def read_next(self) -> QueuedSentence[P] | None:
        """Read one sentence, and start its document if it is the first, or finish a document.

        An exception of the source fails the current document.
        """
        try:
            if self._sentences is None:
                self._start_document()
            if self._sentences is None:
                return None
            words = next(self._sentences, None)
        except Exception as error:
            if self._sentences is None:
                self._add_document(OpenDocument(self._count))
            self.documents[-1].fail(len(self.documents[-1].parts), error)
            self.has_more = False
            return None
        document = self.documents[-1]
        if words is None:
            document.complete = True
            self._sentences = None
            return None
        length = len(words.words)
        weight = 1 + length // WORDS_PER_WEIGHT
        given = None if document.given is None else document.given.spans[len(document.parts)]
        sentence = SentenceInText(document.text, words, given)
        queued = QueuedSentence(sentence, document, len(document.parts), length, weight)
        document.parts.append(None)
        document.missing += 1
        # Starting a document already counted one sentence, which is its first.
        self._add_weight(document, weight - (queued.sentence_index == 0))
        self.unprocessed += weight
        return queued

    def _start_document(self) -> None:
        document = next(self._source, None)
        if document is None:
            self.has_more = False
            return
        self._sentences = iter(document.sentences)
        self._add_document(OpenDocument(self._count, document.text, document.given))

    def _add_document(self, document: OpenDocument[P]) -> None:
        self._count += 1
        self.documents.append(document)
        self._add_weight(document, 1)

    def _add_weight(self, document: OpenDocument[P], weight: int) -> None:
        document.weight += weight
        self.buffered += weight

    def has_result(self) -> bool:
        """Return True if every part of the first document is available.

        Raises:
            Exception: The exception of the source, of the document's sentences or of their work.
        """
        if not self.documents:
            return False
        first = self.documents[0]
        if first.error is not None:
            raise first.error
        return first.complete and not first.missing

    def take_result(self) -> tuple[str, list[P]]:
        """Remove the first document and return its text and its parts."""
        document = self.documents.popleft()
        self.buffered -= document.weight
        return document.text, [part for part in document.parts if part is not None]
