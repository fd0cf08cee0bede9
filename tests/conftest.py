"""What all tests share: the order and the cores of a run, and the real data sets where they are.

Fixtures that need PyTorch are in ``support`` and exist only where PyTorch does, so that the runtime is tested in an
environment with the runtime alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimf.runtime.decoding.range_pooling import build_range_rows

pytest_plugins = ["support.installation", *(["support.encoders", "support.models"] if find_spec("torch") else [])]

ROOT = Path(__file__).resolve().parents[1]


SHARED = ROOT.parent / "shared" / "data"


def pytest_configure() -> None:
    """Where a run has as many processes as there are cores, each has one of its own: threads that wait for a core which
    another process has take longer than one.
    """
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if number and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if int(os.environ["PYTEST_XDIST_WORKER_COUNT"]) == len(cores):
            os.sched_setaffinity(0, {cores[int(number)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no process is left alone with one of them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"needs the data sets in {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def parser() -> Any:
    """spaCy's, where it is installed."""
    pytest.importorskip("spacy")
    from trimf.runtime.errors import BackendError
    from trimf.runtime.text.parser import load_parser

    try:
        return load_parser()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def conll04_test(shared_data: Path, parser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 288 test sentences of CoNLL04, parsed."""
    from trimf_train.data.prepare import prepare_file

    output = tmp_path_factory.mktemp("prepared") / "test.jsonl"
    prepare_file(shared_data / "conll04" / "test.json", output, parser, progress=False)
    return output


@pytest.fixture(scope="session")
def ranges_of() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The arrays ``ranges`` and ``gaps`` of spans ``[M,3]`` and pairs ``[P,2]``, every pair with a gap of its own."""

    def build(spans: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spans, pairs = np.asarray(spans), np.asarray(pairs).reshape(-1, 2)
        one, other = spans[pairs[:, 0]], spans[pairs[:, 1]]
        first, last = np.minimum(one[:, 2], other[:, 2]) + 1, np.maximum(one[:, 1], other[:, 1]) - 1
        return build_range_rows(spans, np.stack([one[:, 0], first, last], 1)), len(spans) + np.arange(len(pairs))

    return build
