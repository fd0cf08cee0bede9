"""Engines of the joined graph: real builds with TensorRT for RTX, which needs no GPU for it."""

import shutil
from pathlib import Path

import msgspec
import onnx
import pytest

from trimf.cli import main
from trimf.export import engine_builder as engines
from trimf.export.bundle_compiler import compile_bundle
from trimf.export.bundle_writer import describe_file
from trimf.export.half_precision import convert_to_half
from trimf.export.model_joining import join_models
from trimf.export.profiles import parse_profile
from trimf.runtime.bundle.manifest import MatmulCounts, encode_manifest
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.contract import JOINED, JOINED_PARTS, JOINED_SUBGRAPHS, SUBGRAPHS
from trimf.runtime.engine.engine_selection import hash_sources, select_subgraphs
from trimf.runtime.engine.tensorrt_library import TensorRtLibrary
from trimf.runtime.errors import BackendError, BundleError


@pytest.fixture(scope="module")
def compiled_once(rtx: TensorRtLibrary, parsing_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(parsing_once, tmp_path_factory.mktemp("joined") / "bundle"))
    compile_bundle(folder, "tensorrt-rtx", targets=["sm_89"])
    return folder


@pytest.fixture
def compiled(compiled_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled_once, tmp_path / "bundle"))


def test_a_model_that_parses_by_itself_gets_two_engines(compiled: Path, rtx: TensorRtLibrary) -> None:
    bundle = Bundle(compiled)
    joined, relations = bundle.manifest.engines
    assert (joined.subgraph, relations.subgraph) == JOINED_SUBGRAPHS
    assert joined.onnx_sha256 == hash_sources(JOINED, bundle.manifest.files)
    assert relations.onnx_sha256 == bundle.manifest.files["relations.onnx"].sha256
    assert len(bundle.read(joined.file)) > 1000
    assert joined.file.startswith("engines/joined.tensorrt-rtx.sm_89.")
    assert select_subgraphs(bundle, True, "sm_89", "tensorrt-rtx", rtx.version) == JOINED_SUBGRAPHS


def test_products_are_those_of_the_three(compiled: Path) -> None:
    products = 0
    for name in JOINED_PARTS:
        nodes = onnx.load(compiled / f"{name}.onnx").graph.node
        products += sum(node.op_type in ("MatMul", "Gemm", "Einsum") for node in nodes)
    counted = Bundle(compiled).manifest.engines[0].products
    # The products of the arc scores stay, because the arcs are chosen by them.
    assert counted == MatmulCounts(single=products)


def test_the_engine_has_a_profile_for_each_family_of_buckets(compiled: Path) -> None:
    joined, _ = Bundle(compiled).manifest.engines
    # The window of the tiny model is shorter than the largest small bucket: no batch is long.
    assert [profile.name for profile in joined.profiles] == ["latency", "throughput"]
    assert joined.profiles[1].axes == {
        "batch": (1, 32, 64),
        "subwords": (3, 40, 40),
        "words": (1, 32, 128),
        "pieces": (1, 4, 64),
    }


def test_separate_engines_come_on_request(parsing_bundle: Path, rtx: TensorRtLibrary) -> None:
    built = compile_bundle(
        parsing_bundle, "tensorrt-rtx", targets=["sm_89"], profiles=[parse_profile("batch=1:1:1")], separate=True
    )
    assert [engine.subgraph for engine in built] == [JOINED, *SUBGRAPHS]
    assert [[profile.name for profile in engine.profiles] for engine in built] == [["custom"]] * 5
    bundle = Bundle(parsing_bundle)
    for own_parser, names in ((True, JOINED_SUBGRAPHS), (False, SUBGRAPHS)):
        assert select_subgraphs(bundle, own_parser, "sm_89", "tensorrt-rtx", rtx.version) == names


def test_another_parser_needs_the_separate_engines(compiled: Path, rtx: TensorRtLibrary) -> None:
    with pytest.raises(
        BackendError, match=r"has no engine for encoder, which a parser other .* needs; run `trimf compile \S+ --separ"
    ):
        select_subgraphs(Bundle(compiled), False, "sm_89", "tensorrt-rtx", rtx.version)


@pytest.mark.parametrize("changed", JOINED_PARTS)
def test_a_joined_engine_is_stale_when_one_of_its_files_is_another(
    compiled: Path, rtx: TensorRtLibrary, changed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(compiled / f"{changed}.onnx")
    model.producer_version = "2"
    content = model.SerializeToString()
    (compiled / f"{changed}.onnx").write_bytes(content)
    path = compiled / "manifest.json"
    before = msgspec.json.decode(path.read_bytes())
    before["files"][f"{changed}.onnx"] = msgspec.to_builtins(describe_file(content))
    path.write_bytes(msgspec.json.encode(before))
    with pytest.raises(
        BackendError, match=r"joined\S+ was built from a set of encoder.onnx, fusion.onnx, entities.onnx with SHA-256"
    ):
        select_subgraphs(Bundle(compiled), True, "sm_89", "tensorrt-rtx", rtx.version)
    assert main(["inspect", str(compiled)]) == 0
    shown = capsys.readouterr().out.split()  # words: the path has the name of this test
    assert (shown.count("stale"), shown.count("current")) == (1, 1)


def test_compiling_again_replaces_the_joined_engine(compiled: Path) -> None:
    compile_bundle(compiled, "tensorrt-rtx", targets=["sm_89"], profiles=[parse_profile("batch=1:2:4")])
    manifest = Bundle(compiled).manifest
    assert [engine.subgraph for engine in manifest.engines] == list(JOINED_SUBGRAPHS)
    assert manifest.engines[0].profiles[0].axes["batch"] == (1, 2, 4)
    listed = {path.relative_to(compiled).as_posix() for path in (compiled / "engines").iterdir()}
    assert listed == {engine.file for engine in manifest.engines}


def test_a_bundle_whose_encoder_does_not_parse(bundle: Path, rtx: TensorRtLibrary) -> None:
    manifest = Bundle(bundle).manifest
    parser = msgspec.structs.replace(manifest.parser, source="encoder")
    (bundle / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, parser=parser)))
    with pytest.raises(BundleError, match=r"fusion.onnx, entities.onnx have no output heads; export the bundle again"):
        compile_bundle(bundle, "tensorrt-rtx", targets=["sm_89"])
    assert not (bundle / "engines").exists()


def test_the_joined_graph_in_half_precision(rtx: TensorRtLibrary, parsing_bundle: Path) -> None:
    models = {
        name: convert_to_half(onnx.load(parsing_bundle / f"{name}.onnx"), "fp16").SerializeToString()
        for name in JOINED_PARTS
    }
    joined = join_models(models)
    found = engines.summarize_network(rtx, JOINED, joined)
    apart = [engines.summarize_network(rtx, name, model).products for name, model in models.items()]
    assert found.products == MatmulCounts(
        half=sum(counts.half for counts in apart), single=sum(counts.single for counts in apart)
    )
    assert found.inputs == ("input_ids", "attention_mask", "pieces", "word_mask")
    assert engines.build_engine(rtx, JOINED, joined, [parse_profile("subwords=3:8:40,words=1:8:24")], target="sm_120")


def test_what_the_library_cannot_read_is_named(rtx: TensorRtLibrary) -> None:
    with pytest.raises(BackendError, match=r"cannot read the graph of encoder\.onnx, fusion\.onnx, entities\.onnx: "):
        engines.summarize_network(rtx, JOINED, b"nothing")
