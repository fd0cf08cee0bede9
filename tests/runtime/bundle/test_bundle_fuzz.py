"""Whatever is done to a bundle, it opens as what its manifest says or a TrimfError refuses it, soon and in one line."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.shown_text import list_unsafe

from trimf.runtime.bundle.checks import MAX_MODEL_SIZES
from trimf.runtime.bundle.manifest import Manifest
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BundleError, TrimfError
from trimf.runtime.output.bundle_tables import build_bundle_tables
from trimf.runtime.pipeline_loading import open_pipeline

ENGINE = "engines/encoder.tensorrt.sm_89.engine"
FILES = ("tokenizer.json", *(f"{name}.onnx" for name in SUBGRAPHS), ENGINE)

#: Milliseconds within which each example must end: nothing waits or reads for ever.
DEADLINE = 5000


@pytest.fixture(scope="module")
def folder(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with something in every field of the manifest, which each test leaves as it was."""
    path = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("fuzzed") / "own"))
    (path / "engines").mkdir()
    (path / ENGINE).write_bytes(b"engine")
    content = json.loads((path / "manifest.json").read_bytes())
    content["files"][ENGINE] = {"size": 6, "sha256": sha256(b"engine").hexdigest()}
    content["engines"] = [
        {
            "file": ENGINE,
            "subgraph": "encoder",
            "precision": "fp16",
            "builder": "tensorrt",
            "version": "10.9.0",
            "target": "sm_89",
            "profiles": [{"name": "latency", "axes": {"batch": [1, 1, 1], "words": [1, 24, 400]}}],
            "onnx_sha256": content["files"]["encoder.onnx"]["sha256"],
            "products": {"half": 3, "single": 1, "int8": 0},
        }
    ]
    content["products"] = {"encoder": {"half": 3, "single": 1, "int8": 0}}
    content["quantization"] = {
        "data": "train.jsonl",
        "sentences": 64,
        "method": "entropy",
        "quantized": 3,
        "kept": ["layer.0: 0.3"],
        "sensitivity": {"layer.0": 0.3},
    }
    error = {"max": 0.5, "mean": 0.25, "p99": 0.5}
    f1 = {"entities": 100.0, "relations": 99.5, "support": [3, 2]}
    content["parity"] = {
        "against": "PyTorch",
        "subgraphs": {"encoder.words": {**error, "relative": error}},
        "extractions": {
            "sentences": 2,
            "data": "test.jsonl",
            "identical": 50.0,
            "agreement": f1,
            "reference": f1,
            "exported": f1,
            "worst": {"id": "7", "text": "Anna", "missing": ["Anna"], "added": []},
        },
    }
    content["provenance"] = {"seed": 0, "train": {"train.jsonl": "00"}}
    (path / "manifest.json").write_text(json.dumps(content))
    use(path)
    return path


def use(folder: Path) -> None:
    """Do with a bundle all that is done with one; what opens must be valid and can be written and shown."""
    bundle = Bundle(folder)
    manifest = bundle.manifest
    encoded = msgspec.json.encode(manifest, order="sorted")
    assert msgspec.json.decode(encoded, type=Manifest) == manifest
    assert all(1 <= getattr(manifest.sizes, name) <= limit for name, limit in MAX_MODEL_SIZES.items())
    assert {engine.file for engine in manifest.engines} == {
        name for name in manifest.files if name.startswith("engines/")
    }
    assert all((folder / name).resolve().is_relative_to(folder.resolve()) for name in manifest.files)
    shown = io.StringIO()
    Console(file=shown, width=100).print(build_bundle_tables(bundle))
    assert not list_unsafe(shown.getvalue())
    for name in manifest.files:
        content = bundle.read(name)
        assert (len(content), sha256(content).hexdigest()) == (manifest.files[name].size, manifest.files[name].sha256)
    for graph in open_pipeline(bundle, OnnxCpuBackend(1)).graphs.values():
        graph.close()


