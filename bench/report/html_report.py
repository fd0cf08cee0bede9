"""Render a report as one self-contained HTML page with tables and figures.

The page needs no network, follows the reader's light or dark colour scheme, and fits small screens.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ...runtime.output.render import PAGE_HEAD, PAGE_TAIL
from .figures import ReportFigure, draw_figures
from .markdown_report import ReportTable, build_tables, describe_report, list_throttling_warnings, replace_unprintable
from .schema import Report
from .statistics import flatten_mapping

#: Title of the table below each figure, by name of the figure.
_TABLE_OF_FIGURE = {"length": "Latency by length", "stages": "Stages", "throughput": "Throughput", "f1": "Speed and F1"}


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
    return "".join(_render_parts(report))


def _render_parts(report: Report) -> Iterator[str]:
    yield PAGE_HEAD.format(title="Benchmark", style=_STYLE)
    for text in list_throttling_warnings(report):
        yield f'<p class="warning">{_escape_text(text)}</p>\n'
    _, data = describe_report(report)
    yield f"<p>{_escape_text(data)}</p>\n<pre>{_escape_text(report.command)}</pre>\n"
    yield '<p>All samples: <a href="report.json">report.json</a></p>\n'
    drawn = {_TABLE_OF_FIGURE[figure.name]: figure for figure in draw_figures(report)}
    for section in build_tables(report):
        yield _render_card(section.title, _render_figure(drawn.pop(section.title, None)) + _render_table(section))
    for figure in drawn.values():
        yield _render_card(figure.title, _render_figure(figure))
    rows = [list(pair) for pair in flatten_mapping(report.environment)]
    if rows:
        yield _render_card("Environment", _render_table(ReportTable("Environment", "", ("name", "value"), rows, 2)))
    if report.notes:
        yield _render_card("Notes", "".join(f"<p>{_escape_text(text)}.</p>\n" for text in report.notes))
    yield PAGE_TAIL


def _render_card(title: str, body: str) -> str:
    return f"<section>\n<h2>{_escape_text(title)}</h2>\n{body}</section>\n"


def _render_figure(figure: ReportFigure | None) -> str:
    if figure is None:
        return ""
    # HTML parsers need no namespace on an inline svg element, and the page should contain no external address.
    svg = figure.svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{_escape_text(figure.title)}" ', 1)
    return f'<figure class="wide">\n{svg}\n<figcaption>{_escape_text(figure.title)}</figcaption>\n</figure>\n'


def _render_table(section: ReportTable) -> str:
    classes = ["" if i < section.words else ' class="number"' for i in range(len(section.head))]
    heads = "".join(
        f'<th scope="col"{class_}>{_escape_text(name)}</th>' for class_, name in zip(classes, section.head, strict=True)
    )
    rows = "".join(
        f"<tr>{''.join(f'<td{class_}>{_escape_text(cell)}</td>' for class_, cell in zip(classes, row, strict=True))}"
        "</tr>\n"
        for row in section.rows
    )
    note = f"<p>{_escape_text(section.note)}</p>\n" if section.note else ""
    head = f"<thead><tr>{heads}</tr></thead>"
    return f'{note}<div class="wide"><table>\n{head}\n<tbody>\n{rows}</tbody>\n</table></div>\n'


def _escape_text(text: str) -> str:
    return escape(replace_unprintable(text))


_STYLE = """\
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #1c2128; --soft: #5b6470; --line: #dfe3e8;
  --link: #1d4ed8; --warn: #fdeaa8; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --card: #1d2127; --ink: #e6e9ed; --soft: #9aa4b0; --line: #343b45; --link: #8ab4ff;
    --warn: #5c4a0b; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem; max-width: 80rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 1rem; font-size: 1.35rem; font-weight: 650; }
h2 { margin: 0 0 .5rem; font-size: 1.1rem; font-weight: 650; }
a { color: var(--link); }
p { margin: .25rem 0 .5rem; }
pre { margin: .5rem 0; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: .4rem;
  white-space: pre-wrap; }
section { margin: 0 0 1rem; padding: 1rem 1.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
section p, figcaption { color: var(--soft); font-size: .875rem; }
.warning { padding: .5rem .8rem; background: var(--warn); border-radius: .4rem; font-weight: 600; }
.wide { overflow-x: auto; }
figure { margin: 0 0 1rem; }
figcaption { position: absolute; width: 1px; height: 1px; overflow: hidden; }
svg { display: block; width: 100%; min-width: 32rem; max-width: 52rem; height: auto; margin: 0 auto; }
table { width: max-content; border-collapse: collapse; font-size: .875rem; }
th { padding: .35rem .75rem .35rem 0; text-align: start; color: var(--soft); font-weight: 500; vertical-align: bottom; }
td { padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--line); vertical-align: baseline; }
td, th { max-width: 24rem; }
.number { text-align: end; white-space: nowrap; font-variant-numeric: tabular-nums; }
@media (max-width: 40rem) { body { padding: 1rem .5rem; } section { padding: .75rem; } }
"""
