"""Many documents through few batches of like length: results in order, in bounded memory.

Sentences of neighbouring documents are sorted by length and cut into batches, so that a batch holds little padding. All
of it happens in the caller's thread, whenever a result is asked for; only what :class:`Begun` batches do may happen
elsewhere. So a source that is read is never read by two threads, and a stream that nobody reads does nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from .pipeline import MAX_BATCH_SUBWORDS
from .text import Words

#: Batches of sentences that are sorted together: fewer leave more padding, more make the first result wait longer.
SORTED_BATCHES = 16

#: Words of a batch on a CPU, padding counted, for each sentence it may have, and at least: long sentences go in smaller
#: batches. That bounds memory, and is faster than batches that outgrow the cache.
SENTENCE_WORDS = 12
BATCH_WORDS = 256

#: Words for which a sentence counts once more where sentences are counted to bound memory.
COUNTED_WORDS = 64

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


class Document(NamedTuple):
    """A text and its sentences, which need not be at hand all at once."""

    text: str
    sentences: Iterable[Words]


class Sentence(NamedTuple):
    """One sentence of a text."""

    text: str
    words: Words


class Begun(Protocol[P_co]):
    """A batch on its way, such as a :class:`concurrent.futures.Future`."""

    def done(self) -> bool:
        """Whether :meth:`result` returns at once."""

    def result(self) -> Sequence[P_co]:
        """One part for each sentence of the batch; raises what its work raised."""


class Lazy(Generic[P]):
    """A batch whose work is done when its result is asked for."""

    def __init__(self, work: Callable[[], Sequence[P]]) -> None:
        self.result = work

    def done(self) -> bool:
        """Never before it is asked for."""
        return False


class Plan(NamedTuple):
    """How far a stream looks ahead, in sentences.

    ``window`` sentences are sorted together and cut into batches of at most ``batch_size`` of them and ``words`` with
    padding, of which ``depth`` are begun at a time. No document is begun while those begun and not yet given out have
    ``ahead`` sentences. A document without any counts as one.
    """

    batch_size: int
    words: int
    window: int
    ahead: int
    depth: int

    @classmethod
    def of(cls, batch_size: int, workers: int, depth: int, cpu: bool = True) -> Plan:
        """A window read while another is worked on where there are several workers; no sorting of single sentences."""
        words = max(SENTENCE_WORDS * batch_size, BATCH_WORDS) if cpu else MAX_BATCH_SUBWORDS
        window = batch_size * SORTED_BATCHES if batch_size > 1 else 1
        return cls(batch_size, words, window, window if workers == 1 else max(2 * window, depth), depth)


class _Read(Generic[P]):
    """A document that was begun, and its parts as far as they are known."""

    def __init__(self, number: int, text: str = "") -> None:
        self.number = number
        self.text = text
        self.parts: list[P | None] = []
        self.weight = 0
        self.missing = 0
        self.whole = False
        self.failed = -1
        self.error: Exception | None = None

    def fail(self, place: int, error: Exception) -> None:
        """Its sentence ``place`` cannot be had; the first one that cannot is what the caller is told of."""
        if self.error is None or place < self.failed:
            self.failed, self.error = place, error


class _Placed(NamedTuple, Generic[P]):
    """A sentence and where its part goes."""

    sentence: Sentence
    owner: _Read[P]
    place: int

    @property
    def length(self) -> int:
        """Its words."""
        return len(self.sentence.words.words)

    @property
    def weight(self) -> int:
        """How many sentences it counts for."""
        return 1 + self.length // COUNTED_WORDS


class _Reader(Generic[P]):
    """Documents as they are read: a sentence at a time, until there are no more or one cannot be read."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.open: deque[_Read[P]] = deque()
        self.held = 0
        self.pending = 0
        self.more = True
        self._documents = iter(documents)
        self._sentences: Iterator[Words] | None = None
        self._count = 0

    def may(self, ahead: int) -> bool:
        """Whether there is more to read and room for it."""
        return self.more and (self.held if self._sentences is None else self.pending) < ahead

    def step(self) -> _Placed[P] | None:
        """Read one sentence, or begin or end a document; what the source raises fails the document it raised at."""
        try:
            if self._sentences is None:
                self._begin()
                return None
            words = next(self._sentences, None)
        except Exception as error:
            if self._sentences is None:
                self._add(_Read(self._count))
            self.open[-1].fail(len(self.open[-1].parts), error)
            self.more = False
            return None
        owner = self.open[-1]
        if words is None:
            owner.whole = True
            self._sentences = None
            return None
        placed = _Placed(Sentence(owner.text, words), owner, len(owner.parts))
        owner.parts.append(None)
        owner.missing += 1
        # A document was counted when it was begun; its first sentence is that one.
        self._count_in(owner, placed.weight - (placed.place == 0))
        self.pending += placed.weight
        return placed

    def _begin(self) -> None:
        document = next(self._documents, None)
        if document is None:
            self.more = False
            return
        self._sentences = iter(document.sentences)
        self._add(_Read(self._count, document.text))

    def _add(self, read: _Read[P]) -> None:
        self._count += 1
        self.open.append(read)
        self._count_in(read, 1)

    def _count_in(self, read: _Read[P], weight: int) -> None:
        read.weight += weight
        self.held += weight

    def finished(self) -> bool:
        """Whether the first document that was not given out is known in whole.

        Raises:
            Exception: what its sentences or the source raised.
        """
        if not self.open:
            return False
        first = self.open[0]
        if first.error is not None:
            raise first.error
        return first.whole and not first.missing

    def take(self) -> tuple[str, list[P]]:
        """That document."""
        read = self.open.popleft()
        self.held -= read.weight
        return read.text, [part for part in read.parts if part is not None]


