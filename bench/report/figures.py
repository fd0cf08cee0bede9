"""Draw the figures of a report as self-contained, reproducible SVG without fonts or scripts."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from functools import cache
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np

from ...runtime.extras import require_extra
from .markdown_report import ENGINE_LABELS, get_precision, list_f1_names, replace_unprintable
from .schema import Case, Report
from .statistics import (
    MIN_SAMPLES,
    compute_speed,
    list_stages,
    mean_sentences_per_call,
    pool_samples,
    summarize_samples,
)

#: Colours that are readable on white and on near black.
_COLOURS = ("#3b82f6", "#f97316", "#10b981", "#d946ef", "#eab308", "#ef4444", "#14b8a6", "#8b5cf6")
_MARKERS = "osD^vP"
#: Placeholder of the reader's text colour until the SVG is written; no series uses it.
_INK = "#010203"
_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": _INK, "axes.labelcolor": _INK, "axes.titlecolor": _INK, "text.color": _INK,
    "xtick.color": _INK, "ytick.color": _INK, "grid.color": _INK, "grid.alpha": 0.15, "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "font.family": "DejaVu Sans", "font.size": 10, "legend.fontsize": 9, "text.parse_math": False,
    "svg.fonttype": "path", "svg.hashsalt": "trimf", "figure.constrained_layout.use": True,
}  # fmt: skip
_WIDTH = 7.0
#: Characters of a line of a tick label and of a legend, and of a whole label.
_TICK_LINE, _LEGEND_LINE, _LABEL_LENGTH = 44, 72, 132
#: Letter before a number in the throughput figure -> its meaning.
_SIZES = {"b": "batch size", "w": "workers", "p": "processes", "c": "concurrent callers"}


class ReportFigure(NamedTuple):
    """A figure of the report.

    Attributes:
        name: Identifier of letters and dashes.
        title: Title shown in the report.
        svg: One SVG element, which takes the text colour of its surroundings.
    """

    name: str
    title: str
    svg: str


def draw_figures(report: Report) -> list[ReportFigure]:
    """Draw the figures that the report has data for.

    Args:
        report: The report.

    Returns:
        Up to four figures: latency by length, stages, throughput, and F1.

    Raises:
        BackendError: matplotlib is not installed.
    """
    require_extra("bench", "matplotlib", purpose="drawing figures")
    import matplotlib

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS, "backend": "agg"}):
        return [
            figure for draw in (_plot_lengths, _plot_stages, _plot_throughput, _plot_scores) for figure in draw(report)
        ]


def _create_canvas(height: float, columns: int = 1) -> tuple[Any, Any]:
    """Return a canvas and its axes, created without pyplot, which would keep a reference to them."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(_WIDTH, height))
    return canvas, canvas.subplots(1, columns, squeeze=False, sharey=True)[0]


