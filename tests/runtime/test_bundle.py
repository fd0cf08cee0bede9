"""A bundle opens whole or is refused in one line that says what is wrong with which file."""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from trimf.runtime.backend import BACKENDS, SUBGRAPHS, open_backend
from trimf.runtime.bundle import DEFAULT, MAX_MANIFEST, Bundle, open_pipeline
from trimf.runtime.errors import BackendError, BundleError, InputError
from trimf.runtime.extractor import load
from trimf.runtime.onnx_backend import available_cores
from trimf.runtime.parser import Parser

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


def test_a_whole_bundle_opens(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    assert bundle.path == tiny_bundle
    assert bundle.manifest.labels.entities == ("Person", "Place", "Address")
    for name in FILES:
        assert bundle.read(name) == (tiny_bundle / name).read_bytes()
    assert bundle.settings == ({"chain": 1}, frozenset({1}), 0.5, False, 80, 24)
    pipeline = open_pipeline(Bundle(str(tiny_bundle)), open_backend("auto", None, Bundle(tiny_bundle)))
    assert list(pipeline.graphs) == list(SUBGRAPHS)


def test_default_is_the_one_in_the_package() -> None:
    assert DEFAULT.parts[-2:] == ("models", "default")
    assert (DEFAULT.parent.parent / "runtime" / "bundle.py").is_file()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x")])
def test_no_folder(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "model")
    refused(tmp_path / "model", "no such bundle folder", "trimf export")


def test_a_folder_name_that_cannot_be() -> None:
    with pytest.raises(BundleError, match="no such bundle folder"):
        Bundle("a\0b")


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
    entry = {"size": 3, "sha256": "0" * 64}
    edit_manifest(lambda content: content["files"].update({"engines/encoder.sm_87.engine": entry}))
    with pytest.raises(BundleError, match=r"encoder\.sm_87\.engine: cannot be read: No such file"):
        Bundle(own_bundle)
    (own_bundle / "engines").mkdir()
    (own_bundle / "engines" / "encoder.sm_87.engine").write_text("abcd")
    with pytest.raises(BundleError, match=r"encoder\.sm_87\.engine: 4 bytes, but the manifest says 3"):
        Bundle(own_bundle)
    (own_bundle / "engines" / "encoder.sm_87.engine").write_text("abc")
    bundle = Bundle(own_bundle)
    with pytest.raises(BundleError, match=r"encoder\.sm_87\.engine: SHA-256 ba7816bf8f01…, but the manifest says 0000"):
        bundle.read("engines/encoder.sm_87.engine")


def test_files_the_manifest_does_not_name_do_not_matter(own_bundle: Path) -> None:
    (own_bundle / "README.md").write_text("hello")
    Bundle(own_bundle)


def test_a_damaged_file_is_found_when_it_is_read(own_bundle: Path) -> None:
    bundle = Bundle(own_bundle)
    (own_bundle / "fusion.onnx").unlink()
    with pytest.raises(BundleError, match=r"fusion\.onnx: cannot be read"):
        bundle.read("fusion.onnx")


def test_no_manifest(own_bundle: Path) -> None:
    (own_bundle / "manifest.json").unlink()
    refused(own_bundle, "/manifest.json: cannot be read: No such file", "not a complete bundle")


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
        (b'{"schema_version": 0}', "schema_version 0, but this TriMF reads 1"),
        (b'{"schema_version": 2, "new": 1}', "schema_version 2, but this TriMF reads 1"),
        (b'{"schema_version": 1e999}', "not a bundle manifest"),
        (b'{"schema_version": 1, "provenance": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "not a bundle manifest"),
        (b"[" * 1_000_000, "not a bundle manifest"),
        (b'{"schema_version": "\xed\xa0\x80"}', "not a bundle manifest"),
    ],
)
def test_what_is_no_manifest(own_bundle: Path, content: bytes, part: str) -> None:
    (own_bundle / "manifest.json").write_bytes(content)
    refused(own_bundle, "/manifest.json: ", part)


def test_an_oversize_manifest_is_not_read(own_bundle: Path) -> None:
    size = MAX_MANIFEST + 1
    with (own_bundle / "manifest.json").open("r+b") as file:
        file.truncate(size)
    refused(own_bundle, f"/manifest.json: {size} bytes, more than the {MAX_MANIFEST}")


