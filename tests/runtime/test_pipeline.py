"""The pipeline over made-up subgraphs in numpy: the batch, the order and the blocks change nothing."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.decoding import pair_blocks as pairs_module
from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, greedy_non_overlapping
from trimf.runtime.errors import BackendError, InputError
from trimf.runtime.model_settings import ModelSettings
from trimf.runtime.pipeline import ParsedSentence, Pipeline, SentenceResult, SubgraphCall

from .numpy_model import (
    ENTITY,
    HEAD,
    SETTINGS,
    SPAN,
    TABLE,
    TAIL,
    WORDS,
    Encoder,
    Fusion,
    Relations,
    make_pipeline,
    pair_logits,
    sentence,
    some_sentences,
)


@pytest.fixture
def pipeline(word_pieces: Tokenizer) -> Pipeline:
    """Windows long enough for every sentence of these tests."""
    return make_pipeline(word_pieces, max_subwords=9999, max_words=9999)


def truth(pipeline: Pipeline, parsed: ParsedSentence) -> DecodedSentence:
    """One sentence by definition: no batch, no padding, no blocks, no windows."""
    words, heads, labels = parsed
    if not words:
        return DecodedSentence([], [])
    (subwords,) = pipeline.tokenizer.encode([words])
    states = np.array(
        [
            TABLE[subwords.ids[i : j + 1]].max(0)
            for i, j in zip(subwords.first_positions, subwords.last_positions, strict=True)
        ]
    )
    numbers = [
        0 if head == word else SETTINGS.dependency_label_to_id.get(label, 0)
        for word, (head, label) in enumerate(zip(heads, labels, strict=True))
    ]
    nodes = states + states[list(heads)] * np.array(numbers)[:, None]
    fusion = pipeline.graphs["fusion"]
    assert isinstance(fusion, Fusion)
    if fusion.far:
        nodes = 2 * nodes - states.max(0)
    entities = []
    for start in range(len(words)):
        for end in range(start + 1, min(start + SPAN, len(words)) + 1):
            scores = nodes[start:end].max(0) @ ENTITY
            if scores.argmax():
                share = np.exp(scores - scores.max())
                entities.append(EntitySpan(start, end, int(scores.argmax()) - 1, share.max() / share.sum()))
    if not pipeline.settings.overlap:
        entities = greedy_non_overlapping(entities)
    best: dict[tuple[int, int, int], Any] = {}
    for i, head in enumerate(entities):
        for j, tail in enumerate(entities):
            logits = pair_logits(nodes, head[:2], tail[:2])
            for label in np.flatnonzero(logits > 0).tolist() if i != j else []:
                key = (min(i, j), max(i, j), label) if label in SETTINGS.symmetric_relations else (i, j, label)
                if key not in best or logits[label] > best[key][0]:
                    weights = nodes @ nodes[head.start]
                    if pipeline.graphs["relations"].adds:
                        weights = weights * (nodes @ HEAD - nodes @ TAIL)[:, label]
                    best[key] = logits[label], weights
    return DecodedSentence(entities, [(*key, *best[key]) for key in sorted(best)])  # type: ignore[misc]


@given(
    seed=st.integers(0, 50),
    size=st.integers(1, 5),
    signatures=st.sets(st.tuples(st.sampled_from("AB"), st.sampled_from("rs"), st.sampled_from("AB")), min_size=1),
)
@settings(max_examples=40, deadline=None)
def test_relations_are_found_between_the_types_that_signatures_name(
    word_pieces: Tokenizer, seed: int, size: int, signatures: set[tuple[str, str, str]]
) -> None:
    labels = Labels(("A", "B"), ("r", "s"), ("up", "down"), ("s",), tuple(sorted(signatures)))
    free = make_pipeline(word_pieces, max_subwords=9999, max_words=9999)
    bound = make_pipeline(word_pieces)
    bound.settings = ModelSettings.from_labels(labels, 0.5, True, 9999, 9999)
    parsed = some_sentences(4, 9, seed)
    both = {*signatures, *((tail, name, head) for head, name, tail in signatures if name == "s")}
    for one, other in zip(free.run(parsed, size), bound.run(parsed, size), strict=True):
        assert other.decoded.entities == one.decoded.entities
        named = [labels.entity_types[entity.type_index] for entity in one.decoded.entities]
        kept = [
            (relation.head, relation.tail, relation.type_index, relation.score)
            for relation in one.decoded.relations
            if (named[relation.head], labels.relation_types[relation.type_index], named[relation.tail]) in both
        ]
        assert [(r.head, r.tail, r.type_index, r.score) for r in other.decoded.relations] == kept


def check_truth(result: SentenceResult, expected: DecodedSentence) -> None:
    assert [span[:3] for span in result.decoded.entities] == [span[:3] for span in expected.entities]
    assert [span.score for span in result.decoded.entities] == pytest.approx([span.score for span in expected.entities])
    assert len(result.decoded.relations) == len(expected.relations)
    for relation, (head, tail, label, logit, weights) in zip(result.decoded.relations, expected.relations, strict=True):
        assert relation[:3] == (head, tail, label)
        assert relation.score == pytest.approx(1 / (1 + np.exp(-logit)))
        assert relation.trigger_weights.tolist() == list(weights)


def plain(results: list[SentenceResult]) -> list[Any]:
    """Results as values that ``==`` can compare."""
    return [
        (
            result.decoded.entities,
            [
                (*relation[:4], relation.first_word, relation.trigger_weights.tolist())
                for relation in result.decoded.relations
            ],
            result.unknown_words,
            result.window_count,
            result.arcs and (list(map(int, result.arcs.heads)), result.arcs.labels),
        )
        for result in results
    ]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("adds", [True, False])
def test_results_are_those_of_the_definition(word_pieces: Tokenizer, overlap: bool, adds: bool) -> None:
    pipeline = make_pipeline(word_pieces, adds=adds, max_subwords=9999, max_words=9999, overlap=overlap)
    sentences = some_sentences(40, 12)
    results = pipeline.run(sentences)
    for parsed, result in zip(sentences, results, strict=True):
        check_truth(result, truth(pipeline, parsed))
    assert sum(len(result.decoded.relations) for result in results) > 100


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("batch_size", [2, 3, 8, 1000])
def test_the_batch_changes_nothing(word_pieces: Tokenizer, batch_size: int, windowed: bool) -> None:
    changes = {} if windowed else {"max_subwords": 9999, "max_words": 9999}
    pipeline = make_pipeline(word_pieces, **changes)
    sentences = some_sentences(24, 16, seed=1)
    alone = [pipeline.run([parsed])[0] for parsed in sentences]
    assert max(result.window_count for result in alone) > 1 or not windowed
    assert plain(pipeline.run(sentences, 1)) == plain(alone)
    assert plain(pipeline.run(sentences, batch_size)) == plain(alone)
    assert plain(pipeline.run(sentences[::-1], batch_size)) == plain(alone[::-1])


@settings(max_examples=30)
@given(data=st.data())
def test_any_sentences(word_pieces: Tokenizer, data: st.DataObject) -> None:
    words = st.lists(st.sampled_from(WORDS), max_size=8)
    draw = random.Random(data.draw(st.integers(0, 99)))
    sentences = [sentence(one, draw) for one in data.draw(st.lists(words, max_size=4))]
    pipeline = make_pipeline(word_pieces, max_subwords=9999, max_words=9999)
    for parsed, result in zip(sentences, pipeline.run(sentences), strict=True):
        check_truth(result, truth(pipeline, parsed))


def test_no_sentence_and_no_word(pipeline: Pipeline) -> None:
    assert pipeline.run([]) == []
    empty = ParsedSentence([], [], [])
    nothing = SentenceResult(DecodedSentence([], []), (), 0)
    assert pipeline.run([empty]) == [nothing]
    full = some_sentences(1, 5, seed=3)[0]
    assert plain(pipeline.run([empty, full, empty])) == plain([nothing, pipeline.run([full])[0], nothing])


def test_one_word(pipeline: Pipeline) -> None:
    for word in WORDS:
        parsed = ParsedSentence([word], [0], ["ROOT"])
        (result,) = pipeline.run([parsed])
        check_truth(result, truth(pipeline, parsed))
        assert result.window_count == 1
        assert result.decoded.relations == []


def test_unknown_words_are_told(pipeline: Pipeline) -> None:
    parsed = ParsedSentence(["a", "", "b", "y" * 70], [0] * 4, ["up"] * 4)
    assert [result.unknown_words for result in pipeline.run([parsed, parsed._replace(words=["a", "b", "c", "d"])])] == [
        (1, 3),
        (),
    ]


@pytest.mark.parametrize("limit", [2, 6, 100])
def test_blocks_of_pairs_change_nothing(pipeline: Pipeline, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = some_sentences(8, 15, seed=4)
    expected = plain(pipeline.run(sentences))
    relations = pipeline.graphs["relations"]
    assert isinstance(relations, Relations)
    (pairs,) = relations.blocks
    assert pairs > 200
    relations.blocks.clear()
    monkeypatch.setattr(pairs_module, "MAX_BLOCK_PAIRS", limit)
    assert plain(pipeline.run(sentences)) == expected
    assert sum(relations.blocks) == pairs
    assert max(relations.blocks) == limit


def test_a_sentence_with_too_many_pairs_keeps_its_surest_entities(word_pieces: Tokenizer) -> None:
    sentences = some_sentences(8, 15, seed=4)
    free = make_pipeline(word_pieces, max_words=999, max_subwords=9999)
    capped = make_pipeline(word_pieces, max_words=999, max_subwords=9999)
    capped.max_pairs = 7  # three entities have six pairs, four have twelve
    for whole, less in zip(free.run(sentences), capped.run(sentences), strict=True):
        count = len(whole.decoded.entities)
        assert less.decoded.entities == whole.decoded.entities
        assert (whole.unpaired_entities, less.unpaired_entities) == (0, max(0, count - 3))
        ranked = sorted(range(count), key=lambda number: -whole.decoded.entities[number].score)
        kept = set(ranked[:3])
        expected = [one for one in whole.decoded.relations if {one.head, one.tail} <= kept]
        assert [one[:4] for one in less.decoded.relations] == [one[:4] for one in expected]


def test_parses_are_asked_for_once_when_the_encoder_has_begun(pipeline: Pipeline) -> None:
    sentences = some_sentences(9, 15, seed=6)
    seen: list[str] = []
    encoder = pipeline.graphs["encoder"]
    run = encoder.run

    def parses() -> list[ParsedSentence]:
        seen.append("parse")
        return sentences

    encoder.run = lambda arrays: seen.append("encoder") or run(arrays)  # type: ignore[method-assign]
    assert plain(pipeline.run_words([one.words for one in sentences], parses, 4)) == plain(pipeline.run(sentences))
    assert seen[:3] == ["encoder", "parse", "encoder"]
    assert seen.count("parse") == 1


@pytest.mark.parametrize(("name", "output"), [("entities", "entity_logits"), ("relations", "relation_logits")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_not_read_as_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, name: str, output: str, value: float
) -> None:
    graph = pipeline.graphs[name]
    run = graph.run

    def overflow(arrays: Mapping[str, Any]) -> dict[str, Any]:
        outputs = run(arrays)
        outputs[output] = outputs[output].astype(np.float32)
        outputs[output].flat[-1] = value
        return outputs

    monkeypatch.setattr(graph, "run", overflow)
    with pytest.raises(BackendError, match=rf"{output} contains NaN/inf \(fp16 overflow\); re-export as fp32 or bf16"):
        pipeline.run(some_sentences(8, 15, seed=4))


def test_without_a_pair_the_relation_graph_does_not_run(pipeline: Pipeline) -> None:
    one = next(word for word in WORDS if truth(pipeline, ParsedSentence([word], [0], ["up"])).entities)
    parsed = ParsedSentence([one], [0], ["up"])
    assert len(pipeline.run([parsed] * 5)) == 5
    relations = pipeline.graphs["relations"]
    assert isinstance(relations, Relations)
    assert relations.blocks == []


def test_the_threshold_is_exclusive(word_pieces: Tokenizer) -> None:
    sentences = some_sentences(10, 8, seed=5)
    scores = {
        threshold: [
            relation.score
            for result in make_pipeline(word_pieces, max_words=99, max_subwords=999, relation_threshold=threshold).run(
                sentences
            )
            for relation in result.decoded.relations
        ]
        for threshold in (0.25, 0.5, 0.6)
    }
    assert all(min(values) > threshold for threshold, values in scores.items())
    assert len(scores[0.25]) > len(scores[0.5]) > len(scores[0.6]) > 0


def test_a_sentence_longer_than_the_window(word_pieces: Tokenizer) -> None:
    """With answers that depend on nothing far away, windows lose only relations between entities that share none."""
    pipeline = make_pipeline(word_pieces, far=False, max_words=24, max_subwords=9999)
    draw = random.Random(6)
    words = draw.choices(WORDS, k=60)
    chain = ParsedSentence(words, list(range(60)), ["ROOT"] * 60)
    (result,) = pipeline.run([chain])
    assert result.window_count == 3
    expected = truth(pipeline, chain)
    ranges = [(0, 24), (18, 42), (36, 60)]
    together = [
        relation
        for relation in expected.relations
        if any(
            all(start <= expected.entities[end].start and expected.entities[end].end <= stop for end in relation[:2])
            for start, stop in ranges
        )
    ]
    assert 0 < len(together) < len(expected.relations)
    assert result.decoded.entities == expected.entities
    assert [relation[:3] for relation in result.decoded.relations] == [relation[:3] for relation in together]
    for relation, (*_, logit, weights) in zip(result.decoded.relations, together, strict=True):
        assert relation.score == pytest.approx(1 / (1 + np.exp(-logit)))
        stop = relation.first_word + len(relation.trigger_weights)
        assert (relation.first_word, stop) in ranges
        assert relation.trigger_weights.tolist() == list(weights[relation.first_word : stop])


def test_windows_keep_within_the_limit_of_subwords(word_pieces: Tokenizer) -> None:
    class Watching(Encoder):
        longest = 0

        def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
            self.longest = max(self.longest, arrays["input_ids"].shape[1])
            return super().run(arrays)

    for max_subwords in (66, 70, 100):
        pipeline = make_pipeline(word_pieces, max_subwords=max_subwords)
        watching = Watching()
        pipeline.graphs = {**pipeline.graphs, "encoder": watching}
        pipeline.run([sentence(["y" * 64, "a", "b" * 30] * 9, random.Random(0))])
        assert 66 <= watching.longest <= max_subwords


def test_an_arc_that_leaves_its_window_carries_no_message(word_pieces: Tokenizer) -> None:
    words = ["met"] * 30
    tree = ParsedSentence(words, [29] * 30, ["up"] * 30)
    roots = tree._replace(heads=list(range(30)))
    pipeline = make_pipeline(word_pieces, far=False, max_words=20, max_subwords=9999, overlap=True)
    (hears,), (deaf,) = pipeline.run([tree]), pipeline.run([roots])
    assert hears.window_count == deaf.window_count == 2
    early = [[span for span in result.decoded.entities if span.end <= 15] for result in (hears, deaf)]
    assert early[0] == early[1]


@pytest.mark.parametrize("call", [0, 3, 20])
def test_split_batches_change_nothing(word_pieces: Tokenizer, pipeline: Pipeline, call: int) -> None:
    sentences = some_sentences(30, 20, seed=8)
    expected = plain(pipeline.run(sentences, 8))
    pipeline.split_cost_subwords = call
    assert plain(pipeline.run(sentences, 8)) == expected


@pytest.mark.parametrize("limits", [{"max_subwords": 9999, "max_words": 9999}, {}])
def test_arcs_of_the_encoder_are_as_good_as_given_ones(word_pieces: Tokenizer, limits: dict[str, int]) -> None:
    own, other = make_pipeline(word_pieces, parsing=True, **limits), make_pipeline(word_pieces, **limits)
    words = [one.words for one in some_sentences(20, 30, seed=5) if one.words]
    results = own.run_words(words, batch_size=4, syntax="arcs")
    assert max(result.window_count for result in results) > 1 or limits
    assert plain(results) == plain(own.run_words(words, batch_size=1, syntax="arcs"))
    given = []
    for one, result in zip(words, results, strict=True):
        assert result.arcs is not None
        given.append(ParsedSentence(one, result.arcs.heads, result.arcs.labels))
        assert all(0 <= place - head <= 3 for place, head in enumerate(result.arcs.heads))
        silent = [head == place for place, head in enumerate(result.arcs.heads)]
        assert [label == "ROOT" for label in result.arcs.labels] == silent
    if limits:  # words at the edge of a window have other heads than those of the whole sentence
        assert plain(other.run_words(words, lambda: given, 3, syntax="arcs")) == plain(results)


def test_given_arcs_go_before_those_of_the_encoder(word_pieces: Tokenizer) -> None:
    own, other = make_pipeline(word_pieces, parsing=True), make_pipeline(word_pieces)
    parsed = [one for one in some_sentences(9, 8, seed=2) if one.words]
    words = [one.words for one in parsed]
    assert plain(own.run_words(words, lambda: parsed, syntax="arcs")) == plain(
        other.run_words(words, lambda: parsed, syntax="arcs")
    )


def test_a_model_that_does_not_parse_needs_arcs(pipeline: Pipeline) -> None:
    with pytest.raises(InputError, match="this model has no in-model parser; pass parses"):
        pipeline.run_words([["Ann"]])


@pytest.mark.parametrize("limits", [{"max_subwords": 9999, "max_words": 9999}, {}])
def test_trees_have_one_root(word_pieces: Tokenizer, limits: dict[str, int]) -> None:
    pipeline = make_pipeline(word_pieces, parsing=True, **limits)
    words = [one.words for one in some_sentences(20, 30, seed=6) if one.words]
    arcs, trees = (pipeline.run_words(words, batch_size=4, syntax=how) for how in ("arcs", "tree"))
    assert plain([one._replace(arcs=None) for one in arcs]) == plain([one._replace(arcs=None) for one in trees])
    for best, result in zip(arcs, trees, strict=True):
        assert best.arcs is not None
        assert result.arcs is not None
        heads, labels = list(map(int, result.arcs.heads)), result.arcs.labels
        roots = [place for place, head in enumerate(heads) if head == place]
        assert len(roots) == 1
        assert [label == "ROOT" for label in labels] == [place in roots for place in range(len(heads))]
        if list(best.arcs.heads) == heads and best.window_count == 1:
            assert labels == best.arcs.labels


def test_observers_are_told_of_every_call_while_they_watch(word_pieces: Tokenizer) -> None:
    pipeline = make_pipeline(word_pieces, parsing=True, max_subwords=9999, max_words=9999)
    words = [one.words for one in some_sentences(9, 15, seed=6) if one.words]
    calls: list[SubgraphCall] = []
    others: list[SubgraphCall] = []
    expected = plain(pipeline.run_words(words, syntax="tree"))
    with pipeline.observe(calls.append), pipeline.observe(others.append):
        assert plain(pipeline.run_words(words, syntax="tree")) == expected
    assert calls == others
    assert [call.name for call in calls] == ["encoder", "fusion", "entities", "relations"]
    assert pipeline.observers == ()
    for call in calls:
        assert call.graph is pipeline.graphs[call.name]
        assert set(call.graph.inputs) <= call.inputs.keys()
    assert "arc_scores" in calls[0].outputs
    assert "heads" not in calls[0].inputs
    starts = [call.started for call in calls]
    assert starts[0] > 0
    assert starts == sorted(starts)
    pipeline.run_words(words)
    assert len(calls) == 4
