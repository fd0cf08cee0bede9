"""Label sets of any kind: none of relations, one of everything, hundreds, and data of one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.training_runs import epochs

from trimf.runtime.errors import ConfigError, DataError
from trimf_train.config import Config
from trimf_train.data.jsonl import encode_line
from trimf_train.data.label_collection import collect_labels
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.evaluation.evaluate import evaluate_file
from trimf_train.model.checkpoint import load_checkpoint
from trimf_train.training.train import train_model

SHORT = {"stage1": {"epochs": 1}, "stage2": {"epochs": 1}}


@pytest.fixture
def train(configure: Callable[..., Config], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Train for two epochs on some sentences, and evaluate the checkpoint on them."""

    def run(data: list[Sentence], output: str = "run", **tables: Any) -> dict[str, Any]:
        options = {"data": {"symmetric": []}, "train": SHORT, **tables}
        config = configure(output, **options)
        (tmp_path / "train.jsonl").write_bytes(b"".join(map(encode_line, data)))
        train_model(config)
        assert all(record["entity_loss"] >= 0 for record in epochs(config) if record["stage"])
        return dict(evaluate_file(tmp_path / output / "best", tmp_path / "train.jsonl"))

    return run


def bare(sentences: list[Sentence]) -> list[Sentence]:
    return [msgspec.structs.replace(sentence, relations=[]) for sentence in sentences]


def parsed(tokens: list[str], entities: list[EntityMention], relations: list[RelationMention]) -> Sentence:
    count = len(tokens)
    return Sentence(tokens, entities, relations, [0] * count, ["ROOT", *["dep"] * (count - 1)], "s")


def many(count: int, *, related: bool) -> list[Sentence]:
    """A type of its own for each pair of words."""
    return [
        parsed(
            ["Alice", "knows", "Bob"],
            [EntityMention(f"A{number}", 0, 1), EntityMention(f"B{number}", 2, 3)],
            [RelationMention(f"R{number}", 0, 1)] if related else [],
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("residual", ["none", "add", "mean"])
def test_no_relation_types(train: Callable[..., Any], sentences: list[Sentence], residual: str, tmp_path: Path) -> None:
    scores = train(bare(sentences), model={"flow": {"residual": residual}})
    assert scores["relations"]["strict"]["per_type"] == {}
    model = load_checkpoint(tmp_path / "run" / "best").model
    assert model.trigger is None
    assert "relation" not in {*model.word_flow.weights, *model.subword_flow.weights}
    assert sum(weight.numel() for name, weight in model.named_parameters() if "relation" in name) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"mine": True},
        {"extra_share": 0.5},
        {"stage1": {"epochs": 0}, "stage2": {"epochs": 2}},
        {"syntax_stage": {"epochs": 1}},
    ],
)
def test_no_relation_types_with_every_recipe(
    train: Callable[..., Any], sentences: list[Sentence], settings: dict[str, Any], tmp_path: Path
) -> None:
    extra = tmp_path / "extra.jsonl"
    extra.write_bytes(b"".join(map(encode_line, sentences)))
    tables = {"extra_syntax": [str(extra)]} if "extra_share" in settings else {}
    source = "encoder" if tables or "syntax_stage" in settings else "spacy"
    train(bare(sentences), train={**SHORT, **settings, **tables}, model={"syntax": {"source": source}})


def test_weights_from_a_model_with_other_kinds(
    train: Callable[..., Any], sentences: list[Sentence], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(bare(sentences), "alone")
    train(sentences, "both", train={**SHORT, "init": str(tmp_path / "alone" / "best")})
    assert "except " in (shown := capsys.readouterr().err)
    assert all(name in shown for name in ("memory.relation", "relation_weight", "trigger.weight"))
    train(bare(sentences), "again", train={**SHORT, "init": str(tmp_path / "both" / "best")})
    train(bare(sentences), "student", train={**SHORT, "teachers": [str(tmp_path / "alone" / "best")]})
    with pytest.raises(ConfigError, match="has the relation types none, but the data Know, Live_In"):
        train(sentences, "wrong", train={**SHORT, "teachers": [str(tmp_path / "alone" / "best")]})


def test_one_sentence(train: Callable[..., Any], sentences: list[Sentence]) -> None:
    train(sentences[:1])
    train(bare(sentences[:1]), "bare")


def test_one_type_and_one_example(train: Callable[..., Any], sentences: list[Sentence]) -> None:
    one = [
        msgspec.structs.replace(
            sentence, entities=[msgspec.structs.replace(entity, type="Thing") for entity in sentence.entities]
        )
        for sentence in bare(sentences)
    ]
    train(one)
    rare = RelationMention("Rare", 1, 0)
    train([msgspec.structs.replace(one[0], relations=[rare]), *one[1:]], "rare", decode={"types": "seen"})


@pytest.mark.parametrize("related", [False, True])
def test_hundreds_of_types(train: Callable[..., Any], related: bool) -> None:
    scores = train(many(150, related=related), model={"flow": {"slots": "mean"}})
    assert len(scores["entities"]["per_type"]) == 300


def test_nested_entities_and_sentences_without_any(train: Callable[..., Any]) -> None:
    nested = parsed(
        ["Alice", "knows", "New", "York"],
        [EntityMention("A", 0, 1), EntityMention("B", 2, 4), EntityMention("C", 3, 4), EntityMention("D", 2, 4)],
        [RelationMention("in", 2, 1), RelationMention("knows", 0, 1), RelationMention("same", 1, 3)],
    )
    empty = parsed(["Alice", "knows"], [], [])
    train([nested, *[empty] * 6], decode={"overlap": True})
    train([*[empty] * 6, *bare([nested])], "bare", decode={"overlap": True})


def test_what_still_cannot_be_trained(sentences: list[Sentence]) -> None:
    blank = [msgspec.structs.replace(sentence, entities=[]) for sentence in bare(sentences)]
    with pytest.raises(DataError, match="no training sentence has an entity"):
        collect_labels(blank)
    with pytest.raises(DataError, match="Know; the training data has no relations"):
        collect_labels(bare(sentences), ["Know"])
