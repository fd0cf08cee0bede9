"""Explanations: of the checkpoint, and the same of a bundle exported to explain, in every precision."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimf.cli import main
from trimf.export import exporter as bundles
from trimf.export import parity_limits
from trimf.export.exporter import _trace_subgraphs, export_checkpoint
from trimf.runtime import explain as explaining
from trimf.runtime.errors import InputError
from trimf.runtime.explain import (
    EntityExplanation,
    ExplainedArcs,
    RelationExplanation,
    SentenceExplanation,
    explain_text,
)
from trimf.runtime.output.explain_page import render_explanations
from trimf.runtime.text.parser import Parse
from trimf.runtime.triggers.trigger_scores import DEFAULT_TRIGGER_FLOOR, TriggerSpan
from trimf_train.config import DecodeConfig, ModelConfig
from trimf_train.evaluation.evaluate import evaluate_file
from trimf_train.evaluation.model_loading import open_model
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model.torch_backend import build_pipeline

TRACED: dict[str, Any] = {}

TEXT = "Alice lives in New York. Bob knows Carol."


def parse(sentences: Any) -> list[Parse]:
    """Every word hangs on the second."""
    found = []
    for words in sentences:
        root = min(1, len(words) - 1)
        heads = np.full(len(words), root)
        found.append(Parse(heads, ["ROOT" if place == root else "dobj" for place in range(len(words))]))
    return found


def of(model: str | Path) -> list[SentenceExplanation]:
    opened = open_model(model, backend="cpu")
    return explain_text(opened.pipeline, opened.labels, TEXT, None if opened.pipeline.has_parser else parse)


@pytest.fixture(scope="module")
def parsing_checkpoint(tiny_checkpoint: Any) -> Any:
    """The trained model with a parser of its own, which knows nothing."""
    described = tiny_checkpoint.description
    syntax = msgspec.structs.replace(described.model.syntax, source="encoder")
    config: ModelConfig = msgspec.structs.replace(described.model, syntax=syntax)
    parser = msgspec.structs.replace(described.parser, source="encoder")
    made = checkpoints.create_checkpoint(described.labels, config, DecodeConfig(), parser, {})
    made.model.load_state_dict(tiny_checkpoint.model.state_dict(), strict=False)
    return made


@pytest.fixture(scope="module")
def parsing_folder(parsing_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("parsing") / "best"
    parsing_checkpoint.save(made)
    return made


@pytest.fixture(params=["spacy", "encoder"])
def either(request: pytest.FixtureRequest, checkpoint_folder: Path, parsing_folder: Path) -> Path:
    """A checkpoint's folder, by where its arcs come from."""
    return checkpoint_folder if request.param == "spacy" else parsing_folder


