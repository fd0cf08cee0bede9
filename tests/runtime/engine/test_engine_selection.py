"""Choosing engines and profiles: pure functions of a manifest."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.bundle.manifest import Engine, FileRecord, MatmulCounts, Profile
from trimf.runtime.engine.buckets import bucket_size
from trimf.runtime.engine.engine_selection import select_engine, select_profile
from trimf.runtime.errors import BackendError

LATENCY = Profile(name="latency", axes={"batch": (1, 1, 1), "words": (1, 24, 400)})
THROUGHPUT = Profile(name="throughput", axes={"batch": (1, 32, 64), "words": (1, 32, 200)})


def engine(**changes: Any) -> Engine:
    fields: dict[str, Any] = {
        "subgraph": "encoder",
        "precision": "fp16",
        "builder": "tensorrt-rtx",
        "version": "1.7.1.116",
        "target": "sm_89",
        "profiles": [LATENCY, THROUGHPUT],
        "onnx_sha256": "a" * 64,
        "products": MatmulCounts(),
        **changes,
    }
    return Engine(file=f"engines/{fields['subgraph']}.{fields['builder']}.{fields['target']}.engine", **fields)


def files(*engines: Engine) -> Any:
    onnx = {"encoder.onnx": FileRecord(size=1, sha256="a" * 64), "fusion.onnx": FileRecord(size=1, sha256="b" * 64)}
    return SimpleNamespace(path=Path("model"), manifest=SimpleNamespace(engines=engines, precision="fp16", files=onnx))


def test_the_engine_that_fits_is_taken() -> None:
    right = engine()
    others = [engine(target="sm_120"), engine(builder="tensorrt"), engine(subgraph="fusion", onnx_sha256="b" * 64)]
    assert select_engine(files(*others, right), "encoder", "sm_89", "tensorrt-rtx", "1.7.1.116") is right


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"target": "sm_120"},
            r"engines/encoder\.tensorrt-rtx\.sm_120\.engine was built for sm_120, but this GPU is sm_89",
        ),
        ({"builder": "tensorrt"}, "was built with tensorrt, not tensorrt-rtx"),
        ({"version": "1.6.0.1"}, r"was built with tensorrt-rtx 1\.6\.0\.1, but 1\.7\.1\.116 is installed"),
        ({"precision": "fp32"}, "has precision fp32, but the bundle has fp16"),
        (
            {"onnx_sha256": "c" * 64},
            "was built from an encoder.onnx with SHA-256 c{12}…, but the bundle's has a{12}…",
        ),
    ],
)
def test_an_engine_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    far = engine(target="sm_75", version="1.0", precision="bf16")
    with pytest.raises(
        BackendError, match=f"{message}; run `trimf compile model` on this machine or use the cuda backend$"
    ):
        select_engine(files(far, engine(**changes)), "encoder", "sm_89", "tensorrt-rtx", "1.7.1.116")


def test_no_engine_of_the_subgraph() -> None:
    with pytest.raises(BackendError, match="model has no engine for fusion; run `trimf compile model` on this machine"):
        select_engine(files(engine()), "fusion", "sm_89", "tensorrt-rtx", "1.7.1.116")


@given(st.integers(1, 100), st.integers(1, 500))
def test_the_first_profile_that_holds_a_batch(batch: int, words: int) -> None:
    sizes = {"batch": batch, "words": words}
    holds = [
        place
        for place, profile in enumerate((LATENCY, THROUGHPUT))
        if all(sizes[axis] <= most for axis, (_, _, most) in profile.axes.items())
    ]
    if holds:
        assert select_profile(engine(), sizes, {}) == holds[0]
        most = engine().profiles[holds[0]].axes
        assert all(size <= bucket_size(axis, size, most[axis][2]) <= most[axis][2] for axis, size in sizes.items())
    else:
        with pytest.raises(
            BackendError, match=r"^(batch|words) must be 1 to \d+ for engines/encoder\S+ \(profile \w+\), got \d+"
        ):
            select_profile(engine(), sizes, {})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"batch": 65, "words": 9},
            "batch must be 1 to 64 for engines/encoder.tensorrt-rtx.sm_89.engine (profile throughput), got 65;"
            " use a smaller batch_size, or run `trimf compile` with larger --shapes",
        ),
        (
            {"batch": 1, "words": 401},
            "words must be 1 to 400 for engines/encoder.tensorrt-rtx.sm_89.engine (profile latency), got 401;"
            " run `trimf compile` with larger --shapes",
        ),
        (
            {"batch": 2, "words": 201},
            "words must be 1 to 200 for engines/encoder.tensorrt-rtx.sm_89.engine (profile throughput), got 201;"
            " run `trimf compile` with larger --shapes",
        ),
    ],
)
def test_no_profile_holds_the_batch(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(BackendError) as error:
        select_profile(engine(), sizes, {})
    assert str(error.value) == message


def test_a_size_below_the_least_is_padded_but_not_one_that_is_padded_already() -> None:
    only = engine(profiles=[Profile(name="large", axes={"batch": (4, 8, 16)})])
    assert select_profile(only, {"batch": 1}, {}) == 0
    assert select_profile(only, {"batch": 1}, {"batch": 4}) == 0
    with pytest.raises(BackendError, match=r"batch must be 4 to 16 for .*, got 2;"):
        select_profile(only, {"batch": 1}, {"batch": 2})
    with pytest.raises(BackendError, match=r"batch must be 4 to 16 for .*, got 32;"):
        select_profile(only, {"batch": 16}, {"batch": 32})
