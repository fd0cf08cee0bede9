"""The order, the bounds and the ends of a stream, with workers that are slow, many or fail."""

import gc
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimf
from trimf.runtime.text.parser import Parse, Parser

PIECES = [
    "Ann met Bob",
    "Rome 7",
    "",
    " ",
    "e\u0301 👨‍👩‍👧 漢字",
    "x",
    ". ",
    "\n\n",
    "word " * 60,
    "Jack visited Oslo! ",
]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=6).map("".join), max_size=25)


class FailingParser:
    """A chain, but some word is not to its taste."""

    name = "failing"
    labels = ("ROOT", "chain")

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        for words in sentences:
            if "bad" in words:
                raise ValueError(" ".join(words))
        return [
            Parse([max(i - 1, 0) for i in range(len(words))], ["chain" if i else "ROOT" for i in range(len(words))])
            for words in sentences
        ]


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=FailingParser()) as extractor:
        yield extractor


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("trimf-worker")}


@settings(deadline=None, max_examples=50)
@given(texts=TEXTS, batch_size=st.sampled_from([1, 2, 8]), workers=st.integers(1, 3))
def test_results_are_those_of_one_at_a_time(
    extract: trimf.Extractor, texts: list[str], batch_size: int, workers: int
) -> None:
    assert list(extract.stream(texts, batch_size, workers)) == [extract(text) for text in texts]
    words = [text.split() for text in texts]
    assert list(extract.words(words, batch_size, workers)) == [next(extract.words([one])) for one in words]


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(0, 40),
    bad=st.sets(st.integers(0, 60), max_size=3),
    end=st.integers(0, 60),
    batch_size=st.sampled_from([1, 2, 8]),
    workers=st.integers(1, 3),
)
def test_errors_come_in_their_place(
    extract: trimf.Extractor, count: int, bad: set[int], end: int, batch_size: int, workers: int
) -> None:
    texts = [f"Ann{i} met {'Bob ' * (i % 5)}. He left{' bad' if i in bad else ''}." for i in range(count)]

    def source() -> Iterator[str]:
        for place, text in enumerate(texts):
            if place == end:
                raise KeyError(place)
            yield text

    stop = min([*bad, end])
    found = []
    error: Exception | None = None
    try:
        for extraction in extract.stream(source(), batch_size, workers):
            found.append(extraction.text)
    except Exception as caught:
        error = caught
    assert found == texts[:stop]
    if stop >= count:
        assert error is None
    elif stop in bad and stop != end:
        assert isinstance(error, ValueError)
    else:
        assert isinstance(error, KeyError)
    assert not threads()


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 1), (1, 3), (4, 2)])
@pytest.mark.parametrize("text", ["Ann met Bob.", "", "Ann. Bob. Jack.", "word " * 200])
def test_how_far_it_reads_ahead(extract: trimf.Extractor, batch_size: int, workers: int, text: str) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield text

    ahead = 1 if batch_size == 1 else 16 * batch_size
    if workers > 1:
        ahead = max(2 * ahead, 2 * workers)
    stream = extract.stream(endless(), batch_size, workers)
    assert read == 0
    for given_out in range(1, 300):
        next(stream)
        time.sleep(0.0001)
        assert given_out <= read <= given_out + ahead
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stream_that_is_left_leaves_no_thread(extract: trimf.Extractor, workers: int) -> None:
    never = extract.stream(["Ann"] * 9, 2, workers)
    assert not threads()
    del never
    for _ in extract.stream(["Ann met Bob."] * 500, 2, workers):
        break
    gc.collect()
    assert not threads()


def test_several_streams_at_once(extract: trimf.Extractor) -> None:
    texts = [f"Ann{i} met {'Bob ' * (i % 7)}." for i in range(60)]
    expected = [extract(text) for text in texts]
    streams = [extract.stream(texts, 4, workers) for workers in (1, 2, 3)]
    assert [list(found) for found in zip(*streams, strict=True)] == [[one] * 3 for one in expected]


@pytest.mark.slow
def test_a_stream_left_open_does_not_keep_the_interpreter(tiny_bundle: Path) -> None:
    code = (
        "import trimf\nfrom trimf import Parse\nclass Flat:\n    name = 'flat'\n    labels = ('ROOT',)\n"
        "    def parse(self, s): return [Parse([0] * len(w), ['ROOT'] * len(w)) for w in s]\n"
        f"x = trimf.load({str(tiny_bundle)!r}, threads=1, parser=Flat())\n"
        "streams = [x.stream(['Ann met Bob.'] * 900, 2, n) for n in (1, 2)]\nprint(*(next(s).text for s in streams))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "Ann met Bob. Ann met Bob.\n"
    assert not done.stderr


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_can_go_on(extract: trimf.Extractor) -> None:
    text = "Ann met Bob."
    expected = extract(text)

    def work(queue: "multiprocessing.SimpleQueue[bool]") -> None:
        queue.put(extract(text) == expected == next(extract.stream([text], workers=2)))

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    process.join(30)
    alive = process.is_alive()
    process.kill()
    assert not alive
    assert queue.get()


@pytest.mark.parametrize("workers", [0, -2])
def test_no_workers(extract: trimf.Extractor, workers: int) -> None:
    with pytest.raises(trimf.InputError, match=f"workers must be >= 1, got {workers}"):
        extract.stream([], workers=workers)


def test_the_callers_parser_is_the_only_one(tiny_bundle: Path, chain_parser: Parser) -> None:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser) as extract:
        list(extract.stream(["Ann."] * 20, 1, 4))
        assert list(extract._scheduler._idle_parsers) == [chain_parser]
