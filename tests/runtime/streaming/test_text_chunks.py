"""Texts in chunks on real processes: the order, the errors, and how far is read ahead."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.parsers import ObedientParser

import trimf
from trimf.runtime.document_reader import Document
from trimf.runtime.results import Extraction
from trimf.runtime.streaming.process_pool import ProcessPool
from trimf.runtime.streaming.text_chunks import Chunk, ChunkPlan, process_in_chunks
from trimf.runtime.streaming.text_stream import TextSource
from trimf.runtime.streaming.worker_process import Answer, WorkerSetup

LIMITS = {"deadline": None, "max_examples": 60}
PIECES = ["Ann met Bob. ", "Rome 7", "", " ", "é 👨‍👩‍👧 漢字", "\n\n", "word " * 60, "slow " * 3, "Jack visited Oslo! "]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=6).map("".join), max_size=30)


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=ObedientParser()) as extractor:
        yield extractor


@pytest.fixture(scope="module")
def pool(tiny_bundle: Path) -> Iterator[ProcessPool]:
    """Two processes, which all tests share, because it takes seconds to start them."""
    load = partial(trimf.load, tiny_bundle, threads=1, parser=ObedientParser())
    pool = ProcessPool(pickle.dumps(WorkerSetup(load, "stream", 4, [])), 2, "text")
    yield pool
    pool.close()


def run(pool: ProcessPool, texts: Any, plan: ChunkPlan, on_error: Any = "stop") -> Iterator[Extraction]:
    source = TextSource(texts, Document.from_text, "text", on_error, as_tuples=False)
    return process_in_chunks(source, lambda document: document.text, pool.submit, plan)


@pytest.mark.slow
@settings(**LIMITS)
@given(texts=TEXTS, size=st.integers(1, 8), first_size=st.integers(1, 4))
def test_results_are_those_of_one_at_a_time(
    extract: trimf.Extractor, pool: ProcessPool, texts: list[str], size: int, first_size: int
) -> None:
    assert list(run(pool, texts, ChunkPlan(size, first_size, 2))) == [extract(text) for text in texts]


@pytest.mark.slow
@settings(**LIMITS)
@given(
    count=st.integers(0, 40),
    bad=st.sets(st.integers(0, 60), max_size=3),
    end=st.integers(0, 60),
    size=st.integers(1, 8),
)
def test_errors_come_in_their_place(
    extract: trimf.Extractor, pool: ProcessPool, count: int, bad: set[int], end: int, size: int
) -> None:
    texts = [f"Ann{i} met {'slow ' * (i % 5)}. He left{' bad' if i in bad else ''}." for i in range(count)]

    def source() -> Iterator[str]:
        for place, text in enumerate(texts):
            if place == end:
                raise KeyError(place)
            yield text

    stop = min([*bad, end])
    found = []
    error: Exception | None = None
    try:
        for extraction in run(pool, source(), ChunkPlan(size, 1, 2)):
            found.append(extraction)
    except Exception as caught:
        error = caught
    assert found == [extract(text) for text in texts[:stop]]
    if stop >= count:
        assert error is None
    elif stop in bad and stop != end:
        assert isinstance(error, ValueError)
        assert "support/parsers.py" in error.__notes__[0].replace("\\", "/")
    else:
        assert isinstance(error, KeyError)


class InstantPool:
    """Answers in the caller's thread, and counts what has been started and not been asked for."""

    def __init__(self, done: bool) -> None:
        self.done = done
        self.chunks: list[Chunk] = []

    def submit(self, chunk: Chunk) -> Future[Answer]:
        self.chunks.append(chunk)
        work: Future[Answer] = Future()
        answer = Answer([Extraction(text) for text in chunk.items], None, [])
        if self.done:
            work.set_result(answer)
        else:
            work.result = lambda timeout=None: answer  # type: ignore[method-assign]
        return work


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(("batch_size", "processes"), [(1, 2), (4, 2), (4, 3), (32, 2)])
@pytest.mark.parametrize("text", ["Ann met Bob.", "", "word " * 200])
def test_how_far_it_reads_ahead(batch_size: int, processes: int, text: str, done: bool) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield text

    plan = ChunkPlan.for_stream(batch_size, processes)
    stream = run(InstantPool(done), endless(), plan)  # type: ignore[arg-type]
    most = plan.size * (plan.max_started + 1)
    for given_out in range(1, 2000):
        next(stream)
        assert given_out <= read <= given_out + most
    assert read > 100 or len(text) < 100


def test_chunks_grow_and_long_texts_make_them_short() -> None:
    pool = InstantPool(False)
    list(run(pool, ["Ann."] * 500 + ["word " * 500] * 40, ChunkPlan.for_stream(8, 2)))  # type: ignore[arg-type]
    sizes = [len(chunk.items) for chunk in pool.chunks]
    assert sizes[:8] == [8, 8, 16, 16, 32, 32, 64, 64]
    assert sizes[-9:-1] == [3] * 8
    places = [place for chunk in pool.chunks for place in range(chunk.first, chunk.last + 1)]
    assert places == list(range(540))


def test_a_chunk_names_its_texts_though_some_were_left_out() -> None:
    pool = InstantPool(False)
    texts = ["Ann.", None, "Bob.", "Jack.", None, "Oslo."]
    assert len(list(run(pool, texts, ChunkPlan(2, 2, 2), on_error="skip"))) == 4
    assert [(chunk.first, chunk.last) for chunk in pool.chunks] == [(0, 2), (3, 5)]
