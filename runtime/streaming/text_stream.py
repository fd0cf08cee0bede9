"""Give the texts of a stream to the model one by one, and keep track of those that cannot be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, get_args

import msgspec

from ..document_reader import Document
from ..errors import InputError, check_integer, describe_value
from ..results import Extraction

#: What to do with a text that cannot be read; see ``Extractor.stream``.
OnError = Literal["stop", "skip", "replace"]

#: Maximum number of bad texts that are kept with their reason, so that memory does not grow with the stream.
MAX_BAD_TEXTS = 1000

#: Number of bad texts that a message names.
_NAMED = 3

R = TypeVar("R")


class BadText(msgspec.Struct, frozen=True):
    """A text that could not be read.

    Attributes:
        index: Index of the text in the input, from 0.
        reason: The message of its error.
    """

    index: int
    reason: str


class BadTexts:
    """Count of the texts that could not be read, with the first of them.

    Attributes:
        count: Number of bad texts so far.
        first: The first of them, at most ``MAX_BAD_TEXTS``.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: list[BadText] = []

    def add(self, index: int, reason: str) -> None:
        """Record a bad text."""
        self.count += 1
        if len(self.first) < MAX_BAD_TEXTS:
            self.first.append(BadText(index, reason))

    def extend(self, others: BadTexts) -> None:
        """Record the bad texts of another count."""
        self.count += others.count
        self.first += others.first[: MAX_BAD_TEXTS - len(self.first)]

    def __str__(self) -> str:
        """Return the number of bad texts and the reasons of the first ones, as one line."""
        named = "; ".join(bad.reason for bad in self.first[:_NAMED])
        more = f"; and {self.count - _NAMED} more" if self.count > _NAMED else ""
        return f"{self.count} text{'s' * (self.count != 1)} could not be read: {named}{more}"


class _PendingText(NamedTuple):
    """What a stream must know of a text while its result is outstanding."""

    context: Any
    error: str


class TextSource:
    """Texts of a stream as documents, with the context and the error of each.

    Args:
        items: The texts, or pairs of a text and a context.
        build: Makes a document of a text and its name in error messages.
        noun: What the stream calls an item in error messages, such as "text".
        on_error: What to do with a text that cannot be read.
        as_tuples: Whether the items are pairs.

    Attributes:
        pending: An entry for each document that was read and whose result is outstanding, in order.
        bad_texts: The texts that could not be read so far.
        count: Number of texts read so far, bad ones included.
    """

    def __init__(
        self,
        items: Iterable[Any],
        build: Callable[[object, str], Document],
        noun: str,
        on_error: OnError | None,
        as_tuples: bool,
    ) -> None:
        if on_error not in (None, *get_args(OnError)):
            raise InputError(f"on_error must be 'stop', 'skip' or 'replace', got {describe_value(on_error)}")
        self.pending: deque[_PendingText] = deque()
        self.bad_texts = BadTexts()
        self.on_error = on_error
        self._items, self._build, self._noun, self._as_tuples = iter(items), build, noun, as_tuples
        self.count = 0

    def __iter__(self) -> Iterator[Document]:
        return self

    def __next__(self) -> Document:
        while True:
            text, index, context = next(self._items), self.count, None
            self.count += 1
            name = f"{self._noun} {index}"
            if self._as_tuples:
                text, context = _split_pair(text, name)
            try:
                document, error = self._build(text, name), ""
            except InputError as caught:
                if self.on_error == "stop":
                    raise
                error = str(caught)
                self.bad_texts.add(index, error)
                if self.on_error == "skip":
                    continue
                document = Document("", ())
            self.pending.append(_PendingText(context, error))
            return document


class ExtractionStream(Generic[R]):
    """Iterator over the results of a stream, in the order of the texts.

    Attributes:
        bad_texts: The texts that could not be read so far: ``bad_texts.count``, and ``bad_texts.first``, a list of the
            first 1,000 with ``index`` and ``reason``.
    """

    def __init__(self, source: TextSource, extractions: Generator[Extraction, None, None], as_tuples: bool) -> None:
        self.bad_texts = source.bad_texts
        self._extractions = extractions
        # Without a reference to this object, so that the stream ends as soon as nobody refers to it.
        self._results = _join_contexts(source, extractions, as_tuples)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        result: R = next(self._results)
        return result

    def close(self) -> None:
        """End the stream, its threads and its processes; texts that were read ahead get no result."""
        self._results.close()
        self._extractions.close()


def _join_contexts(
    source: TextSource, extractions: Iterable[Extraction], as_tuples: bool
) -> Generator[Any, None, None]:
    """Yield the extractions with the errors and the contexts of their texts."""
    for extraction in extractions:
        pending = source.pending.popleft()
        result = Extraction("", error=pending.error) if pending.error else extraction
        yield (result, pending.context) if as_tuples else result
    if source.on_error is None and source.bad_texts.count:
        raise InputError(
            f"{source.bad_texts} (all other texts were processed; to accept that, pass on_error='skip' or 'replace')"
        )


def check_iterable(items: object, method: str, noun: str) -> None:
    """Refuse a value that is no iterable of texts, or would be iterated over by its characters, bytes or keys.

    Args:
        items: What the caller passed.
        method: Name of the method in error messages.
        noun: What it takes, such as "texts".

    Raises:
        InputError: The value cannot be used.
    """
    if isinstance(items, str):
        raise InputError(
            f"{method}() takes an iterable of {noun}, got the string {items!r:.60}; call the extractor on it instead"
        )
    if isinstance(items, bytes | bytearray | Mapping) or hasattr(items, "columns") or not isinstance(items, Iterable):
        raise InputError(f"{method}() takes an iterable of {noun}, such as a list, got {describe_value(items)}")


def check_parallelism(batch_size: int, workers: int, processes: int) -> bool:
    """Check the numbers of a stream.

    Returns:
        Whether the stream uses other processes.

    Raises:
        InputError: A number is not a positive integer, or both workers and processes are more than 1.
    """
    for name, value in (("batch_size", batch_size), ("workers", workers), ("processes", processes)):
        check_integer(name, value, 1)
    if workers > 1 and processes > 1:
        raise InputError(
            f"workers and processes cannot both be more than 1, got {workers} and {processes}; with processes, leave"
            " workers at 1"
        )
    return processes > 1


def _split_pair(item: object, name: str) -> tuple[object, Any]:
    """Return the text and the context of a pair."""
    if isinstance(item, str) or not isinstance(item, tuple | list) or len(item) != 2:
        raise InputError(
            f"{name}: with as_tuples=True every item is a pair (text, context), got {describe_value(item)}"
        )
    return item[0], item[1]