@pytest.fixture
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs that explain are traced by the first export that asks for them."""

    def trace(checkpoint: Any, say: Any, explain: bool) -> Any:
        if not TRACED:
            TRACED.update(_trace_subgraphs(checkpoint, say, explain))
        checkpoint.model.encoder.set_attn_implementation("eager")  # as tracing leaves it
        return TRACED

    monkeypatch.setattr(bundles, "_trace_subgraphs", trace)


def same(one: list[SentenceExplanation], other: list[SentenceExplanation], tolerance: float) -> None:
    assert len(one) == len(other) == 2
    for mine, yours in zip(one, other, strict=True):
        for name in ("words", "subwords", "pieces", "arcs"):
            assert getattr(mine, name) == getattr(yours, name)
        assert [(r.head, r.label, r.tail) for r in mine.relations] == [
            (r.head, r.label, r.tail) for r in yours.relations
        ]
        for name in ("subword_flow", "word_flow"):
            flows = getattr(mine, name), getattr(yours, name)
            assert list(flows[0]) == list(flows[1]) == ["entity", "relation"]
            for memory in flows[0]:
                np.testing.assert_allclose(flows[0][memory], flows[1][memory], atol=tolerance)
        np.testing.assert_allclose(mine.syntactic_share, yours.syntactic_share, atol=tolerance)
        for relation, its in zip(mine.relations, yours.relations, strict=True):
            weights = np.array([relation.weights, its.weights], np.float64)  # None becomes NaN
            np.testing.assert_allclose(weights[0], weights[1], atol=tolerance)


@pytest.mark.slow
def test_a_bundle_explains_as_its_checkpoint_does(
    parsing_folder: Path, tiny_data: Path, tmp_path: Path, traced_once: None
) -> None:
    export_checkpoint(parsing_folder, tmp_path / "bundle", data=tiny_data, explain=True)
    same(of(parsing_folder), of(tmp_path / "bundle"), 1e-4)
    assert evaluate_file(tmp_path / "bundle", tiny_data) == evaluate_file(parsing_folder, tiny_data)


def test_weights_are_what_they_are_called(either: Path) -> None:
    total = {"entity": 1, "relation": 1}  # the mean of slots whose attention sums to 1 over the sentence
    for sentence in of(either):
        for flow in (sentence.subword_flow, sentence.word_flow):
            assert {memory: sum(weights) for memory, weights in flow.items()} == pytest.approx(total, abs=1e-3)
        assert len(sentence.subword_flow["entity"]) == len(sentence.subwords)
        assert len(sentence.word_flow["entity"]) == len(sentence.syntactic_share) == len(sentence.words)
        assert all(0 <= share <= 1 for share in sentence.syntactic_share)
        for relation in sentence.relations:
            assert len(relation.weights) == len(sentence.words)
            losses = [loss for _, _, loss in relation.triggers]
            assert losses == sorted(losses, reverse=True)
            assert all(DEFAULT_TRIGGER_FLOOR <= loss <= relation.score for loss in losses)
            assert relation.basis == ("words" if losses else "names")
            assert all(weight is None or weight <= relation.score for weight in relation.weights)
        for word, (first, last) in zip(sentence.words, sentence.pieces, strict=True):
            assert "".join(piece.removeprefix("##") for piece in sentence.subwords[first : last + 1]) == word.lower()


def test_the_share_is_the_weight_in_the_fusion(tiny_checkpoint: Any) -> None:
    """The nodes are what these weights make of both graphs and the words (paper (19)-(21))."""
    import torch

    fusion = tiny_checkpoint.model.eval().fusion
    torch.manual_seed(0)
    words, cls = torch.randn(2, 5, 16), torch.randn(2, 16)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    heads, labels = torch.randint(0, 3, (2, 5)), torch.randint(0, 7, (2, 5))
    with torch.no_grad():
        share = fusion.syntactic_weight(words, cls, mask, heads, labels).unsqueeze(-1)
        made = (share * fusion.syntactic(words, heads, labels) + (1 - share) * fusion.semantic(words, mask) + words) / 2
        torch.testing.assert_close(made, fusion(words, cls, mask, heads, labels))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_explain_too(
    parsing_folder: Path,
    tiny_data: Path,
    tmp_path: Path,
    precision: Any,
    monkeypatch: pytest.MonkeyPatch,
    traced_once: None,
) -> None:
    monkeypatch.setitem(parity_limits.LIMITS, precision, parity_limits.ParityLimits(0.5, 0.0, 0.0, 0.0, 0.0, 100.0))
    calibrate = tiny_data if precision == "int8" else None
    export_checkpoint(
        parsing_folder,
        tmp_path / "bundle",
        data=tiny_data,
        explain=True,
        precision=precision,
        calibration_data=calibrate,
    )
    opened = open_model(tmp_path / "bundle", backend="cpu")
    for name in ("subword_flow", "word_flow"):
        assert opened.pipeline.graphs["joined"].types[name] is np.float32
    found = explain_text(opened.pipeline, opened.labels, TEXT)
    for mine, yours in zip(found, of(parsing_folder), strict=True):
        np.testing.assert_allclose(mine.word_flow["entity"], yours.word_flow["entity"], atol=0.3)


def test_what_a_model_does_not_have_is_left_out(create: Any) -> None:
    made = create(flow={"subword": {"entity": False, "relation": False}, "word": {"entity": False}}, fusion="max")
    (sentence, _) = explain_text(build_pipeline(made, 2), made.description.labels, TEXT, parse)
    assert (sentence.subword_flow, list(sentence.word_flow), sentence.syntactic_share) == ({}, ["relation"], [])
    assert "Graph weights" not in "".join(render_explanations([sentence]))


def test_a_sentence_of_several_windows_is_refused(create: Any) -> None:
    made = create(encoder={"max_subwords": 12})
    text = " ".join(["Alice knows Bob"] * 6)
    with pytest.raises(InputError, match=r"starting with 'Alice knows Bob .* windows of the encoder"):
        explain_text(build_pipeline(made, 2), made.description.labels, text, parse)


def test_the_command(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimf.runtime.text import parser

    class ByHand:
        name = "by-hand"
        parse = staticmethod(parse)

    monkeypatch.setattr(parser, "load_parser", lambda name: ByHand)
    assert main(["explain", str(checkpoint_folder), TEXT]) == 0
    printed = capsys.readouterr().out
    assert msgspec.json.decode(printed, type=list[SentenceExplanation]) == of(checkpoint_folder)
    assert json.loads(printed)[0]["words"] == ["Alice", "lives", "in", "New", "York", "."]
    page = tmp_path / "page.html"
    assert main(["explain", str(checkpoint_folder), TEXT, "--html", "--output", str(page)]) == 0
    assert capsys.readouterr().out == ""
    assert "Memory flow attention" in page.read_text()


HOSTILE = SentenceExplanation(
    words=["<script>", "Иван", "\x1b[31m", "\u202eevil"],
    subwords=["[CLS]", "<s", "##cript>", "ив", "##ан", "?", "?", "[SEP]"],
    pieces=[(1, 2), (3, 4), (5, 5), (6, 6)],
    entities=[EntityExplanation(0, 1, "<b>", 0.9), EntityExplanation(1, 2, "Peop", 0.8)],
    relations=[RelationExplanation(0, "<i>", 1, 0.7, [0.5, 0.2, 0.25, -0.125], [TriggerSpan(2, 3, 0.25)])],
    arcs=ExplainedArcs([0, 0, 1, 1], ["ROOT", "<u>", "dep", "dep"]),
    subword_flow={"entity": [0.5] * 8, "relation": [0.0] * 8},
    word_flow={"entity": [1.0, 0.5, 0.25, 0.25]},
    syntactic_share=[1.0, 0.0, 0.5, 0.75],
)


def test_a_page_stands_alone_and_is_harmless() -> None:
    page = "".join(render_explanations([HOSTILE]))
    assert not re.search(r"<(script|b|i|u)>(?!entity memory|relation memory|words|&lt;i)", page)
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert not re.search(r"https?:|src=|@import", page)
    assert page.count("<dt>") == page.count("<dd>")


def test_what_a_weight_is_is_said(checkpoint_folder: Path) -> None:
    opened = open_model(checkpoint_folder, backend="cpu")
    (sentence, _) = explain_text(opened.pipeline, opened.labels, TEXT, parse, 3)
    assert sentence.method == "sensor"
    opened.pipeline.graphs["relations"].outputs = ("relation_logits", "triggers")  # as bundles before schema 5 have it
    (older, _) = explain_text(opened.pipeline, opened.labels, TEXT, parse, 3)
    assert older.method == "attention"
    assert {relation.basis for relation in older.relations} <= {None}
    now, measured, before = (
        "".join(render_explanations([msgspec.structs.replace(HOSTILE, method=method)]))
        for method in ("sensor", "exact", "attention")
    )
    assert "What each relation loses without a word, in points of probability, as the trigger sensor estimates" in now
    assert "in points of probability, measured by leaving the word out of the sentence" in measured
    assert "a word in italics was not left out by itself" in measured
    assert "Attention of the trigger sensor to each word for each relation" in before
    assert "points" not in before


def relation_rows(sentence: SentenceExplanation) -> dict[str, str]:
    """The cells of each relation on a page, without the entities' words."""
    page = "".join(render_explanations([sentence])).partition("What each relation rests on")[2]
    rows = re.findall(r"<dt><b>(.*?)</b><br>.*?</dt>\n<dd>(.*?)</dd>", page, re.DOTALL)
    return {name: re.sub(r'<bdi class="cell gone".*?</bdi>', "", cells) for name, cells in rows}


