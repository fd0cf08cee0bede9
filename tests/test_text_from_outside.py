"""Labels, words, paths and messages are shown as they are: in every table, line, report and page."""

from __future__ import annotations

import ast
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from trimf.bench.report.comparison import QuantityComparison, ReportComparison
from trimf.bench.report.comparison_table import render_comparison
from trimf.bench.report.quick_summary import render_quick_summary
from trimf.bench.report.schema import SCHEMA_VERSION, Report
from trimf.bench.report.summary import render_summary
from trimf.cli import main
from trimf.cli_support import print_to_stderr, show_progress
from trimf.export.model_card import render_model_card
from trimf.runtime.bundle.parity_report import decode_parity
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from trimf.runtime.explain import EntityExplanation, ExplainedArcs, RelationExplanation, SentenceExplanation
from trimf.runtime.output.bundle_tables import build_bundle_tables
from trimf.runtime.output.explain_page import render_explanations
from trimf.runtime.output.html_page import render_html
from trimf.runtime.output.parity_tables import build_parity_tables
from trimf.runtime.output.plain_table import build_plain_table
from trimf.runtime.output.plain_text import build_plain_text, escape_markdown, make_visible, quote_code
from trimf.runtime.output.terminal_text import print_extraction
from trimf.runtime.results import Arc, Entity, Extraction, Relation, Trigger
from trimf.runtime.triggers.trigger_scores import TriggerSpan
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.data.statistics import DataStatistics
from trimf_train.data.validate import merge_repeated_annotation
from trimf_train.evaluation.annotation import Annotation
from trimf_train.evaluation.scores import compute_scores
from trimf_train.evaluation.tables import build_tables
from trimf_train.experiments.report import (
    SCORE_NAMES,
    ExperimentReport,
    RunSummary,
    build_row,
    format_markdown,
)
from trimf_train.experiments.triggers.deletion_curves import EXACT, RANDOM
from trimf_train.experiments.triggers.measures import DeletionCurve, GroupMeasures, MethodAgreement
from trimf_train.experiments.triggers.model_study import ModelStudy, format_model_study
from trimf_train.experiments.triggers.resampling import Estimate
from trimf_train.experiments.triggers.study import TriggerStudy
from trimf_train.experiments.triggers.word_table import Example, TypeWords
from trimf_train.training.progress import TrainingProgress

ROOT = Path(__file__).parents[1]
HOSTILE = [
    "[/PER]", "Drug[dose]", ":x:", "[bold]x[/bold]", "<script>alert(1)</script>", "a|b", "$x_1$", "\x1b[31mred",
    "`code`", "*a* _b_ ~~c~~", "a\\|b", "&lt;b&gt;", "new\nline", "\x9b2J", "\u202eevil", "[link](http://example.org)",
    "{0} %s", "``", "trailing\\",
]  # fmt: skip


def on_console(*shown: Any) -> str:
    """What a terminal with colours gets, without the colours."""
    stream = io.StringIO()
    console = Console(file=stream, width=400, force_terminal=True, color_system="truecolor")
    for part in shown:
        console.print(part)
    return re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())


def check_console(text: str, label: str) -> None:
    assert make_visible(label) in re.sub(r" *│\n│[ │]*│ ", " ", text) or "\n" in label
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