def in_order(
    documents: Iterable[Document], begin: Callable[[list[Sentence]], Begun[P]], plan: Plan
) -> Iterator[tuple[str, list[P]]]:
    """Each document's text with one part for each of its sentences, in the order of ``documents``.

    ``begin`` starts the work on a batch. What the source, a document's sentences or the work on one raise is raised in
    that document's place, after all documents before it were given out. When a batch fails, its sentences are tried
    one by one to find out which are to blame; if none is, the first one is taken for it.
    """
    reader = _Reader[P](documents)
    unsorted: list[_Placed[P]] = []
    weight, window = 0, min(2 * plan.batch_size, plan.window)
    ready: deque[list[_Placed[P]]] = deque()
    begun: deque[tuple[list[_Placed[P]], Begun[P]]] = deque()
    while True:
        while begun and begun[0][1].done():
            _finish(reader, *begun.popleft(), begin)
        reading = reader.may(plan.ahead)
        if reading and (placed := reader.step()):
            unsorted.append(placed)
            weight += placed.weight
        if weight >= window or (unsorted and not (reading or ready or begun)):
            ready.extend(batches(unsorted, plan.batch_size, plan.words))
            unsorted, weight = [], 0
            window = min(2 * window, plan.window)  # the first results come soon
        while ready and len(begun) < plan.depth:
            batch = ready.popleft()
            begun.append((batch, begin([placed.sentence for placed in batch])))
        if reader.finished():
            yield reader.take()
        elif reading:
            continue
        elif begun:
            _finish(reader, *begun.popleft(), begin)
        elif not unsorted:
            return


def batches(placed: Sequence[_Placed[P]], batch_size: int, words: int) -> Iterator[list[_Placed[P]]]:
    """Sentences of like length together, the longest first; no batch but of one sentence is over its limits."""
    batch: list[_Placed[P]] = []
    for one in sorted(placed, key=lambda one: -one.length):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * batch[0].length > words):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _finish(
    reader: _Reader[P], batch: list[_Placed[P]], work: Begun[P], begin: Callable[[list[Sentence]], Begun[P]]
) -> None:
    """Give a batch's parts to its documents, or its error to those it came from; then nothing more is read."""
    try:
        _give(batch, work.result())
    except Exception as error:
        reader.more = False
        _blame(batch, begin, error)
    for placed in batch:
        placed.owner.missing -= 1
        reader.pending -= placed.weight


def _give(batch: Iterable[_Placed[P]], parts: Iterable[P]) -> None:
    for placed, part in zip(batch, parts, strict=True):
        placed.owner.parts[placed.place] = part


def _blame(batch: list[_Placed[P]], begin: Callable[[list[Sentence]], Begun[P]], error: Exception) -> None:
    blamed = False
    for placed in batch if len(batch) > 1 else ():
        try:
            _give([placed], begin([placed.sentence]).result())
        except Exception as own:
            blamed = True
            placed.owner.fail(placed.place, own)
    if not blamed:
        first = min(batch, key=lambda placed: (placed.owner.number, placed.place))
        first.owner.fail(first.place, error)
