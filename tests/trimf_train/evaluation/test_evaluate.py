"""Predictions on annotated sentences, and the evaluation of a model on a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.errors import BundleError, DataError
from trimf.runtime.pipeline import ParsedSentence, SentenceResult
from trimf.runtime.text import batch_arrays as features
from trimf.runtime.text.parser import Parse
from trimf_train.config import Config
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.evaluation import prediction
from trimf_train.evaluation.evaluate import evaluate_file, evaluate_pipeline
from trimf_train.evaluation.prediction import add_missing_parses, predict_annotations
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.training.train import train_model


class Recited:
    """A pipeline that finds what it is told to, sentence by sentence."""

    def __init__(self, found: Iterable[DecodedSentence], trees: Iterable[Parse] = ()) -> None:
        self.found, self.trees = list(found), list(trees)
        self.has_parser = bool(self.trees)
        self.seen: list[ParsedSentence] = []

    def run(
        self, sentences: list[ParsedSentence], batch_size: int, *, syntax: str | None, entities: object = None
    ) -> list[SentenceResult]:
        self.seen += sentences
        return [SentenceResult(found, (), 1, 0, self.trees.pop(0) if syntax else None) for found in self.found]


def gold(sentence: Sentence, names: Labels) -> DecodedSentence:
    entities = [EntitySpan(e.start, e.end, names.entity_types.index(e.type), 0.9) for e in sentence.entities]
    relations = [
        RelationSpan(r.head, r.tail, names.relation_types.index(r.type), 0.9, np.zeros(1)) for r in sentence.relations
    ]
    return DecodedSentence(entities, relations)


def f1(scores: Any) -> tuple[float, float, float]:
    return (
        scores["entities"]["micro"]["f1"],
        scores["relations"]["strict"]["micro"]["f1"],
        scores["relations"]["boundary"]["micro"]["f1"],
    )


def test_predictions_are_annotations_in_the_model_s_labels(sentences: list[Sentence], names: Labels) -> None:
    pipeline: Any = Recited(gold(one, names) for one in sentences)
    found = predict_annotations(pipeline, names, sentences)
    assert [one.tokens for one in sentences] == [seen.words for seen in pipeline.seen]
    assert [one.heads for one in sentences] == [seen.heads for seen in pipeline.seen]
    assert [one.labels for one in sentences] == [seen.labels for seen in pipeline.seen]
    assert found[0].entities == [(0, 1, "Peop"), (3, 4, "Loc")]
    assert found[0].relations == [((0, 1, "Peop"), (3, 4, "Loc"), "Live_In")]
    assert f1(evaluate_pipeline(pipeline, names, sentences)) == (100, 100, 100)


def test_a_wrong_entity_type_is_wrong_strictly_and_right_by_boundary(sentences: list[Sentence], names: Labels) -> None:
    found = gold(sentences[0], names)
    other = DecodedSentence([found.entities[0]._replace(type_index=0), found.entities[1]], found.relations)
    assert f1(evaluate_pipeline(Recited([other]), names, sentences[:1])) == (50, 0, 100)  # type: ignore[arg-type]


def test_a_symmetric_relation_counts_in_either_direction(sentences: list[Sentence], names: Labels) -> None:
    for place, score in ((2, 100), (0, 0)):
        found = gold(sentences[place], names)
        turned = DecodedSentence(
            found.entities, [one._replace(head=one.tail, tail=one.head) for one in found.relations]
        )
        assert f1(evaluate_pipeline(Recited([turned]), names, sentences[place : place + 1])) == (100, score, score)  # type: ignore[arg-type]


def test_scores_are_compared_with_how_often_they_are_right(sentences: list[Sentence], names: Labels) -> None:
    """Of two sentences, one of whose entities has another type, so that its relation is wrong, too."""
    found = [gold(one, names) for one in sentences[2:4]]
    first = found[0].entities
    found[0] = DecodedSentence([first[0]._replace(type_index=0, score=0.6), first[1]], found[0].relations)
    scores = evaluate_pipeline(Recited(found), names, sentences[2:4], calibration=True)["calibration"]  # type: ignore[arg-type]
    assert scores["entities"] == pytest.approx(
        {"found": 4, "score": 3.3 / 4, "right": 3 / 4, "error": (3 * 0.1 + 0.6) / 4}
    )
    assert scores["relations"] == pytest.approx({"found": 2, "score": 0.9, "right": 0.5, "error": 0.4})
    assert "calibration" not in evaluate_pipeline(Recited(found), names, sentences[2:4])  # type: ignore[arg-type]


def literal(checkpoint: Checkpoint, sentence: Sentence) -> tuple[set[Any], set[Any]]:
    """What the checkpoint's model says of one sentence: every span and every ordered pair, straight from the logits."""
    model, names = checkpoint.model, checkpoint.description.labels
    pipeline = inference.build_pipeline(checkpoint)
    (subwords,) = pipeline.tokenizer.encode([sentence.tokens])
    known = pipeline.settings.dependency_label_to_id
    item = features.EncodedSentence(subwords, *features.encode_arcs(sentence.heads or [], sentence.labels or [], known))
    arrays = [torch.from_numpy(array) for array in features.pad_batch([item])]
    with torch.no_grad():
        words, cls = model.pool_to_words(model.encode_subwords(*arrays[:2])[0], *arrays[1:3], 2)
        nodes = model.fuse_graphs(words, cls, *arrays[3:])
        grid = model.entity_logits(nodes)[0]
        entities = []
        for first in range(len(sentence.tokens)):
            for width in range(grid.shape[1]):
                best = int(grid[first, width].argmax())
                if best and first + width < len(sentence.tokens):
                    entities.append((first, first + width + 1, names.entity_types[best - 1]))
        relations = set()
        for head in entities:
            for tail in entities:
                if head == tail:
                    continue
                spans = torch.tensor([[0, head[0], head[1] - 1], [0, tail[0], tail[1] - 1]])
                logits, _ = model.relation_logits(nodes, arrays[3], spans, torch.tensor([[0, 1]]))
                for label in (torch.sigmoid(logits[0]) > 0.4).nonzero()[:, 0].tolist():
                    ends = (tail, head) if names.relation_types[label] == "Know" and head > tail else (head, tail)
                    relations.add((*ends, names.relation_types[label]))
    return set(entities), relations


