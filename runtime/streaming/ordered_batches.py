"""Process the sentences of documents in batches of similar length, with ordered results and bounded memory.

Sentences of neighbouring documents are sorted by length and cut into batches, so that a batch contains little padding.
Everything runs in the caller's thread, when a result is requested; only the work of ``PendingBatch`` batches may run
elsewhere. A stream that nobody consumes does no work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from ..document_reader import Document, DocumentReader, QueuedSentence, SentenceInText
from ..window_batching import MAX_BATCH_SUBWORDS

#: Number of batches whose sentences are sorted together. Fewer leave more padding, more delay the first result.
BATCHES_PER_WINDOW = 16

#: Limit on the words of a batch on a CPU, padding included: this many for each sentence of ``batch_size``, so that long
#: sentences go in smaller batches. The limit bounds memory, and is faster than batches that outgrow the cache.
WORDS_PER_SENTENCE = 12

#: Lower bound of that limit, for small batch sizes.
MIN_BATCH_WORDS = 256

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


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
        max_words: Maximum number of words in a batch, padding included.
        window: Number of sentences that are sorted together and cut into batches.
        max_buffered: No further document is started while the started documents whose results have not been returned
            contain this many sentences. A document without sentences counts as one.
        max_started: Maximum number of batches started at a time.
    """

    batch_size: int
    max_words: int
    window: int
    max_buffered: int
    max_started: int

    @classmethod
    def for_stream(cls, batch_size: int, workers: int, max_started: int, cpu: bool = True) -> SchedulePlan:
        """Build the plan of a stream.

        With several workers one window is read while another is processed. A ``batch_size`` of 1 disables sorting.

        Args:
            batch_size: Maximum number of sentences in a batch.
            workers: Number of threads that process batches.
            max_started: Maximum number of batches started at a time.
            cpu: Use the limit on words that suits a CPU; otherwise the encoder's limit on subwords applies.

        Returns:
            The plan.
        """
        max_words = max(WORDS_PER_SENTENCE * batch_size, MIN_BATCH_WORDS) if cpu else MAX_BATCH_SUBWORDS
        window = batch_size * BATCHES_PER_WINDOW if batch_size > 1 else 1
        max_buffered = window if workers == 1 else max(2 * window, max_started)
        return cls(batch_size, max_words, window, max_buffered, max_started)


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
    reader = DocumentReader[P](documents)
    unsorted: list[QueuedSentence[P]] = []
    weight, window = 0, min(2 * plan.batch_size, plan.window)
    ready: deque[list[QueuedSentence[P]]] = deque()
    begun: deque[tuple[list[QueuedSentence[P]], PendingBatch[P]]] = deque()
    while True:
        while begun and begun[0][1].done():
            _collect_batch(reader, *begun.popleft(), begin)
        reading = reader.can_read(plan.max_buffered)
        if reading and (queued := reader.read_next()):
            unsorted.append(queued)
            weight += queued.weight
        if weight >= window or (unsorted and not (reading or ready or begun)):
            ready.extend(batch_by_length(unsorted, plan.batch_size, plan.max_words))
            unsorted, weight = [], 0
            window = min(2 * window, plan.window)  # small windows first, so that the first results come soon
        while ready and len(begun) < plan.max_started:
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
    queued: Sequence[QueuedSentence[P]], batch_size: int, max_words: int
) -> Iterator[list[QueuedSentence[P]]]:
    """Group sentences of similar length into batches, the longest first.

    Args:
        queued: Sentences in any order.
        batch_size: Maximum number of sentences in a batch.
        max_words: Maximum number of words in a batch, padding included; a longer sentence forms a batch by itself.

    Yields:
        The batches.
    """
    batch: list[QueuedSentence[P]] = []
    for sentence in sorted(queued, key=lambda sentence: -sentence.length):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * batch[0].length > max_words):
            yield batch
            batch = []
        batch.append(sentence)
    if batch:
        yield batch


def _collect_batch(
    reader: DocumentReader[P],
    batch: list[QueuedSentence[P]],
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


def _store_results(batch: Iterable[QueuedSentence[P]], parts: Iterable[P]) -> None:
    """Store each part in the document of its sentence."""
    for queued, part in zip(batch, parts, strict=True):
        queued.document.parts[queued.sentence_index] = part


def _isolate_failing_sentence(
    batch: list[QueuedSentence[P]], begin: Callable[[list[SentenceInText]], PendingBatch[P]], error: Exception
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
