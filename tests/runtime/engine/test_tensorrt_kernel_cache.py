"""Kernels that TensorRT for RTX compiled, kept between processes."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .fake_tensorrt import EngineSetup, answers


@pytest.fixture
def closing(rtx: EngineSetup) -> Iterator[Callable[[], None]]:
    def run_and_close() -> None:
        pipeline = rtx.pipeline()
        answers(pipeline, [["Ann"]], 1)
        for graph in pipeline.graphs.values():
            graph.close()

    return run_and_close


def test_compiled_kernels_are_kept_for_the_next_start(
    rtx: EngineSetup, own_caches: Path, closing: Callable[[], None]
) -> None:
    closing()
    assert rtx.trt.caches == []
    files = sorted(own_caches.iterdir())
    assert len(files) == 4
    assert all(path.name.endswith(".sm_89.10.9.8.7") and path.read_bytes() == b"kernels 2" for path in files)
    closing()
    assert rtx.trt.caches == [b"kernels 2"] * 4
    times = [path.stat().st_mtime_ns for path in files]
    closing()
    assert times == [path.stat().st_mtime_ns for path in files]


def test_kernels_of_another_driver_are_replaced(own_caches: Path, closing: Callable[[], None]) -> None:
    closing()
    for path in own_caches.iterdir():
        path.write_bytes(b"old")
    closing()
    assert {path.read_bytes() for path in own_caches.iterdir()} == {b"kernels 2"}


def test_a_cache_folder_that_cannot_be_written(
    own_caches: Path, closing: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    own_caches.parent.parent.mkdir(parents=True)
    own_caches.parent.write_text("a file")
    with caplog.at_level(logging.WARNING, "trimf.tensorrt"):
        closing()
    assert caplog.text.count("cannot save compiled kernels") == 4


def test_kernels_are_kept_though_nobody_closes(rtx: EngineSetup, own_caches: Path) -> None:
    encoder = rtx.backend.open("encoder", rtx.bundle)
    del encoder
    assert len(list(own_caches.iterdir())) == 1