PHRASES = SentenceExplanation(
    words=["Ann", "is", "based", "in", "Rome", "now", "."],
    subwords=["[CLS]", "ann", "is", "based", "in", "rome", "now", ".", "[SEP]"],
    pieces=[(index, index) for index in range(1, 8)],
    entities=[EntityExplanation(0, 1, "Peop", 0.9), EntityExplanation(4, 5, "Loc", 0.8)],
    relations=[
        RelationExplanation(
            0, "Live_In", 1, 0.7, [None, None, 0.1, None, None, -0.25, None], [TriggerSpan(2, 4, 0.6)], "words"
        ),
        RelationExplanation(1, "Has", 0, 0.7, [None, None, 0.004, None, None, 0.0, None], [], "names"),
    ],
    arcs=ExplainedArcs([0] * 7, ["ROOT", *["dep"] * 6]),
    method="exact",
)


def test_points_of_words_and_phrases() -> None:
    rows = relation_rows(PHRASES)
    found = re.findall(
        r'<bdi class="([^"]*)" title="([^"]*)"(?: style="[^"]*--(\w+)\) (\d+)%[^"]*")?>(.*?)</bdi>', rows["Live_In"]
    )
    assert found == [
        ("cell unmeasured", "not left out by itself", "", "", "is"),
        ("cell shown", "−10 points without it", "heat", "16", 'based<small dir="ltr">−10</small>'),
        ("cell shown unmeasured", "not left out by itself", "", "", "in"),
        ("cell", "+25 points without it", "cool", "40", 'now<small dir="ltr">+25</small>'),
        ("cell unmeasured", "not left out by itself", "", "", "."),
        ("cell shown", "−60 points without it", "heat", "80", 'based in<small dir="ltr">−60</small>'),
    ]
    assert "<small" not in rows["Has"]  # less than half a point
    assert 'title="−0.4 points without it"' in rows["Has"]
    page = "".join(render_explanations([PHRASES]))
    assert '<mark class="trigger" style="background:none" dir="auto">based in</mark>' in page
    assert '<span class="trigger">based in</span> <small>−60 points without it</small>' in page
    assert "<small>the two names and their order</small>" in page
    assert re.findall(r"</span> ([−+]\d+)</span>", page) == ["−50", "−30", "−10", "+10", "+30", "+50"]


