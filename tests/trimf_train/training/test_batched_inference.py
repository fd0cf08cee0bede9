"""What teachers say of the training sentences and where a model errs, against its pipeline on one sentence alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.decoding import span_decoding as decode
from trimf.runtime.errors import ConfigError
from trimf.runtime.pipeline import ParsedSentence
from trimf.runtime.text import batch_arrays as features
from trimf_train.data.sentence import EntityMention, Sentence
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.training import dataset as loading
from trimf_train.training import distillation
from trimf_train.training.batched_inference import run_in_batches
from trimf_train.training.hard_negatives import mine_hard_negatives

KINDS = {"fed by a parser": {}, "with its own": {"syntax": {"source": "encoder", "arc_dim": 8, "label_dim": 6}}}


@pytest.fixture(params=KINDS, ids=list(KINDS))
def model(request: pytest.FixtureRequest, create: Callable[..., Any]) -> Checkpoint:
    return create(**KINDS[request.param])


@pytest.fixture(scope="module")
def mixed(sentences: list[Sentence]) -> list[Sentence]:
    """Sentences of several lengths, one of one word, one without entities, one with an entity of many words."""
    bare = msgspec.structs.replace(sentences[0], entities=[], relations=[])
    short = Sentence(["Paris"], [EntityMention("Loc", 0, 1)], [], heads=[0], labels=["ROOT"])
    wide = msgspec.structs.replace(sentences[1], entities=[EntityMention("Loc", 0, 4), EntityMention("Peop", 4, 5)])
    wide = msgspec.structs.replace(wide, relations=[])
    return [*sentences[2:7], bare, short, wide]


def alone(checkpoint: Checkpoint, one: Sentence, pairs: list[tuple[int, int]]) -> tuple[Any, Any]:
    """Probabilities of spans and pairs of one sentence, through the four subgraphs."""
    (item,) = loading.encode_sentences([one], checkpoint)
    assert item is not None
    graphs = inference.build_pipeline(checkpoint).graphs
    arrays: dict[str, Any] = features.pad_batch([item])._asdict()
    for name in ("encoder", "fusion", "entities"):
        arrays.update(graphs[name].run(arrays))
    spans = np.array([(0, entity.start, entity.end - 1) for entity in one.entities], np.int64).reshape(-1, 3)
    types = torch.from_numpy(arrays["entity_logits"][0]).softmax(-1)
    if not pairs:
        return types, np.zeros((0, 2))
    found = graphs["relations"].run({**arrays, "spans": spans, "pairs": np.array(pairs, np.int64)})
    return types, decode.sigmoid(found["relation_logits"])


def inside(types: torch.Tensor) -> torch.Tensor:
    """Those of the spans that do not go past the end of the sentence."""
    words, width = types.shape[:2]
    return types.float()[torch.arange(words)[:, None] + torch.arange(width) < words]


def ordered(one: Sentence) -> list[tuple[int, int]]:
    count = len(one.entities)
    return [(head, tail) for head in range(count) for tail in range(count) if head != tail]


def test_every_sentence_is_read_as_if_it_were_alone(model: Checkpoint, mixed: list[Sentence]) -> None:
    items = loading.encode_sentences(mixed, model)
    seen = []
    for places, arrays in run_in_batches(model.model.train(), 2, items):
        for row, place in enumerate(places):
            words = len(mixed[place].tokens)
            types, _ = alone(model, mixed[place], [])
            found = torch.from_numpy(arrays["entity_logits"][row, :words]).softmax(-1)
            torch.testing.assert_close(inside(found), inside(types), atol=1e-5, rtol=1e-4)
            assert arrays["word_mask"][row].sum() == words
            seen.append(place)
    assert sorted(seen) == list(range(len(mixed)))


def test_one_teacher(model: Checkpoint, mixed: list[Sentence]) -> None:
    found = distillation.compute_soft_targets([model], mixed, 3, torch.device("cpu"))
    for one, soft in zip(mixed, found, strict=True):
        assert soft is not None
        types, relations = alone(model, one, ordered(one))
        torch.testing.assert_close(inside(soft.types), inside(types), atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(soft.relations.float(), torch.as_tensor(relations).float(), atol=1e-3, rtol=1e-3)
        assert not soft.types.requires_grad
        assert not soft.types.is_inference()


def test_several_teachers_of_other_kinds_are_averaged(create: Callable[..., Any], mixed: list[Sentence]) -> None:
    teachers = [
        create(seed=1),
        create("roberta", seed=2, span={"max_width": 4}),
        create(seed=3, **KINDS["with its own"]),
    ]
    found = distillation.compute_soft_targets(teachers, mixed, 3, torch.device("cpu"))
    for one, soft in zip(mixed, found, strict=True):
        said = [alone(teacher, one, ordered(one)) for teacher in teachers]
        types = sum(each[0][:, :3] for each in said) / 3
        relations = sum(torch.as_tensor(each[1]).float() for each in said) / 3
        torch.testing.assert_close(inside(soft.types), inside(types), atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(soft.relations.float(), relations, atol=1e-3, rtol=1e-3)


def test_a_sentence_that_one_teacher_cannot_read(create: Callable[..., Any], mixed: list[Sentence]) -> None:
    longest = max(len(one.tokens) for one in mixed)
    narrow = create(encoder={"max_words": longest - 1})
    found = distillation.compute_soft_targets([create(), narrow], mixed, 3, torch.device("cpu"))
    assert [one is None for one in found] == [len(one.tokens) == longest for one in mixed]
    assert any(one is None for one in found)


@pytest.mark.parametrize(
    ("asked", "width", "message"),
    [
        (Labels(("Loc",), ("Know", "Live_In"), ()), 3, "has the entity types Loc, Peop, but the data Loc$"),
        (Labels(("Loc", "Peop"), ("Kill",), ()), 3, "has the relation types Know, Live_In, but the data Kill$"),
        (Labels(("Loc", "Peop"), ("Know", "Live_In"), ()), 4, "supports only model.span.max_width <= 3, got 4$"),
    ],
)
def test_a_teacher_that_cannot_teach(create: Callable[..., Any], asked: Labels, width: int, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^train.teachers: there {message}"):
        distillation.check_teacher(create(), "there", asked, width)


@pytest.mark.parametrize("overlap", [True, False])
def test_errors_are_what_the_pipeline_finds_and_is_not_gold(
    model: Checkpoint, mixed: list[Sentence], overlap: bool
) -> None:
    decoding = msgspec.structs.replace(model.description.decode, overlap=overlap)
    model = Checkpoint(model.model, msgspec.structs.replace(model.description, decode=decoding), model.tokenizer_json)
    examples = loading.build_training_set(mixed, model).examples
    bare = loading.build_training_set(mixed[:2], model, annotated=False).examples
    found = mine_hard_negatives(model.model, 2, loading.TrainingExamples([*examples, *bare], len(examples)), overlap)
    assert found.annotated == len(examples)
    assert found.examples[len(examples) :] == bare
    wrong = 0
    for one, example in zip(mixed, found.examples[: len(mixed)], strict=True):
        (result,) = inference.build_pipeline(model).run([ParsedSentence(one.tokens, one.heads or [], one.labels or [])])
        gold = {(entity.start, entity.end) for entity in one.entities}
        expected = {(entity.start, entity.end) for entity in result.decoded.entities} - gold
        assert {(first, last + 1) for first, last in example.negatives[example.hard_negatives].tolist()} == expected
        assert len(set(example.hard_negatives.tolist())) == len(example.hard_negatives) == len(expected)
        wrong += len(expected)
    assert wrong