def use_or_be_refused(folder: Path) -> None:
    try:
        use(folder)
    except TrimfError as error:
        message = str(error)
        assert message.removeprefix(str(folder)).isprintable()
        assert len(message) < 800


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """``path`` with another content for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@settings(max_examples=200, deadline=DEADLINE)
@given(name=st.sampled_from(FILES), place=st.floats(0, 1), flip=st.integers(1, 255))
def test_another_byte_in_a_file_is_found_when_it_is_read(folder: Path, name: str, place: float, flip: int) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= flip
    with changed(folder / name, bytes(content)):
        bundle = Bundle(folder)
        with pytest.raises(BundleError, match=f"{name}: SHA-256 "):
            bundle.read(name)


@settings(max_examples=200, deadline=DEADLINE)
@given(place=st.floats(0, 1), flip=st.integers(1, 255))
def test_another_byte_in_the_manifest(folder: Path, place: float, flip: int) -> None:
    content = bytearray((folder / "manifest.json").read_bytes())
    content[int(place * (len(content) - 1))] ^= flip
    with changed(folder / "manifest.json", bytes(content)):
        use_or_be_refused(folder)


@settings(max_examples=150, deadline=DEADLINE)
@given(name=st.sampled_from(FILES), length=st.floats(0, 1, exclude_max=True), more=st.binary(min_size=1, max_size=50))
def test_a_file_that_ends_early_or_late(folder: Path, name: str, length: float, more: bytes) -> None:
    content = (folder / name).read_bytes()
    opened = Bundle(folder)
    for other in (content[: int(length * len(content))], content + more):
        with changed(folder / name, other):
            for read in (lambda: Bundle(folder), lambda: opened.read(name)):
                with pytest.raises(BundleError, match=f"{name}: {len(other)} bytes, but the manifest says "):
                    read()


@settings(max_examples=150, deadline=DEADLINE)
@given(length=st.floats(0, 1, exclude_max=True), more=st.binary(min_size=1, max_size=50))
@example(length=0, more=b"\0")
@example(length=0, more=b"}")
def test_a_manifest_that_ends_early_or_late(folder: Path, length: float, more: bytes) -> None:
    content = (folder / "manifest.json").read_bytes()
    with (
        changed(folder / "manifest.json", content[: int(length * len(content))]),
        pytest.raises(BundleError, match=r"manifest\.json: not a bundle manifest: "),
    ):
        Bundle(folder)
    with changed(folder / "manifest.json", content + more):
        if more.strip(b" \t\r\n"):
            with pytest.raises(BundleError, match=r"manifest\.json: not a bundle manifest: "):
                Bundle(folder)
        else:
            Bundle(folder)


NAMES = st.sampled_from(
    [
        "..",
        "../secret",
        "engines/../../secret",
        "/etc/passwd",
        "C:",
        "C:\\secret",
        "\\\\host\\share",
        "NUL",
        "a\0b",
        "\u0435ncoder.onnx",
        "\uff0e\uff0e/secret",
        "engines\u2215x",
        "x" * 300,
        "../" * 2000,
        "encoder.onnx/",
        "manifest.json",
        "engines",
        "engines/x.engine",
        "\x1b[2J",
        "\u202egnp.exe",
        "[bold]",
    ]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2**31, 2**40, 2**63, 2**64, 10**400, 10**4000, -(10**400), 1e308, -0.0, 5e-324])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | NAMES | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10) | NAMES, inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside of ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, one in inner for place in places(one, (*path, key))]


def change(content: Any, data: st.DataObject) -> None:
    """Replace, remove, rename or add one value somewhere in ``content``, of which fields at the top are as likely."""
    field = data.draw(st.sampled_from(sorted(content)))
    *path, key = data.draw(st.sampled_from([place for place in places(content) if place[0] == field]))
    target = content
    for step in path:
        target = target[step]
    action = data.draw(st.sampled_from(["replace", "remove", "add", "rename"]))
    if action == "remove":
        del target[key]
    elif action == "replace":
        target[key] = data.draw(VALUES)
    elif isinstance(target, list):
        target.insert(key, data.draw(VALUES))
    else:
        value = target.pop(key) if action == "rename" else data.draw(VALUES)
        target[data.draw(st.text(max_size=20) | NAMES)] = value


@pytest.mark.slow
@settings(max_examples=400, deadline=DEADLINE)
@given(data=st.data())
def test_another_manifest(folder: Path, data: st.DataObject) -> None:
    content = json.loads((folder / "manifest.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        if content:
            change(content, data)
    with changed(folder / "manifest.json", json.dumps(content).encode()):
        use_or_be_refused(folder)


@settings(max_examples=200, deadline=DEADLINE)
@given(content=st.binary(max_size=300) | st.text(max_size=100).map(str.encode) | VALUES.map(json.dumps).map(str.encode))
@example(content=b"")
@example(content=b"[" * 100_000)
@example(content=b'{"schema_version":' + b"9" * 100_000 + b"}")
def test_any_bytes_as_the_manifest(folder: Path, content: bytes) -> None:
    with changed(folder / "manifest.json", content), pytest.raises(BundleError, match=r"manifest\.json: "):
        Bundle(folder)


@settings(max_examples=200, deadline=DEADLINE)
@given(content=st.binary(max_size=100), place=st.floats(0, 1))
def test_any_bytes_within_the_manifest(folder: Path, content: bytes, place: float) -> None:
    manifest = (folder / "manifest.json").read_bytes()
    cut = int(place * len(manifest))
    with changed(folder / "manifest.json", manifest[:cut] + content + manifest[cut + len(content) :]):
        use_or_be_refused(folder)
