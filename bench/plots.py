"""Figures of a report, as SVG that needs no network, no font and no script, and comes out the same every time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..runtime.errors import BackendError
from .markdown import ENGINES, plain, precision, scores
from .schema import Case, Report
from .summary import LEAST, pooled, sentences_a_call, speed, stages, summary

# Readable on white and on near black.
_COLOURS = ("#3b82f6", "#f97316", "#10b981", "#d946ef", "#eab308", "#ef4444", "#14b8a6", "#8b5cf6")
_MARKERS = "osD^vP"
# Stands for the reader's text colour until the SVG is written; no series has it.
_INK = "#010203"
_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": _INK, "axes.labelcolor": _INK, "axes.titlecolor": _INK, "text.color": _INK,
    "xtick.color": _INK, "ytick.color": _INK, "grid.color": _INK, "grid.alpha": 0.15, "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "font.family": "DejaVu Sans", "font.size": 10, "legend.fontsize": 9, "text.parse_math": False,
    "svg.fonttype": "path", "svg.hashsalt": "trimf", "figure.constrained_layout.use": True,
}  # fmt: skip
_WIDTH = 7.0
_SIZES = "b: batch size, w: workers, c: callers"


class Figure(NamedTuple):
    """A drawing: its name (letters and dashes), its title, and one SVG element that takes the text colour around it."""

    name: str
    title: str
    svg: str


def figures(report: Report) -> list[Figure]:
    """The figures there is data for.

    Raises:
        BackendError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise BackendError('plots need matplotlib, which is not installed; pip install "trimf[bench]"') from None
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS, "backend": "agg"}):
        return [figure for draw in (_length, _stages, _throughput, _scores) for figure in draw(report)]


