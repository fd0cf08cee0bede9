"""A bundle opens whole or is refused in one line that says what is wrong with which file."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from trimf.runtime.bundle.manifest import SCHEMA_VERSION
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, MAX_MANIFEST_BYTES, Bundle, open_pipeline
from trimf.runtime.engine import onnx_cpu as onnx_backend
from trimf.runtime.engine.contract import BACKENDS, SUBGRAPHS, open_backend
from trimf.runtime.engine.onnx_cpu import available_cores
from trimf.runtime.errors import BackendError, BundleError, InputError
from trimf.runtime.extractor import load
from trimf.runtime.text.parser import Parser

Edit = Callable[[Callable[[Any], object]], None]
FILES = ("tokenizer.json", *(f"{name}.onnx" for name in SUBGRAPHS))


def refused(path: Path, *parts: str) -> str:
    """The one line that refuses to open a bundle, which holds ``parts``."""
    with pytest.raises(BundleError) as caught:
        open_pipeline(Bundle(path), open_backend("cpu", 1, Bundle(path)))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    for part in (str(path), *parts):
        assert part in message
    return message


def nested(depth: int) -> dict[str, Any]:
    """Objects and lists in turn, twice ``depth`` deep."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": [1, value]}
    return value


def put(*keys: str, value: Any) -> Callable[[Any], object]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def replace(own_bundle: Path, edit_manifest: Edit, name: str, content: bytes) -> None:
    """Put a file into the bundle that the manifest vouches for."""
    (own_bundle / name).write_bytes(content)
    edit_manifest(put("files", name, value={"size": len(content), "sha256": sha256(content).hexdigest()}))


