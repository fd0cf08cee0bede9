"""Lay out the diagrams of the page: lines and dots in the coordinates of an SVG element."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .schema import LearningCurve, Reliability, ThresholdCurve

#: Size of a diagram, and its margins: left, right, top, bottom.
WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 44

#: Radius of the largest dot.
_LARGEST_DOT = 9.0

Point = tuple[float, float]


class Tick(NamedTuple):
    """Place on an axis, with its text."""

    place: float
    text: str


class Line(NamedTuple):
    """Named line through points in the coordinates of the diagram; ``style`` is the number of its colour."""

    name: str
    style: int
    points: str


class Dot(NamedTuple):
    """Dot with a text that the reader sees on pointing at it."""

    x: float
    y: float
    radius: float
    title: str


class Rule(NamedTuple):
    """Named vertical line."""

    name: str
    kind: str
    x: float


class Chart(NamedTuple):
    """A diagram.

    Attributes:
        title: What it shows.
        x_label: Name of the horizontal axis.
        x_ticks: Its ticks.
        y_ticks: Ticks of the vertical axis.
        lines: Lines.
        dots: Dots.
        rules: Vertical lines.
        diagonal: Ends of a line to compare with, as ``x1 y1 x2 y2``; empty for none.
    """

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line] = []  # noqa: RUF012  # never changed
    dots: list[Dot] = []  # noqa: RUF012
    rules: list[Rule] = []  # noqa: RUF012
    diagonal: tuple[float, ...] = ()


class _Frame(NamedTuple):
    """Ranges of both axes."""

    x_low: float
    x_high: float
    y_high: float

    def x(self, value: float) -> float:
        """Return the horizontal place of a value, in pixels."""
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Return the vertical place of a value, in pixels from above."""
        return round(HEIGHT - BOTTOM - value / (self.y_high or 1.0) * (HEIGHT - TOP - BOTTOM), 1)

    def line(self, name: str, style: int, points: Iterable[tuple[float, float | None]]) -> Line:
        """Return a line through the points that have a value."""
        shown = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points if y is not None)
        return Line(name, style, shown)

    def y_ticks(self, *values: float) -> list[Tick]:
        """Return ticks of the vertical axis at some values."""
        return [Tick(self.y(value), f"{value:g}") for value in values]

    def x_ticks(self, *values: float) -> list[Tick]:
        """Return ticks of the horizontal axis at some values."""
        return [Tick(self.x(value), f"{value:g}") for value in values]


def draw_reliability(name: str, reliability: Reliability) -> Chart:
    """Lay out the share of right predictions by score; the area of a dot grows with its number of scores."""
    frame = _Frame(0.0, 1.0, 1.0)
    shown = [part for part in reliability.bins if part.count]
    most = max((part.count for part in shown), default=1)
    dots = [
        Dot(
            frame.x(part.mean_score or 0.0),
            frame.y(part.right or 0.0),
            round(max(_LARGEST_DOT * math.sqrt(part.count / most), 2.5), 1),
            f"{part.count} with score {part.mean_score:.2f}: {100 * (part.right or 0.0):.0f} % right",
        )
        for part in shown
    ]
    line = frame.line("share right", 0, ((part.mean_score or 0.0, part.right) for part in shown))
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    diagonal = (frame.x(0), frame.y(0), frame.x(1), frame.y(1))
    return Chart(
        f"{name}: share right by score",
        "score",
        frame.x_ticks(*ticks),
        frame.y_ticks(*ticks),
        [line],
        dots,
        diagonal=diagonal,
    )


def draw_threshold_curve(name: str, curve: ThresholdCurve) -> Chart:
    """Lay out precision, recall and F1 by threshold, with the best threshold and the ones in use."""
    frame = _Frame(0.0, 1.0, 100.0)
    lines = [
        frame.line("precision", 1, ((point.threshold, point.precision) for point in curve.points)),
        frame.line("recall", 2, ((point.threshold, point.recall) for point in curve.points)),
        frame.line("F1", 0, ((point.threshold, point.f1) for point in curve.points)),
    ]
    rules = []
    in_use = set(curve.current.values())
    if len(in_use) == 1:
        rules.append(Rule("in use", "current", frame.x(in_use.pop())))
    if curve.best:
        rules.append(Rule("best F1 on this data", "best", frame.x(curve.best.threshold)))
    return Chart(
        f"{name}: precision, recall and F1 by threshold",
        "threshold",
        frame.x_ticks(0.0, 0.25, 0.5, 0.75, 1.0),
        frame.y_ticks(0.0, 25.0, 50.0, 75.0, 100.0),
        lines,
        rules=rules,
    )


def draw_learning_curve(curve: LearningCurve) -> list[Chart]:
    """Lay out the losses and, if there was development data, F1 on it by epoch."""
    numbers = [epoch.epoch for epoch in curve.epochs]
    losses = list(dict.fromkeys(name for epoch in curve.epochs for name in epoch.losses))
    values = [value for epoch in curve.epochs for value in epoch.losses.values() if math.isfinite(value)]
    charts = []
    if values:
        ticks = _choose_ticks(max(values))
        frame = _Frame(numbers[0], numbers[-1], max(ticks[-1], *values))
        lines = [
            frame.line(f"{name} loss", index, ((epoch.epoch, epoch.losses.get(name)) for epoch in curve.epochs))
            for index, name in enumerate(losses)
        ]
        charts.append(_draw_epochs("Loss by epoch", frame, ticks, lines, curve.best))
    frame = _Frame(numbers[0], numbers[-1], 100.0)
    scores = [
        frame.line(name, style, points)
        for name, style, points in (
            ("entity F1 on dev", 0, [(epoch.epoch, epoch.entity_f1) for epoch in curve.epochs]),
            ("relation F1 on dev", 1, [(epoch.epoch, epoch.relation_f1) for epoch in curve.epochs]),
        )
        if any(value is not None for _, value in points)
    ]
    if scores:
        charts.append(_draw_epochs("F1 by epoch", frame, (0.0, 25.0, 50.0, 75.0, 100.0), scores, curve.best))
    return charts


def _draw_epochs(title: str, frame: _Frame, ticks: Sequence[float], lines: list[Line], best: int | None) -> Chart:
    first, last = int(frame.x_low), int(frame.x_high)
    step = max(math.ceil((last - first + 1) / 8), 1)
    rules = [Rule("best epoch", "best", frame.x(best))] if best is not None and first <= best <= last else []
    # A line through one epoch would not show.
    single = [(line.name, line.points.split(",")) for line in lines if line.points.count(",") == 1]
    dots = [Dot(float(x), float(y), 3.0, name) for name, (x, y) in single]
    return Chart(
        title, "epoch", frame.x_ticks(*range(first, last + 1, step)), frame.y_ticks(*ticks), lines, dots, rules
    )


def _choose_ticks(high: float) -> list[float]:
    """Return four to six round numbers from 0 up to a value."""
    if high <= 0:
        return [0.0, 1.0]
    size = 10 ** math.floor(math.log10(high / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= high / 5)
    return [round(step * index, 12) for index in range(math.floor(high / step) + 1)]
