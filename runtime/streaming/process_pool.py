"""Processes that extract from chunks of texts.

They are started with ``spawn``, which every platform has. The threads of ONNX Runtime and of CUDA do not survive a
fork, so a process cannot take over a model that is loaded, and ``fork`` or ``forkserver`` would save little.

``concurrent.futures.ProcessPoolExecutor`` does not say which process died at what, waits for processes that are at
work, and leaves them behind if their parent is killed. So each process has a pipe of its own, whose end of file tells
either side that the other one is gone, and a thread that sends it one chunk at a time.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from multiprocessing.connection import wait
from queue import SimpleQueue
from typing import Any

from ..document_reader import Document
from ..errors import BackendError, one_line
from ..results import Extraction
from .text_chunks import Chunk, ChunkPlan, process_in_chunks
from .text_stream import TextSource
from .worker_process import Answer, WorkerSetup, run_worker

#: Seconds that a process has to end once its pipe is closed.
_SECONDS_TO_END = 10

_CONTEXT = multiprocessing.get_context("spawn")


def extract_in_processes(source: TextSource, setup: WorkerSetup, processes: int) -> Generator[Extraction, None, None]:
    """Extract from texts in several processes.

    Args:
        source: Texts, read lazily and in the caller's thread.
        setup: What each process is told when it starts; it is pickled at once.
        processes: Number of processes. Each is started when there is work for it.

    Returns:
        An iterator over the extraction of each text, in order. All processes end with it.
    """
    select, noun = _ITEMS[setup.method]
    pool = ProcessPool(pickle.dumps(setup), processes, noun)

    def run() -> Generator[Extraction, None, None]:
        with closing(pool):
            plan = ChunkPlan.for_stream(setup.batch_size, processes)
            yield from process_in_chunks(source, select, pool.submit, plan)

    return run()


class ProcessPool:
    """Processes that extract from chunks of texts; each is started when there is a chunk for it.

    Args:
        setup: A pickled ``WorkerSetup``.
        size: Maximum number of processes.
        noun: What an item of a chunk is called in error messages, such as "text".
    """

    def __init__(self, setup: bytes, size: int, noun: str) -> None:
        self._setup, self._size, self._noun = setup, size, noun
        self._tasks: SimpleQueue[tuple[Future[Answer], Chunk] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[_Worker] = []
        # Reentrant, because the garbage collector may close a pool at any point.
        self._lock, self._closed, self._process_id = threading.RLock(), False, os.getpid()

    def submit(self, chunk: Chunk) -> Future[Answer]:
        """Start the work on a chunk.

        Args:
            chunk: The chunk.

        Returns:
            Its answer; a ``BackendError`` if the process dies.
        """
        work: Future[Answer] = Future()
        self._tasks.put((work, chunk))
        if len(self._threads) < self._size:
            # A daemon, so that a stream that is left open does not keep the interpreter from ending.
            thread = threading.Thread(target=self._serve, name="trimf-process", daemon=True)
            self._threads.append(thread)
            thread.start()
        return work

    def close(self) -> None:
        """End all processes, whatever they do, and wait for their end; closing again has no effect."""
        # A forked process has a copy of the pool, but not its processes. At the interpreter's end they have been ended,
        # because they are daemons, and threads cannot be joined any more.
        if self._process_id != os.getpid() or sys.is_finalizing():
            return
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
            for worker in workers:
                worker.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        for worker in workers:
            worker.wait()

    def _serve(self) -> None:
        """Send chunks to one process, each when the one before it is done."""
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            work, chunk = task
            try:
                worker = worker or self._start_worker()
                work.set_result(worker.run(chunk))
            except BaseException as error:
                work.set_exception(error)

    def _start_worker(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise BackendError("the stream is closed")
            worker = _Worker(self._setup, self._noun)
            self._workers.append(worker)
        return worker


class _Worker:
    """A process of a pool, as its parent sees it."""

    def __init__(self, setup: bytes, noun: str) -> None:
        self._noun, self._has_loaded = noun, False
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=run_worker, args=(theirs, setup), name="trimf-process", daemon=True)
        try:
            with _block_interrupts():
                self._process.start()
        except Exception as error:
            raise BackendError(f"cannot start a process: {type(error).__name__}: {one_line(error)}") from error
        finally:
            theirs.close()  # the process alone holds it from now on, so that its death is an end of file here

    def run(self, chunk: Chunk) -> Answer:
        """Let the process extract from a chunk.

        Raises:
            BackendError: The process died.
        """
        try:
            if not self._has_loaded:
                self._receive()
                self._has_loaded = True
            self._connection.send(chunk.items)
            answer: Answer = self._receive()
        except (EOFError, OSError):
            raise BackendError(self._describe_death(chunk)) from None
        return answer

    def _receive(self) -> Any:
        """Return what the process sends; raise EOFError if it dies instead.

        On Windows, the death of a process that has not taken over its end of the pipe is no end of file.
        """
        if self._connection not in wait([self._connection, self._process.sentinel]):
            raise EOFError
        return self._connection.recv()

    def kill(self) -> None:
        """End the process at once, for it holds nothing that must be cleaned up."""
        self._process.kill()

    def wait(self) -> None:
        """Wait for the end of the process and close the pipe to it."""
        self._process.join()
        self._connection.close()

    def _describe_death(self, chunk: Chunk) -> str:
        """Say how the process died, and at which texts."""
        self._process.join(_SECONDS_TO_END)
        code = self._process.exitcode
        texts = f"{self._noun} {chunk.first}"
        if chunk.last > chunk.first:
            texts = f"{self._noun}s {chunk.first} to {chunk.last}"
        work = "worked on" if self._has_loaded else "loaded the model for"
        message = f"process {self._process.pid} of the stream {_describe_exit(code)} while it {work} {texts}"
        if code == 1 and not self._has_loaded:
            return (
                f"{message}. It could not import your program, which must be a file and start processes only below"
                " if __name__ == '__main__':"
            )
        return f"{message}; the others were stopped. If memory ran out, use fewer processes or a smaller batch_size"


def _get_text(document: Document) -> str:
    return document.text


def _get_words(document: Document) -> list[str]:
    return [word for sentence in document.sentences for word in sentence.words]


def _get_given_item(document: Document) -> Any:
    assert document.given is not None
    return document.given.item


#: How an item is sent to a method of the extractor, and what messages call it.
_ITEMS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "stream": (_get_text, "text"),
    "words": (_get_words, "sentence"),
    "relate_stream": (_get_given_item, "text"),
}


def _describe_exit(code: int | None) -> str:
    """Say how a process ended."""
    if code is None:
        return "stopped answering"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Let a process that is started meanwhile ignore interrupts from its first instruction on."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # the first start of a process would do it, and unblock interrupts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
