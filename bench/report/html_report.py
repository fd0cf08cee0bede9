"""Render a report as one self-contained HTML page with tables and figures.

The page needs no network, follows the reader's light or dark colour scheme, and fits small screens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from ...runtime.output.templates import create_environment
from .figures import ReportFigure, draw_figures
from .markdown_report import build_tables, describe_report, list_warnings, replace_unprintable
from .report_table import ReportTable
from .schema import Report
from .statistics import flatten_mapping

#: Title of the table below each figure, by name of the figure.
_TABLE_OF_FIGURE = {"length": "Latency by length", "stages": "Stages", "throughput": "Throughput", "f1": "Speed and F1"}


class _Card(NamedTuple):
    """A section of the page; its figure precedes its table."""

    title: str
    figure: ReportFigure | None
    table: ReportTable | None


def render_page(report: Report) -> str:
    """Render the page.

    It links to ``report.json`` in the same folder for the raw samples.

    Args:
        report: The report.

    Returns:
        The HTML text; write it as UTF-8.

    Raises:
        BackendError: matplotlib is not installed.
    """
    _, data = describe_report(report)
    template = create_environment(replace_unprintable, Path(__file__).parent).get_template("report.html.j2")
    return template.render(
        warnings=list_warnings(report),
        data=data,
        command=report.command,
        cards=list(_list_cards(report)),
        notes=report.notes,
    )


def _list_cards(report: Report) -> Iterator[_Card]:
    figures = {_TABLE_OF_FIGURE[figure.name]: _prepare_figure(figure) for figure in draw_figures(report)}
    for table in build_tables(report):
        yield _Card(table.title, figures.pop(table.title, None), table)
    for figure in figures.values():
        yield _Card(figure.title, figure, None)
    rows = [list(pair) for pair in flatten_mapping(report.environment)]
    if rows:
        yield _Card("Environment", None, ReportTable("Environment", "", ("name", "value"), rows, 2))


def _prepare_figure(figure: ReportFigure) -> ReportFigure:
    """Mark the SVG element as markup with a label, and drop its namespace.

    HTML parsers need no namespace on an inline svg element, and the page should contain no external address.
    """
    svg = figure.svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")
    labelled = Markup('<svg role="img" aria-label="{}" ').format(replace_unprintable(figure.title))
    return figure._replace(svg=Markup(svg.replace("<svg ", labelled, 1)))  # drawn by matplotlib, which escapes labels
