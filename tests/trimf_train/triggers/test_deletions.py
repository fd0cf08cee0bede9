"""Words are left out as if the sentences had been written without them, and what was measured is kept in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimf.runtime.decoding.span_decoding import EntitySpan
from trimf.runtime.errors import InputError
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.text.parser import Parse
from trimf.runtime.triggers.word_deletion import WordEffects, keep_arcs
from trimf_train.triggers.deletion_cache import DeletionCache
from trimf_train.triggers.deletion_examples import collect_deletions

EFFECTS = WordEffects(np.array([1.5, -2.0]), np.array([[0.1, 0.2], [1 / 3, 4.0], [5.0, 6.0]]))
NO_WORDS = WordEffects(np.array([0.25]), np.zeros((0, 1)))


def same(one: WordEffects | None, other: WordEffects | None) -> bool:
    return one is not None and other is not None and all(map(np.array_equal, one, other))


def score_without(pipeline: Pipeline, parsed: ParsedSentence, word: int | None, spans: list[EntitySpan]) -> Any:
    """The logit of every relation between given entities of a sentence without a word, by the ordinary road."""
    keep = np.arange(len(parsed.words)) != (-1 if word is None else word)
    arcs = keep_arcs(Parse(parsed.heads, list(parsed.labels)), keep)
    words = [one for one, kept in zip(parsed.words, keep, strict=True) if kept]
    moved = [span._replace(start=int(keep[: span.start].sum()), end=int(keep[: span.end].sum())) for span in spans]
    everything = Pipeline(pipeline.graphs, pipeline.tokenizer, pipeline.settings._replace(relation_threshold=0.0))
    (result,) = everything.run([ParsedSentence(words, arcs.heads, arcs.labels)], entities=[moved])
    return {
        relation[:3]: float(np.log(relation.score) - np.log1p(-relation.score)) for relation in result.decoded.relations
    }


def test_effects_are_those_of_leaving_each_word_out(tiny_pipeline: Pipeline, parsed: list[ParsedSentence]) -> None:
    tiny_pipeline.settings = tiny_pipeline.settings._replace(allowed_relations=None)
    settings = tiny_pipeline.settings
    examples = list(collect_deletions(tiny_pipeline, parsed, DeletionCache(), batch_size=3))
    assert tiny_pipeline.settings == settings
    assert len(examples) >= 6
    assert {example.number for example in examples} <= set(range(12))
    compared = 0
    for example in examples:
        sentence = parsed[example.number]
        spans = example.decoded.entities
        assert example.words == sentence.words
        assert example.nodes.shape[0] == len(sentence.words)
        found = {one.relation[:3] for one in example.relations if one.found}
        assert found == {relation[:3] for relation in example.decoded.relations}
        base = score_without(tiny_pipeline, sentence, None, spans)
        for entry in example.relations:
            assert entry.logit == pytest.approx(base[entry.relation[:3]], abs=1e-3)
        inside = {word for span in spans for word in range(span.start, span.end)}
        for word, name in enumerate(sentence.words):
            effects = [entry.effects[word] for entry in example.relations]
            if word in inside or name == ".":
                assert np.isnan(effects).all()
                continue
            left = score_without(tiny_pipeline, sentence, word, spans)
            for entry, effect in zip(example.relations, effects, strict=True):
                key = entry.relation[:3]
                assert effect == pytest.approx(base[key] - left[key], abs=2e-3)
                compared += 1
    assert compared >= 10


def test_what_the_cache_has_is_not_measured_again(
    tiny_pipeline: Pipeline, parsed: list[ParsedSentence], tmp_path: Path
) -> None:
    path = tmp_path / "kept.jsonl"
    calls: list[str] = []
    with tiny_pipeline.observe(lambda call: calls.append(call.name)):
        whole = list(collect_deletions(tiny_pipeline, parsed, DeletionCache(path, "a"), 4))
        first = len(calls)
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line}\n" for line in lines[:4]) + lines[4][:9])
        half = list(collect_deletions(tiny_pipeline, parsed, DeletionCache(path, "a"), 4))
        second = len(calls) - first
        again = list(collect_deletions(tiny_pipeline, parsed, DeletionCache(path, "a"), 4))
        third = len(calls) - first - second
    assert third < second < first
    for one, other in zip(whole * 2, half + again, strict=True):
        assert one.number == other.number
        for entry, copy in zip(one.relations, other.relations, strict=True):
            np.testing.assert_allclose(entry.effects, copy.effects, rtol=1e-4, atol=1e-5)


def test_effects_of_other_relations_are_measured_again(
    tiny_pipeline: Pipeline, parsed: list[ParsedSentence], tmp_path: Path
) -> None:
    expected = list(collect_deletions(tiny_pipeline, parsed, DeletionCache()))
    cache = DeletionCache(tmp_path / "kept.jsonl", "a")
    cache.add(dict.fromkeys(range(12), NO_WORDS))
    found = list(collect_deletions(tiny_pipeline, parsed, cache))
    for one, other in zip(expected, found, strict=True):
        for entry, copy in zip(one.relations, other.relations, strict=True):
            np.testing.assert_allclose(entry.effects, copy.effects, rtol=1e-4, atol=1e-5)


def test_nothing_to_leave_out(tiny_pipeline: Pipeline) -> None:
    assert list(collect_deletions(tiny_pipeline, [], DeletionCache())) == []
    nothing = [ParsedSentence([], [], []), ParsedSentence(["."], [0], ["punct"])]
    assert list(collect_deletions(tiny_pipeline, nothing, DeletionCache())) == []


def test_the_cache_keeps_effects_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "kept.jsonl"
    one = DeletionCache(path, "model data")
    assert one.get(3) is None
    one.add({3: EFFECTS})
    one.add({})
    one.add({0: NO_WORDS})
    other = DeletionCache(path, "model data")
    assert len(other) == 2
    assert same(other.get(3), EFFECTS)
    assert same(other.get(0), NO_WORDS)
    assert len(DeletionCache(path, "another model")) == 0
    assert len(DeletionCache(path, "model data")) == 0  # dropped with the other key


@pytest.mark.parametrize(
    "rest", ["", "[", "[7, [1.0", "[7, [1.0], [[2.0]", "7", "[7, 1.0, 2.0]", '[7, ["x"], []]', "\0"]
)
def test_a_line_that_was_not_finished_is_dropped(rest: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    DeletionCache(path, "a").add({3: EFFECTS, 5: NO_WORDS})
    with path.open("a") as file:
        file.write(rest)
    read = DeletionCache(path, "a")
    assert len(read) == 2
    read.add({8: EFFECTS})
    again = DeletionCache(path, "a")
    assert same(again.get(8), EFFECTS)
    assert same(again.get(3), EFFECTS)
    assert json.loads(path.read_text().splitlines()[0]) == {"key": "a"}


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    for content in (b'{"tokens": ["a"]}\n', b"\xff\xfe", b"\n\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"train\.jsonl: not a file of measured effects, and is not replaced"):
            DeletionCache(path, "a")
        assert path.read_bytes() == content
    path.write_bytes(b"")
    assert len(DeletionCache(path, "a")) == 0


def test_paths_that_cannot_be_written_are_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "kept.jsonl", tmp_path):
        with pytest.raises(InputError) as caught:
            DeletionCache(path, "a")
        assert str(caught.value).startswith(f"{path}: cannot be ")
        assert "\n" not in str(caught.value)
