"""Tiny encoders of three families, a tiny data set, and every equation of the model written out as loops."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
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

from trimf.runtime.labels import Labels
from trimf.runtime.manifest import ParserNote
from trimf_train.config import Config, DecodeConfig, ModelConfig
from trimf_train.data.prepared import encode
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.model.trimf import Inputs, TriMF

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


class Equations:
    """The equations of the paper on vectors of float64, one token, slot, span and pair at a time."""

    @staticmethod
    def softmax(values: Sequence[float]) -> list[float]:
        if not values:
            return []
        highest = max(values)
        powers = [math.exp(value - highest) for value in values]
        return [power / sum(powers) for power in powers]

    @classmethod
    def read(cls, vector: Tensor, weight: Tensor, slots: Tensor) -> Tensor:
        """(1)(2)."""
        attention = cls.softmax([float(vector @ weight @ slot) for slot in slots])
        result = torch.zeros_like(slots[0])
        for share, slot in zip(attention, slots, strict=True):
            result = result + share * slot
        return result

    @classmethod
    def inverse(cls, tokens: Sequence[Tensor], weight: Tensor, slots: Tensor) -> list[float]:
        """(3): one number a token."""
        totals = [0.0] * len(tokens)
        for slot in slots:
            scores = [float(slot @ weight @ token) for token in tokens]
            for place, share in enumerate(cls.softmax(scores)):
                totals[place] += share
        return totals

    @classmethod
    def flow(cls, tokens: Sequence[Tensor], memories: Sequence[tuple[Tensor, Tensor]], residual: str) -> list[Tensor]:
        """(9)(10): ``memories`` are (W, slots) of each memory that flows."""
        if not memories:
            return list(tokens)
        weights = [cls.inverse(tokens, weight, slots) for weight, slots in memories]
        results = []
        for place, token in enumerate(tokens):
            terms = [weight[place] * token for weight in weights]
            total = torch.zeros_like(token)
            for term in terms:
                total = total + term
            if residual == "none":
                results.append(total / len(terms))
            elif residual == "add":
                results.append(token + total)
            else:
                results.append((token + total) / (len(terms) + 1))
        return results

    @staticmethod
    def highest(vectors: Sequence[Tensor], width: int) -> Tensor:
        """The maximum in every dimension; zeros of nothing."""
        if not vectors:
            return torch.zeros(width, dtype=torch.float64)
        return torch.tensor([max(float(v[k]) for v in vectors) for k in range(width)], dtype=torch.float64)

    @staticmethod
    def syntactic(
        words: Sequence[Tensor],
        heads: Sequence[int],
        labels: Sequence[int],
        own: Tensor,
        down: Sequence[Tensor],
        up: Sequence[Tensor] | None,
    ) -> list[Tensor]:
        """(15): one matrix a label, label 0 carries nothing; ``up`` adds the mean over the dependents."""
        results = []
        for place, word in enumerate(words):
            state = word @ own
            if labels[place]:
                state = state + words[heads[place]] @ down[labels[place] - 1]
            if up is not None:
                children = [c for c in range(len(words)) if labels[c] and heads[c] == place]
                for child in children:
                    state = state + words[child] @ up[labels[child] - 1] / len(children)
            results.append(torch.where(state > 0, state, 0.0))
        return results

    @classmethod
    def semantic(cls, words: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
        """(16)-(18)."""
        projected = [word @ weight for word in words]
        active = [torch.where(vector > 0, vector, 0.01 * vector) for vector in projected]
        results = []
        for one in active:
            attention = cls.softmax([float(one @ other) for other in active])
            state = torch.zeros_like(one)
            for share, vector in zip(attention, projected, strict=True):
                state = state + share * vector
            results.append(state)
        return results

    @classmethod
    def fuse(cls, kind: str, semantic: Tensor, syntactic: Tensor, cls_vector: Tensor, weight: Any) -> Tensor:
        """(19)(20) and the other rows of Table 4, for one word."""
        if kind == "weighted":
            one, two = cls.softmax([float(cls_vector @ weight @ semantic), float(cls_vector @ weight @ syntactic)])
            return one * semantic + two * syntactic
        if kind == "mean":
            return (semantic + syntactic) / 2
        if kind == "sum":
            return semantic + syntactic
        if kind == "max":
            return torch.maximum(semantic, syntactic)
        return {"semantic": semantic, "syntactic": syntactic}[kind]

    @classmethod
    def trigger(
        cls, head: Tensor, tail: Tensor, words: Sequence[Tensor], weight: Tensor, slots: Tensor
    ) -> tuple[Tensor, list[float]]:
        """(23)(24)."""
        read = (cls.read(head, weight, slots) + cls.read(tail, weight, slots)) / 2
        weights = cls.softmax([float(read @ word) for word in words])
        result = torch.zeros_like(head)
        for share, word in zip(weights, words, strict=True):
            result = result + share * word
        return result, weights

    @staticmethod
    def label_matrices(linear: Any) -> list[Tensor]:
        """The matrix of every label of a typed linear map, mixed from its bases where it has some."""
        weight = linear.weight.detach().double()
        if linear.mixture is None:
            return list(weight)
        mixture = linear.mixture.detach().double()
        return [sum(share * basis for share, basis in zip(row, weight, strict=True)) for row in mixture]

    @classmethod
    def model(cls, model: TriMF, inputs: Inputs, stage: int) -> tuple[list[list[float]], list[list[float]], list[Any]]:
        """Entity logits of ``inputs.spans``, relation logits and trigger weights of ``inputs.pairs``."""
        config, width = model.config, model.width
        value = {name: parameter.detach().double() for name, parameter in model.state_dict().items()}
        entity_memory, relation_memory = value["memory.entity"], value["memory.relation"]
        slots = {"relation": relation_memory, "entity": entity_memory[1:]}
        states = model.encoder(inputs.input_ids, inputs.attention_mask).last_hidden_state.detach().double()
        nodes_of: list[list[Tensor]] = []
        cls_of: list[Tensor] = []
        for row in range(len(states)):
            count = int(inputs.attention_mask[row].sum())
            length = int(inputs.word_mask[row].sum())
            tokens = list(states[row, :count])
            levels = {"subword": config.flow.subword, "word": config.flow.word}
            flows = {
                level: [
                    (value[f"{level}_flow.weights.{name}"], slots[name])
                    for name in ("relation", "entity")
                    if stage == 2 and getattr(switches, name)
                ]
                for level, switches in levels.items()
            }
            tokens = cls.flow(tokens, flows["subword"], config.flow.residual)
            words = [
                cls.highest([tokens[place] for place in sorted(set(inputs.pieces[row, word].tolist()))], width)
                for word in range(length)
            ]
            words = cls.flow(words, flows["word"], config.flow.residual)
            nodes_of.append(cls.nodes(model, value, words, tokens[0], inputs.heads[row], inputs.labels[row]))
            cls_of.append(tokens[0])

        entity_rows = []
        for sentence, first, last in inputs.spans.tolist():
            parts = [cls.highest(nodes_of[sentence][first : last + 1], width), value["span_width.weight"][last - first]]
            if config.span.context == "cls":
                parts.insert(0, cls_of[sentence])
            vector = torch.cat(parts)
            entity_rows.append([float(vector @ value["entity_weight"] @ slot) for slot in entity_memory])

        relation_rows, trigger_rows = [], []
        spans = inputs.entities.tolist()
        for head, tail in inputs.pairs.tolist():
            (sentence, first, last), (_, other_first, other_last) = spans[head], spans[tail]
            nodes = nodes_of[sentence]
            between = [w for w in range(len(nodes)) if last < w < other_first or other_last < w < first]
            local = cls.highest([nodes[word] for word in between], width)
            ends = []
            for begin, end in ((first, last), (other_first, other_last)):
                wide = min(end - begin + 1, config.span.max_width)
                ends.append((cls.highest(nodes[begin : end + 1], width), value["span_width.weight"][wide - 1]))
            sensed, weights = torch.zeros(width, dtype=torch.float64), [0.0] * len(nodes)
            if config.trigger and stage == 2:
                sensed, weights = cls.trigger(ends[0][0], ends[1][0], nodes, value["trigger.weight"], relation_memory)
            context = [local + sensed] if config.context == "sum" else [local, sensed]
            vector = torch.cat([*ends[0], *ends[1], *context])
            relation_rows.append([float(vector @ value["relation_weight"] @ slot) for slot in relation_memory])
            trigger_rows.append(weights)
        return entity_rows, relation_rows, trigger_rows

    @classmethod
    def nodes(
        cls,
        model: TriMF,
        value: dict[str, Tensor],
        words: list[Tensor],
        cls_vector: Tensor,
        heads: Tensor,
        labels: Tensor,
    ) -> list[Tensor]:
        """(15)-(21)."""
        kind, fusion = model.config.fusion, model.fusion
        if kind == "none":
            return words
        semantic = syntactic = words
        if kind != "syntactic":
            semantic = cls.semantic(words, value["fusion.semantic.weight"])
        if kind != "semantic":
            graph: Any = fusion.syntactic
            up = None if graph.up is None else cls.label_matrices(graph.up)
            own = value["fusion.syntactic.own"]
            syntactic = cls.syntactic(words, heads.tolist(), labels.tolist(), own, cls.label_matrices(graph.down), up)
        weight = value.get("fusion.weight")
        return [
            (cls.fuse(kind, one, two, cls_vector, weight) + word) / 2
            for one, two, word in zip(semantic, syntactic, words, strict=True)
        ]


@pytest.fixture(scope="session")
def equations() -> type[Equations]:
    return Equations


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
def build_inputs() -> Callable[..., Inputs]:
    """Random padded inputs for sentences of the given numbers of words, all spans and all pairs of some of them."""

    def build(
        lengths: Sequence[int],
        seed: int = 0,
        dependencies: int = 3,
        max_width: int = 3,
        words: int | None = None,
        noise: int = 0,
    ) -> Inputs:
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
        return Inputs(
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


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders with a random encoder and its tokenizer, by family."""
    root = tmp_path_factory.mktemp("encoders")
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
    return {family: str(root / family) for family in ("bert", "mpnet", "roberta")}


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
        data.write_bytes(b"".join(encode(sentence) for sentence in sentences))
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
    from trimf_train import checkpoint

    def build(family: str = "bert", seed: int = 3, **changes: Any) -> Any:
        torch.manual_seed(seed)
        encoder = {"name": encoders[family], **changes.pop("encoder", {})}
        config = msgspec.convert({"encoder": encoder, "span": {"max_width": 3}, **changes}, ModelConfig)
        built = checkpoint.create(names, config, DecodeConfig(), ParserNote(name="none", version=""), {})
        with torch.no_grad():
            built.model.memory.entity.normal_()
            built.model.memory.relation.normal_()
        return built

    return build
