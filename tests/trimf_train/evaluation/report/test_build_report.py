"""The whole report: JSON without NaN that reads back equal, at every edge of the data."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.pipeline import SentenceResult
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.evaluation.report.build_report import ReportNames, ReportOptions, assemble_report
from trimf_train.evaluation.report.html_report import render_report
from trimf_train.evaluation.report.model_run import ModelRun, group_units
from trimf_train.evaluation.report.passages import cut_passage
from trimf_train.evaluation.report.schema import Report
from trimf_train.evaluation.report.scored_text import ScoredText, score_sentence
from trimf_train.evaluation.report.summary import summarize_report

from .runs import LABELS, make_run, make_text, runs

ANNA, ROME, BOB = (0, 4, "A"), (14, 18, "B"), (22, 25, "A")
SENTENCE = "Anna lives in Rome by Bob"
OPTIONS = ReportOptions(resamples=20, examples=3)


def report_on(*models: ModelRun, options: ReportOptions = OPTIONS) -> Report:
    names = ReportNames("model", "data.jsonl", "other" if len(models) > 1 else None)
    return assemble_report(names, models, options)


def check(report: Report) -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(text)

    encoded = msgspec.json.encode(report)
    json.loads(encoded, parse_constant=refuse)
    assert b"NaN" not in encoded
    assert msgspec.json.decode(encoded, type=Report) == report
    assert render_report(report).endswith("</html>\n")
    assert all(line and "\n" not in line for line in summarize_report(report))


@settings(deadline=None, max_examples=25)
@given(runs(1, 4))
def test_any_run_gives_a_report_that_reads_back_equal(run: ModelRun) -> None:
    report = report_on(run)
    check(report)
    for kind in (report.entities, report.relations):
        wrong = sum(row.predicted or 0 for row in kind.outcomes if row.outcome != "correct")
        assert kind.errors.wrong_count == wrong
        assert len(kind.errors.wrong) == min(wrong, 3)
        scores = [error.score for error in kind.errors.wrong]
        assert scores == sorted(scores, reverse=True)
        missed = [error.score or 0.0 for error in kind.errors.missed]
        assert missed == sorted(missed)
        for error in (*kind.errors.wrong, *kind.errors.missed):
            for span in (*error.passage.gold, *error.passage.predicted):
                assert error.passage.text[span.start : span.end] == span.text


@settings(deadline=None, max_examples=15)
@given(runs(3, 3), runs(3, 3))
def test_any_two_runs_compare(one: ModelRun, other: ModelRun) -> None:
    other = make_run([a._replace(predicted=b.predicted) for a, b in zip(one.texts, other.texts, strict=True)])
    report = report_on(one, other)
    check(report)
    compared = report.comparison
    assert compared is not None
    total = compared.both_right + compared.model_right + compared.other_right + compared.both_wrong
    assert total == report.sentences == 3
    back = report_on(other, one).comparison
    assert back is not None
    assert (compared.model_right, compared.other_right) == (back.other_right, back.model_right)


@pytest.mark.parametrize(
    "texts",
    [
        [make_text()],
        [make_text([ANNA, ROME], [(ANNA, ROME, "r")], text=SENTENCE)],
        [make_text(predicted={ANNA: 0.9, ROME: 0.8}, predicted_relations={(ANNA, ROME, "r"): 0.7}, text=SENTENCE)],
        [make_text(text="")],
    ],
    ids=["nothing", "no predictions", "no gold", "no text"],
)
@pytest.mark.parametrize("times", [1, 12])
def test_edges(texts: list[ScoredText], times: int) -> None:
    run = make_run(texts * times)
    check(report_on(run))
    check(report_on(run, run))


def test_one_sentence_has_no_interval() -> None:
    run = make_run([make_text([ANNA, ROME], predicted={ANNA: 0.9}, text=SENTENCE)])
    report = report_on(run, run)
    f1 = report.entities.scores.micro.f1
    assert (f1.value, f1.low, f1.high) == (pytest.approx(200 / 3), None, None)
    assert report.comparison is not None
    assert report.comparison.entities.micro.f1.better is None


def test_a_model_without_relation_types() -> None:
    names = Labels(("A", "B"), (), ())
    report = report_on(make_run([make_text([ANNA], predicted={ANNA: 0.9}, text=SENTENCE)], names))
    check(report)
    assert report.entities.scores.micro.f1.value == 100
    assert report.relations.thresholds.best is None
    assert report.relations.strict.per_type == {}


def test_warnings_name_labels_and_little_data() -> None:
    relation = (ANNA, (14, 18, "New"), "unknown")
    run = make_run([make_text([ANNA, relation[1]], [relation], text=SENTENCE)])
    warnings = report_on(run).warnings
    assert any("1 sentence:" in one for one in warnings)
    assert any("cannot find 1 gold items" in one and "New" in one for one in warnings)
    assert any("no relation type in common" in one for one in warnings)
    assert any("without gold items: B, C" in one for one in warnings)
    known = make_text([ANNA, ROME, (0, 1, "C")], [(ANNA, ROME, name) for name in ("r", "s", "mutual")], text=SENTENCE)
    assert report_on(make_run([known] * 40)).warnings == []


def test_worst_errors_have_scores_and_what_was_meant() -> None:
    wrong = (14, 18, "C")
    text = make_text(
        [ANNA, ROME, BOB],
        [(ANNA, ROME, "r"), (ANNA, BOB, "s")],
        {ANNA: 0.9, wrong: 0.8},
        {(ANNA, wrong, "r"): 0.6},
        candidates={BOB: 0.3},
        text=SENTENCE,
        id="x-1",
    )
    report = report_on(make_run([text]))
    (error,) = report.entities.errors.wrong
    assert (error.outcome, error.score) == ("wrong_type", 0.8)
    assert error.gold is not None
    assert (error.gold.text, error.gold.label, error.passage.id, error.passage.number) == ("Rome", "B", "x-1", 1)
    (missed,) = report.entities.errors.missed
    assert (missed.outcome, missed.score, missed.predicted) == ("missed", 0.3, None)
    (relation,) = report.relations.errors.wrong
    assert relation.outcome == "wrong_entity"
    assert relation.gold is not None
    assert (relation.gold.label, relation.gold.tail.label) == ("r", "B")
    assert report.relations.errors.missed_count == 1


def test_long_texts_are_cut_around_the_error() -> None:
    text = make_text([(5000, 5004, "A")], text="word " * 2000)
    passage = cut_passage(text, 1, 5000, 5004, [])
    assert len(passage.text) < 600
    assert passage.cut == (True, True)
    assert not passage.text.startswith(" ")
    assert passage.gold[0].text == "word"
    assert passage.start + passage.gold[0].start == 5000
    whole = cut_passage(text, 1, 0, 4, [], context=None)
    assert (whole.text, whole.cut) == (text.text, (False, False))
    unbroken = make_text([(5000, 5004, "A")], text="x" * 10_000)
    assert len(cut_passage(unbroken, 1, 5000, 5004, []).text) < 600


@pytest.mark.parametrize(
    ("names", "kind", "numbers"),
    [
        (["a:0", "a:1", "b:0"], "documents", [0, 0, 1]),
        (["a:0", "b:0"], "sentences", [0, 1]),
        (["a:0", "a:1", ""], "sentences", [0, 1, 2]),
        (["5178", "12"], "sentences", [0, 1]),
        (["a:b:0", "a:b:1", "a:c:0"], "documents", [0, 0, 1]),
    ],
)
def test_sentences_of_a_document_are_resampled_together(names: list[str], kind: str, numbers: list[int]) -> None:
    units = group_units(make_run([make_text(id=name) for name in names]))
    assert (units.kind, units.numbers) == (kind, numbers)


def test_words_become_characters() -> None:
    sentence = Sentence(
        ["Zoë", "lives", "in", "New", "York", "🗽"],
        [EntityMention("A", 0, 1), EntityMention("B", 3, 5)],
        [RelationMention("mutual", 1, 0)],
        id="7",
    )
    relation = RelationSpan(0, 1, 2, 0.7, [])  # type: ignore[arg-type]
    decoded = DecodedSentence(
        [EntitySpan(0, 1, 0, 0.9), EntitySpan(3, 4, 1, 0.8)], [relation], [EntitySpan(3, 5, 1, 0.4)], [relation]
    )
    text = score_sentence(sentence, SentenceResult(decoded, (), 1), LABELS)
    assert text.text == "Zoë lives in New York 🗽"
    assert text.gold_entities == {(0, 3, "A"), (13, 21, "B")}
    assert text.gold_relations == {((0, 3, "A"), (13, 21, "B"), "mutual")}
    assert text.predicted.entities == {(0, 3, "A"): 0.9, (13, 16, "B"): 0.8}
    assert text.predicted.entity_candidates == {(13, 21, "B"): 0.4}
    assert text.predicted.relations == {((0, 3, "A"), (13, 16, "B"), "mutual"): 0.7}
