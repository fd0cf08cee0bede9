"""The joined graph for CPUs: the same as the separate graphs, in a bundle and on its own."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import trimf
from trimf.bench.measure.encoder_baseline import HIDDEN_STATES, load_transformer
from trimf.export.bundle_writer import describe_file
from trimf.export.cpu_joining import add_joined_graph, build_joined_graph
from trimf.runtime.bundle.manifest import ParserInfo, encode_manifest
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import (
    EXTRA,
    JOINED,
    JOINED_FILE,
    JOINED_OUTPUTS,
    JOINED_SUBGRAPHS,
    JOINED_WEIGHTS,
    SUBGRAPHS,
)
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend, OnnxCpuSubgraph
from trimf.runtime.errors import BackendError, BundleError, InputError
from trimf.runtime.pipeline_loading import open_pipeline
from trimf_train.data.readers import read_sentences

Arrays = dict[str, np.ndarray]

#: Positions of the tiny encoder.
MAX_SUBWORDS = 40

TEXT = "Lee Harvey Oswald was shot by Jack Ruby in Dallas. Jane works for Acme Inc. in Paris, France."


@pytest.fixture(scope="module")
def joined_once(parsing_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined") / "bundle"
    add_joined_graph(parsing_once, folder)
    return folder


@pytest.fixture
def joined_bundle(joined_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(joined_once, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def default_with_joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("default") / "bundle"
    add_joined_graph("default", folder)
    return folder


def separate(folder: Path, tmp_path: Path) -> Path:
    """A copy of a bundle without its joined graph."""
    copy = Path(shutil.copytree(folder, tmp_path / "separate"))
    change_files(copy, lambda files: files.pop(JOINED_FILE))
    return copy


def change_files(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = Bundle(folder).manifest
    files = dict(manifest.files)
    change(files)
    (folder / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))


def write(folder: Path, name: str, content: bytes) -> None:
    change_files(folder, lambda files: files.update({name: describe_file(content)}))
    (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def graphs(joined_once: Path) -> dict[str, OnnxCpuSubgraph]:
    """The joined graph and its parts."""
    bundle, backend = Bundle(joined_once), OnnxCpuBackend(1)
    return {name: backend.open(name, bundle) for name in (JOINED, *SUBGRAPHS)}


@st.composite
def batches(draw: st.DrawFn) -> Arrays:
    """Sentences of different lengths, padded, whose words have one to three subwords."""
    pieces = draw(
        st.lists(
            st.lists(st.integers(1, 3), min_size=1, max_size=draw(st.sampled_from([1, 5, 30]))).filter(
                lambda row: sum(row) + 2 <= MAX_SUBWORDS
            ),
            min_size=1,
            max_size=4,
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    subwords = max(sum(row) for row in pieces) + 2
    words = max(map(len, pieces))
    arrays = {
        "input_ids": np.zeros((len(pieces), subwords), np.int64),
        "attention_mask": np.zeros((len(pieces), subwords), np.int64),
        "pieces": np.zeros((len(pieces), words, 3), np.int64),
        "word_mask": np.zeros((len(pieces), words), bool),
    }
    for row, counts in enumerate(pieces):
        length = sum(counts) + 2
        arrays["input_ids"][row, :length] = rng.integers(5, 30, length)
        arrays["attention_mask"][row, :length] = 1
        arrays["word_mask"][row, : len(counts)] = True
        first = 1
        for word, count in enumerate(counts):
            arrays["pieces"][row, word] = np.minimum(first + np.arange(3), first + count - 1)
            first += count
    return arrays


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches())
def test_it_computes_what_the_separate_graphs_compute(graphs: dict[str, OnnxCpuSubgraph], arrays: Arrays) -> None:
    known: dict[str, Any] = dict(arrays)
    for name in SUBGRAPHS[:3]:
        known |= graphs[name].run(known, extra=True)
    found = graphs[JOINED].run(arrays, extra=True)
    mask = arrays["word_mask"]
    assert found.keys() == {*JOINED_OUTPUTS, *(EXTRA[:1])}
    for name in ("heads", "labels"):
        np.testing.assert_array_equal(found[name][mask], known[name][mask])
    for name in ("nodes", "entity_logits", "arc_scores"):
        np.testing.assert_allclose(found[name][mask], known[name][mask], rtol=1e-4, atol=1e-4)


def test_extra_outputs_are_computed_on_request(graphs: dict[str, OnnxCpuSubgraph], sentence_arrays: Any) -> None:
    arrays = sentence_arrays(2, 5, 30)
    assert tuple(graphs[JOINED].run(arrays)) == JOINED_OUTPUTS
    assert "arc_scores" in graphs[JOINED].run(arrays, extra=True)


def test_its_weights_are_in_the_files_of_the_others(default_with_joined: Path) -> None:
    content = (default_with_joined / JOINED_FILE).read_bytes()
    assert len(content) < 500_000
    model = onnx.load_from_string(content)
    outside = [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    locations = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    assert locations == set(JOINED_WEIGHTS)
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask", "pieces", "word_mask"]


def test_spans_of_each_width_are_multiplied_apart(default_with_joined: Path) -> None:
    bundle = Bundle(default_with_joined)
    counts = Counter(node.op_type for node in onnx.load_from_string(bundle.read(JOINED_FILE)).graph.node)
    before = Counter(
        node.op_type for name in JOINED_WEIGHTS for node in onnx.load_from_string(bundle.read(name)).graph.node
    )
    assert counts["MatMul"] - before["MatMul"] == bundle.manifest.sizes.max_span - 1


def test_the_cpu_runs_it_where_the_model_parses_by_itself(joined_bundle: Path, tmp_path: Path) -> None:
    bundle, backend = Bundle(joined_bundle), OnnxCpuBackend(1)
    assert backend.choose_subgraphs(bundle, True) == JOINED_SUBGRAPHS
    assert backend.choose_subgraphs(bundle, False) == SUBGRAPHS
    assert OnnxCpuBackend(1, optimize=False).choose_subgraphs(bundle, True) == SUBGRAPHS
    assert backend.choose_subgraphs(Bundle(separate(joined_bundle, tmp_path)), True) == SUBGRAPHS
    assert backend.name_file(JOINED, bundle) == JOINED_FILE
    with trimf.load(joined_bundle, backend="cpu") as extract:
        assert tuple(extract.pipeline.graphs) == JOINED_SUBGRAPHS


def test_another_parser_runs_the_separate_graphs(default_with_joined: Path, parser: Any) -> None:
    with (
        trimf.load(default_with_joined, backend="cpu", parser=parser) as one,
        trimf.load("default", backend="cpu", parser=parser) as other,
    ):
        assert tuple(one.pipeline.graphs) == SUBGRAPHS
        assert one(TEXT) == other(TEXT)


def round_scores(result: trimf.Extraction) -> Any:
    entities = [(entity.start, entity.end, entity.label) for entity in result.entities]
    relations = [(one.head.start, one.head.end, one.label, one.tail.start, one.tail.end) for one in result.relations]
    return result.text, entities, relations, result.arcs


@pytest.mark.parametrize("syntax", ["arcs", "tree"])
def test_arcs_and_trees_are_the_same(default_with_joined: Path, tmp_path: Path, syntax: Any) -> None:
    without = separate(default_with_joined, tmp_path)
    with (
        trimf.load(default_with_joined, backend="cpu", threads=1, syntax=syntax) as joined,
        trimf.load(without, backend="cpu", threads=1, syntax=syntax) as apart,
    ):
        assert tuple(joined.pipeline.graphs) == JOINED_SUBGRAPHS
        assert tuple(apart.pipeline.graphs) == SUBGRAPHS
        assert joined(TEXT).arcs
        assert round_scores(joined(TEXT)) == round_scores(apart(TEXT))


@pytest.mark.slow
def test_answers_on_conll04_are_the_same(default_with_joined: Path, conll04_test: Path, tmp_path: Path) -> None:
    words = [sentence.tokens for sentence in read_sentences(conll04_test)]
    without = separate(default_with_joined, tmp_path)
    with (
        trimf.load(default_with_joined, backend="cpu", threads=1) as joined,
        trimf.load(without, backend="cpu", threads=1) as apart,
    ):
        pairs = list(zip(joined.words(words), apart.words(words), strict=True))
        alone = list(joined.words(words, batch_size=1))
    assert len(pairs) == 288
    # Where ONNX Runtime adds in another order, a value may round to the next of 256, which changes scores a little.
    differing = sum(round_scores(one) != round_scores(other) for one, other in pairs)
    assert differing <= 288 // 100
    assert [round_scores(one) for one, _ in pairs] == [round_scores(one) for one in alone]


def test_the_plain_encoder_of_a_benchmark_is_that_of_the_separate_graphs(joined_bundle: Path) -> None:
    bundle = Bundle(joined_bundle)
    transformer = load_transformer(OnnxCpuBackend(1), bundle, JOINED_SUBGRAPHS)
    assert HIDDEN_STATES in transformer.outputs


@pytest.mark.parametrize("name", JOINED_WEIGHTS)
def test_other_weights_than_it_was_made_from_are_refused(joined_bundle: Path, name: str) -> None:
    model = onnx.load_from_string((joined_bundle / name).read_bytes())
    model.doc_string = "changed"
    write(joined_bundle, name, model.SerializeToString())
    with pytest.raises(BundleError, match=r"joined\.onnx was not made from the bundle's .*; export the bundle again"):
        open_pipeline(Bundle(joined_bundle), OnnxCpuBackend(1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "relations.onnx"),
        ("location", "../encoder.onnx"),
        ("location", "/etc/hostname"),
        ("location", "*/_ORT_MEM_ADDR_/*"),
        ("offset", str(1 << 40)),
        ("offset", "-1"),
        ("length", str(1 << 40)),
    ],
)
def test_weights_from_elsewhere_are_refused(
    joined_bundle: Path, key: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(joined_bundle)
    model = onnx.load_from_string((joined_bundle / JOINED_FILE).read_bytes())
    tensor = next(one for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL)
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value
    write(joined_bundle, JOINED_FILE, model.SerializeToString())
    with pytest.raises(BackendError, match=r"cannot load joined\.onnx"):
        open_pipeline(Bundle(joined_bundle), OnnxCpuBackend(1))


def test_outputs_that_the_manifest_does_not_describe_name_the_file(joined_bundle: Path) -> None:
    manifest = Bundle(joined_bundle).manifest
    sizes = msgspec.structs.replace(manifest.sizes, max_span=manifest.sizes.max_span + 1)
    (joined_bundle / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, sizes=sizes)))
    with pytest.raises(BundleError, match=r"/joined\.onnx: entity_logits has shape"):
        open_pipeline(Bundle(joined_bundle), OnnxCpuBackend(1))


def test_a_bundle_whose_host_parses_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="cannot be one graph, because the host parses between them"):
        add_joined_graph(bundle)


def test_a_precision_that_cpus_do_not_run_is_refused(parsing_bundle: Path, edit_manifest: Callable[..., None]) -> None:
    edit_manifest(parsing_bundle, precision="bf16")
    with pytest.raises(BundleError, match="CPUs do not run bf16, only fp32"):
        add_joined_graph(parsing_bundle)


def test_the_shipped_bundle_is_not_changed() -> None:
    with pytest.raises(InputError, match="part of the installed package"):
        add_joined_graph("default")


def test_it_can_be_made_anew(joined_bundle: Path) -> None:
    before = (joined_bundle / JOINED_FILE).read_bytes()
    manifest = add_joined_graph(joined_bundle)
    assert manifest == Bundle(joined_bundle).manifest
    assert manifest.parser == ParserInfo(name="by-hand", source="encoder")
    assert (joined_bundle / JOINED_FILE).read_bytes() == before
    assert build_joined_graph({name: Bundle(joined_bundle).read(name) for name in JOINED_WEIGHTS}) == before
