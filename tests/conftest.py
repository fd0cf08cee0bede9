"""Tiny encoders of three families, a tiny data set, a tiny trained model and its graphs, and the real data where it is.

What takes long to make is made by one of the processes of a test run, for all of them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from filelock import FileLock
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from trimf.export import exporter as bundles
from trimf.export.exporter import _trace_subgraphs as trace
from trimf.export.onnx_conversion import convert_to_onnx, create_example_inputs
from trimf.export.subgraphs import build_subgraphs
from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.decoding.range_pooling import build_range_rows
from trimf_train.config import Config, DecodeConfig, ModelConfig
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model.trimf import TrainingBatch, TriMF

Graphs = dict[str, onnx.ModelProto]

FAMILIES = ("bert", "mpnet", "roberta")

#: The files that take longest, which come first, so that no process is left alone with one of them in the end.
LONGEST = (
    "test_real_engines.py",
    "test_train.py",
    "test_export.py",
    "test_default_bundle.py",
    "test_run.py",
    "test_experiments.py",
    "test_half.py",
    "test_engines.py",
    "test_road.py",
    "test_distributed.py",
    "test_light_spacy.py",
    "test_graphs.py",
    "test_pipeline.py",
    "test_explain.py",
)
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def pytest_configure() -> None:
    """Where a run has as many processes as there are cores, each has one of its own: threads that wait for a core which
    another process has take longer than one.
    """
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if number and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if int(os.environ["PYTEST_XDIST_WORKER_COUNT"]) == len(cores):
            os.sched_setaffinity(0, {cores[int(number)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"needs the data sets in {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def parser() -> Any:
    """spaCy's, where it is installed."""
    pytest.importorskip("spacy")
    from trimf.runtime.errors import BackendError
    from trimf.runtime.text.parser import load_parser

    try:
        return load_parser()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def conll04_test(shared_data: Path, parser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 288 test sentences of CoNLL04, parsed."""
    from trimf_train.data.prepare import prepare_file

    output = tmp_path_factory.mktemp("prepared") / "test.jsonl"
    prepare_file(shared_data / "conll04" / "test.json", output, parser, progress=False)
    return output


PEOPLE = ("Alice", "Bob", "Carol", "Dave")
PLACES = ("Paris", "Rome", "Oslo", "New York")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


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
def ranges_of() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The arrays ``ranges`` and ``gaps`` of spans ``[M,3]`` and pairs ``[P,2]``, every pair with a gap of its own."""

    def build(spans: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spans, pairs = np.asarray(spans), np.asarray(pairs).reshape(-1, 2)
        one, other = spans[pairs[:, 0]], spans[pairs[:, 1]]
        first, last = np.minimum(one[:, 2], other[:, 2]) + 1, np.maximum(one[:, 1], other[:, 1]) - 1
        return build_range_rows(spans, np.stack([one[:, 0], first, last], 1)), len(spans) + np.arange(len(pairs))

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


def _save(encoder: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _wordpiece(specials: dict[str, str]) -> Tokenizer:
    """Lower-cased whole words of the data set, and letters for the rest; ``specials`` maps roles to tokens."""
    names = [specials[role] for role in ("bos", "pad", "eos", "unk", "mask")]
    words = sorted({part.lower() for name in PEOPLE + PLACES for part in name.split()} | {"lives", "in", "knows", "."})
    pieces = [*names, *words, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({piece: k for k, piece in enumerate(pieces)}, unk_token=specials["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{specials['bos']} $A {specials['eos']}",
        special_tokens=[(specials[role], tokenizer.token_to_id(specials[role])) for role in ("bos", "eos")],
    )
    return tokenizer


def _byte_level() -> Tokenizer:
    """Bytes, a few merges, and the special tokens of RoBERTa in their places."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("i", "n"), ("Ġ", "in"), ("Ġ", "l"), ("o", "w")]
    pieces = [*names, *symbols, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({piece: k for k, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    return tokenizer


def _fast(tokenizer: Tokenizer, specials: dict[str, str]) -> PreTrainedTokenizerFast:
    roles = {f"{role}_token": token for role, token in specials.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=specials["bos"], sep_token=specials["eos"], **roles
    )


Make = Callable[[Path], None]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Make], Path]:
    """A folder, by its name, that is filled by the first process of this test run that asks for it."""
    mine = tmp_path_factory.getbasetemp()
    root = (mine if worker_id == "master" else mine.parent) / "once"
    root.mkdir(exist_ok=True)

    def folder(name: str, make: Make) -> Path:
        made = root / name
        with FileLock(root / f"{name}.lock"):
            if not made.exists():
                making = root / f"{name}.making"
                making.mkdir(exist_ok=True)
                make(making)
                making.rename(made)
        return made

    return folder


@pytest.fixture(scope="session")
def encoders(once: Callable[[str, Make], Path]) -> dict[str, str]:
    """Folders with a random encoder and its tokenizer, by family."""
    root = once("encoders", _make_encoders)
    return {family: str(root / family) for family in FAMILIES}


def _make_encoders(root: Path) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    bert = {"bos": "[CLS]", "eos": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
    other = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    wordpiece, mpnet, byte_level = _wordpiece(bert), _wordpiece(other), _byte_level()
    torch.manual_seed(1)
    _save(
        BertModel(BertConfig(vocab_size=wordpiece.get_vocab_size(), max_position_embeddings=40, **shape)),
        _fast(wordpiece, bert),
        root / "bert",
    )
    _save(
        MPNetModel(MPNetConfig(vocab_size=mpnet.get_vocab_size(), max_position_embeddings=42, pad_token_id=1, **shape)),
        _fast(mpnet, other),
        root / "mpnet",
    )
    _save(
        RobertaModel(
            RobertaConfig(
                vocab_size=byte_level.get_vocab_size(),
                max_position_embeddings=66,
                pad_token_id=1,
                bos_token_id=0,
                eos_token_id=2,
                type_vocab_size=1,
                **shape,
            )
        ),
        _fast(byte_level, other),
        root / "roberta",
    )


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