def test_predictions_follow_from_the_logits(create: Callable[..., Checkpoint], sentences: list[Sentence]) -> None:
    one = create()
    one.model.eval()
    found = predict_annotations(inference.build_pipeline(one), one.description.labels, sentences, batch_size=5)
    assert sum(len(annotation.relations) for annotation in found) > 0
    for sentence, annotation in zip(sentences, found, strict=True):
        entities, relations = literal(one, sentence)
        assert set(annotation.entities) == entities
        assert set(annotation.relations) == relations


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_predictions_do_not_depend_on_the_batch(
    create: Callable[..., Checkpoint], sentences: list[Sentence], batch_size: int
) -> None:
    one = create(seed=4)
    names = one.description.labels
    alone = [predict_annotations(inference.build_pipeline(one), names, [sentence])[0] for sentence in sentences]
    together = predict_annotations(inference.build_pipeline(one), names, sentences, batch_size)
    assert [(set(a.entities), set(a.relations)) for a in together] == [
        (set(a.entities), set(a.relations)) for a in alone
    ]


def test_a_stage_one_model_is_evaluated_without_flows(
    create: Callable[..., Checkpoint], sentences: list[Sentence]
) -> None:
    one = create()
    parsed_sentences = [ParsedSentence(s.tokens, s.heads or [], s.labels or []) for s in sentences]

    def scores(stage: int | None) -> list[float]:
        results = inference.build_pipeline(one, stage).run(parsed_sentences)
        return [entity.score for result in results for entity in result.decoded.entities]

    first, second = scores(1), scores(2)
    assert first != second
    assert scores(None) == second
    one.description = msgspec.structs.replace(one.description, stage=1)
    assert scores(None) == first


@pytest.fixture(scope="module")
def trained(configure_in: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Any]:
    config = configure_in(
        tmp_path_factory.mktemp("trained"),
        train={"head_lr": 1e-2, "negative_spans": 100, "stage1": {"epochs": 6}, "stage2": {"epochs": 6}},
        model={"dropout": 0.1},
    )
    return config, train_model(config)


def test_a_checkpoint_evaluates_as_it_did_in_training(trained: tuple[Config, Any]) -> None:
    config, best = trained
    found = evaluate_file(Path(config.output) / "best", config.data.dev or "")
    assert found == best["dev"]
    assert found["entities"]["micro"]["f1"] > 0


