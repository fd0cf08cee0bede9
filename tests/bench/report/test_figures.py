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


def list_texts(svg: str) -> list[str]:
    """Texts of a figure: matplotlib writes each as a comment beside its outlines."""
    return [text.strip() for text in re.findall(r"<!-- (.*?) -->", svg, re.DOTALL)]


def draw_length_case(calls: int, *, lengths: tuple[int, ...] = (8, 16), plain: bool = True) -> str:
    rng = np.random.default_rng(0)
    cases = [case(rng, f"length {n}", of={"calls": calls, "count": 1}, kind="length", subwords=n) for n in lengths]
    if not plain:
        for one in cases:
            del one.rounds[0].samples["plain encoder"]
    return next(figure.svg for figure in draw_figures(empty(cases=cases)) if figure.name == "length")


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"calls": 40}, ["trimf", "whole call: p50, band p10–p90", "plain encoder: p50"]),
        ({"calls": 5}, ["trimf", "whole call: p50", "plain encoder: p50"]),
        ({"calls": 40, "lengths": (8,)}, ["trimf", "whole call: p50", "plain encoder: p50"]),
        ({"calls": 40, "plain": False}, ["trimf", "whole call: p50, band p10–p90"]),
    ],
)
def test_a_legend_names_what_is_drawn(fields, labels):
    svg = draw_length_case(**fields)
    assert list_texts(svg)[-len(labels) :] == labels
    assert ("FillBetweenPolyCollection" in svg) == (len(fields.get("lengths", "ab")) > 1 and fields["calls"] > 36)


@pytest.mark.parametrize("factors", [(1,), (1, 1.05), (1, 3), (1, 30_000)])
@pytest.mark.parametrize("milliseconds", [0.013, 6.3])
def test_each_logarithmic_axis_has_three_ticks_or_more(milliseconds, factors):
    rng = np.random.default_rng(0)
    cases = [
        case(rng, str(n), milliseconds * factor, of={"calls": 5, "noise": 0.001}, threads=n)
        for n, factor in enumerate(factors, start=1)
    ]
    (svg,) = (figure.svg for figure in draw_figures(empty(cases=cases)) if figure.name == "throughput")
    for axis in ("xtick", "ytick"):
        assert 3 <= len(re.findall(rf'id="throughput-{axis}_\d+"', svg)) <= 16


def test_the_axis_explains_only_letters_that_stand_at_points():
    rng = np.random.default_rng(0)
    lone = case(rng, "lone", of={"calls": 5})
    batches = [case(rng, f"batch {n}", n, of={"calls": 5, "batch": n}, batch_size=n) for n in (2, 8)]
    for cases, label in (([lone], "p50 ms per call"), ([lone, *batches], "p50 ms per call (b: batch size)")):
        (svg,) = (figure.svg for figure in draw_figures(empty(cases=cases)) if figure.name == "throughput")
        assert label in list_texts(svg)


def test_long_names_stay_distinct():
    rng = np.random.default_rng(0)
    names = [f"/home/somebody/projects/extraction/runs/2026-{month}-01/best-model/with-a-long-name/{'x' * 20}"
             for month in ("01", "02")]  # fmt: skip
    names += ["模型", "模式"]
    cases = [case(rng, name, of={"calls": 5}, model=name) for name in names]
    for figure in draw_figures(empty(cases=cases)):
        text = re.sub(r"\s", "", "".join(list_texts(figure.svg)))
        assert all(name in text for name in (*names[:2], "\\u6a21\\u578b", "\\u6a21\\u5f0f"))


def test_a_figure_without_data_is_left_out():
    nothing, lone, parts = awkward()
    assert draw_figures(nothing) == []
    assert [figure.name for figure in draw_figures(lone)] == ["throughput"]
    assert [figure.name for figure in draw_figures(parts)] == ["throughput"]
    assert [figure.name for figure in draw_figures(pair(0))] == ["stages", "throughput"]


@pytest.mark.parametrize("name", ["$x_1$ \\frac", "_hidden", "<b>&\x00\n\x1b", "n" * 300, "", "模型 🚀", "نموذج"])
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
