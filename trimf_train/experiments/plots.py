"""Draw one SVG figure per experiment: bars for a table, lines over a setting, or deletion curves."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

from trimf.runtime.extras import require_extra
from trimf_train.experiments.report import ExperimentReport
from trimf_train.experiments.triggers.deletion_curves import EXACT, RANDOM
from trimf_train.experiments.triggers.measures import DeletionCurve

_COLOURS = ("#3b82f6", "#f97316", "#10b981", "#d946ef", "#eab308", "#ef4444")
#: Characters of a line of a row's name.
_NAME_LINE = 28
#: Settings of matplotlib; with a fixed salt, equal figures give equal files.
_SETTINGS: dict[Any, Any] = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.alpha": 0.25, "legend.frameon": False, "font.size": 10, "svg.fonttype": "path", "svg.hashsalt": "trimf",
    "text.parse_math": False, "figure.constrained_layout.use": True,
}  # fmt: skip


def draw_figure(report: ExperimentReport) -> str | None:
    """Draw the figure of a report.

    Args:
        report: The report.

    Returns:
        The figure as SVG, or None if the report has only a single result, or no relation to draw.

    Raises:
        BackendError: matplotlib is not installed.
    """
    if report.sweep:
        draw_panel = _draw_sweep
    elif report.triggers:
        overall = report.triggers.groups[0]
        return draw_deletion_curves(overall.curves) if overall.relations else None
    elif len(report.rows) > 1:
        draw_panel = _draw_stages if report.experiment == "stages" else _draw_bars
    else:
        return None
    return _render_svg(lambda canvas: draw_panel(report, canvas))


def draw_deletion_curves(curves: Sequence[DeletionCurve]) -> str:
    """Draw the deletion curves of a study of triggers.

    Args:
        curves: The curves, of at least one relation.

    Returns:
        The figure as SVG.

    Raises:
        BackendError: matplotlib is not installed.
    """
    return _render_svg(lambda canvas: _draw_deletion(curves, canvas))


def _render_svg(draw: Callable[[Any], None]) -> str:
    """Draw on a new canvas and return it as SVG."""
    require_extra("bench", "matplotlib", purpose="plotting")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS, "backend": "agg"}):
        canvas = Figure(figsize=(7.0, 3.6))
        draw(canvas)
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _draw_bars(report: ExperimentReport, canvas: Any) -> None:
    names = [fill(row.name, _NAME_LINE) for row in report.rows]
    lines = max(name.count("\n") + 1 for name in names)
    canvas.set_figheight(1.2 + len(names) * max(0.45, 0.1 + 0.18 * lines))
    panels = canvas.subplots(1, 2, sharey=True)
    for axes, kind, colour in zip(panels, ("entity", "relation"), _COLOURS, strict=False):
        figures = [row.figures[f"{kind} f1"] for row in report.rows]
        means = [figure.mean for figure in figures]
        axes.barh(names, means, xerr=[figure.deviation for figure in figures], color=colour, height=0.65)
        low = min(figure.mean - figure.deviation for figure in figures)
        high = max(figure.mean + figure.deviation for figure in figures)
        room = max(2.0, 1.5 * (max(means) - min(means)))
        axes.set(xlabel=f"{kind} F1, %", xlim=(max(0.0, low - room), min(100.0, high + room / 2)))
        axes.locator_params(axis="x", nbins=4)
    panels[0].invert_yaxis()


def _draw_stages(report: ExperimentReport, canvas: Any) -> None:
    axes = canvas.subplots()
    names = [row.name for row in report.rows]
    for kind, colour in zip(("entity", "relation"), _COLOURS, strict=False):
        figures = [row.figures[f"{kind} f1"] for row in report.rows]
        axes.errorbar(
            names, [figure.mean for figure in figures], yerr=[figure.deviation for figure in figures],
            marker="o", color=colour, capsize=3, label=f"{kind} F1",
        )  # fmt: skip
    axes.set(xlabel="epochs of stage 1 + stage 2", ylabel="F1, %")
    _add_legend(canvas)


def _draw_sweep(report: ExperimentReport, canvas: Any) -> None:
    axes = canvas.subplots()
    sweep = report.sweep
    assert sweep is not None
    axes.errorbar(sweep.threshold, sweep.f1, yerr=sweep.deviation, color=_COLOURS[1], marker="o", label="F1", capsize=3)
    axes.plot(sweep.threshold, sweep.precision, color=_COLOURS[0], linestyle="--", label="precision")
    axes.plot(sweep.threshold, sweep.recall, color=_COLOURS[2], linestyle=":", label="recall")
    axes.set(xlabel="relation filtering threshold", ylabel="relations, %", xlim=(0, 1), ylim=(0, 100))
    _add_legend(canvas)


def _draw_deletion(curves: Sequence[DeletionCurve], canvas: Any) -> None:
    axes = canvas.subplots()
    ks = list(range(1, len(curves[0].fall) + 1))
    for index, curve in enumerate(curves):
        style = {EXACT: ":", RANDOM: "--"}.get(curve.method, "-")
        axes.plot(ks, curve.fall, style, marker="o", color=_COLOURS[index % len(_COLOURS)], label=curve.method)
    axes.set(xlabel="words left out", ylabel="mean fall in probability", xticks=ks)
    if all(fall is not None and fall >= 0 for curve in curves for fall in curve.fall):
        axes.set_ylim(0, None)
    _add_legend(canvas)


def _add_legend(canvas: Any) -> None:
    """Add a legend below the axes, where it hides no data, and the height that it takes."""
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    columns = 3 if max(map(len, labels)) <= 16 else 2
    canvas.set_figheight(canvas.get_figheight() + 0.2 * -(-len(labels) // columns))
    canvas.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)