def test_a_whole_bundle_opens(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    assert bundle.path == tiny_bundle
    assert bundle.manifest.labels.entities == ("Person", "Place", "Address")
    for name in FILES:
        assert bundle.read(name) == (tiny_bundle / name).read_bytes()
    assert bundle.settings == ({"chain": 1}, frozenset({1}), 0.5, False, 80, 24, 2, None)
    pipeline = open_pipeline(Bundle(str(tiny_bundle)), open_backend("auto", None, Bundle(tiny_bundle)))
    assert list(pipeline.graphs) == list(SUBGRAPHS)


def test_default_is_the_one_in_the_package() -> None:
    assert DEFAULT_BUNDLE.parts[-2:] == ("models", "default")
    assert (DEFAULT_BUNDLE.parent.parent / "runtime" / "bundle.py").is_file()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x")])
def test_no_folder(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "model")
    refused(tmp_path / "model", "bundle not found", "trimf export")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud800"])
def test_a_folder_name_that_cannot_be(name: str) -> None:
    with pytest.raises(BundleError, match="bundle not found"):
        Bundle(name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(own_bundle: Path, name: str) -> None:
    (own_bundle / name).unlink()
    refused(own_bundle, f"/{name}: cannot be read: No such file")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file(own_bundle: Path, name: str) -> None:
    size = (own_bundle / name).stat().st_size
    os.truncate(own_bundle / name, size - 1)
    refused(own_bundle, f"/{name}: {size - 1} bytes, but the manifest says {size}")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_flipped_bit(own_bundle: Path, name: str, place: float) -> None:
    content = bytearray((own_bundle / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (own_bundle / name).write_bytes(content)
    refused(own_bundle, f"/{name}: SHA-256 ", "but the manifest says")


def test_a_folder_in_place_of_a_file(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").unlink()
    (own_bundle / "encoder.onnx").mkdir()
    refused(own_bundle, "/encoder.onnx: ")


def test_every_file_of_the_manifest_must_be_there(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(put("files", "NOTICE", value={"size": 3, "sha256": "0" * 64}))
    refused(own_bundle, "/NOTICE: cannot be read: No such file")
    (own_bundle / "NOTICE").write_text("abcd")
    refused(own_bundle, "/NOTICE: 4 bytes, but the manifest says 3")
    (own_bundle / "NOTICE").write_text("abc")
    with pytest.raises(BundleError, match=r"NOTICE: SHA-256 ba7816bf8f01…, but the manifest says 0000"):
        Bundle(own_bundle).read("NOTICE")


def test_only_listed_files_are_read(own_bundle: Path) -> None:
    (own_bundle / "README.md").write_text("hello")
    (own_bundle / "engines").mkdir()
    (own_bundle / "engines" / "old.engine").write_text("x")
    bundle = Bundle(own_bundle)
    assert bundle.unlisted() == ["README.md", "engines", "engines/old.engine"]
    for name in ("README.md", "engines/old.engine", "../x", "manifest.json"):
        with pytest.raises(BundleError, match=r"manifest\.json: does not list "):
            bundle.read(name)


ENGINE = "engines/encoder.tensorrt.sm_89.engine"


@pytest.fixture
def engine_bundle(own_bundle: Path, edit_manifest: Edit) -> Path:
    """The bundle with one engine, which is stale."""
    (own_bundle / "engines").mkdir()
    replace(own_bundle, edit_manifest, ENGINE, b"engine")
    engine = {
        "file": ENGINE,
        "subgraph": "encoder",
        "precision": "fp16",
        "builder": "tensorrt",
        "version": "10.9.0",
        "target": "sm_89",
        "profiles": [{"name": "latency", "axes": {"batch": [1, 1, 1], "subwords": [3, 32, 512]}}],
        "onnx_sha256": "0" * 64,
        "products": {"half": 3},
    }
    edit_manifest(lambda content: content["engines"].append(engine))
    return own_bundle


def test_a_bundle_with_an_engine_opens_though_it_is_stale(engine_bundle: Path) -> None:
    bundle = Bundle(engine_bundle)
    assert bundle.read(ENGINE) == b"engine"
    assert bundle.manifest.engines[0].profiles[0].axes["subwords"] == (3, 32, 512)
    assert bundle.unlisted() == []


def engine(*keys: Any, value: Any) -> Callable[[Any], object]:
    return lambda content: put(*keys, value=value)(content["engines"][0])


def axes(**sizes: list[int]) -> Callable[[Any], object]:
    return engine("profiles", value=[{"name": "a", "axes": sizes}])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda content: content["files"].pop(ENGINE), f"engines: '{ENGINE}' is not listed in files below engines/"),
        (engine("file", value="encoder.onnx"), "engines: 'encoder.onnx' is not listed in files below engines/"),
        (engine("file", value="../x"), "engines: '../x' is not listed in files below engines/"),
        (lambda content: content["engines"].clear(), f"{ENGINE} has no entry in engines"),
        (lambda content: content["engines"].append(content["engines"][0]), f"engines lists {ENGINE} more than once"),
        (engine("subgraph", value="decoder"), "unknown subgraph 'decoder'; choose from encoder, fusion"),
        (engine("builder", value="cuda"), "Invalid enum value 'cuda'"),
        (engine("target", value="gpu"), "matching regex"),
        (engine("onnx_sha256", value=""), "matching regex"),
        (engine("profiles", value=[]), "length >= 1"),
        (engine("products", value={"half": -1}), "Expected `int` >= 0"),
        (axes(batch=[2, 1, 4]), "profile 'a': sizes of batch must ascend (min, tuned, max), got 2, 1, 4"),
        (axes(batch=[1, 5, 4]), "profile 'a': sizes of batch must ascend (min, tuned, max), got 1, 5, 4"),
        (axes(batch=[0, 1, 1]), "Expected `int` >= 1"),
        (axes(batch=[1, 1]), "length 3"),
        (axes(depth=[1, 1, 1]), "profile 'a' has the unknown axis 'depth'; choose from batch, pairs"),
        (
            put("files", ENGINE, "size", value=(8 << 30) + 1),
            f"{ENGINE}: size must be <= 8589934592 bytes, got 8589934593",
        ),
    ],
)
def test_an_engine_out_of_place(
    engine_bundle: Path, edit_manifest: Edit, change: Callable[[Any], object], part: str
) -> None:
    edit_manifest(change)
    refused(engine_bundle, "/manifest.json: ", part)


def test_a_damaged_file_is_found_when_it_is_read(own_bundle: Path) -> None:
    bundle = Bundle(own_bundle)
    (own_bundle / "fusion.onnx").unlink()
    with pytest.raises(BundleError, match=r"fusion\.onnx: cannot be read"):
        bundle.read("fusion.onnx")


def test_no_manifest(own_bundle: Path) -> None:
    (own_bundle / "manifest.json").unlink()
    refused(own_bundle, "/manifest.json: cannot be read: No such file", "the bundle is incomplete")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"pickle", "invalid character"),
        (b"\xff\xfe{\0}\0", "not a bundle manifest"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"{}", "missing required field `schema_version`"),
        (b'{"schema_version": "1"}', "Expected `int`, got `str`"),
        (b'{"schema_version": 1}', "missing required field"),
        (b'{"schema_version": 0}', "schema_version 0 is not supported; this TriMF reads 1"),
        (b'{"schema_version": %d, "new": 1}' % (SCHEMA_VERSION + 1), "is not supported; this TriMF reads 1 to"),
        (
            b'{"schema_version": %s}' % (b"9" * 4000),
            "schema_version over 2**64 is not supported; this TriMF reads 1 to",
        ),
        (b'{"schema_version": %s}' % (b"9" * 5000), "not a bundle manifest"),
        (b'{"schema_version": 1e999}', "not a bundle manifest"),
        (b'{"schema_version": 1, "provenance": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "not a bundle manifest"),
        (b"[" * 1_000_000, "not a bundle manifest"),
        (b'{"schema_version": "\xed\xa0\x80"}', "not a bundle manifest"),
        (b'\xef\xbb\xbf{"schema_version": 1}', "not a bundle manifest"),
        (b'{"schema_version": 1, "\\u001b[2J\\n": NaN}', "not a bundle manifest"),
    ],
)
def test_what_is_no_manifest(own_bundle: Path, content: bytes, part: str) -> None:
    (own_bundle / "manifest.json").write_bytes(content)
    refused(own_bundle, "/manifest.json: ", part)


def test_an_oversize_manifest_is_not_read(own_bundle: Path) -> None:
    size = MAX_MANIFEST_BYTES + 1
    with (own_bundle / "manifest.json").open("r+b") as file:
        file.truncate(size)
    refused(own_bundle, f"/manifest.json: a manifest must have <= {MAX_MANIFEST_BYTES} bytes, got {size}")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (put("colour", value=1), "unknown field `colour`"),
        (put("sizes", "depth", value=1), "unknown field `depth`"),
        (put("labels", "colours", value=[]), "unknown field `colours`"),
        (put("files", "encoder.onnx", "mode", value=1), "unknown field `mode`"),
        (put("strange\nname", value=1), "unknown field `strange name`"),
        (put("sizes", "max_span", value=0), "Expected `int` >= 1 - at `$.sizes.max_span`"),
        (put("sizes", "hidden", value=65_537), "sizes.hidden must be <= 65536, got 65537"),
        (put("sizes", "hidden", value=10**4000), "sizes.hidden must be <= 65536, got over 2**64"),
        (put("sizes", "max_span", value=513), "sizes.max_span must be <= 512, got 513"),
        (put("sizes", "max_subwords", value=1 << 20), "sizes.max_subwords must be <= 65536, got 1048576"),
        (put("sizes", "max_words", value=1 << 20), "sizes.max_words must be <= 65536, got 1048576"),
        (
            put("sizes", "max_subwords", value=2),
            "sizes.max_subwords must be > 2, the number of special tokens in tokenizer.json, got 2",
        ),
        (put("sizes", "max_words", value=True), "Expected `int`, got `bool`"),
        (put("files", "encoder.onnx", "size", value=-1), "Expected `int` >= 0"),
        (
            put("files", "encoder.onnx", "size", value=(2 << 30) + 1),
            "encoder.onnx: size must be <= 2147483648 bytes, got 2147483649",
        ),
        (put("files", "encoder.onnx", "size", value=10**30), "size must be <= 2147483648 bytes, got over 2**64"),
        (put("files", "tokenizer.json", "size", value=(64 << 20) + 1), "size must be <= 67108864 bytes, got 67108865"),
        (
            put("files", "MODEL_CARD.md", value={"size": 1 << 40, "sha256": "0" * 64}),
            "size must be <= 67108864 bytes, got 1099511627776",
        ),
        (put("files", "encoder.onnx", "sha256", value="0" * 63), "matching regex"),
        (put("files", "encoder.onnx", "sha256", value="G" * 64), "matching regex"),
        (put("decoding", "relation_threshold", value=0), "$.decoding.relation_threshold"),
        (put("decoding", "relation_threshold", value=1), "$.decoding.relation_threshold"),
        (put("precision", value="int4"), "Invalid enum value 'int4'"),
        (put("labels", "symmetric", value=["hates"]), "labels.symmetric lists 'hates', which is not a relation type"),
        (put("labels", "relations", value=[]), "labels.symmetric lists 'knows'"),
        (
            put("labels", "signatures", value=[["Person", "knows", "Ghost"]]),
            "labels.signatures[0] contains 'Ghost', which is not an entity type",
        ),
        (
            put("labels", "signatures", value=[["Person", "loves", "Person"]]),
            "labels.signatures[0] contains 'loves', which is not a relation type",
        ),
        (put("labels", "entities", value=["A", "B", "A"]), "labels.entities lists 'A' more than once"),
        (
            put("labels", "entities", value=list(map(str, range(10_001)))),
            "labels.entities must have <= 10000 names, got 10001",
        ),
        (
            put("products", value={"decoder": {"half": 1}}),
            "products: unknown subgraph 'decoder'; choose from encoder, fusion",
        ),
        (put("x" * 5000, value=1), "unknown field `xxx"),
        (put("strange\x1b[2Jname", value=1), "unknown field `strange [2Jname`"),
        (put("parity", value=nested(33)), "nested more than 64 levels deep"),
        (put("provenance", value={"deep": nested(200)}), "nested more than 64 levels deep"),
    ],
)
def test_a_value_out_of_place(
    own_bundle: Path, edit_manifest: Edit, change: Callable[[Any], object], part: str
) -> None:
    edit_manifest(change)
    refused(own_bundle, "/manifest.json: ", part)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (b'"opset":18', b'"opset":18,"opset":17', "'opset'"),
        (b'"hidden":4', b'"hidden":4,"hidden":4', "'hidden'"),
        (b'"provenance":{}', b'"provenance":{"a":[{"\\u00e9":1,"b":2,"\xc3\xa9":1}]}', "'\\xe9'"),
    ],
)
def test_a_key_that_stands_twice(own_bundle: Path, old: bytes, new: bytes, key: str) -> None:
    path = own_bundle / "manifest.json"
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    refused(own_bundle, "/manifest.json: ", f"duplicate key {key} in an object")


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000])
def test_a_number_that_is_none(own_bundle: Path, number: bytes) -> None:
    path = own_bundle / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"provenance":{}', b'"provenance":{"x":%s}' % number))
    refused(own_bundle, "/manifest.json: not a bundle manifest: ")