def test_an_explanation_is_read_back_from_json() -> None:
    content = msgspec.json.encode([PHRASES])
    assert msgspec.json.decode(content, type=list[SentenceExplanation]) == [PHRASES]
    (relation, _) = json.loads(content)[0]["relations"]
    assert (relation["triggers"], relation["basis"]) == ([[2, 4, 0.6]], "words")
    assert relation["weights"][2:4] == [0.1, None]
    assert json.loads(content)[0]["method"] == "exact"


def test_a_row_is_over_its_largest_and_a_masked_one_over_the_rest() -> None:
    page = "".join(render_explanations([HOSTILE]))
    rows = re.findall(r"<dt>(.*?)</dt>\n<dd>(.*?)</dd>", page, re.DOTALL)
    words = next(cells for name, cells in rows if name == "<b>entity memory</b>, words")
    assert re.findall(r"(\d+)%", words) == ["80", "40", "20", "20"]
    place = [name for name, _ in rows].index("<b>entity memory</b>, words") + 1
    assert re.findall(r"(\d+)%", rows[place][1]) == ["80", "80"]
    assert rows[place][1].count("gone") == 2
    shares = rows[-1][1]
    assert re.findall(r"--(\w+)\) (\d+)%", shares) == [
        ("syntax", "80"),
        ("sense", "80"),
        ("sense", "0"),
        ("syntax", "40"),
    ]


def test_every_extra_output_is_one_of_the_names_that_backends_hold_back() -> None:
    from trimf.runtime.engine.contract import AXES, EXPLAINING, EXTRA

    assert set(EXPLAINING) <= set(EXTRA) <= set(AXES)
    assert explaining.MEMORIES == ("entity", "relation")
