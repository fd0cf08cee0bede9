"""Effects of leaving words out are those of the model run anew on every shorter sentence, one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trimf.runtime.decoding.span_decoding import logit
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf_train.data.sentence import Sentence
from trimf_train.experiments.triggers.deletion_curves import EXACT, RANDOM, measure_falls
from trimf_train.experiments.triggers.effects import measure_effects
from trimf_train.experiments.triggers.found_relations import FoundSentence, find_relations
from trimf_train.experiments.triggers.leaving_out import ReducedScores
from trimf_train.experiments.triggers.word_weights import (
    ATTENTION,
    CONTRIBUTION,
    FLOW,
    GRADIENT,
    weigh_words,
)


def score_slowly(pipeline: Pipeline, found: FoundSentence, row: int, left_out: list[int]) -> float:
    """Probability of a relation without some words: its two entities are given, and the sentence is alone."""
    keep = [index for index in range(len(found.sentence.words)) if index not in left_out]
    place = {old: new for new, old in enumerate(keep)}

    def ancestor(index: int) -> int:
        head = found.sentence.heads[index]
        while head in left_out and found.sentence.heads[head] != head:
            head = found.sentence.heads[head]
        return index if head in left_out else head

    shorter = ParsedSentence(
        [found.sentence.words[index] for index in keep],
        [place[ancestor(index)] for index in keep],
        [found.sentence.labels[index] for index in keep],
    )
    ends = [one._replace(start=place[one.start], end=place[one.end - 1] + 1) for one in found.pairs[row]]
    relation = found.relations[row]
    before = pipeline.settings
    pipeline.settings = before._replace(thresholds_by_type=(1e-9,) * before.relation_count)
    try:
        (result,) = pipeline.run([shorter], entities=[ends])
    finally:
        pipeline.settings = before
    first = [index for index, one in enumerate(result.decoded.entities) if one[:2] == ends[0][:2]]
    symmetric = relation.type_index in before.symmetric_relations
    return max(
        one.score
        for one in result.decoded.relations
        if one.type_index == relation.type_index and (one.head in first or symmetric)
    )


@pytest.fixture
def found(tiny_pipeline: Pipeline, longer_sentences: list[Sentence]) -> list[FoundSentence]:
    sentences = find_relations(tiny_pipeline, longer_sentences).sentences
    assert sum(len(one.relations) for one in sentences) >= 6
    assert max(len(one.relations) for one in sentences) > 1
    assert max(len(one.candidates) for one in sentences) > 2
    return sentences


def test_effects_are_those_of_running_the_model_again(tiny_pipeline: Pipeline, found: list[FoundSentence]) -> None:
    effects = measure_effects(found, ReducedScores(tiny_pipeline, found, batch_size=5), {})
    assert len(effects) == sum(len(one.relations) for one in found)
    for effect in effects:
        sentence = found[effect.sentence]
        whole = score_slowly(tiny_pipeline, sentence, effect.row, [])
        assert whole == pytest.approx(sentence.relations[effect.row].score, abs=1e-5)
        assert effect.logit == pytest.approx(logit(whole), abs=1e-4)
        assert effect.candidates.tolist() == sentence.candidates.tolist()
        for place, word in enumerate(effect.candidates.tolist()):
            without = score_slowly(tiny_pipeline, sentence, effect.row, [word])
            assert effect.points[place] == pytest.approx(whole - without, abs=1e-5)
            assert effect.logits[place] == pytest.approx(logit(whole) - logit(without), abs=1e-4)


def test_curves_are_those_of_running_the_model_again(tiny_pipeline: Pipeline, found: list[FoundSentence]) -> None:
    found = found[:3]
    scores = ReducedScores(tiny_pipeline, found)
    weights = weigh_words(tiny_pipeline, found, "none here").weights
    effects = measure_effects(found, scores, weights)
    falls = measure_falls(scores, effects, list(weights), 3, seed=0)
    assert list(falls) == [*weights, EXACT, RANDOM]
    for column, effect in enumerate(effects):
        sentence, words = found[effect.sentence], effect.candidates.tolist()
        whole = score_slowly(tiny_pipeline, sentence, effect.row, [])
        orders = {name: effect.weights[name] for name in weights} | {EXACT: effect.logits}
        for name, values in orders.items():
            order = [word for _, word in sorted(zip((-values).tolist(), words, strict=True))]
            slow = [whole - score_slowly(tiny_pipeline, sentence, effect.row, order[:k]) for k in (1, 2, 3)]
            assert falls[name][:, column] == pytest.approx(slow, abs=1e-5)
        assert falls[RANDOM][0, column] == pytest.approx(np.mean(effect.points))
        if len(words) <= 2:  # all words are gone, in any order
            assert falls[RANDOM][1, column] == pytest.approx(falls[EXACT][1, column])


def test_every_set_of_words_is_scored_once(
    tiny_pipeline: Pipeline, found: list[FoundSentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = ReducedScores(tiny_pipeline, found)
    measure_effects(found, scores, {})
    runs = []
    monkeypatch.setattr(tiny_pipeline, "encode_sentences", lambda *_: runs.append(1))
    effects = measure_effects(found, scores, {})
    measure_falls(scores, effects, [], 1, seed=0)
    assert runs == []


def test_weights_of_all_methods(tiny_checkpoint: Any, tiny_pipeline: Pipeline, found: list[FoundSentence]) -> None:
    from trimf_train.experiments.triggers.gradients import weigh_by_gradient

    one_by_one = [weigh_words(tiny_pipeline, [one], "left out") for one in found]
    together = weigh_words(
        tiny_pipeline, found, lambda one: weigh_by_gradient(tiny_checkpoint, tiny_pipeline, one), batch_size=4
    )
    assert list(together.weights) == [CONTRIBUTION, ATTENTION, FLOW, GRADIENT]
    assert together.left_out == {}
    for index, sentence in enumerate(found):
        assert one_by_one[index].left_out == {GRADIENT: "left out"}
        for name, rows in together.weights.items():
            assert rows[index].shape == (len(sentence.relations), len(sentence.sentence.words))
            if name != GRADIENT:
                assert rows[index] == pytest.approx(one_by_one[index].weights[name][0], abs=1e-5)
        for row, relation in enumerate(sentence.relations):
            assert together.weights[CONTRIBUTION][index][row] == pytest.approx(relation.trigger_weights)
        assert together.weights[ATTENTION][index].sum(1) == pytest.approx(1, abs=1e-5)
        assert together.weights[FLOW][index].sum(1) == pytest.approx(1, abs=1e-5)
        assert (together.weights[GRADIENT][index] >= 0).all()


def test_a_model_without_a_sensor_has_no_weights_of_it(create: Any, sentences: list[Sentence]) -> None:
    from trimf_train.model import torch_backend

    without = create(trigger=False, flow={"word": {"relation": False}})
    pipeline = torch_backend.build_pipeline(without)
    pipeline.settings = pipeline.settings._replace(thresholds_by_type=(1e-9,) * pipeline.settings.relation_count)
    found = find_relations(pipeline, sentences).sentences
    assert found
    weighed = weigh_words(pipeline, found, "not asked for")
    assert weighed.weights == {}
    assert list(weighed.left_out) == [CONTRIBUTION, ATTENTION, FLOW, GRADIENT]


def test_a_sentence_of_several_windows_is_counted(tiny_pipeline: Pipeline, sentences: list[Sentence]) -> None:
    long = Sentence(sentences[0].tokens * 200, [], [], None, None, "long")
    heads, labels = [0] * len(long.tokens), ["ROOT"] * len(long.tokens)
    long = Sentence(long.tokens, [], [], heads, labels, "long")
    found = find_relations(tiny_pipeline, [long, *sentences])
    assert found.split == 1
    assert all(len(one.sentence.words) < 10 for one in found.sentences)
    assert find_relations(tiny_pipeline, []) == ([], 0)
