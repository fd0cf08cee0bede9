"""Schedule sentences of many documents in batches of similar length, with ordered results and bounded memory.

Sentences of neighbouring documents are sorted by length and cut into batches, so that a batch contains little padding.
Everything runs in the caller's thread, when a result is requested; only the work of ``PendingBatch`` batches may run
elsewhere. The source is therefore never read by two threads, and a stream that nobody consumes does no work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from .pipeline import MAX_BATCH_SUBWORDS
from .text.tokenization import TokenizedSentence

#: Number of batches whose sentences are sorted together. Fewer leave more padding, more delay the first result.
BATCHES_PER_WINDOW = 16

#: Limit on the words of a batch on a CPU, padding included: this many for each sentence of ``batch_size``, so that long
#: sentences go in smaller batches. The limit bounds memory, and is faster than batches that outgrow the cache.
WORDS_PER_SENTENCE = 12

#: Lower bound of that limit, for small batch sizes.
MIN_BATCH_WORDS = 256

#: Number of words after which a sentence counts as one more sentence where sentences are counted to bound memory.
WORDS_PER_WEIGHT = 64

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


class Document(NamedTuple):
    """A text with its sentences, which may be produced lazily."""

    text: str
    sentences: Iterable[TokenizedSentence]


class SentenceInText(NamedTuple):
    """A sentence with the text it belongs to."""

    text: str
    words: TokenizedSentence


class PendingBatch(Protocol[P_co]):
    """A batch whose work has been started, such as a ``concurrent.futures.Future``."""

    def done(self) -> bool:
        """Return True if ``result`` returns without waiting."""

    def result(self) -> Sequence[P_co]:
        """Return one part for each sentence of the batch, or raise the exception of its work."""


class DeferredBatch(Generic[P]):
    """A batch whose work runs in the caller's thread when its result is requested.

    Args:
        work: Function that computes one part for each sentence of the batch.
    """

    def __init__(self, work: Callable[[], Sequence[P]]) -> None:
        self.result = work

    def done(self) -> bool:
        """Return False: the work never starts before the result is requested."""
        return False


class SchedulePlan(NamedTuple):
    """Limits on how far a stream reads and works ahead.

    Attributes:
        batch_size: Maximum number of sentences in a batch.
        words: Maximum number of words in a batch, padding included.
        window: Number of sentences that are sorted together and cut into batches.
        ahead: No further document is started while the started documents whose results have not been returned contain
            this many sentences. A document without sentences counts as one.
        depth: Maximum number of batches started at a time.
    """

    batch_size: int
    words: int
    window: int
    ahead: int
    depth: int

    @classmethod
    def of(cls, batch_size: int, workers: int, depth: int, cpu: bool = True) -> SchedulePlan:
        """Build the plan of a stream.

        With several workers one window is read while another is processed. A ``batch_size`` of 1 disables sorting.

        Args:
            batch_size: Maximum number of sentences in a batch.
            workers: Number of threads that process batches.
            depth: Maximum number of batches started at a time.
            cpu: Use the limit on words that suits a CPU; otherwise the encoder's limit on subwords applies.

        Returns:
            The plan.
        """
        words = max(WORDS_PER_SENTENCE * batch_size, MIN_BATCH_WORDS) if cpu else MAX_BATCH_SUBWORDS
        window = batch_size * BATCHES_PER_WINDOW if batch_size > 1 else 1
        return cls(batch_size, words, window, window if workers == 1 else max(2 * window, depth), depth)


class _OpenDocument(Generic[P]):
    """A document that was started, with the parts computed so far.

    Attributes:
        index: Index of the document in the source.
        parts: One part for each sentence read so far; None until it is computed.
        weight: Number of sentences that the document counts for.
        missing: Number of sentences read whose parts are still outstanding.
        complete: True once all its sentences have been read.
        failed_index: Index of the first sentence that failed, -1 if none did.
        error: Exception of that sentence.
    """

    def __init__(self, index: int, text: str = "") -> None:
        self.index = index
        self.text = text
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


class _QueuedSentence(NamedTuple, Generic[P]):
    """A sentence waiting for its part, with its document and its index there."""

    sentence: SentenceInText
    document: _OpenDocument[P]
    sentence_index: int

    @property
    def length(self) -> int:
        """Number of words."""
        return len(self.sentence.words.words)

    @property
    def weight(self) -> int:
        """Number of sentences that it counts for."""
        return 1 + self.length // WORDS_PER_WEIGHT


class _DocumentReader(Generic[P]):
    """Reader of the source, one sentence at a time, until it ends or fails.

    Attributes:
        documents: Documents that were started and not yet returned, in order.
        buffered: Number of sentences that these documents count for.
        unprocessed: Number of sentences read whose parts are still outstanding, by weight.
        has_more: False once the source has ended or a failure was recorded.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents: deque[_OpenDocument[P]] = deque()
        self.buffered = 0
        self.unprocessed = 0
        self.has_more = True
        self._source = iter(documents)
        self._sentences: Iterator[TokenizedSentence] | None = None
        self._count = 0

    def can_read(self, ahead: int) -> bool:
        """Return True if the source has more and the limit ``ahead`` leaves room for it."""
        return self.has_more and (self.buffered if self._sentences is None else self.unprocessed) < ahead

    def read_next(self) -> _QueuedSentence[P] | None:
        """Read one sentence, or start or finish a document; an exception of the source fails the current document."""
        try:
            if self._sentences is None:
                self._start_document()
                return None
            words = next(self._sentences, None)
        except Exception as error:
            if self._sentences is None:
                self._add_document(_OpenDocument(self._count))
            self.documents[-1].fail(len(self.documents[-1].parts), error)
            self.has_more = False
            return None
        document = self.documents[-1]
        if words is None:
            document.complete = True
            self._sentences = None
            return None
        queued = _QueuedSentence(SentenceInText(document.text, words), document, len(document.parts))
        document.parts.append(None)
        document.missing += 1
        # Starting a document already counted one sentence, which is its first.
        self._add_weight(document, queued.weight - (queued.sentence_index == 0))
        self.unprocessed += queued.weight
        return queued

    def _start_document(self) -> None:
        document = next(self._source, None)
        if document is None:
            self.has_more = False
            return
        self._sentences = iter(document.sentences)
        self._add_document(_OpenDocument(self._count, document.text))

    def _add_document(self, document: _OpenDocument[P]) -> None:
        self._count += 1
        self.documents.append(document)
        self._add_weight(document, 1)

    def _add_weight(self, document: _OpenDocument[P], weight: int) -> None:
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


