"""What a training sentence and a batch ask the model to classify."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.errors import DataError
from trimf.runtime.text import batch_arrays as features
from trimf.runtime.text.subwords import Subwords
from trimf_train.config import Config, DataConfig, TrainConfig
from trimf_train.data.label_collection import collect_labels
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.training.dataset import TrainingExamples, plan_global_batches
from trimf_train.training.sampling import Example, SoftTargets, build_example, build_parse_only_example, collate_batch

#: The number of words, entities and relations.
Data = tuple[int, list[tuple[str, int, int]], list[tuple[str, int, int]]]

LABELS = Labels(("Loc", "Peop"), ("Kill", "Know", "Live"), (), ("Know",))


def item(words: int) -> features.EncodedSentence:
    """One subword a word between two special tokens."""
    places = np.arange(1, words + 1)
    subwords = Subwords(np.arange(words + 2), places, places, ())
    return features.EncodedSentence(subwords, np.arange(words), np.zeros(words, np.int64))


def build(
    words: int, entities: list[tuple[str, int, int]], relations: list[tuple[str, int, int]], max_width: int = 3
) -> Example:
    sentence = Sentence(
        ["w"] * words, [EntityMention(*entity) for entity in entities], [RelationMention(*one) for one in relations]
    )
    return build_example(sentence, item(words), LABELS, max_width)


def seeded(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


@st.composite
def annotated(draw: st.DrawFn) -> Data:
    words = draw(st.integers(1, 6))
    places = st.integers(0, words - 1).flatmap(lambda a: st.tuples(st.just(a), st.integers(a + 1, words)))
    typed = st.tuples(st.sampled_from(LABELS.entity_types), places).map(lambda pair: (pair[0], *pair[1]))
    entities = draw(st.lists(typed, max_size=4, unique=True))
    ends = st.integers(0, max(0, len(entities) - 1))
    relations = draw(st.lists(st.tuples(st.sampled_from(LABELS.relation_types), ends, ends), max_size=5))
    return words, entities, [relation for relation in relations if relation[1] != relation[2]] if entities else []


@settings(max_examples=60, deadline=None)
@given(annotated(), st.integers(1, 6), st.integers(0, 12), st.integers(0, 6), st.integers(0, 1000))
def test_a_sentence_of_any_annotation(
    data: Data, max_width: int, negative_spans: int, negative_pairs: int, seed: int
) -> None:
    words, entities, relations = data
    one = build(words, entities, relations, max_width)
    gold = {(start, end - 1) for _, start, end in entities}
    short = [entity for entity in entities if entity[2] - entity[1] <= max_width]
    assert one.spans.tolist() == [[start, end - 1] for _, start, end in short]
    assert one.types.tolist() == [{"Loc": 1, "Peop": 2}[kind] for kind, _, _ in short]
    every = {(a, b) for a in range(words) for b in range(a, words) if b - a < max_width}
    assert {tuple(span) for span in one.negatives.tolist()} == every - gold
    assert len(one.negatives) == len(every - gold)

    inputs, targets = collate_batch([one], seeded(seed), negative_spans, negative_pairs)
    spans = [tuple(span) for span in inputs.spans[:, 1:].tolist()]
    assert inputs.spans[:, 0].eq(0).all()
    negative = spans[len(short) :]
    assert len(negative) == min(negative_spans, len(every - gold))
    assert len(set(negative)) == len(negative)
    assert not set(negative) & gold
    assert targets.types.tolist() == [*one.types.tolist(), *[0] * len(negative)]

    wanted: dict[tuple[int, int], set[str]] = {}
    for kind, head, tail in relations:
        wanted.setdefault((head, tail), set()).add(kind)
        if kind == "Know":
            wanted.setdefault((tail, head), set()).add(kind)
    assert inputs.entities.tolist() == [[0, start, end - 1] for _, start, end in entities]
    found = [tuple(pair) for pair in inputs.pairs.tolist()]
    assert len(set(found)) == len(found)
    assert all(head != tail for head, tail in found)
    count = len(entities)
    assert len(found) == len(wanted) + min(negative_pairs, count * (count - 1) - len(wanted))
    assert set(wanted) <= set(found)
    for pair, row in zip(found, targets.relations.tolist(), strict=True):
        assert {LABELS.relation_types[k] for k, hot in enumerate(row) if hot == 1} == wanted.get(pair, set())
        assert set(row) <= {0.0, 1.0}


@settings(max_examples=60, deadline=None)
@given(annotated(), st.integers(1, 4), st.integers(0, 12), st.integers(0, 9), st.integers(0, 1000))
def test_what_is_mined_comes_first_and_forms_pairs(
    data: Data, max_width: int, negative_spans: int, negative_pairs: int, seed: int
) -> None:
    one = build(*data, max_width)
    generator = np.random.default_rng(seed)
    mined = np.flatnonzero(generator.random(len(one.negatives)) < 0.4)
    inputs, targets = collate_batch([one._replace(hard_negatives=mined)], seeded(seed), negative_spans, negative_pairs)

    gold, short = len(one.entities), len(one.spans)
    wrong = {tuple(span) for span in one.negatives[mined].tolist()}
    negative = [tuple(span) for span in inputs.spans[short:, 1:].tolist()]
    assert len(set(negative)) == len(negative) == min(negative_spans, len(one.negatives))
    taken = min(len(wrong), negative_spans)
    assert set(negative[:taken]) <= wrong
    assert not set(negative[taken:]) & wrong
    assert targets.types[short:].eq(0).all()

    ends = [tuple(span) for span in inputs.entities[:, 1:].tolist()]
    assert ends == [*map(tuple, one.entities.tolist()), *negative[:taken]]
    pairs = [tuple(pair) for pair in inputs.pairs.tolist()]
    count = len(ends)
    related = int(one.relation_targets.any(1).sum())
    assert len(set(pairs)) == len(pairs) == related + min(negative_pairs, count * (count - 1) - related)
    truth = {tuple(pair): row for pair, row in zip(one.pairs.tolist(), one.relation_targets.tolist(), strict=True)}
    for pair, row in zip(pairs, targets.relations.tolist(), strict=True):
        assert row == truth.get(pair, [0.0] * len(LABELS.relation_types))
        assert pair in truth or max(pair) >= gold


@settings(max_examples=40, deadline=None)
@given(annotated(), annotated(), st.booleans(), st.integers(0, 1000))
def test_what_teachers_say_is_that_of_the_spans_and_pairs_drawn(
    first: Data,
    second: Data,
    mines: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    taught = build(*first)
    said = SoftTargets(
        torch.rand(taught.item.word_count, 3, 1 + len(LABELS.entity_types), generator=generator),
        torch.rand(taught.relation_targets.shape, generator=generator),
    )
    taught = taught._replace(soft_targets=said)
    if mines:
        taught = taught._replace(hard_negatives=np.arange(len(taught.negatives))[::2])
    examples = [taught, build(*second), build_parse_only_example(item(2), len(LABELS.relation_types))]
    inputs, targets = collate_batch(examples, seeded(seed, seed, seed), 4, 5)
    for (row, start, end), kind, found in zip(
        inputs.spans.tolist(), targets.types.tolist(), targets.soft_types.tolist(), strict=True
    ):
        expected = said.types[start, end - start].tolist() if row == 0 else [float(kind == k) for k in range(3)]
        assert found == expected
    assert targets.soft_types.shape == (len(targets.types), 3)
    gold = {tuple(pair): place for place, pair in enumerate(taught.pairs.tolist())}
    for pair, truth, found in zip(
        inputs.pairs.tolist(), targets.relations.tolist(), targets.soft_relations.tolist(), strict=True
    ):
        row = inputs.entities[pair[0], 0]
        assert found == (said.relations[gold[tuple(pair)]].tolist() if row == 0 and tuple(pair) in gold else truth)
    assert targets.soft_relations.shape == targets.relations.shape


def test_without_teachers_there_is_nothing_soft() -> None:
    _, targets = collate_batch([build(4, [("Peop", 0, 1), ("Peop", 2, 3)], [])], seeded(0), 5, 5)
    assert targets.soft_types.shape == (len(targets.types), 0)
    assert targets.soft_relations.shape == (len(targets.relations), 0)


def test_two_relations_on_one_pair_are_one_sample() -> None:
    one = build(4, [("Peop", 0, 1), ("Peop", 2, 3)], [("Kill", 0, 1), ("Live", 0, 1)])
    inputs, targets = collate_batch([one], seeded(0), 0, 100)
    assert inputs.pairs.tolist() == [[0, 1], [1, 0]]
    assert targets.relations.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_a_symmetric_relation_holds_in_both_directions() -> None:
    one = build(4, [("Peop", 0, 1), ("Peop", 2, 3)], [("Know", 1, 0), ("Kill", 1, 0)])
    inputs, targets = collate_batch([one], seeded(0), 0, 0)
    assert inputs.pairs.tolist() == [[0, 1], [1, 0]]
    assert targets.relations.tolist() == [[0, 1, 0], [1, 1, 0]]


def test_a_long_entity_is_no_span_but_an_end_of_pairs() -> None:
    one = build(6, [("Peop", 0, 4), ("Loc", 5, 6)], [("Live", 0, 1)])
    inputs, targets = collate_batch([one], seeded(0), 100, 100)
    assert [0, 0, 3] not in inputs.spans.tolist()
    assert targets.types.tolist().count(1) == 1
    assert targets.types.tolist().count(2) == 0
    assert inputs.entities.tolist() == [[0, 0, 3], [0, 5, 5]]
    assert inputs.pairs.tolist() == [[0, 1], [1, 0]]
    assert targets.relations.tolist() == [[0, 0, 1], [0, 0, 0]]


def test_a_batch_numbers_its_sentences_and_entities() -> None:
    batch = [
        build(2, [("Peop", 0, 1), ("Loc", 1, 2)], [("Live", 0, 1)]),
        build(1, [], []),
        build(3, [("Loc", 2, 3), ("Peop", 0, 1)], [("Live", 1, 0)]),
    ]
    inputs, targets = collate_batch(batch, seeded(0, 1, 2), 0, 0)
    assert inputs.spans.tolist() == [[0, 0, 0], [0, 1, 1], [2, 2, 2], [2, 0, 0]]
    assert targets.types.tolist() == [2, 1, 1, 2]
    assert inputs.entities.tolist() == [[0, 0, 0], [0, 1, 1], [2, 2, 2], [2, 0, 0]]
    assert inputs.pairs.tolist() == [[0, 1], [3, 2]]
    assert targets.relations.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert inputs.word_mask.sum(1).tolist() == [2, 1, 3]


def test_a_sentence_without_entities() -> None:
    inputs, targets = collate_batch([build(3, [], [])], seeded(0), 4, 100)
    assert inputs.spans.shape == (4, 3)
    assert inputs.entities.shape == (0, 3)
    assert inputs.pairs.shape == (0, 2)
    assert targets.types.tolist() == [0] * 4
    assert targets.relations.shape == (0, 3)


def test_the_generator_alone_decides_what_is_drawn() -> None:
    entities = [("Peop", place, place + 1) for place in range(6)]
    one, other = build(9, entities, [("Live", 0, 1)]), build(4, [("Loc", 0, 1)], [])
    first, again = (collate_batch([one], seeded(7), 5, 5) for _ in range(2))
    assert all(a.equal(b) for a, b in zip((*first[0], *first[1]), (*again[0], *again[1]), strict=True))
    different, _ = collate_batch([one], seeded(8), 5, 5)
    assert not different.spans.equal(first[0].spans)
    assert not different.pairs.equal(first[0].pairs)
    beside, _ = collate_batch([other, one], seeded(3, 7), 5, 5)
    assert beside.spans[beside.spans[:, 0] == 1, 1:].equal(first[0].spans[:, 1:])
    assert (beside.pairs - 1).equal(first[0].pairs)


def test_every_negative_is_drawn_as_often() -> None:
    one = build(5, [("Loc", 0, 1)], [], max_width=2)
    seen: dict[tuple[int, ...], int] = {}
    for seed in range(400):
        inputs, _ = collate_batch([one], seeded(seed), 2, 0)
        for span in inputs.spans[1:].tolist():
            seen[tuple(span)] = seen.get(tuple(span), 0) + 1
    assert len(seen) == len(one.negatives) == 8
    assert all(count == pytest.approx(100, abs=40) for count in seen.values())


def sentence(**changes: object) -> Sentence:
    values: dict[str, object] = {
        "tokens": ["a", "b", "c"],
        "entities": [EntityMention("Peop", 0, 1), EntityMention("Loc", 2, 3)],
        "relations": [RelationMention("Live", 0, 1)],
        "heads": [1, 1, 1],
        "labels": ["nsubj", "ROOT", "dobj"],
        "id": "one",
        **changes,
    }
    return Sentence(**values)  # type: ignore[arg-type]


def test_labels_are_sorted_and_a_root_is_no_label() -> None:
    assert collect_labels([sentence()]) == Labels(("Loc", "Peop"), ("Live",), ("dobj", "nsubj"))
    assert collect_labels([sentence()], ["Live"]).symmetric == ("Live",)
    assert collect_labels([sentence()], constrain=True).allowed_triples == (("Peop", "Live", "Loc"),)


@pytest.mark.parametrize(
    ("changes", "symmetric", "message"),
    [
        ({"heads": None}, [], "'one' has no dependency parse"),
        ({"labels": None}, [], "'one' has no dependency parse"),
        ({}, ["Hate"], "Hate"),
    ],
)
def test_labels_that_cannot_be_used(changes: dict[str, object], symmetric: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        collect_labels([sentence(**changes)], symmetric)


def test_an_unannotated_sentence_asks_for_nothing() -> None:
    bare = build_parse_only_example(item(4), len(LABELS.relation_types))
    inputs, targets = collate_batch([bare, build(3, [("Loc", 0, 1)], [])], seeded(0, 1), 2, 2)
    assert (inputs.spans[:, 0] == 1).all()
    assert inputs.word_mask.sum(1).tolist() == [4, 3]
    assert len(targets.types) == 3
    alone, none = collate_batch([bare], seeded(0), 2, 2)
    assert len(alone.spans) == len(alone.entities) == len(alone.pairs) == len(none.types) == 0
    assert none.relations.shape == (0, len(LABELS.relation_types))


@given(
    annotated=st.integers(1, 30),
    extra=st.integers(0, 40),
    share=st.sampled_from([0, 0.25, 1, 9]),
    epoch=st.integers(0, 5),
)
def test_an_epoch_has_all_annotated_sentences_and_a_share_of_the_others(
    annotated: int, extra: int, share: float, epoch: int
) -> None:
    config = Config(data=DataConfig(train=["x"]), output="x", train=TrainConfig(extra_share=share))
    mixture = TrainingExamples(
        [build_parse_only_example(item(1 + place % 5), 3) for place in range(annotated + extra)], annotated
    )
    for stage in (0, 1, 2):
        places = sorted(place for batch in plan_global_batches(mixture, config, 1, stage, epoch) for place in batch)
        wanted = extra if stage == 0 else min(extra, round(share * annotated))
        assert places[:annotated] == list(range(annotated))
        assert len(set(places)) == len(places) == annotated + wanted
    assert mixture.select_indices(config, 1, epoch) == mixture.select_indices(config, 1, epoch)
