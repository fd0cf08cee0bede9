"""Arrays to run the subgraphs of tiny models on, and tiny bundles to compile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor

from trimf.export.activation_ranges import open_session
from trimf.export.bundle_writer import describe_file
from trimf.runtime.bundle.manifest import ParserInfo, encode_manifest
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine import tensorrt_library
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.tensorrt_library import TensorRtLibrary
from trimf_train.config import SyntaxConfig
from trimf_train.model import checkpoint as checkpoints

Arrays = dict[str, np.ndarray]

HALVES = {TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}


@pytest.fixture(scope="session")
def checkpoint_folder(tiny_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "best"
    tiny_checkpoint.save(folder)
    return folder


def both_halves(values: np.ndarray) -> np.ndarray:
    """Values in fp32 that fp16 and bf16 hold exactly."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float16).astype(np.float32)


@pytest.fixture(scope="session")
def random_arrays(ranges_of: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Callable[..., Arrays]:
    """Inputs of every subgraph that make no sense, but have the sizes asked for; the last rows may be all padding."""

    def build(
        width: int, batch: int, subwords: int, words: int, spans: int, pairs: int, seed: int = 0, empty: int = 0
    ) -> Arrays:
        random = np.random.default_rng(seed)

        def mask(size: int) -> np.ndarray:
            lengths = 1 + random.integers(size, size=(batch, 1))
            lengths[batch - empty :] = 0
            return np.arange(size) < lengths

        def states(*shape: int) -> np.ndarray:
            return both_halves(random.standard_normal(shape))

        first = random.integers(words, size=spans)
        last = np.minimum(first + random.integers(3, size=spans), words - 1)
        whole = np.stack([np.sort(random.integers(batch, size=spans)), first, last], 1)
        ends = random.integers(spans, size=(pairs, 2))
        ranges, gaps = ranges_of(whole, ends)
        return {
            "input_ids": random.integers(30, size=(batch, subwords)),
            "attention_mask": mask(subwords).astype(np.int64),
            "pieces": random.integers(subwords, size=(batch, words, 2)),
            "words": states(batch, words, width),
            "cls": states(batch, width),
            "word_mask": mask(words),
            "heads": random.integers(words, size=(batch, words)),
            "labels": random.integers(2, size=(batch, words)),
            "nodes": states(batch, words, width),
            "spans": whole,
            "pairs": ends,
            "ranges": ranges,
            "gaps": gaps,
        }

    return build


@pytest.fixture(scope="session")
def sentence_arrays(ranges_of: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Callable[..., Arrays]:
    """A batch of sentences of one length, a subword each word; those of ``empty`` are all padding."""

    def build(batch: int, words: int, vocabulary: int, empty: Sequence[int] = (), seed: int = 0) -> Arrays:
        ids = np.random.default_rng(seed).integers(5, vocabulary, (batch, words + 2))
        attention = np.ones_like(ids)
        pieces = np.tile(1 + np.arange(words)[None, :, None], (batch, 1, 1))
        mask = np.ones((batch, words), bool)
        for array in (ids, attention, pieces, mask):
            array[list(empty)] = 0
        spans = [(row, first, min(words - 1, first + 1)) for row in range(batch) for first in (0, words // 2)]
        every = range(len(spans))
        pairs = np.array([(i, j) for i in every for j in every if i != j and spans[i][0] == spans[j][0]])
        ranges, gaps = ranges_of(np.array(spans), pairs)
        return {
            "input_ids": ids,
            "attention_mask": attention,
            "pieces": pieces,
            "word_mask": mask,
            "heads": np.maximum(0, np.arange(words) - 1)[None].repeat(batch, 0),
            "labels": (np.arange(words) % 2)[None].repeat(batch, 0),
            "spans": np.array(spans),
            "pairs": pairs,
            "ranges": ranges,
            "gaps": gaps,
        }

    return build


@pytest.fixture(scope="session")
def feed() -> Callable[..., Arrays]:
    """Those of some arrays that a graph takes, in the half type where it takes that."""

    def build(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> Arrays:
        kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        return {name: arrays[name].astype(HALVES.get(kind, arrays[name].dtype)) for name, kind in kinds.items()}

    return build


@pytest.fixture(scope="session")
def run(feed: Callable[..., Arrays]) -> Callable[..., Arrays]:
    """Outputs of a graph in ONNX Runtime on the CPU; sessions are kept as long as their graphs are."""
    sessions: dict[int, tuple[onnx.ModelProto, Any]] = {}

    def outputs(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> Arrays:
        _, session = sessions.setdefault(id(model), (model, None))
        if session is None:
            session = open_session(model)
            sessions[id(model)] = (model, session)
        names = [value.name for value in model.graph.output]
        return dict(zip(names, session.run(names, feed(model, arrays)), strict=True))

    return outputs


@pytest.fixture(scope="session")
def chain(run: Callable[..., Arrays]) -> Callable[..., tuple[Arrays, dict[str, Arrays]]]:
    """All outputs of the four subgraphs, one after the other, and the inputs of each."""

    def outputs(models: Mapping[str, onnx.ModelProto], arrays: Mapping[str, np.ndarray]) -> Any:
        known, inputs = dict(arrays), {}
        for name in SUBGRAPHS:
            inputs[name] = {value.name: known[value.name] for value in models[name].graph.input}
            known.update(run(models[name], known))
        return {name: value for name, value in known.items() if name not in arrays}, inputs

    return outputs


@pytest.fixture(scope="session")
def rtx() -> TensorRtLibrary:
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the wheels of TensorRT for RTX")
    return tensorrt_library.import_library("tensorrt-rtx")


@pytest.fixture(scope="session")
def exported(tiny_checkpoint: Any, quick_export: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    tiny_checkpoint.save(folder / "checkpoint")
    quick_export(folder / "checkpoint", folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="session")
def parsing(tiny_checkpoint: Any, tiny_heads: dict[str, Tensor], encoders: dict[str, str]) -> Any:
    """The heads of the trained checkpoint on an untrained encoder, with a parser that knows nothing."""
    described = tiny_checkpoint.description
    config = msgspec.structs.replace(
        described.model,
        encoder=msgspec.structs.replace(described.model.encoder, name=encoders["bert"]),
        syntax=SyntaxConfig(source="encoder", arc_dim=8, label_dim=4),
    )
    torch.manual_seed(2)
    parser = ParserInfo(name="by-hand", source="encoder")
    made = checkpoints.create_checkpoint(described.labels, config, described.decode, parser, {})
    made.model.load_state_dict(tiny_heads, strict=False)
    return made


@pytest.fixture(scope="session")
def parsing_traced(parsing: Any, traced: Any, trace_encoder: Any) -> dict[str, onnx.ModelProto]:
    return {**traced("bert"), "encoder": trace_encoder(parsing.model)}


@pytest.fixture(scope="session")
def parsing_once(
    exported: Path, parsing: Any, parsing_traced: dict[str, onnx.ModelProto], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The exported bundle with the encoder of ``parsing``."""
    folder = Path(shutil.copytree(exported, tmp_path_factory.mktemp("parsing") / "bundle"))
    content = parsing_traced["encoder"].SerializeToString()
    (folder / "encoder.onnx").write_bytes(content)
    manifest = Bundle(exported).manifest
    files = {**manifest.files, "encoder.onnx": describe_file(content)}
    parser = parsing.description.parser
    (folder / "manifest.json").write_bytes(
        encode_manifest(msgspec.structs.replace(manifest, files=files, parser=parser))
    )
    return folder


@pytest.fixture
def parsing_bundle(parsing_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(parsing_once, tmp_path / "parsing"))


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture
def edit_manifest() -> Callable[..., None]:
    """Changes fields of a bundle's manifest."""

    def edit(bundle: Path, **changes: Any) -> None:
        manifest = Bundle(bundle).manifest
        (bundle / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, **changes)))

    return edit
