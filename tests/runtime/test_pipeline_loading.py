"""Opening the pipeline and the parser of a bundle: what is refused, and the settings that a manifest makes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

import trimf
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.backend import BACKENDS
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BackendError, InputError
from trimf.runtime.extractor import load
from trimf.runtime.pipeline_loading import open_pipeline
from trimf.runtime.text.parser import Parser

from .bundle.damage import Edit, refused, replace


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08" * 100, b"\n" * 50])
def test_what_is_no_model_is_refused_in_one_line(own_bundle: Path, edit_manifest: Edit, content: bytes) -> None:
    replace(own_bundle, edit_manifest, "fusion.onnx", content)
    with pytest.raises(BackendError, match=r"^ONNX Runtime [0-9.]+ cannot load fusion\.onnx: ") as caught:
        open_pipeline(Bundle(own_bundle), open_backend("cpu", 1, Bundle(own_bundle)))
    assert "\n" not in str(caught.value)


def test_what_is_no_tokenizer(own_bundle: Path, edit_manifest: Edit) -> None:
    replace(own_bundle, edit_manifest, "tokenizer.json", b"{}")
    refused(own_bundle, "/tokenizer.json: not a tokenizer file: ")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every subgraph that the cpu backend opens from now on."""
    subgraphs: list[Any] = []
    original = OnnxCpuBackend.open

    def open_and_record(backend: OnnxCpuBackend, name: str, files: Any) -> Any:
        subgraphs.append(original(backend, name, files))
        return subgraphs[-1]

    monkeypatch.setattr(OnnxCpuBackend, "open", open_and_record)
    return subgraphs


def are_closed(subgraphs: list[Any]) -> bool:
    for subgraph in subgraphs:
        with pytest.raises(BackendError, match=r"\.onnx is closed; load the bundle again"):
            subgraph.run({})
    return True


@pytest.mark.parametrize(
    ("file", "content", "count"),
    [("entities.onnx", b"not a model", 2), ("relations.onnx", b"", 3), ("tokenizer.json", b"{}", 4)],
)
def test_a_file_that_cannot_be_loaded_closes_the_subgraphs_before_it(
    own_bundle: Path, edit_manifest: Edit, opened: list[Any], file: str, content: bytes, count: int
) -> None:
    replace(own_bundle, edit_manifest, file, content)
    with pytest.raises((BackendError, trimf.BundleError)):
        trimf.load(own_bundle, backend="cpu")
    assert len(opened) == count
    assert are_closed(opened)


def test_a_manifest_that_does_not_fit_closes_all_subgraphs(
    own_bundle: Path, edit_manifest: Edit, opened: list[Any]
) -> None:
    edit_manifest(lambda content: content["sizes"].update(max_subwords=2))
    with pytest.raises(trimf.BundleError, match=r"sizes\.max_subwords must be > 2"):
        open_pipeline(Bundle(own_bundle), OnnxCpuBackend(1))
    assert len(opened) == 4
    assert are_closed(opened)


def test_a_parser_that_is_not_installed_closes_the_model(
    own_bundle: Path, edit_manifest: Edit, opened: list[Any]
) -> None:
    edit_manifest(lambda content: content["parser"].update(source="spacy", name="xx_no_such_pipeline"))
    with pytest.raises(BackendError, match="xx_no_such_pipeline"):
        trimf.load(own_bundle, backend="cpu")
    assert len(opened) == 4
    assert are_closed(opened)


def test_closing_a_pipeline_closes_every_subgraph_though_one_fails(own_bundle: Path, opened: list[Any]) -> None:
    class FailingBackend(OnnxCpuBackend):
        def open(self, name: str, files: Any) -> Any:
            subgraph = super().open(name, files)
            if name == "fusion":
                original = subgraph.close

                def close_and_fail() -> None:
                    original()
                    raise BackendError("the device was removed")

                subgraph.close = close_and_fail  # type: ignore[method-assign]
            return subgraph

    pipeline = open_pipeline(Bundle(own_bundle), FailingBackend(1))
    with pytest.raises(BackendError, match="the device was removed"):
        pipeline.close()
    assert len(opened) == 4
    assert are_closed(opened)


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


@pytest.mark.parametrize(
    ("precision", "slow", "expected"), [("int8", False, 24), ("int8", True, 8), ("fp32", False, 8), ("fp32", True, 8)]
)
def test_padding_is_weighed_against_calls_by_what_the_processor_has(
    own_bundle: Path,
    edit_manifest: Edit,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    slow: bool,
    expected: int,
) -> None:
    edit_manifest(lambda content: content.update(precision=precision))
    monkeypatch.setattr("trimf.runtime.pipeline_loading.has_saturating_int8_matmul", lambda: slow)
    backend = OnnxCpuBackend(1)
    assert open_pipeline(Bundle(own_bundle), backend).split_cost_subwords == expected


def test_an_older_schema_is_read(own_bundle: Path, edit_manifest: Edit, chain_parser: Parser) -> None:
    def to_schema_1(content: Any) -> None:
        content["schema_version"] = 1
        for field in ("products", "quantization", "engines"):
            content.pop(field, None)

    edit_manifest(to_schema_1)
    manifest = Bundle(own_bundle).manifest
    assert (manifest.products, manifest.quantization, manifest.engines) == ({}, None, [])
    assert load(own_bundle, parser=chain_parser).bundle.manifest.schema_version == 1


def test_the_manifest_says_who_parses(own_bundle: Path, edit_manifest: Callable[..., None]) -> None:
    edit_manifest(lambda content: content["parser"].update(source="encoder"))
    with pytest.raises(trimf.BundleError, match=r"encoder\.onnx: heads has shape None, but the manifest says"):
        trimf.load(own_bundle)


def test_an_encoder_that_parses_unasked(parsing_bundle: Path, tmp_path: Path, chain_parser: Parser) -> None:
    folder = Path(shutil.copytree(parsing_bundle, tmp_path / "copy"))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["parser"]["source"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(trimf.BundleError, match=r"encoder\.onnx: has an in-model parser .* the parser is chain"):
        trimf.load(folder, parser=chain_parser)


def test_the_manifest_says_what_weighs_triggers(own_bundle: Path, edit_manifest: Callable[..., None]) -> None:
    edit_manifest(lambda content: content.update(triggers="contribution"))
    with pytest.raises(trimf.BundleError, match=r"relations\.onnx: word_logits has shape None, but the manifest says"):
        trimf.load(own_bundle)
