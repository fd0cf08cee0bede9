"""A tiny data set, tiny models and checkpoints, and their graphs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn

from support.encoders import FAMILIES, PEOPLE, PLACES, Make
from trimf.export import exporter as bundles
from trimf.export.exporter import _trace_subgraphs as trace
from trimf.export.onnx_conversion import convert_to_onnx, create_example_inputs
from trimf.export.subgraphs import build_subgraphs
from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import ParserInfo
from trimf_train.config import Config, DecodeConfig, ModelConfig
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model.trimf import TrainingBatch, TriMF

Graphs = dict[str, onnx.ModelProto]


@pytest.fixture(autouse=True, scope="session")
def _light() -> Iterator[None]:
    """One thread; and what is imported is not looked through whenever training collects garbage."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class TableEncoder(nn.Module):
    """An encoder that looks every subword up in a table."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        class Output:
            last_hidden_state = self.table(input_ids)

        return Output


@pytest.fixture(scope="session")
def build_model() -> Callable[..., TriMF]:
    """A TriMF on a table of subword vectors, with memories strong enough to matter."""

    def build(
        config: ModelConfig, width: int = 6, entities: int = 2, relations: int = 3, dependencies: int = 3, seed: int = 0
    ) -> TriMF:
        torch.manual_seed(seed)
        names = Labels(
            tuple(f"E{k}" for k in range(entities)),
            tuple(f"R{k}" for k in range(relations)),
            tuple(f"d{k}" for k in range(dependencies)),
        )
        model = TriMF(TableEncoder(50, width), width, names, config)
        with torch.no_grad():
            model.memory.entity.normal_()
            model.memory.relation.normal_()
        return model.eval()

    return build


@pytest.fixture(scope="session")
def build_inputs() -> Callable[..., TrainingBatch]:
    """Random padded inputs for sentences of the given numbers of words, all spans and all pairs of some of them."""

    def build(
        lengths: Sequence[int],
        seed: int = 0,
        dependencies: int = 3,
        max_width: int = 3,
        words: int | None = None,
        noise: int = 0,
    ) -> TrainingBatch:
        """``words`` pads further than needed, ``noise`` is the subword that fills the padding."""
        sentences = []
        for place, length in enumerate(lengths):
            generator = torch.Generator().manual_seed(seed * 1000 + place)
            counts = torch.randint(1, 4, (length,), generator=generator)
            ids = torch.randint(1, 49, (int(counts.sum()) + 2,), generator=generator)
            heads = torch.randint(0, length, (length,), generator=generator)
            labels = torch.randint(0, dependencies + 1, (length,), generator=generator)
            own = torch.arange(length)
            heads = torch.where(labels == 0, own, heads)
            labels = torch.where(heads == own, 0, labels)
            sentences.append((counts, ids, heads, labels))
        size = len(lengths)
        longest = max(max(lengths), words or 0)
        extra = 0 if words is None else 3
        tokens = max(len(ids) for _, ids, _, _ in sentences) + extra
        input_ids = torch.full((size, tokens), noise)
        attention_mask = torch.zeros(size, tokens, dtype=torch.long)
        pieces = torch.zeros(size, longest, 3 + extra, dtype=torch.long)
        word_mask = torch.zeros(size, longest, dtype=torch.bool)
        all_heads = torch.zeros(size, longest, dtype=torch.long)
        all_labels = torch.zeros(size, longest, dtype=torch.long)
        spans, entities, pairs = [], [], []
        for row, (counts, ids, heads, labels) in enumerate(sentences):
            length = len(counts)
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
            begin = 1
            for word, count in enumerate(counts.tolist()):
                for step in range(pieces.shape[2]):
                    pieces[row, word, step] = begin + min(step, count - 1)
                begin += count
            word_mask[row, :length] = True
            all_heads[row, :length] = heads
            all_labels[row, :length] = labels
            every = [(i, j) for i in range(length) for j in range(i, length)]
            spans += [(row, i, j) for i, j in every if j - i < max_width]
            chosen = every[:: max(1, len(every) // 4)]
            pairs += [
                (len(entities) + i, len(entities) + j) for i in range(len(chosen)) for j in range(len(chosen)) if i != j
            ]
            entities += [(row, i, j) for i, j in chosen]
        return TrainingBatch(
            input_ids,
            attention_mask,
            pieces,
            word_mask,
            all_heads,
            all_labels,
            torch.tensor(spans).reshape(-1, 3),
            torch.tensor(entities).reshape(-1, 3),
            torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
        )

    return build


def _sentence(person: str, other: str, place: str, number: int) -> Sentence:
    """ "PERSON lives in PLACE ." or "PERSON knows PERSON .", in turns."""
    if number % 3 == 2:
        tokens = [person, "knows", other, "."]
        entities = [EntityMention("Peop", 0, 1), EntityMention("Peop", 2, 3)]
        relations = [RelationMention("Know", 0, 1)]
        heads, labels = [1, 1, 1, 1], ["nsubj", "ROOT", "dobj", "punct"]
    else:
        parts = place.split()
        tokens = [person, "lives", "in", *parts, "."]
        end = 3 + len(parts)
        entities = [EntityMention("Peop", 0, 1), EntityMention("Loc", 3, end)]
        relations = [RelationMention("Live_In", 0, 1)]
        heads = [1, 1, 1, *([end - 1] * (len(parts) - 1)), 2, 1]
        labels = ["nsubj", "ROOT", "prep", *(["compound"] * (len(parts) - 1)), "pobj", "punct"]
    return Sentence(tokens, entities, relations, heads, labels, f"s{number}")


@pytest.fixture(scope="session")
def sentences() -> list[Sentence]:
    """Twelve prepared sentences; Know is symmetric."""
    return [_sentence(PEOPLE[k % 4], PEOPLE[(k + 1) % 4], PLACES[(k // 2) % 4], k) for k in range(12)]


@pytest.fixture(scope="session")
def names() -> Labels:
    return Labels(
        ("Loc", "Peop"), ("Know", "Live_In"), ("compound", "dobj", "nsubj", "pobj", "prep", "punct"), ("Know",)
    )


@pytest.fixture(scope="session")
def configure_in(encoders: dict[str, str], sentences: list[Sentence]) -> Callable[..., Config]:
    """A configuration of a tiny run inside a folder, where its data is put; keyword arguments replace tables of it."""

    def build(folder: Path, output: str = "run", **tables: Any) -> Config:
        data = folder / "train.jsonl"
        data.write_bytes(b"".join(encode_line(sentence) for sentence in sentences))
        values: dict[str, Any] = {
            "data": {"train": [str(data)], "dev": str(data), "symmetric": ["Know"], "parser": "by-hand"},
            "output": str(folder / output),
            "model": {"encoder": {"name": encoders["bert"]}, "span": {"max_width": 3}},
            "train": {
                "batch_size": 4,
                "lr": 2e-3,
                "negative_spans": 4,
                "stage1": {"epochs": 2},
                "stage2": {"epochs": 2},
            },
        }
        return msgspec.convert(_merge(values, tables), Config)

    return build


@pytest.fixture
def configure(tmp_path: Path, configure_in: Callable[..., Config]) -> Callable[..., Config]:
    """The same in a folder of the test's own."""

    def build(output: str = "run", **tables: Any) -> Config:
        return configure_in(tmp_path, output, **tables)

    return build


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        merged[key] = _merge(values.get(key, {}), value) if isinstance(value, dict) else value
    return merged


