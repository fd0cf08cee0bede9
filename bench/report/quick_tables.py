"""Tables of a report about what a quick run adds: failed parts, parity with the CPU, and CUDA graphs."""

from __future__ import annotations

from .report_table import MISSING, ReportTable, format_number
from .schema import Report


def tabulate_failures(report: Report) -> ReportTable:
    """Return the parts that failed; without rows if there are none.

    Args:
        report: The report.
    """
    rows = [[failed.part, failed.reason] for failed in report.failures]
    note = "The other parts of the run were measured all the same."
    return ReportTable("Failed parts", note, ["part", "reason"], rows, 2)


def tabulate_parities(report: Report) -> ReportTable:
    """Return the comparisons with the CPU; without rows if there are none.

    Args:
        report: The report.
    """
    rows = [
        [
            parity.model,
            parity.backend,
            parity.against,
            parity.failure or "within the limits",
            f"{parity.sentences:,}",
            *(format_number(value) for value in (parity.identical, parity.entities, parity.relations, parity.arcs)),
            format_number(max((error for error in parity.errors.values() if error is not None), default=None), 5),
        ]
        for parity in report.parities
    ]
    note = (
        "The bundle on the backend against the reference, as trimf verify compares them: % of sentences with identical"
        " entities and relations, F1 of entities and of relations against the reference, % of words with the same"
        " dependency arc, and the largest relative error of an output at its 99th percentile."
    )
    head = ["model", "backend", "against", "verdict", "sentences", "identical", "entities", "relations", "arcs"]
    return ReportTable("Parity", note, [*head, "relative error"], rows, 4)


def tabulate_cuda_graphs(report: Report) -> ReportTable:
    """Return which subgraphs were captured as CUDA graphs; without rows where none says so.

    Args:
        report: The report.
    """
    captured = {(case.model, case.backend): find_captured(report, case.model, case.backend) for case in report.cases}
    rows = [
        [model, backend, name, describe_captured(value)]
        for (model, backend), graphs in captured.items()
        for name, value in graphs.items()
    ]
    note = "Whether the runs of a subgraph were captured as CUDA graphs in all latency cases."
    return ReportTable("CUDA graphs", note, ["model", "backend", "subgraph", "captured"], rows, 4)


def find_captured(report: Report, model: str, backend: str) -> dict[str, bool]:
    """Find the subgraphs of a model that were captured as CUDA graphs in every round.

    Args:
        report: The report.
        model: Name of the model.
        backend: Backend that runs it.

    Returns:
        Subgraph -> whether it was; only subgraphs that say so.
    """
    found: dict[str, bool] = {}
    for case in report.cases:
        if (case.model, case.backend) == (model, backend):
            for round_ in case.rounds:
                found |= {name: value and found.get(name, True) for name, value in round_.cuda_graphs.items()}
    return found


def describe_captured(value: bool | None) -> str:
    """Return "yes" or "no", or ``MISSING`` for None.

    Args:
        value: Whether a subgraph was captured.
    """
    return MISSING if value is None else "yes" if value else "no"