def _render_svg(canvas: Any, name: str) -> str:
    """Return the canvas as an SVG element whose identifiers begin with the name."""
    stream = io.StringIO()
    canvas.savefig(
        stream, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")
    # Identifiers must be unique, because a page has several figures.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace(_INK, "currentColor")


def _label_cases(report: Report, cases: Sequence[Case], *fields: str) -> list[str]:
    """Label each case by its model and by the settings in which the cases differ."""
    subjects = {subject.name: subject for subject in report.subjects}
    columns = [
        [replace_unprintable(case.model) for case in cases],
        [get_precision(case, subjects) for case in cases],
        [ENGINE_LABELS[case.engine] for case in cases],
        [replace_unprintable(case.backend) for case in cases],
        [f"{case.threads} thread{'s' * (case.threads > 1)}" for case in cases],
        *([f"{field.replace('_size', '')} {getattr(case, field)}" for case in cases] for field in fields),
    ]
    shown = [values for index, values in enumerate(columns) if index == 0 or len(set(values)) > 1]
    return [", ".join(filter(None, values)) for values in zip(*shown, strict=True)]


@cache
def _load_drawable() -> frozenset[int]:
    """Return the code points that the font of the figures can draw."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_SETTINGS["font.family"])).get_charmap())


def _escape_undrawable(text: str) -> str:
    """Replace the characters that the font lacks by their escapes, so that two names never look alike."""
    drawable = _load_drawable()
    return "".join(letter if ord(letter) in drawable else letter.encode("unicode_escape").decode() for letter in text)


def _wrap_label(label: str, line_length: int) -> str:
    """Break the label into lines, without its middle if it would fill more than three.

    A label gets a leading space, because matplotlib leaves out labels that begin with "_".
    """
    label = _escape_undrawable(label)
    if len(label) > _LABEL_LENGTH:
        label = f"{label[: _LABEL_LENGTH // 2 - 1]}…{label[-_LABEL_LENGTH // 2 :]}"
    return "\n".join(f" {line}" for line in wrap(label, line_length) or [""])


def _group_by_label(report: Report, cases: Sequence[Case]) -> dict[str, list[Case]]:
    groups: dict[str, list[Case]] = {}
    for label, case in zip(_label_cases(report, cases), cases, strict=True):
        groups.setdefault(label, []).append(case)
    return groups


def _add_legend(canvas: Any, axes_height: float, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Add a legend below the axes, where it hides no data, and make the canvas high enough for both."""
    wrapped = [_wrap_label(label, _LEGEND_LINE) for label in labels]
    columns = 1 if max(map(len, labels)) > 30 else 2
    rows = [wrapped[start : start + columns] for start in range(0, len(wrapped), columns)]
    lines = sum(max(label.count("\n") + 1 for label in row) for row in rows)
    canvas.set_figheight(axes_height + 0.2 * lines)
    canvas.legend(handles, wrapped, loc="outside lower center", ncols=columns).set_in_layout(True)


def _set_log_scale(axes: Any, x: Sequence[float], y: Sequence[float]) -> None:
    """Give both axes a logarithmic scale that shows all values, with three ticks or more."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.set(xscale="log", yscale="log")
    for axis, values in ((axes.xaxis, x), (axes.yaxis, y)):
        low, high = min(values), max(values)
        margin = max((high / low) ** 0.08, 1.3 if low == high else 1.02)
        axes.set(**{f"{axis.axis_name}lim": (low / margin, high * margin)})
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
        # 1, 2 and 5 times a power of ten are too far apart for values within one decade; even steps then fit better.
        even = (MaxNLocator(nbins=most, steps=(1, 2, 2.5, 5, 10)) for most in (5, 7, 9))
        for locator in (LogLocator(subs=(1, 2, 5)), *even):
            axis.set_major_locator(locator)
            if sum(low / margin <= tick <= high * margin for tick in axis.get_majorticklocs()) >= 3:
                break


def _plot_lengths(report: Report) -> Iterator[ReportFigure]:
    from matplotlib.lines import Line2D

    cases = [
        case for case in report.cases if case.kind == "length" and case.subwords is not None and pool_samples(case)
    ]
    if not cases:
        return
    groups = _group_by_label(report, sorted(cases, key=lambda case: case.subwords or 0))
    canvas, (axes,) = _create_canvas(3.6)
    has_band, has_encoder = False, False
    for index, group in enumerate(groups.values()):
        colour = _COLOURS[index % len(_COLOURS)]
        marker = _MARKERS[index // len(_COLOURS) % len(_MARKERS)]
        for stage, dashes in (("whole", "-"), ("plain encoder", "--")):
            points = [(case.subwords, values) for case in group if (values := pool_samples(case, stage))]
            if not points:
                continue
            has_encoder |= stage == "plain encoder"
            lengths, medians = [length for length, _ in points], [np.median(values) for _, values in points]
            axes.plot(lengths, medians, dashes, color=colour, marker=marker, markersize=4)
            enough = len(points) > 1 and all(len(values) >= MIN_SAMPLES[90] for _, values in points)
            if stage == "whole" and enough:
                low, high = np.transpose([np.percentile(values, (10, 90)) for _, values in points])
                axes.fill_between(lengths, low, high, color=colour, alpha=0.2, linewidth=0)
                has_band = True
    axes.set(xlabel="subwords", ylabel="ms per call", ylim=(0, None))
    handles = [
        Line2D([], [], color=_COLOURS[n % len(_COLOURS)], marker=_MARKERS[n // len(_COLOURS) % len(_MARKERS)])
        for n in range(len(groups))
    ]
    labels = [*groups, f"whole call: p50{', band p10–p90' if has_band else ''}"]
    handles.append(Line2D([], [], color=_INK))
    if has_encoder:
        labels.append("plain encoder: p50")
        handles.append(Line2D([], [], color=_INK, linestyle="--"))
    _add_legend(canvas, 3.6, handles, labels)
    yield ReportFigure("length", "Latency by length", _render_svg(canvas, "length"))


def _plot_stages(report: Report) -> Iterator[ReportFigure]:
    cases = [
        case for case in report.cases if case.kind == "latency" and list_stages(case) and mean_sentences_per_call(case)
    ]
    if not cases:
        return
    names = list(dict.fromkeys(name for case in cases for name in list_stages(case)))
    labels = [_wrap_label(label, _TICK_LINE) for label in _label_cases(report, cases, "batch_size")]
    row_height = 0.13 + 0.14 * max(label.count("\n") + 1 for label in labels)
    height = 0.9 + row_height * len(cases)
    canvas, (axes,) = _create_canvas(height)
    rows = np.arange(len(cases))
    left = np.zeros(len(cases))
    handles = []
    for index, name in enumerate(names):
        widths = np.array(
            [(summarize_samples(pool_samples(c, name)).mean or 0) / (mean_sentences_per_call(c) or 1) for c in cases]
        )
        hatch = "//" * (index // len(_COLOURS))
        colour = _COLOURS[index % len(_COLOURS)]
        handles.append(axes.barh(rows, widths, left=left, height=0.7, color=colour, hatch=hatch))
        left += widths
    axes.set_yticks(rows, labels, fontsize=9)
    axes.set_ylim(len(cases) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("mean ms per sentence")
    _add_legend(canvas, height, handles, names)
    yield ReportFigure("stages", "Mean time by stage", _render_svg(canvas, "stages"))


def _plot_throughput(report: Report) -> Iterator[ReportFigure]:
    cases = [
        case
        for case in report.cases
        if case.kind in ("latency", "throughput") and pool_samples(case) and _compute_rate(case) > 0
    ]
    if not cases:
        return
    labels = [
        f"{label}{', from text' if case.kind == 'throughput' else ''}"
        for label, case in zip(_label_cases(report, cases), cases, strict=True)
    ]
    groups: dict[str, list[Case]] = {}
    for label, case in zip(labels, cases, strict=True):
        groups.setdefault(label, []).append(case)
    canvas, (axes,) = _create_canvas(3.9)
    handles = []
    letters: set[str] = set()
    all_x: list[float] = []
    all_y: list[float] = []
    for index, group in enumerate(groups.values()):
        points = sorted(
            (float(np.median(pool_samples(case))), _compute_rate(case), _label_size(case)) for case in group
        )
        colour = _COLOURS[index % len(_COLOURS)]
        marker = _MARKERS[(index // len(_COLOURS) * 2 + (group[0].kind == "throughput")) % len(_MARKERS)]
        line = "-" if group[0].kind == "latency" else ":"
        x, y, sizes = zip(*points, strict=True)
        handles += axes.plot(x, y, line, color=colour, marker=marker, markersize=5)
        for point, size in zip(zip(x, y, strict=True), sizes, strict=True) if len(points) > 1 else ():
            axes.annotate(size, point, xytext=(4, 4), textcoords="offset points", fontsize=8)
            letters |= {part[0] for part in size.split()}
        all_x += x
        all_y += y
    sizes_key = ", ".join(f"{letter}: {meaning}" for letter, meaning in _SIZES.items() if letter in letters)
    axes.set(xlabel=f"p50 ms per call{f' ({sizes_key})' if sizes_key else ''}", ylabel="sentences/s")
    _set_log_scale(axes, all_x, all_y)
    _add_legend(canvas, 3.9, handles, list(groups))
    yield ReportFigure("throughput", "Throughput against latency", _render_svg(canvas, "throughput"))


def _compute_rate(case: Case) -> float:
    rate = compute_speed(case)
    return rate.sentences if rate else 0.0


def _label_size(case: Case) -> str:
    counts = (("b", case.batch_size), ("w", case.workers), ("p", case.processes), ("c", case.concurrency))
    return " ".join(f"{letter}{count}" for letter, count in counts if count > 1) or "b1"


def _plot_scores(report: Report) -> Iterator[ReportFigure]:
    f1 = {subject.name: subject.f1 for subject in report.subjects if subject.f1}
    cases = [case for case in report.cases if case.kind == "latency" and case.model in f1 and pool_samples(case)]
    cases = [case for case in cases if case.batch_size == min(other.batch_size for other in cases)]
    names = list_f1_names(report)
    if not cases:
        return
    canvas, panels = _create_canvas(3.0, len(names))
    handles = []
    for index, case in enumerate(cases):
        style = {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKERS[index % len(_MARKERS)]}
        for axes, name in zip(panels, names, strict=True):
            if (score := f1[case.model].get(name)) is not None:
                axes.scatter([score], [summarize_samples(pool_samples(case)).p50], s=45, alpha=0.85, **style)
        handles.append(panels[0].scatter([], [], s=45, **style))
    for axes, name in zip(panels, names, strict=True):
        # Show at least two points of F1, so that a difference of one or two sentences does not look large.
        low, high = axes.get_xlim()
        half = max(1.0, 0.6 * (high - low))
        axes.set(
            xlabel=f"F1 {_escape_undrawable(replace_unprintable(name))}, %",
            ylim=(0, 1.1 * axes.dataLim.y1),
            xlim=((low + high) / 2 - half, (low + high) / 2 + half),
        )
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_ylabel(f"p50 ms per call, batch {cases[0].batch_size}")
    _add_legend(canvas, 3.0, handles, _label_cases(report, cases))
    yield ReportFigure("f1", "Precision: F1 against latency", _render_svg(canvas, "f1"))
