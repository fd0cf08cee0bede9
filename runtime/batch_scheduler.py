"""Schedule batches of sentences on threads: the caller's, a background thread for the parser, or several workers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from .document_reader import Document, SentenceInText
from .engine.cpu_info import count_available_cores
from .errors import check_integer
from .streaming.ordered_batches import DeferredBatch, PendingBatch, SchedulePlan, process_in_order
from .text.parser import Parse, Parser

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


class BatchWork(Protocol[P_co]):
    """Work on one batch; safe to call from several threads."""

    def __call__(
        self, batch: list[SentenceInText], parses: Callable[[], Sequence[Parse]] | None, batch_size: int
    ) -> Sequence[P_co]:
        """Process a batch.

        Args:
            batch: The sentences.
            parses: Returns the dependency arcs of each sentence; None without a parser.
            batch_size: Maximum number of windows that go through the model at once.

        Returns:
            One part for each sentence.
        """


class BatchScheduler:
    """Owner of the threads and parsers that process documents in batches; threads may share it.

    Args:
        parser: Dependency parser that runs before the model; None without one.
        load_parser: Loads a parser for a further worker; None if all workers share ``parser``.
        cpu: Use the limit on the words of a batch that suits a CPU.
    """

    def __init__(self, parser: Parser | None, load_parser: Callable[[], Parser] | None, *, cpu: bool) -> None:
        self._parser, self._load_parser, self._cpu = parser, load_parser, cpu
        # Parsers that no worker uses at the moment.
        self._idle_parsers = deque([parser] if parser else [])
        self._parser_thread = ThreadPoolExecutor(1, "trimf-parser")
        self._process_id = os.getpid()

    def process(
        self, documents: Iterable[Document], work: BatchWork[P], batch_size: int, workers: int
    ) -> Iterator[tuple[str, list[P]]]:
        """Process documents lazily and in order, in memory that does not grow with their number.

        Args:
            documents: Documents, read in the caller's thread.
            work: Processes one batch.
            batch_size: Maximum number of sentences in a batch.
            workers: Number of threads that process whole batches, each with its own parser.

        Returns:
            An iterator over the text of each document with one part for each of its sentences. It raises an exception
            of ``documents`` or of ``work`` after the results of all documents before it.

        Raises:
            InputError: A number is not positive.
        """
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            check_integer(name, value, 1)
        return self._process(documents, work, batch_size, workers)

    def close(self) -> None:
        """Stop the background thread; closing again has no effect."""
        self._parser_thread.shutdown(cancel_futures=True)

    def _process(
        self, documents: Iterable[Document], work: BatchWork[P], batch_size: int, workers: int
    ) -> Iterator[tuple[str, list[P]]]:
        with self._open_workers(work, batch_size, workers) as (begin, max_started):
            plan = SchedulePlan.for_stream(batch_size, workers, max_started, self._cpu)
            yield from process_in_order(documents, begin, plan)

    @contextmanager
    def _open_workers(
        self, work: BatchWork[P], batch_size: int, workers: int
    ) -> Iterator[tuple[Callable[[list[SentenceInText]], PendingBatch[P]], int]]:
        """Yield the function that starts a batch, and how many batches to start at a time."""
        if workers == 1:
            # On a single core a second thread only costs time, about 5 % of a stream's.
            background = self._parser is not None and count_available_cores() > 1
            start = self._parse_in_background if background else self._defer_batch
            yield partial(start, work, batch_size), 1 + background
            return
        pool = ThreadPoolExecutor(workers, "trimf-worker")
        try:
            yield lambda batch: pool.submit(self._run_in_worker, work, batch_size, batch), 2 * workers
        finally:
            pool.shutdown(cancel_futures=True)

    def _parse_in_background(self, work: BatchWork[P], batch_size: int, batch: list[SentenceInText]) -> PendingBatch[P]:
        """Start parsing in the background thread; do the work in the caller's thread when the result is requested."""
        assert self._parser is not None
        if self._process_id != os.getpid():  # threads do not survive a fork
            self._process_id, self._parser_thread = os.getpid(), ThreadPoolExecutor(1, "trimf-parser")
        try:
            parsing = self._parser_thread.submit(self._parser.parse, _get_words(batch))
        except RuntimeError:  # the scheduler is closed, which the backend will report, or the interpreter is exiting
            return self._defer_batch(work, batch_size, batch)
        return DeferredBatch(partial(work, batch, parsing.result, batch_size))

    def _defer_batch(self, work: BatchWork[P], batch_size: int, batch: list[SentenceInText]) -> PendingBatch[P]:
        """Parse and do the work in the caller's thread when the result is requested."""
        parses = partial(self._parser.parse, _get_words(batch)) if self._parser else None
        return DeferredBatch(partial(work, batch, parses, batch_size))

    def _run_in_worker(self, work: BatchWork[P], batch_size: int, batch: list[SentenceInText]) -> Sequence[P]:
        """Parse and do the work in a worker thread."""
        if self._parser is None:
            return work(batch, None, batch_size)
        with self._borrow_parser(self._parser) as parser:
            parses = parser.parse(_get_words(batch))
        return work(batch, lambda: parses, batch_size)

    @contextmanager
    def _borrow_parser(self, shared: Parser) -> Iterator[Parser]:
        """Yield a parser that no other worker uses, or the ``shared`` one if no further parsers can be loaded."""
        if self._load_parser is None:
            yield shared
            return
        try:
            parser = self._idle_parsers.pop()
        except IndexError:
            parser = self._load_parser()
        try:
            yield parser
        finally:
            self._idle_parsers.append(parser)


def _get_words(batch: Sequence[SentenceInText]) -> list[list[str]]:
    return [sentence.words.words for sentence in batch]