def process_in_order(
    documents: Iterable[Document], begin: Callable[[list[SentenceInText]], PendingBatch[P]], plan: SchedulePlan
) -> Iterator[tuple[str, list[P]]]:
    """Process documents in batches and yield their results in the order of the source.

    When a batch fails, its sentences are tried one by one to find those that cause the failure; if each succeeds alone,
    the first one is taken as the cause.

    Args:
        documents: Source, read lazily.
        begin: Starts the work on a batch of sentences.
        plan: Limits on reading and working ahead.

    Yields:
        Text of each document with one part for each of its sentences.

    Raises:
        Exception: An exception of the source, of a document's sentences or of their work is raised in that document's
            position, after the results of all documents before it.
    """
    reader = _DocumentReader[P](documents)
    unsorted: list[_QueuedSentence[P]] = []
    weight, window = 0, min(2 * plan.batch_size, plan.window)
    ready: deque[list[_QueuedSentence[P]]] = deque()
    begun: deque[tuple[list[_QueuedSentence[P]], PendingBatch[P]]] = deque()
    while True:
        while begun and begun[0][1].done():
            _collect_batch(reader, *begun.popleft(), begin)
        reading = reader.can_read(plan.ahead)
        if reading and (queued := reader.read_next()):
            unsorted.append(queued)
            weight += queued.weight
        if weight >= window or (unsorted and not (reading or ready or begun)):
            ready.extend(batch_by_length(unsorted, plan.batch_size, plan.words))
            unsorted, weight = [], 0
            window = min(2 * window, plan.window)  # small windows first, so that the first results come soon
        while ready and len(begun) < plan.depth:
            batch = ready.popleft()
            begun.append((batch, begin([queued.sentence for queued in batch])))
        if reader.has_result():
            yield reader.take_result()
        elif reading:
            continue
        elif begun:
            _collect_batch(reader, *begun.popleft(), begin)
        elif not unsorted:
            return


def batch_by_length(
    queued: Sequence[_QueuedSentence[P]], batch_size: int, words: int
) -> Iterator[list[_QueuedSentence[P]]]:
    """Group sentences of similar length into batches, the longest first.

    Args:
        queued: Sentences in any order.
        batch_size: Maximum number of sentences in a batch.
        words: Maximum number of words in a batch, padding included; a longer sentence forms a batch by itself.

    Yields:
        The batches.
    """
    batch: list[_QueuedSentence[P]] = []
    for sentence in sorted(queued, key=lambda sentence: -sentence.length):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * batch[0].length > words):
            yield batch
            batch = []
        batch.append(sentence)
    if batch:
        yield batch


def _collect_batch(
    reader: _DocumentReader[P],
    batch: list[_QueuedSentence[P]],
    work: PendingBatch[P],
    begin: Callable[[list[SentenceInText]], PendingBatch[P]],
) -> None:
    """Store the parts of a batch in its documents; on failure record the error there and stop reading the source."""
    try:
        _store_results(batch, work.result())
    except Exception as error:
        reader.has_more = False
        _isolate_failing_sentence(batch, begin, error)
    for queued in batch:
        queued.document.missing -= 1
        reader.unprocessed -= queued.weight


def _store_results(batch: Iterable[_QueuedSentence[P]], parts: Iterable[P]) -> None:
    """Store each part in the document of its sentence."""
    for queued, part in zip(batch, parts, strict=True):
        queued.document.parts[queued.sentence_index] = part


def _isolate_failing_sentence(
    batch: list[_QueuedSentence[P]], begin: Callable[[list[SentenceInText]], PendingBatch[P]], error: Exception
) -> None:
    """Retry the sentences of a failed batch one by one and record which of them fail; if none does, the first."""
    isolated = False
    for queued in batch if len(batch) > 1 else ():
        try:
            _store_results([queued], begin([queued.sentence]).result())
        except Exception as sentence_error:
            isolated = True
            queued.document.fail(queued.sentence_index, sentence_error)
    if not isolated:
        first = min(batch, key=lambda queued: (queued.document.index, queued.sentence_index))
        first.document.fail(first.sentence_index, error)
