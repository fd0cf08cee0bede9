"""Choosing engines and profiles: pure functions of a manifest."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import Engine, FileRecord, MatmulCounts, Profile
from trimf.runtime.engine.buckets import bucket_size
from trimf.runtime.engine.contract import JOINED, JOINED_PARTS, JOINED_SUBGRAPHS, SUBGRAPHS
from trimf.runtime.engine.engine_selection import hash_sources, select_engine, select_profile, select_subgraphs
from trimf.runtime.errors import BackendError

LABELS = Labels(("Peop",), ("Kill",), ())

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
    return SimpleNamespace(
        path=Path("model"), manifest=SimpleNamespace(engines=engines, precision="fp16", files=onnx, labels=LABELS)
    )


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


def hashes(**changes: str) -> dict[str, FileRecord]:
    known = {"encoder": "a" * 64, "fusion": "b" * 64, "entities": "c" * 64, "relations": "d" * 64, **changes}
    return {f"{name}.onnx": FileRecord(size=1, sha256=sha256) for name, sha256 in known.items()}


def parsing_files(*engines: Engine, **changes: str) -> Any:
    manifest = SimpleNamespace(engines=engines, precision="fp16", files=hashes(**changes), labels=LABELS)
    return SimpleNamespace(path=Path("model"), manifest=manifest)


def engines_of(*names: str, **changes: Any) -> list[Engine]:
    return [engine(subgraph=name, onnx_sha256=hash_sources(name, hashes()), **changes) for name in names]


def chosen(files: Any, uses_model_parser: bool = True) -> tuple[str, ...]:
    return select_subgraphs(files, uses_model_parser, "sm_89", "tensorrt-rtx", "1.7.1.116")


def test_the_joined_hash_is_that_of_the_three_hashes() -> None:
    expected = hashlib.sha256(("a" * 64 + "b" * 64 + "c" * 64).encode()).hexdigest()
    assert hash_sources(JOINED, hashes()) == expected
    assert hash_sources("relations", hashes()) == "d" * 64
    for part in JOINED_PARTS:
        assert hash_sources(JOINED, hashes(**{part: "e" * 64})) != expected
    assert hash_sources(JOINED, hashes(encoder="b" * 64, fusion="a" * 64)) != expected
    assert hash_sources(JOINED, hashes(relations="e" * 64)) == expected


def test_joined_engines_are_chosen_where_the_model_parses() -> None:
    both = parsing_files(*engines_of(*SUBGRAPHS, JOINED))
    assert chosen(both) == JOINED_SUBGRAPHS
    assert chosen(both, uses_model_parser=False) == SUBGRAPHS
    assert chosen(parsing_files(*engines_of(*JOINED_SUBGRAPHS))) == JOINED_SUBGRAPHS
    assert chosen(parsing_files(*engines_of(*SUBGRAPHS))) == SUBGRAPHS


@pytest.mark.parametrize(
    "changes", [{"target": "sm_75"}, {"version": "1.0"}, {"builder": "tensorrt"}, {"precision": "fp32"}]
)
def test_separate_engines_are_chosen_where_the_joined_one_does_not_fit(changes: dict[str, Any]) -> None:
    joined = engines_of(JOINED, **changes)
    assert chosen(parsing_files(*joined, *engines_of(*SUBGRAPHS))) == SUBGRAPHS
    with pytest.raises(BackendError, match=r"^engine engines/joined\S+ (was built|has precision)"):
        chosen(parsing_files(*joined, *engines_of("relations")))


@pytest.mark.parametrize("part", JOINED_PARTS)
def test_a_stale_joined_engine(part: str) -> None:
    with pytest.raises(
        BackendError,
        match=r"^engine engines/joined\S+ was built from a set of encoder\.onnx, fusion\.onnx, entities\.onnx with "
        r"SHA-256 \w{12}…, but the bundle's has \w{12}…; run `trimf compile model`",
    ):
        chosen(parsing_files(*engines_of(*JOINED_SUBGRAPHS), **{part: "e" * 64}))


def test_a_joined_engine_alone_is_not_enough() -> None:
    with pytest.raises(BackendError, match=r"^model has no engine for relations; run"):
        chosen(parsing_files(*engines_of(JOINED)))
    with pytest.raises(
        BackendError,
        match=r"^model has no engine for encoder, which a parser other than the model's own needs; "
        r"run `trimf compile model --separate` on this machine or use the cuda backend$",
    ):
        chosen(parsing_files(*engines_of(*JOINED_SUBGRAPHS)), uses_model_parser=False)


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
