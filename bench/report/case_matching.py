"""Match the cases of two reports by what they measure, so that reports of two devices can be compared.

Two cases measure the same if they have the same input, batch size, workers, processes, callers and length. What runs
them (model, engine, backend, threads) may differ. A value that both reports have matches itself; the others match in
the order in which the reports have them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

from .schema import Case, Report

#: Fields of a case that say what it measures.
MEASURED_FIELDS = ("kind", "batch_size", "workers", "processes", "concurrency", "subwords")
#: Fields of a case that say what runs it.
RUNNING_FIELDS = ("model", "engine", "backend", "threads")

Value = TypeVar("Value", bound=Hashable)


class MatchedCases(NamedTuple):
    """Cases of two reports.

    Attributes:
        pairs: A case of A and the case of B that measures the same, in the order of A.
        only_a: Cases that only A has.
        only_b: Cases that only B has.
    """

    pairs: list[tuple[Case, Case]]
    only_a: list[Case]
    only_b: list[Case]


def match_cases(a: Report, b: Report) -> MatchedCases:
    """Match the cases of two reports.

    Args:
        a: A report.
        b: Another report.
    """
    maps = {
        field: match_values([getattr(case, field) for case in a.cases], [getattr(case, field) for case in b.cases])
        for field in RUNNING_FIELDS[1:]
    }
    maps["model"] = match_models(a, b)
    waiting: dict[tuple[object, ...], list[Case]] = {}
    for case in b.cases:
        waiting.setdefault(tuple(getattr(case, field) for field in MEASURED_FIELDS + RUNNING_FIELDS), []).append(case)
    pairs, only_a = [], []
    for case in a.cases:
        measured = [getattr(case, field) for field in MEASURED_FIELDS]
        running = [maps[field].get(getattr(case, field)) for field in RUNNING_FIELDS]
        same = waiting.get((*measured, *running))
        if same:
            pairs.append((case, same.pop(0)))
        else:
            only_a.append(case)
    matched = {id(case) for _, case in pairs}
    return MatchedCases(pairs, only_a, [case for case in b.cases if id(case) not in matched])


def match_models(a: Report, b: Report) -> dict[str, str]:
    """Match the models of two reports: first those with the same hash, then by name, then in order.

    Args:
        a: A report.
        b: Another report.

    Returns:
        Name in A -> name in B.
    """
    names_a, names_b = (list(dict.fromkeys(case.model for case in report.cases)) for report in (a, b))
    hashes_a, hashes_b = ({entry.name: entry.sha256 for entry in report.subjects} for report in (a, b))
    matched: dict[str, str] = {}
    for name in names_a:
        same = [
            other
            for other in names_b
            if other not in matched.values() and name in hashes_a and hashes_a[name] == hashes_b.get(other)
        ]
        if same:
            matched[name] = name if name in same else same[0]
    rest_a = [name for name in names_a if name not in matched]
    rest_b = [name for name in names_b if name not in matched.values()]
    return matched | match_values(rest_a, rest_b)


def match_values(a: Sequence[Value], b: Sequence[Value]) -> dict[Value, Value]:
    """Match values: equal ones with each other, and the others in order.

    Args:
        a: Values, which may repeat.
        b: Other values.

    Returns:
        Value of ``a`` -> value of ``b``; without those that have no partner.
    """
    values_a, values_b = list(dict.fromkeys(a)), list(dict.fromkeys(b))
    rest_a, rest_b = ([v for v in one if v not in other] for one, other in ((values_a, values_b), (values_b, values_a)))
    return {value: value for value in values_a if value in values_b} | dict(zip(rest_a, rest_b, strict=False))
