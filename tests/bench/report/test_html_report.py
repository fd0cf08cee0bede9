"""The page: alone, well-formed, harmless, and with everything that the report holds."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from trimf.bench.report.html_report import render_page
from trimf.bench.report.markdown_report import build_tables
from trimf.bench.report.schema import ModelInfo

from .reports import awkward, case, empty, full

pytest.importorskip("matplotlib", reason="needs matplotlib")

HOSTILE = '"><script>alert(1)</script><img src="https://example.org/x" onerror=x>\x1b\u202e'


class Reader(HTMLParser):
    """Collects tags, attributes and text, and fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("td", "th"):
            self.cells.append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def whole():
    return render_page(full(power=True))


def test_a_page_stands_alone(whole):
    reader = read(whole)
    assert whole.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "//" not in re.sub(r"</?[a-z]", "", whole)
    links = [value for name, value in reader.attributes if name in ("href", "src", "xlink:href")]
    assert [link for link in links if not link.startswith("#")] == ["report.json"]
    assert set(re.findall(r"url\((.)", whole)) <= {"#"}
    assert "@import" not in whole
    assert "script" not in reader.tags


def test_a_page_is_for_light_and_dark_and_phones(whole):
    assert "prefers-color-scheme: dark" in whole
    assert 'name="viewport"' in whole
    assert "currentColor" in whole


def test_identifiers_are_unique(whole):
    found = [value for name, value in read(whole).attributes if name == "id"]
    assert len(found) == len(set(found))


def test_a_page_has_every_table_figure_and_word(whole):
    report = full(power=True)
    reader = read(whole)
    assert reader.tags.count("svg") == 4
    cells = set(reader.cells)
    for section in build_tables(report):
        for row in (section.columns, *section.rows):
            assert {cell for cell in row if cell} <= cells
    text = "".join(reader.words)
    for value in ("AMD EPYC 9V74", "1.23.0", report.command, report.data, "The GPU was throttled by ", "6,874 words"):
        assert value in text


def test_only_an_interval_is_kept_on_one_line(whole):
    cells = re.findall(r'<td class="number">(.*?)</td>', whole)
    assert all(re.fullmatch(r"[^ ()]*|[^ ()]+ <span>\([^ ()]+\)</span>", cell) for cell in cells)
    assert {"<span>" in cell for cell in cells} == {True, False}


def test_names_are_harmless():
    rng = np.random.default_rng(0)
    fields = {"model": HOSTILE, "backend": HOSTILE}
    cases = [
        case(rng, HOSTILE, of={"calls": 3, "power": True}, kind=kind, **fields) for kind in ("latency", "throughput")
    ]
    subject = ModelInfo(name=HOSTILE, sha256=HOSTILE, precision=HOSTILE, products={}, f1={HOSTILE: 1.0})
    html = render_page(
        empty(cases=cases, subjects=[subject], command=HOSTILE, data=HOSTILE, environment={HOSTILE: {HOSTILE: HOSTILE}})
    )
    reader = read(html)
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name == "src"]
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", html)


def test_a_page_of_little():
    for report in awkward():
        html = render_page(report)
        read(html)
        assert ("<pre>" in html, "with:" in html) == (bool(report.command), bool(report.command))