@pytest.fixture
def create(encoders: dict[str, str], names: Labels) -> Callable[..., Any]:
    """A fresh checkpoint on one of the tiny encoders."""
    from trimf_train.model import checkpoint

    def build(family: str = "bert", seed: int = 3, **changes: Any) -> Any:
        torch.manual_seed(seed)
        encoder = {"name": encoders[family], **changes.pop("encoder", {})}
        config = msgspec.convert({"encoder": encoder, "span": {"max_width": 3}, **changes}, ModelConfig)
        built = checkpoint.create_checkpoint(names, config, DecodeConfig(), ParserInfo(name="none", version=""), {})
        with torch.no_grad():
            built.model.memory.entity.normal_()
            built.model.memory.relation.normal_()
        return built

    return build


@pytest.fixture(scope="session")
def tiny_data(sentences: list[Sentence], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twelve sentences as a prepared file."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.jsonl"
    path.write_bytes(b"".join(encode_line(sentence) for sentence in sentences))
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(once: Callable[[str, Make], Path], configure_in: Callable[..., Config]) -> Any:
    """A tiny BERT trained for a few epochs on the twelve sentences: it finds most of them again."""
    from trimf_train.training.train import train_model

    def make(folder: Path) -> None:
        train_model(configure_in(folder, train={"stage1": {"epochs": 12}, "stage2": {"epochs": 8}, "lr": 1e-2}))

    return checkpoints.load_checkpoint(once("trained", make) / "run" / "best")


@pytest.fixture(scope="session")
def tiny_heads(tiny_checkpoint: Any) -> dict[str, Tensor]:
    """The weights of the tiny checkpoint but for its encoder's."""
    weights = tiny_checkpoint.model.state_dict()
    return {key: value for key, value in weights.items() if not key.startswith("encoder.")}


@pytest.fixture(scope="session")
def family_checkpoints(tiny_checkpoint: Any, tiny_heads: dict[str, Tensor], encoders: dict[str, str]) -> dict[str, Any]:
    """A trained tiny BERT, and its heads on untrained encoders of the other families."""
    found = {}
    described = tiny_checkpoint.description
    for family in FAMILIES[1:]:
        torch.manual_seed(3)
        encoder = msgspec.structs.replace(described.model.encoder, name=encoders[family])
        config = msgspec.structs.replace(described.model, encoder=encoder)
        found[family] = checkpoints.create_checkpoint(described.labels, config, DecodeConfig(), described.parser, {})
        found[family].model.load_state_dict(tiny_heads, strict=False)
    return {FAMILIES[0]: tiny_checkpoint, **found}


@pytest.fixture(scope="session")
def traced(once: Callable[[str, Make], Path], family_checkpoints: dict[str, Any]) -> Callable[[str], Graphs]:
    """The four fp32 subgraphs by family; all families have the same but for the encoder."""
    found: dict[str, Graphs] = {}

    def graphs(family: str) -> Graphs:
        if family not in found:
            read = once(f"traced-{family}", lambda folder: write(family, folder))
            own = {path.stem: onnx.load(path) for path in read.iterdir()}
            found[family] = own if family == FAMILIES[0] else {**graphs(FAMILIES[0]), **own}
        return found[family]

    def write(family: str, folder: Path) -> None:
        checkpoint = family_checkpoints[family]
        whole = family == FAMILIES[0]
        made = trace(checkpoint, lambda _: None) if whole else {"encoder": _trace_encoder(checkpoint.model)}
        for name, model in made.items():
            onnx.save(model, folder / f"{name}.onnx")

    return graphs


def _trace_encoder(model: TriMF) -> onnx.ModelProto:
    model.encoder.set_attn_implementation("eager")
    return convert_to_onnx(
        build_subgraphs(model.eval(), 2)["encoder"],
        create_example_inputs(model.width, torch.Generator().manual_seed(0)),
    )


@pytest.fixture(scope="session")
def trace_encoder() -> Callable[[TriMF], onnx.ModelProto]:
    """The encoder of a tiny model alone, whose other graphs those of ``traced`` may be."""
    return _trace_encoder


@pytest.fixture(scope="session")
def quick_export(encoders: dict[str, str], traced: Callable[[str], Graphs]) -> Callable[..., Any]:
    """An export of a checkpoint with the heads of ``traced``, which takes those graphs instead of tracing it again."""
    families = {name: family for family, name in encoders.items()}

    def find(checkpoint: Any, *_: Any) -> Graphs:
        encoder = checkpoint.description.model.encoder
        checkpoint.model.encoder.set_attn_implementation("eager")  # as tracing leaves it
        graphs = traced(families[encoder.name])
        return {**graphs, "encoder": _trace_encoder(checkpoint.model)} if encoder.casing else graphs

    def export(*arguments: Any, **options: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bundles, "_trace_subgraphs", find)
            return bundles.export_checkpoint(*arguments, **options)

    return export
