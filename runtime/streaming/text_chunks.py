"""Cut the texts of a stream into chunks for other processes, and return the results in the order of the texts.

The texts are read in the caller's thread, and no more of them than ``ChunkPlan`` allows, however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from ..document_reader import Document
from ..results import Extraction
from .text_stream import TextSource
from .warning_transport import show_warnings
from .worker_process import Answer

#: Number of batches in a chunk. Fewer leave more padding; more read further ahead, and let processes wait at the end.
BATCHES_PER_CHUNK = 8

#: Number of characters after which a text counts as one more sentence.
CHARACTERS_PER_SENTENCE = 100

#: Number of chunks that are started for each process: one that it works on, and one that waits for it.
STARTED_PER_PROCESS = 2


class Chunk(NamedTuple):
    """Texts that one process works on at a time.

    Attributes:
        items: The texts, or sentences as lists of words.
        first: Index of the first of them in the input.
        last: Index of the last of them in the input.
    """

    items: list[Any]
    first: int
    last: int


class ChunkPlan(NamedTuple):
    """Limits on how far a stream reads ahead.

    Attributes:
        size: Number of sentences in a chunk, estimated from the length of the texts.
        first_size: The same for the first chunk of each process; then it doubles, so that the first results come soon.
        processes: Number of processes.
    """

    size: int
    first_size: int
    processes: int

    @classmethod
    def for_stream(cls, batch_size: int, processes: int) -> ChunkPlan:
        """Build the plan of a stream; with a ``batch_size`` of 1 each text is a chunk.

        Args:
            batch_size: Maximum number of sentences in a batch.
            processes: Number of processes.

        Returns:
            The plan.
        """
        return cls(batch_size * BATCHES_PER_CHUNK if batch_size > 1 else 1, batch_size, processes)

    @property
    def max_started(self) -> int:
        """Maximum number of chunks started at a time."""
        return STARTED_PER_PROCESS * self.processes

    def limit(self, index: int) -> int:
        """Return the number of sentences in a chunk.

        Args:
            index: Number of chunks before it.
        """
        return min(self.size, self.first_size << min(index // self.processes, 8))


def process_in_chunks(
    source: TextSource,
    select: Callable[[Document], Any],
    begin: Callable[[Chunk], Future[Answer]],
    plan: ChunkPlan,
) -> Iterator[Extraction]:
    """Process the texts of a source in chunks and yield their results in order.

    Args:
        source: Texts, read lazily.
        select: Returns what a process needs of a text.
        begin: Starts the work on a chunk.
        plan: Limits on reading ahead.

    Yields:
        Extraction of each text.

    Raises:
        Exception: An exception of the source or of the work on a text is raised after the results of all texts before
            it.
    """
    begun: deque[Future[Answer]] = deque()
    items: list[Any] = []
    weight = first = last = chunks = 0
    reading = True
    failure: Exception | None = None
    while True:
        while begun and begun[0].done():
            yield from _yield_results(begun.popleft())
        if reading and len(begun) < plan.max_started:
            try:
                document = next(source)
            except StopIteration:
                reading = False
            except Exception as error:
                reading, failure = False, error
            else:
                last = source.count - 1
                first = first if items else last
                items.append(select(document))
                weight += 1 + len(document.text) // CHARACTERS_PER_SENTENCE
        elif begun:
            yield from _yield_results(begun.popleft())
        elif failure is not None:
            raise failure
        else:
            return
        if items and (weight >= plan.limit(chunks) or not reading):
            begun.append(begin(Chunk(items, first, last)))
            items, weight, chunks = [], 0, chunks + 1


def _yield_results(work: Future[Answer]) -> Iterator[Extraction]:
    """Wait for the answer to a chunk, show its warnings and yield its results; then raise its exception."""
    answer = work.result()
    show_warnings(answer.caught)
    yield from answer.extractions
    if answer.error is not None:
        raise answer.error