class Page(HTMLParser):
    """The text, tags and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", set[str](), set[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def check_html(html: str, label: str) -> None:
    page = Page(html)
    assert make_visible(label) in page.text
    assert not page.tags & {"script", "a", "img", "em", "strong", "s", "del"}
    assert not page.attributes & {"onerror", "onload"}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", html)


def check_markdown(text: str, label: str) -> None:
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    check_html(re.sub(r"<(/?)strong>", r"<\1b>", rendered) if "**Quick" in text else rendered, label)


def evaluated(label: str) -> Any:
    entities = [(0, 1, label), (1, 2, label)]
    one = Annotation(entities, [(entities[0], entities[1], label)])
    return compute_scores([one], [one])


def parity(label: str) -> Any:
    worst = {"id": label, "text": label, "missing": [label], "added": [[label]]}
    extractions = {"sentences": 1, "data": label, "identical": 50.0, "worst": worst}
    verified = {label: {"against": label, "extractions": extractions, "failure": label}}
    errors = {label: {"max": 0.5, "mean": 0.25, "p99": 0.1}}
    parts = {"extractions": extractions, "verified": verified, "skipped": {label: label}, "subgraphs": errors}
    return {"against": label, **parts}


def described(label: str) -> Any:
    manifest = Bundle(DEFAULT_BUNDLE).manifest
    labels = msgspec.structs.replace(
        manifest.labels, entity_types=(label,), relation_types=(label,), symmetric=(label,)
    )
    provenance = {**manifest.provenance, "command": label, "train": {label: "0" * 64}}
    return msgspec.structs.replace(
        manifest, labels=labels, licence=label, encoder=label, parity=parity(label), provenance=provenance
    )


def extraction(label: str) -> Extraction:
    text = f"{label} hit {label}"
    words = [(0, len(label)), (len(label) + 1, len(label) + 4), (len(text) - len(label), len(text))]
    entities = [Entity(*words[0], label, label, 0.5), Entity(*words[2], label, label, 0.5)]
    relation = Relation(entities[0], label, entities[1], 0.5, (Trigger(*words[1], "hit", 0.5),))
    arcs = tuple(Arc(start, end, text[start:end], 1, label) for start, end in words)
    return Extraction(text, tuple(entities), (relation,), ((0, len(text)),), (label,), arcs)


def explanation(label: str) -> SentenceExplanation:
    words = [label, "hit", label]
    return SentenceExplanation(
        words=words,
        arcs=ExplainedArcs([1, 1, 1], [label] * 3),
        entities=[EntityExplanation(0, 1, label, 0.5), EntityExplanation(2, 3, label, 0.5)],
        relations=[RelationExplanation(0, label, 1, 0.5, [0.1, 0.2, None], [TriggerSpan(0, 2, 0.2)])],
        subwords=words,
        pieces=[(0, 0), (1, 1), (2, 2)],
        syntactic_share=[0.2, 0.6, 0.9],
        subword_flow={label: [0.1, 0.2, 0.3]},
        word_flow={label: [0.1, 0.2, 0.3]},
    )


def studied(label: str) -> TriggerStudy:
    agreement = MethodAgreement(label, Estimate(0.5), 0.5, Estimate(0.5, 0.4, 0.6), 0.5, 0.5)
    curves = [DeletionCurve(name, [0.1], [Estimate(1.0)]) for name in (label, EXACT, RANDOM)]
    group = GroupMeasures(label, 4, 3, 2, 0, 0.5, [agreement], curves)
    words = TypeWords(label, 4, [(label, 2)], 2, [(label, 1)], 3)
    example = Example(label, label, label, label, [label], [(label, 0.1)])
    return TriggerStudy(9, 1, 0.2, 100, 0, {label: label}, [group, group], [words], [example])


def experiment(label: str) -> ExperimentReport:
    run = RunSummary(0, "test", "folder", 1, 1.0, dict.fromkeys(SCORE_NAMES, 50.0))
    return ExperimentReport(
        experiment="triggers", title="Triggers", source="Table 5", command=label, protocol="own labels", data=label,
        held="test", encoder=label, parser=label, seeds=1, quick=False, config={}, environment={"device": label},
        rows=[build_row("TriMF", [], [run], [run], {})], triggers=studied(label),
    )  # fmt: skip


def compared(label: str) -> ReportComparison:
    line = QuantityComparison(label, label, label, label, 1.0, 2.0, 2.0, 1.9, 2.1, "slower")
    return ReportComparison([line], [label], [label], [(label, label, label)], [label])


def measured(label: str) -> Report:
    return Report(
        schema_version=SCHEMA_VERSION,
        created="",
        command=label,
        environment={"device": label},
        data=label,
        sentences=1,
        words=1,
        subjects=[],
        cases=[],
        floors=[],
        ratios=[],
    )


#: Functions that build what the console prints, by name, each with its output for a label.
BUILDERS: dict[str, Any] = {
    "build_tables": lambda label: [build_tables(evaluated(label))],
    "build_bundle_tables": lambda label: [
        build_bundle_tables(
            SimpleNamespace(manifest=described(label), path=label, find_unlisted=lambda: [label])  # type: ignore[arg-type]
        )
    ],
    "build_parity_tables": lambda label: build_parity_tables(decode_parity(parity(label))),
    "build_plain_table": lambda label: [build_plain_table(label, label, rows=[[label]])],
    "render_comparison": lambda label: [render_comparison(compared(label))],
    "render_summary": lambda label: [render_summary(measured(label))],
    "render_quick_summary": lambda label: [render_quick_summary(measured(label))],
    "build_plain_text": lambda label: [build_plain_text(label)],
}


#: Functions whose tables show numbers, and text of our own.
OWN_TEXT = {"create_table", "tabulate_streams"}


def test_every_function_that_builds_tables_is_here() -> None:
    folders = ("commands", "runtime", "trimf_train", "export", "bench")
    found = {
        node.name
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.returns is not None
        if re.search(r"\b(Table|Group|Text)\b", ast.unparse(node.returns))
    }
    assert found == set(BUILDERS) | OWN_TEXT


@pytest.mark.parametrize("label", HOSTILE)
@pytest.mark.parametrize("name", BUILDERS)
def test_tables_show_labels_as_they_are(name: str, label: str) -> None:
    check_console(on_console(*BUILDERS[name](label)), label)


@pytest.mark.parametrize("label", HOSTILE)
def test_extractions_on_the_console(label: str) -> None:
    stream = io.StringIO()
    print_extraction(extraction(label), Console(file=stream, width=400))
    check_console(stream.getvalue(), label)


@pytest.mark.parametrize("label", HOSTILE)
def test_pages(label: str) -> None:
    check_html("".join(render_html([extraction(label)], title=label)), label)
    check_html("".join(render_explanations([explanation(label)], label)), label)


@pytest.mark.parametrize("label", HOSTILE)
def test_markdown(label: str) -> None:
    check_markdown(escape_markdown(label), label)
    check_markdown(f"| a |\n|---|\n| {escape_markdown(label)} |", label)
    check_markdown(quote_code(label), label)
    check_markdown(format_markdown(experiment(label), None), label)
    check_markdown(
        format_model_study(ModelStudy(label, label, label, {label: label}, 1.0, studied(label)), None), label
    )
    check_markdown(render_model_card(described(label)), label)


@given(st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"]), min_size=1))
@example("__0__")
@example("a__b___c_ _d")
def test_any_text_in_markdown(text: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for markdown in (f"x {escape_markdown(text)} x", f"x {quote_code(text)} x"):
        page = Page(parser.render(markdown))
        assert page.tags <= {"p", "code"}
        assert page.text.split() == f"x {make_visible(text)} x".replace("\0", "\ufffd").split()


@pytest.mark.parametrize("label", HOSTILE)
def test_lines_on_stderr(label: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_to_stderr(label)
    TrainingProgress(shown=True, total=1).print_line(label)
    with show_progress(label) as progress:
        progress(label, 1, 2)
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert first == make_visible(label)
    assert second == make_visible(label) or "\n" in label
    assert main(["eval", f"model {label}", str(tmp_path / label.replace("/", ""))]) == 2
    check_console(capsys.readouterr().err, label.replace("/", "") if "\n" not in label else "new line")


@pytest.mark.parametrize("label", HOSTILE)
def test_a_progress_bar_on_a_terminal(label: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with show_progress(label) as progress:
        progress(label, 1, 2)
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert make_visible(label) in shown


@pytest.mark.parametrize("label", HOSTILE)
def test_statistics_of_a_data_set(label: str) -> None:
    statistics = DataStatistics()
    entities = [EntityMention(label, 0, 1), EntityMention(label, 1, 2)]
    sentence = Sentence(tokens=["a", "b"], entities=entities, relations=[RelationMention(label, 0, 1)])
    statistics.add(merge_repeated_annotation(sentence))
    assert str(statistics).endswith(
        f"       1  entity types: {make_visible(label)} 2\n       1  relation types: {make_visible(label)} 1"
    )
