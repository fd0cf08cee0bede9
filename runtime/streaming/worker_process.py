"""What a process of a stream runs: load the model, and extract from one chunk of texts after another."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple, Protocol, cast

from ..errors import BackendError, TrimfError, one_line
from ..relating.given_document import Misaligned
from ..results import Extraction
from .warning_transport import CaughtWarning, copy_warning, is_picklable

#: Method of an extractor that takes the items of a stream.
StreamMethod = Literal["stream", "words", "relate_stream"]


class ChunkExtractor(Protocol):
    """What a process needs of an extractor."""

    def stream(self, texts: Iterable[Any], batch_size: int) -> Iterator[Extraction]:
        """Extract from texts."""

    def words(self, sentences: Iterable[Any], batch_size: int) -> Iterator[Extraction]:
        """Extract from sentences that are lists of words."""

    def relate_stream(
        self,
        pairs: Iterable[Any],
        batch_size: int,
        *,
        types: Mapping[str, str] | None,
        misaligned: Misaligned,
        words: bool,
    ) -> Iterator[Extraction]:
        """Find the relations between given entities."""


class WorkerSetup(NamedTuple):
    """What a process is told when it starts.

    Attributes:
        load: Loads the extractor.
        method: Method of the extractor that takes the items of a chunk.
        batch_size: Maximum number of sentences that go through the model at once.
        warning_filters: The caller's ``warnings.filters``.
        options: Further arguments of the method.
    """

    load: Callable[[], ChunkExtractor]
    method: StreamMethod
    batch_size: int
    warning_filters: list[Any]
    options: Mapping[str, Any] | None = None


class Answer(NamedTuple):
    """Answer of a process to a chunk.

    Attributes:
        extractions: One for each text, up to the first that failed.
        error: Exception of the text that failed; None if none did.
        caught: Warnings that the texts caused.
    """

    extractions: list[Extraction]
    error: Exception | None
    caught: list[CaughtWarning]


def run_worker(connection: Connection, setup: bytes) -> None:
    """Send None once the model is loaded, then an ``Answer`` to each chunk, until the other end is closed.

    Args:
        connection: Receives lists of texts and sends answers.
        setup: A pickled ``WorkerSetup``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller's process is interrupted too, and ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever the caller's main module, imported here too, has set
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for spaCy: the other cores belong to the other processes
    with warnings.catch_warnings(record=True) as caught:
        extract = _load(setup)
        caught.clear()  # loading in the caller's process gave the same warnings
        try:
            connection.send(None)
            while True:
                items = connection.recv()
                extractions, error = extract(items)
                connection.send(Answer(extractions, error, [copy_warning(one) for one in caught]))
                caught.clear()
        except (EOFError, OSError):  # the stream is over, or its process
            return


def _load(setup: bytes) -> Callable[[list[Any]], tuple[list[Extraction], Exception | None]]:
    """Load the extractor and return the function that extracts from a chunk; if that fails, one that says so."""
    try:
        load, method, batch_size, filters, options = pickle.loads(setup)
        warnings.resetwarnings()
        cast("list[Any]", warnings.filters).extend(filters)
        extractor = load()
    except TrimfError as error:
        failure = _make_portable(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        failure = _make_portable(BackendError(f"a process of the stream cannot load the extractor: {reason}"))
    else:
        run = getattr(extractor, method)
        return lambda items: _extract(run(items, batch_size, **(options or {})))
    return lambda items: ([], failure)


def _extract(results: Iterator[Extraction]) -> tuple[list[Extraction], Exception | None]:
    """Return the results up to the first text that fails, and its exception."""
    extractions: list[Extraction] = []
    try:
        for extraction in results:
            extractions.append(extraction)
    except Exception as error:
        return extractions, _make_portable(error)
    return extractions, None


def _make_portable(error: Exception) -> Exception:
    """Return an exception that can be pickled and, as a note, knows where it was raised."""
    place = "".join(traceback.format_exception(error))
    portable = error if is_picklable(error) else BackendError(f"{type(error).__name__}: {one_line(error)}")
    portable.add_note(f"in a process of the stream:\n{place}")
    return portable


def _end_with_parent() -> None:
    """End this process, whatever it does, when the process that started it ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
