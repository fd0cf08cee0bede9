"""The page: alone, well-formed, harmless, and usable with hundreds of labels and any script."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.output.plain_text import make_visible
from trimf_train.evaluation.report.build_report import ReportNames, ReportOptions, assemble_report
from trimf_train.evaluation.report.error_schema import Span, TypeConfusion
from trimf_train.evaluation.report.html_report import build_matrix, render_report
from trimf_train.evaluation.report.marked_text import mark_text
from trimf_train.evaluation.report.schema import Epoch, LearningCurve

from .runs import make_run, make_text

HOSTILE = '"><script>alert(1)</script><img src="https://example.org/x" onerror=x>\x1b\u202e{{ 7*7 }}'
VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def render(labels: Labels, names: str = "model", text: str = "one two three", times: int = 12) -> str:
    """A page with every section: the model errs everywhere, the other model is right."""
    ends = [(0, 3, labels.entity_types[0]), (4, 7, labels.entity_types[-1])]
    every = [(index, index + 1, label) for index, label in enumerate(labels.entity_types)]
    links = [(ends[0], ends[1], label) for label in labels.relation_types]
    found = dict.fromkeys([(0, 3, labels.entity_types[-1]), ends[1]], 0.9)
    turned = dict.fromkeys([(tail, head, label) for head, tail, label in links], 0.8)
    good = make_text([*ends, *every], links, dict.fromkeys([*ends, *every], 0.9), dict.fromkeys(links, 0.9), text=text)
    bad = make_text([*ends, *every], links, found, turned, text=text, id=names)
    runs = [make_run([bad] * times, labels), make_run([good] * times, labels)]
    curve = LearningCurve([Epoch(1, 1, {names: 0.5}, 10.0, None), Epoch(2, 1, {names: 0.2}, 20.0, None)], 2)
    return render_report(
        assemble_report(ReportNames(names, names, names), runs, ReportOptions(resamples=10, examples=2), curve)
    )


@pytest.fixture(scope="module")
def page() -> str:
    return render(Labels(("A", "B"), ("r", "s"), ()))


def test_a_page_stands_alone(page: str) -> None:
    reader = read(page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "//" not in re.sub(r"</?[a-z]", "", page)
    links = [value or "" for name, value in reader.attributes if name in ("href", "src", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    identifiers = [value for name, value in reader.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    assert {link[1:] for link in links} <= set(identifiers)
    assert not {"script", "iframe", "link", "img"} & set(reader.tags)
    assert "@import" not in page
    assert "url(" not in page


def test_a_page_is_for_light_and_dark_and_narrow_windows(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "max-width: 40rem" in page


def test_a_page_has_every_section(page: str) -> None:
    words = read(page).words
    for title in ("Scores", "Thresholds", "Reliability of scores", "Compared with", "Training", "Worst errors"):
        assert title in words
    for outcome in ("wrong type", "wrong direction", "wrong because of an entity", "missed", "spurious"):
        assert outcome in words


def test_names_are_harmless() -> None:
    html = render(Labels((HOSTILE, "B"), (HOSTILE,), ()), HOSTILE, f"one two {HOSTILE}")
    reader = read(html)
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name == "src"]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", html)
    assert make_visible(HOSTILE) in reader.words
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", make_visible(HOSTILE))


def test_hundreds_of_labels_are_folded() -> None:
    names = [f"type {index}" for index in range(300)]
    html = render(Labels(tuple(names), tuple(f"link {index}" for index in range(200)), ()), text="x" * 400, times=2)
    reader = read(html)
    for name in names:
        assert name in reader.words
    assert "285 more types" in reader.words
    assert 'class="matrix"' not in html
    assert len(html) < 3_000_000


def test_right_to_left_text_keeps_its_direction() -> None:
    html = render(Labels(("A", "B"), ("r",), ()), text="ولد محمد في القاهرة")
    read(html)
    assert '<p class="passage" dir="auto">' in html


def test_marks_divide_a_text_without_loss() -> None:
    text = "one two three four"
    spans = [Span(0, 7, "A", "one two"), Span(4, 13, "B", "two three"), Span(4, 7, "C", "two")]
    parts = mark_text(text, spans, [spans[1]])
    assert "".join(part.text for part in parts) == text
    assert [part.labels for part in parts] == [[], ["A", "C"], ["B"], []]
    assert [part.nested for part in parts] == [False, True, False, False]
    assert [part.focus for part in parts] == [False, True, True, False]
    assert [part.colour is None for part in parts] == [False, False, False, True]
    assert mark_text("", []) == []


def test_a_matrix_is_for_few_types() -> None:
    few = build_matrix([TypeConfusion("A", "A", 3), TypeConfusion("A", "B", 2), TypeConfusion(None, "B", 1)])
    assert few is not None
    assert (few.types, few.rows, few.spurious, few.most) == (
        ["A", "B"], [("A", [3, 2, 0]), ("B", [0, 0, 0])], [0, 1], 2,
    )  # fmt: skip
    assert build_matrix([TypeConfusion(str(index), None, 1) for index in range(13)]) is None
    assert build_matrix([]) is None