def _new(height: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure and its axes, apart from pyplot, which would keep it."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(_WIDTH, height))
    return canvas, canvas.subplots(1, columns, squeeze=False, sharey=True)[0]


def _svg(canvas: Any, name: str) -> str:
    stream = io.StringIO()
    canvas.savefig(
        stream, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")
    # Several figures stand on one page: their identifiers must differ.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace(_INK, "currentColor")


def _labels(report: Report, cases: Sequence[Case], *more: str) -> list[str]:
    """A name for each case: the model, and what else differs among them."""
    subjects = {subject.name: subject for subject in report.subjects}
    columns = [
        [plain(case.model) for case in cases],
        [precision(case, subjects) for case in cases],
        [ENGINES[case.engine] for case in cases],
        [plain(case.backend) for case in cases],
        [f"{case.threads} thread{'s' * (case.threads > 1)}" for case in cases],
        *([f"{name.replace('_size', '')} {getattr(case, name)}" for case in cases] for name in more),
    ]
    shown = [values for number, values in enumerate(columns) if number == 0 or len(set(values)) > 1]
    return [", ".join(filter(None, values)) for values in zip(*shown, strict=True)]


def _short(label: str, most: int = 56) -> str:
    """The label, or its two ends."""
    return label if len(label) <= most else f"{label[: most // 2 - 1]}…{label[-most // 2 :]}"


def _grouped(report: Report, cases: Sequence[Case]) -> dict[str, list[Case]]:
    groups: dict[str, list[Case]] = {}
    for label, case in zip(_labels(report, cases), cases, strict=True):
        groups.setdefault(label, []).append(case)
    return groups


def _legend(canvas: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Below the axes, where it hides no data; a leading blank, for matplotlib leaves out what begins with "_"."""
    columns = 1 if max(map(len, labels)) > 30 else 2
    legend = canvas.legend(
        handles, [f" {_short(label)}" for label in labels], loc="outside lower center", ncols=columns
    )
    legend.set_in_layout(True)


def _height(axes: float, entries: int) -> float:
    return axes + 0.2 * entries


def _length(report: Report) -> Iterator[Figure]:
    from matplotlib.lines import Line2D

    cases = [case for case in report.cases if case.kind == "length" and case.subwords is not None and pooled(case)]
    if not cases:
        return
    groups = _grouped(report, sorted(cases, key=lambda case: case.subwords or 0))
    canvas, (axes,) = _new(_height(3.6, len(groups) + 1))
    for number, group in enumerate(groups.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        marker = _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
        for stage, dashes in (("whole", "-"), ("plain encoder", "--")):
            found = [(case.subwords, values) for case in group if (values := pooled(case, stage))]
            lengths, middle = [length for length, _ in found], [np.median(values) for _, values in found]
            axes.plot(lengths, middle, dashes, color=colour, marker=marker, markersize=4)
            if stage == "whole" and all(len(values) >= LEAST[90] for _, values in found):
                low, high = np.transpose([np.percentile(values, (10, 90)) for _, values in found])
                axes.fill_between(lengths, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="subwords", ylabel="ms a call", ylim=(0, None))
    handles = [
        Line2D([], [], color=_COLOURS[n % len(_COLOURS)], marker=_MARKERS[n // len(_COLOURS) % len(_MARKERS)])
        for n in range(len(groups))
    ]
    handles += [Line2D([], [], color=_INK), Line2D([], [], color=_INK, linestyle="--")]
    _legend(canvas, handles, [*groups, "whole: p50, band p10–p90", "plain encoder: p50"])
    yield Figure("length", "Latency by length", _svg(canvas, "length"))


def _stages(report: Report) -> Iterator[Figure]:
    cases = [case for case in report.cases if case.kind == "latency" and stages(case) and sentences_a_call(case)]
    if not cases:
        return
    names = list(dict.fromkeys(name for case in cases for name in stages(case)))
    canvas, (axes,) = _new(_height(0.9 + 0.27 * len(cases), (len(names) + 1) // 2))
    places = np.arange(len(cases))
    left = np.zeros(len(cases))
    handles = []
    for number, name in enumerate(names):
        widths = np.array([(summary(pooled(c, name)).mean or 0) / (sentences_a_call(c) or 1) for c in cases])
        hatch = "//" * (number // len(_COLOURS))
        colour = _COLOURS[number % len(_COLOURS)]
        handles.append(axes.barh(places, widths, left=left, height=0.7, color=colour, hatch=hatch))
        left += widths
    axes.set_yticks(places, [_short(label) for label in _labels(report, cases, "batch_size")], fontsize=9)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("ms a sentence, mean")
    _legend(canvas, handles, names)
    yield Figure("stages", "Where the time goes", _svg(canvas, "stages"))


def _throughput(report: Report) -> Iterator[Figure]:
    from matplotlib.ticker import LogLocator, NullLocator

    cases = [case for case in report.cases if case.kind in ("latency", "throughput") and pooled(case) and speed(case)]
    if not cases:
        return
    labels = [
        f"{label}{', from text' if case.kind == 'throughput' else ''}"
        for label, case in zip(_labels(report, cases), cases, strict=True)
    ]
    groups: dict[str, list[Case]] = {}
    for label, case in zip(labels, cases, strict=True):
        groups.setdefault(label, []).append(case)
    canvas, (axes,) = _new(_height(3.9, len(groups)))
    handles = []
    for number, group in enumerate(groups.values()):
        points = sorted((float(np.median(pooled(case))), _rate(case), _size(case)) for case in group)
        colour = _COLOURS[number % len(_COLOURS)]
        marker = _MARKERS[(number // len(_COLOURS) * 2 + (group[0].kind == "throughput")) % len(_MARKERS)]
        line = "-" if group[0].kind == "latency" else ":"
        x, y, sizes = zip(*points, strict=True)
        handles += axes.plot(x, y, line, color=colour, marker=marker, markersize=5)
        for place, size in zip(zip(x, y, strict=True), sizes, strict=True) if len(points) > 1 else ():
            axes.annotate(size, place, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel=f"p50 ms a call ({_SIZES})", ylabel="sentences a second")
    axes.margins(0.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    _legend(canvas, handles, list(groups))
    yield Figure("throughput", "Throughput against latency", _svg(canvas, "throughput"))


def _rate(case: Case) -> float:
    found = speed(case)
    return found.sentences if found else 0.0


def _size(case: Case) -> str:
    named = (("b", case.batch_size), ("w", case.workers), ("c", case.concurrency))
    return " ".join(f"{letter}{count}" for letter, count in named if count > 1) or "b1"


def _scores(report: Report) -> Iterator[Figure]:
    f1 = {subject.name: subject.f1 for subject in report.subjects if subject.f1}
    cases = [case for case in report.cases if case.kind == "latency" and case.model in f1 and pooled(case)]
    cases = [case for case in cases if case.batch_size == min(one.batch_size for one in cases)]
    names = scores(report)
    if not cases:
        return
    canvas, panels = _new(_height(3.0, len(cases)), len(names))
    handles = []
    for number, case in enumerate(cases):
        style = {"color": _COLOURS[number % len(_COLOURS)], "marker": _MARKERS[number % len(_MARKERS)]}
        for axes, name in zip(panels, names, strict=True):
            if (score := f1[case.model].get(name)) is not None:
                axes.scatter([score], [summary(pooled(case)).p50], s=45, alpha=0.85, **style)
        handles.append(panels[0].scatter([], [], s=45, **style))
    for axes, name in zip(panels, names, strict=True):
        # At least two points of F1 wide: a difference of a sentence or two is not to look like one.
        low, high = axes.get_xlim()
        half = max(1.0, 0.6 * (high - low))
        axes.set(xlabel=f"F1 {plain(name)}, %", ylim=(0, None), xlim=((low + high) / 2 - half, (low + high) / 2 + half))
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_ylabel(f"p50 ms a call, batch {cases[0].batch_size}")
    _legend(canvas, handles, _labels(report, cases))
    yield Figure("f1", "Precision: F1 against latency", _svg(canvas, "f1"))
