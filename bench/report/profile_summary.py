"""Summary of the profiles of a report for the terminal, readable at 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...runtime.output.plain_text import make_visible
from .node_shares import NodeShares, compute_node_shares, count_cpu_nodes
from .profile_tables import PROFILE_WARNING, describe_profile
from .report_table import MISSING
from .schema import Profile, Report, SubgraphProfile

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

#: Operators that the line below a table names.
_NAMED_OPERATORS = 5


def render_profiles(report: Report) -> Iterator[RenderableType]:
    """Render the slowest nodes of each subgraph, and the operators that take most time.

    Args:
        report: The report.

    Yields:
        Lines and tables; none if nothing was profiled.
    """
    from rich.text import Text

    precisions = {subject.name: subject.precision for subject in report.subjects}
    for profile in report.profiles:
        yield ""
        yield Text(make_visible(f"Profile: {describe_profile(profile, precisions)}"), "bold")
        yield Text(PROFILE_WARNING)
        for subgraph in profile.subgraphs:
            yield ""
            yield Text(make_visible(_describe_subgraph(profile, subgraph)))
            if subgraph.nodes:
                shares = compute_node_shares(subgraph)
                yield _tabulate_nodes(subgraph, shares)
                yield Text(make_visible(_describe_operators(shares)), "dim")


def _describe_subgraph(profile: Profile, subgraph: SubgraphProfile) -> str:
    if not subgraph.runs:
        return f"{subgraph.subgraph}: the data did not need it"
    providers = _list_providers(subgraph)
    parts = [f"{len(subgraph.nodes):,} node{'s' * (len(subgraph.nodes) != 1)} after optimization"]
    if len(providers) == 1:
        parts.append(f"all on {providers[0]}")
    parts.append(f"{subgraph.runs:,} run{'s' * (subgraph.runs != 1)}")
    if cpu_nodes := count_cpu_nodes(profile, subgraph):
        parts.append(f"{cpu_nodes:,} on the CPU instead of {profile.backend}")
    return f"{subgraph.subgraph}: {', '.join(parts)}"


def _tabulate_nodes(subgraph: SubgraphProfile, shares: NodeShares) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    several = len(_list_providers(subgraph)) > 1
    for name in ("node", "operator", *(["provider"] if several else [])):
        table.add_column(name, overflow="fold")
    for name in ("mean µs", "median µs", "share %"):
        table.add_column(name, justify="right", no_wrap=True)
    for node, share in shares.slowest:
        provider = [_shorten_provider(node.provider)] if several else []
        cells = (node.name, node.operator or MISSING, *provider)
        figures = (f"{node.mean:,.1f}", f"{node.median:,.1f}", f"{100 * share:.1f}")
        table.add_row(*(Text(make_visible(cell)) for cell in cells), *figures)
    if rest := shares.rest:
        blank = [""] * (1 + several)
        table.add_row(rest.operator, *blank, f"{rest.mean:,.1f}", "", f"{100 * rest.share:.1f}")
    return table


def _describe_operators(shares: NodeShares) -> str:
    named = shares.operators[:_NAMED_OPERATORS]
    rest = 1 - sum(entry.share for entry in named)
    parts = [f"{entry.operator or MISSING} {100 * entry.share:.1f}" for entry in named]
    if len(shares.operators) > _NAMED_OPERATORS:
        parts.append(f"others {100 * rest:.1f}")
    return f"By operator, %: {', '.join(parts)}"


def _list_providers(subgraph: SubgraphProfile) -> list[str]:
    return list(dict.fromkeys(_shorten_provider(node.provider) for node in subgraph.nodes))


def _shorten_provider(name: str) -> str:
    return name.removesuffix("ExecutionProvider")
