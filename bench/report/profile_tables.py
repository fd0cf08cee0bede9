"""Tables of a report about the profiles: the subgraphs, their slowest nodes, and the time by operator."""

from __future__ import annotations

from collections.abc import Iterator

from .node_shares import CPU_PROVIDER, MAX_ROWS, compute_node_shares, count_cpu_nodes
from .report_table import MISSING, ReportTable, format_number
from .schema import Profile, Report

#: What a reader must know of a profile.
PROFILE_WARNING = "Profiling slows a run down: read the shares, not the times or their sums."


def build_profile_tables(report: Report) -> Iterator[ReportTable]:
    """Return the tables about the profiles of a report; some have no rows.

    Args:
        report: The report.
    """
    precisions = {subject.name: subject.precision for subject in report.subjects}
    yield _tabulate_subgraphs(report, precisions)
    for profile in report.profiles:
        settings = describe_profile(profile, precisions)
        yield _tabulate_nodes(profile, settings)
        yield _tabulate_operators(profile, settings)


def describe_profile(profile: Profile, precisions: dict[str, str]) -> str:
    """Describe what was profiled, such as "default, int8, cpu, 1 thread, batch 8".

    Args:
        profile: The profile.
        precisions: Precision of each model of the report.
    """
    threads = f"{profile.threads} thread{'s' * (profile.threads > 1)}"
    precision = precisions.get(profile.model, MISSING)
    return ", ".join((profile.model, precision, profile.backend, threads, f"batch {profile.batch_size}"))


def _tabulate_subgraphs(report: Report, precisions: dict[str, str]) -> ReportTable:
    rows = []
    for profile in report.profiles:
        for subgraph in profile.subgraphs:
            cpu_nodes = count_cpu_nodes(profile, subgraph)
            rows.append(
                [
                    profile.model,
                    precisions.get(profile.model, MISSING),
                    profile.backend,
                    subgraph.subgraph,
                    str(profile.threads),
                    str(profile.batch_size),
                    f"{subgraph.runs:,}",
                    f"{len(subgraph.nodes):,}" if subgraph.runs else MISSING,
                    MISSING if cpu_nodes is None or not subgraph.runs else f"{cpu_nodes:,}",
                    format_number(compute_node_shares(subgraph).mean if subgraph.runs else None, 0),
                ]
            )
    note = (
        f"{PROFILE_WARNING} Taken in separate processes after the timed cases, on the smallest and the largest batch."
        " Nodes are those after the optimizations of the inference library. The CPU column counts nodes that run on the"
        f" {CPU_PROVIDER} although another backend was requested. The time is the sum over all nodes, per run of the"
        " subgraph; without runs, the data did not need the subgraph."
    )
    head = ["model", "precision", "backend", "subgraph", "threads", "batch", "runs", "nodes", "on CPU", "node time µs"]
    return ReportTable("Profile", note, head, rows, 4)


def _tabulate_nodes(profile: Profile, settings: str) -> ReportTable:
    rows = []
    for subgraph in profile.subgraphs:
        shares = compute_node_shares(subgraph)
        for node, share in shares.slowest:
            times = (format_number(node.mean, 1), format_number(node.median, 1), _format_share(share))
            rows.append([subgraph.subgraph, node.name, node.operator or MISSING, node.provider, *times])
        if rest := shares.rest:
            figures = (format_number(rest.mean, 1), MISSING, _format_share(rest.share))
            rows.append([subgraph.subgraph, rest.operator, MISSING, MISSING, *figures])
    note = (
        f"The {MAX_ROWS} slowest nodes of each subgraph: mean and median time per run in microseconds, and the share of"
        " the mean in that of all nodes. A mean far above the median shows that the machine was not quiet."
        f" {PROFILE_WARNING}"
    )
    head = ["subgraph", "node", "operator", "provider", "mean µs", "median µs", "share %"]
    return ReportTable(f"Slowest nodes: {settings}", note, head, rows, 4)


def _tabulate_operators(profile: Profile, settings: str) -> ReportTable:
    rows = []
    for subgraph in profile.subgraphs:
        shares = compute_node_shares(subgraph)
        others = [shares.other_operators] if shares.other_operators else []
        for entry in (*shares.operators, *others):
            figures = (f"{entry.nodes:,}", format_number(entry.mean, 1), _format_share(entry.share))
            rows.append([subgraph.subgraph, entry.operator or MISSING, *figures])
    note = f"All nodes of an operator together. {PROFILE_WARNING}"
    return ReportTable(
        f"Time by operator: {settings}", note, ["subgraph", "operator", "nodes", "mean µs", "share %"], rows, 2
    )


def _format_share(share: float) -> str:
    return format_number(100 * share, 1)