def put(*keys: str, value: Any) -> Callable[[Any], object]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (put("colour", value=1), "unknown field `colour`"),
        (put("sizes", "depth", value=1), "unknown field `depth`"),
        (put("labels", "colours", value=[]), "unknown field `colours`"),
        (put("files", "encoder.onnx", "mode", value=1), "unknown field `mode`"),
        (put("strange\nname", value=1), "unknown field `strange name`"),
        (put("sizes", "max_span", value=0), "Expected `int` >= 1 - at `$.sizes.max_span`"),
        (put("sizes", "hidden", value=1_000_001), "Expected `int` <= 1000000 - at `$.sizes.hidden`"),
        (put("sizes", "hidden", value=10**30), "$.sizes.hidden"),
        (put("sizes", "max_words", value=True), "Expected `int`, got `bool`"),
        (put("files", "encoder.onnx", "size", value=-1), "Expected `int` >= 0"),
        (put("files", "encoder.onnx", "size", value=(1 << 40) + 1), "Expected `int` <= 1099511627776"),
        (put("files", "encoder.onnx", "sha256", value="0" * 63), "matching regex"),
        (put("files", "encoder.onnx", "sha256", value="G" * 64), "matching regex"),
        (put("decoding", "relation_threshold", value=0), "$.decoding.relation_threshold"),
        (put("decoding", "relation_threshold", value=1), "$.decoding.relation_threshold"),
        (put("precision", value="int4"), "Invalid enum value 'int4'"),
        (put("labels", "symmetric", value=["hates"]), "labels.symmetric names 'hates', which is no relation type"),
        (put("labels", "relations", value=[]), "labels.symmetric names 'knows'"),
    ],
)
def test_a_value_out_of_place(
    own_bundle: Path, edit_manifest: Edit, change: Callable[[Any], object], part: str
) -> None:
    edit_manifest(change)
    refused(own_bundle, "/manifest.json: ", part)


def test_a_declared_size_that_is_not_the_files(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(put("files", "encoder.onnx", "size", value=1 << 40))
    refused(own_bundle, "/encoder.onnx: ", "bytes, but the manifest says 1099511627776")


@pytest.mark.parametrize("name", FILES)
def test_a_file_the_manifest_forgot(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    edit_manifest(lambda content: content["files"].pop(name))
    refused(own_bundle, f"/manifest.json: lists no {name}")


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
    ],
)
def test_a_name_that_leaves_the_bundle(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    (own_bundle.parent / "x").write_text("secret")
    edit_manifest(put("files", name, value={"size": 6, "sha256": "0" * 64}))
    refused(own_bundle, "/manifest.json: file name ", "leaves the bundle or its layout")


def test_a_name_too_long_for_the_system(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(put("files", "x" * 300, value={"size": 6, "sha256": "0" * 64}))
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        Bundle(own_bundle)


def test_a_link_out_of_the_bundle(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").rename(own_bundle.parent / "outside.onnx")
    (own_bundle / "encoder.onnx").symlink_to(own_bundle.parent / "outside.onnx")
    refused(own_bundle, "/encoder.onnx: a link out of the bundle")


def test_a_linked_folder_out_of_the_bundle(own_bundle: Path, edit_manifest: Edit) -> None:
    (own_bundle.parent / "elsewhere").mkdir()
    (own_bundle.parent / "elsewhere" / "a.engine").write_text("abc")
    (own_bundle / "engines").symlink_to(own_bundle.parent / "elsewhere")
    edit_manifest(put("files", "engines/a.engine", value={"size": 3, "sha256": "0" * 64}))
    refused(own_bundle, "/engines/a.engine: a link out of the bundle")


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


def replace(own_bundle: Path, edit_manifest: Edit, name: str, content: bytes) -> None:
    """Put a file into the bundle that the manifest vouches for."""
    (own_bundle / name).write_bytes(content)
    edit_manifest(put("files", name, value={"size": len(content), "sha256": sha256(content).hexdigest()}))


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


def opens_or_is_refused(folder: Path) -> None:
    try:
        bundle = Bundle(folder)
    except BundleError as error:
        message = str(error)
    else:
        message = ""
        assert isinstance(bundle.settings.max_words, int)
        assert msgspec.json.encode(bundle.manifest)
    assert "\n" not in message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside of ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, one in inner for place in places(one, (*path, key))]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_change_of_the_manifest_is_harmless_or_refused(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzzed")
    for name in FILES:
        (folder / name).hardlink_to(tiny_bundle / name)
    content = json.loads((tiny_bundle / "manifest.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        *path, key = data.draw(st.sampled_from(places(content)))
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
            target[data.draw(st.text(max_size=20))] = value
        if not places(content):
            break
    (folder / "manifest.json").write_text(json.dumps(content))
    opens_or_is_refused(folder)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200), place=st.floats(0, 1))
def test_any_bytes_in_the_manifest_are_harmless_or_refused(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, content: bytes, place: float
) -> None:
    folder = tmp_path_factory.mktemp("fuzzed")
    for name in FILES:
        (folder / name).hardlink_to(tiny_bundle / name)
    manifest = (tiny_bundle / "manifest.json").read_bytes()
    cut = int(place * len(manifest))
    (folder / "manifest.json").write_bytes(manifest[:cut] + content + manifest[cut + len(content) :])
    opens_or_is_refused(folder)


@pytest.mark.parametrize("name", ["cuda12", "", "CPU", "cpu ", "tensorflow"])
def test_an_unknown_backend(tiny_bundle: Path, name: str) -> None:
    with pytest.raises(BackendError, match=f"backend '{name}' is not known; this TriMF has {', '.join(BACKENDS)}"):
        load(tiny_bundle, backend=name)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads(tiny_bundle: Path, threads: int) -> None:
    with pytest.raises((BackendError, InputError), match=f"threads = {threads}, but at least 1 is needed"):
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