def test_what_was_not_parsed_is_parsed_first(
    trained: tuple[Config, Any], sentences: list[Sentence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, best = trained
    path = tmp_path / "bare.jsonl"
    mixed = [
        msgspec.structs.replace(one, heads=None, labels=None) if number % 2 else one
        for number, one in enumerate(sentences)
    ]
    path.write_bytes(b"".join(encode_line(one) for one in mixed))
    parses = {tuple(one.tokens): Parse(one.heads or [], one.labels or []) for one in sentences}
    asked = []

    class Parser:
        def parse(self, texts: Iterable[list[str]]) -> Iterable[Any]:
            return (parses[tuple(tokens)] for tokens in texts)

    monkeypatch.setattr(prediction, "load_parser", lambda name: (asked.append(name), Parser())[1])
    assert evaluate_file(Path(config.output) / "best", path) == best["dev"]
    assert asked == ["by-hand"]
    assert add_missing_parses(mixed, "by-hand") == sentences
    asked.clear()
    assert add_missing_parses(sentences, "by-hand") == sentences
    assert not asked


def test_long_sentences_are_evaluated_in_windows(create: Callable[..., Checkpoint]) -> None:
    one = create(encoder={"max_subwords": 12})
    words = ["Alice", "lives", "in", "Paris", "."] * 9
    sentence = Sentence(
        words,
        [EntityMention("Peop", 0, 1), EntityMention("Loc", 43, 44)],
        [RelationMention("Live_In", 0, 1)],
        [0] * len(words),
        ["dep"] * len(words),
    )
    scores = evaluate_pipeline(inference.build_pipeline(one), one.description.labels, [sentence])
    assert scores["sentences"] == 1
    assert scores["entities"]["micro"]["support"] == 2


def test_models_and_data_that_cannot_be_used(trained: tuple[Config, Any], tmp_path: Path) -> None:
    config, _ = trained
    best, data = Path(config.output) / "best", config.data.dev or ""
    with pytest.raises(BundleError, match="neither a checkpoint"):
        evaluate_file(tmp_path, data)
    with pytest.raises(BundleError, match="neither a checkpoint"):
        evaluate_file(tmp_path / "nothing", data)
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        evaluate_file(best, tmp_path / "nothing.jsonl")
    damaged = checkpoints.load_checkpoint(best)
    damaged.save(tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").unlink()
    with pytest.raises(BundleError, match="not a complete TriMF checkpoint"):
        evaluate_file(tmp_path / "damaged", data)


def test_own_arcs_are_compared_with_prepared_ones(sentences: list[Sentence], names: Labels) -> None:
    """ "Alice lives in Paris ." has five words, one of them punctuation."""
    one, bare = sentences[0], msgspec.structs.replace(sentences[1], heads=None, labels=None)
    assert one.labels == ["nsubj", "ROOT", "prep", "pobj", "punct"]
    wrong = Parse([1, 1, 1, 1, 0], ["dobj", "ROOT", "prep", "pobj", "punct"])
    pipeline: Any = Recited([gold(one, names), gold(bare, names)], [wrong, Parse([0] * 5, [""] * 5)])
    scores = evaluate_pipeline(pipeline, names, [one, bare])
    assert scores["syntax"] == {"uas": 75.0, "las": 50.0, "words": 4}
    assert "syntax" not in evaluate_pipeline(Recited([gold(bare, names)], [wrong]), names, [bare])  # type: ignore[arg-type]
    assert "syntax" not in evaluate_pipeline(Recited([gold(one, names)]), names, [one])  # type: ignore[arg-type]


def test_a_checkpoint_that_parses_needs_no_parser(
    configure: Callable[..., Config], sentences: list[Sentence], tmp_path: Path
) -> None:
    config = configure(
        model={"syntax": {"source": "encoder"}}, train={"stage1": {"epochs": 1}, "stage2": {"epochs": 1}}
    )
    train_model(config)
    data = tmp_path / "bare.jsonl"
    data.write_bytes(b"".join(encode_line(msgspec.structs.replace(one, heads=None, labels=None)) for one in sentences))
    scores = evaluate_file(Path(config.output) / "best", data)
    assert scores["sentences"] == 12
    assert "syntax" not in scores
    assert evaluate_file(Path(config.output) / "best", config.data.train[0])["syntax"]["words"] > 0


@pytest.mark.parametrize(
    ("renamed", "words"),
    [
        (
            {"Peop": "peop", "Loc": "City"},
            "have no entity type in common, so every score is 0: the data have City, peop",
        ),
        ({"Loc": "City"}, "1 entity type is not one of the model, so such entities count as missed: City"),
        ({}, None),
    ],
)
def test_labels_that_the_model_does_not_have_are_said(
    renamed: dict[str, str], words: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people = [{"type": renamed.get("Peop", "Peop"), "start": 0, "end": 2}]
    places = [{"type": renamed.get("Loc", "Loc"), "start": 5, "end": 6}]
    data = tmp_path / "data.json"
    tokens = ["Marie", "Curie", "was", "born", "in", "Warsaw", "."]
    data.write_text(json.dumps([{"tokens": tokens, "entities": people + places, "relations": []}]))
    evaluate_file("default", data)
    said = [record.getMessage() for record in caplog.records if str(data) in record.getMessage()]
    assert (words is None and not said) or (words and words in said[0]), said
