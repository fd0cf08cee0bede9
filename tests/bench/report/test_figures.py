"""Figures: which are drawn, the same every time, and with nothing that a name can break."""

import re
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

from trimf.bench.report.figures import draw_figures
from trimf.runtime.errors import BackendError

from .reports import awkward, case, empty, full, pair

pytest.importorskip("matplotlib", reason="needs matplotlib")


@pytest.fixture(scope="module")
def drawn():
    return draw_figures(full(power=True))


def test_a_whole_report_has_every_figure(drawn):
    assert [figure.name for figure in drawn] == ["length", "stages", "throughput", "f1"]


def test_figures_come_out_the_same(drawn):
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert draw_figures(full(power=True)) == drawn
    assert dict(matplotlib.rcParams) == before


def test_a_figure_is_one_element_in_the_text_colour_around_it(drawn):
    for figure in drawn:
        assert ElementTree.fromstring(figure.svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert "currentColor" in figure.svg
        assert "<metadata" not in figure.svg
        assert "<text" not in figure.svg
        assert "#010203" not in figure.svg
        assert re.findall(r"https?:[^\"' ]+", figure.svg) == ["http://www.w3.org/2000/svg"]


def test_identifiers_differ_and_links_find_theirs(drawn):
    known: set[str] = set()
    for figure in drawn:
        own = re.findall(r'\bid="([^"]+)"', figure.svg)
        assert not known & set(own)
        known |= set(own)
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', figure.svg)) <= set(own)


def test_a_figure_without_data_is_left_out():
    nothing, lone, parts = awkward()
    assert draw_figures(nothing) == []
    assert [figure.name for figure in draw_figures(lone)] == ["throughput"]
    assert [figure.name for figure in draw_figures(parts)] == ["throughput"]
    assert [figure.name for figure in draw_figures(pair(0))] == ["stages", "throughput"]


@pytest.mark.parametrize("name", ["$x_1$ \\frac", "_hidden", "<b>&\x00\n\x1b", "n" * 300, ""])
def test_any_name_can_be_drawn(name):
    rng = np.random.default_rng(0)
    cases = [
        case(rng, f"{name} {n}", of={"calls": 5}, model=f"{name}{n}", kind=kind, subwords=8)
        for n in range(12)
        for kind in ("latency", "length")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in draw_figures(empty(cases=cases)):
            ElementTree.fromstring(figure.svg)


def test_without_matplotlib_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendError, match=r'pip install "trimf\[bench\]"'):
        draw_figures(empty())