def test_a_manifest_of_schema_1_opens(own_bundle: Path, edit_manifest: Edit) -> None:
    def change(content: dict[str, Any]) -> None:
        content["schema_version"] = 1
        for name in ("products", "quantization", "engines"):
            del content[name]

    edit_manifest(change)
    assert Bundle(own_bundle).manifest.engines == []
    assert Bundle(DEFAULT_BUNDLE).manifest.schema_version <= SCHEMA_VERSION


def test_a_declared_size_that_is_not_the_files(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(put("files", "encoder.onnx", "size", value=2 << 30))
    refused(own_bundle, "/encoder.onnx: ", "bytes, but the manifest says 2147483648")


@pytest.mark.parametrize("name", FILES)
def test_a_file_the_manifest_forgot(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    edit_manifest(lambda content: content["files"].pop(name))
    refused(own_bundle, f"/manifest.json: does not list {name}")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "..",
        ".",
        "",
        "/etc/passwd",
        "/",
        "//x",
        "engines/../../x",
        "engines/..",
        "engines/",
        "engines//x",
        "./encoder.onnx",
        "other/x",
        "engines/a/b",
        "..\\x",
        "engines\\x",
        "C:x",
        "C:\\x",
        "a\0b",
        "x/",
        "x" * 10_000 + "/y",
        "x" * 129,
        ".hidden",
        "x\n",
        "x y",
        "\u0435ncoder.onnx",
        "engines\u2215x",
        "CON:",
        "~",
    ],
)
def test_a_name_that_leaves_the_bundle(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    (own_bundle.parent / "x").write_text("secret")
    edit_manifest(put("files", name, value={"size": 6, "sha256": "0" * 64}))
    refused(own_bundle, "/manifest.json: invalid file name ", "in no folder but engines/")


def test_a_link_out_of_the_bundle(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").rename(own_bundle.parent / "outside.onnx")
    (own_bundle / "encoder.onnx").symlink_to(own_bundle.parent / "outside.onnx")
    refused(own_bundle, "/encoder.onnx: a link points outside the bundle")


def test_a_linked_manifest_out_of_the_bundle(own_bundle: Path) -> None:
    (own_bundle / "manifest.json").rename(own_bundle.parent / "outside.json")
    (own_bundle / "manifest.json").symlink_to(own_bundle.parent / "outside.json")
    refused(own_bundle, "/manifest.json: a link points outside the bundle")


def test_a_linked_folder_out_of_the_bundle(engine_bundle: Path) -> None:
    (engine_bundle.parent / "elsewhere").mkdir()
    (engine_bundle / "engines").rename(engine_bundle.parent / "elsewhere" / "engines")
    (engine_bundle / "engines").symlink_to(engine_bundle.parent / "elsewhere" / "engines")
    refused(engine_bundle, f"/{ENGINE}: a link points outside the bundle")


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "fusion.onnx"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    if name != "manifest.json":
        edit_manifest(put("files", name, "size", value=0))
    (own_bundle / name).unlink()
    os.mkfifo(own_bundle / name)
    refused(own_bundle, f"/{name}: not a regular file")


def test_a_link_to_itself(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").unlink()
    (own_bundle / "encoder.onnx").symlink_to("encoder.onnx")
    refused(own_bundle, "/encoder.onnx: ")


def test_a_link_within_the_bundle_and_to_the_bundle(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").rename(own_bundle / "weights")
    (own_bundle / "encoder.onnx").symlink_to("weights")
    link = own_bundle.parent / "link"
    link.symlink_to(own_bundle)
    assert Bundle(link).read("encoder.onnx") == (own_bundle / "weights").read_bytes()


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08" * 100, b"\n" * 50])
def test_what_is_no_model_is_refused_in_one_line(own_bundle: Path, edit_manifest: Edit, content: bytes) -> None:
    replace(own_bundle, edit_manifest, "fusion.onnx", content)
    with pytest.raises(BackendError, match=r"^ONNX Runtime [0-9.]+ cannot load fusion\.onnx: ") as caught:
        open_pipeline(Bundle(own_bundle), open_backend("cpu", 1, Bundle(own_bundle)))
    assert "\n" not in str(caught.value)


def test_what_is_no_tokenizer(own_bundle: Path, edit_manifest: Edit) -> None:
    replace(own_bundle, edit_manifest, "tokenizer.json", b"{}")
    refused(own_bundle, "/tokenizer.json: not a tokenizer file: ")


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/weights.bin"])
def test_weights_outside_of_the_model_file_are_refused(
    own_bundle: Path, edit_manifest: Edit, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.ones(1000, np.float32)
    for folder in (own_bundle, own_bundle.parent):
        (folder / "weights.bin").write_bytes(weights.tobytes())
    monkeypatch.chdir(own_bundle)
    tensor = numpy_helper.from_array(weights, "w")
    external_data_helper.set_external_data(tensor, location, 0, weights.nbytes)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [shape],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1000])],
        [tensor],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    replace(own_bundle, edit_manifest, "fusion.onnx", model.SerializeToString())
    with pytest.raises(BackendError, match=r"cannot load fusion\.onnx: ") as caught:
        open_pipeline(Bundle(own_bundle), open_backend("cpu", 1, Bundle(own_bundle)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cuda12", "", "CPU", "cpu ", "tensorflow"])
def test_an_unknown_backend(tiny_bundle: Path, name: str) -> None:
    with pytest.raises(BackendError, match=f"unknown backend '{name}'; choose from {', '.join(BACKENDS)}"):
        load(tiny_bundle, backend=name)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads(tiny_bundle: Path, threads: int) -> None:
    with pytest.raises((BackendError, InputError), match=f"threads must be >= 1, got {threads}"):
        load(tiny_bundle, threads=threads)


def test_the_backend_says_what_it_is(tiny_bundle: Path, chain_parser: Parser) -> None:
    assert open_backend("auto", None, Bundle(tiny_bundle)).name == "cpu"
    assert available_cores() >= 1
    with load(tiny_bundle, backend="cpu", threads=1, parser=chain_parser) as extract:
        assert extract.backend == "cpu"


def test_a_subgraph_runs_and_closes(tiny_bundle: Path) -> None:
    graph = open_backend("cpu", 1, Bundle(tiny_bundle)).open("fusion", Bundle(tiny_bundle))
    arrays = {
        "words": np.ones((1, 2, 4), np.float32),
        "cls": np.zeros((1, 4), np.float32),
        "word_mask": np.array([[True, False]]),
        "heads": np.zeros((1, 2), np.int64),
        "labels": np.zeros((1, 2), np.int64),
    }
    assert set(graph.inputs) == set(arrays)
    outputs = graph.run({**arrays, "more": "ignored"})
    assert {name: value.tolist() for name, value in outputs.items()} == {"nodes": [[[1.0] * 4, [0.0] * 4]]}
    graph.close()
    graph.close()
    with pytest.raises(BackendError, match=r"fusion\.onnx is closed"):
        graph.run(arrays)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags: avx2 avx512_vnni", False),
        ("AMD64", "flags: avx2 avx_vnni", False),
        ("x86_64", "flags: avx2", True),
        ("x86_64", None, True),
        ("aarch64", None, False),
    ],
)
def test_bytes_are_multiplied_exactly_everywhere(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str | None, expected: bool
) -> None:
    def read(path: Path) -> str:
        if flags is None:
            raise FileNotFoundError(path)
        return flags

    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", read)
    onnx_backend.overflows.cache_clear()
    try:
        assert onnx_backend.overflows() == expected
        entry = onnx_backend.make_session_options(1).get_session_config_entry
        if expected:
            assert entry("session.x64quantprecision") == "1"
        else:
            with pytest.raises(RuntimeError):
                entry("session.x64quantprecision")
    finally:
        monkeypatch.undo()
        onnx_backend.overflows.cache_clear()


@pytest.mark.parametrize(
    ("precision", "slow", "expected"), [("int8", False, 24), ("int8", True, 8), ("fp32", False, 8), ("fp32", True, 8)]
)
def test_padding_is_weighed_against_calls_by_what_the_processor_has(
    own_bundle: Path,
    edit_manifest: Callable[[Callable[[Any], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    slow: bool,
    expected: int,
) -> None:
    edit_manifest(lambda content: content.update(precision=precision))
    monkeypatch.setattr("trimf.runtime.bundle.reader.overflows", lambda: slow)
    backend = onnx_backend.OnnxCpuBackend(1)
    assert open_pipeline(Bundle(own_bundle), backend).call == expected


def test_an_older_schema_is_read(
    own_bundle: Path, edit_manifest: Callable[[Callable[[Any], object]], None], chain_parser: Parser
) -> None:
    def to_schema_1(content: Any) -> None:
        content["schema_version"] = 1
        for field in ("products", "quantization", "engines"):
            content.pop(field, None)

    edit_manifest(to_schema_1)
    manifest = Bundle(own_bundle).manifest
    assert (manifest.products, manifest.quantization, manifest.engines) == ({}, None, [])
    assert load(own_bundle, parser=chain_parser).bundle.manifest.schema_version == 1
