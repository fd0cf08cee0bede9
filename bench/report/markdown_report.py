"""Tables of a report, and the report as a Markdown document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ...runtime.output.plain_text import escape_markdown
from .profile_tables import build_profile_tables
from .quick_tables import tabulate_cuda_graphs, tabulate_failures, tabulate_parities
from .report_table import MISSING, ReportTable, format_number
from .schema import CASE_INPUTS, Case, ModelInfo, Report
from .statistics import (
    MIN_SAMPLES,
    Spread,
    compute_percentile_interval,
    compute_round_medians,
    compute_speed,
    compute_spread,
    compute_stage_ratio,
    describe_throttling,
    flatten_mapping,
    list_stages,
    pool_samples,
    summarize_samples,
)

#: Load average per core before a run, and percentage of CPU time taken by other virtual machines during it, above which
#: the reader is warned.
MAX_LOAD_BEFORE, MAX_STEAL_PERCENT = 0.3, 1.0

#: Label of what runs a case, by ``Case.engine``; bundles are labelled by their backend only.
ENGINE_LABELS = {"onnx": "", "eager": "PyTorch eager", "compile": "PyTorch compiled"}

_PERCENTILES = ("p50", "p90", "p95", "p99")
#: Percentiles that are shown with their interval.
_WITH_INTERVAL = ("p95", "p99")


def render_markdown(report: Report) -> str:
    """Render a report as a Markdown document, with all names from the report escaped.

    Args:
        report: The report.
    """
    parts = ["# Benchmark", *(escape_markdown(text) for text in describe_report(report)), _indent_code(report.command)]
    parts += [f"**{escape_markdown(text)}**" for text in list_warnings(report)]
    for table in build_tables(report):
        parts += [f"## {escape_markdown(table.title)}", table.note, _render_table(table)]
    parts += [f"Note: {escape_markdown(text)}." for text in report.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def describe_report(report: Report) -> list[str]:
    """Describe the machine and the data of a report, in one line each.

    Args:
        report: The report.
    """
    environment = "; ".join(f"{name} {value}" for name, value in flatten_mapping(report.environment))
    return [
        f"Environment: {environment or 'not recorded'}.",
        f"Data: {report.data or 'unnamed'}, {report.sentences:,} sentences, {report.words:,} words."
        f" Created {report.created}{' with:' if report.command else '.'}",
    ]


def list_warnings(report: Report) -> list[str]:
    """Return warnings about throttling of the GPU and about other work on the machine.

    Args:
        report: The report.
    """
    return [*_list_throttling(report), *_list_other_work(report)]


def _list_throttling(report: Report) -> Iterator[str]:
    """Describe throttling of a GPU, or say whether it could be seen at all; a run on the CPU has nothing to say."""
    messages = [f"The GPU was {text}" for text in describe_throttling(report.cases)]
    powers = [round_.power for case in report.cases if case.backend != "cpu" for round_ in case.rounds]
    if messages or not powers:
        yield from messages
    elif all(powers):
        yield "No throttling was seen in any round."
    else:
        yield "Clocks of the GPU were not recorded in every round, so throttling may have gone unnoticed."


def _list_other_work(report: Report) -> Iterator[str]:
    load, cores = report.environment.get("load") or {}, report.environment.get("cores") or 1
    if load.get("load_before", 0) > MAX_LOAD_BEFORE * cores:
        yield f"The machine was busy before the run: load average {load['load_before']} on {cores} cores."
    if load.get("steal_percent", 0) > MAX_STEAL_PERCENT:
        yield f"Other virtual machines took {load['steal_percent']} % of the CPU time during the run."


def build_tables(report: Report) -> Iterator[ReportTable]:
    """Return the tables of a report that have rows.

    Args:
        report: The report.
    """
    subjects = {subject.name: subject for subject in report.subjects}
    tables = (
        tabulate_failures(report),
        _tabulate_speed_and_f1(report),
        tabulate_parities(report),
        _tabulate_latency(report, subjects),
        _tabulate_stages(report, subjects),
        _tabulate_throughput(report, subjects),
        _tabulate_lengths(report, subjects),
        _tabulate_ratios(report),
        _tabulate_floors(report),
        _tabulate_power(report),
        _tabulate_memory_growth(report),
        tabulate_cuda_graphs(report),
        *build_profile_tables(report),
    )
    return (table for table in tables if table.rows)


def get_precision(case: Case, subjects: dict[str, ModelInfo]) -> str:
    """Return the precision of a case's model, or ``MISSING`` if the report does not describe the model.

    Args:
        case: The case.
        subjects: Models of the report by name.
    """
    subject = subjects.get(case.model)
    return subject.precision if subject else MISSING


def describe_input(case: Case) -> str:
    """Describe what a case runs on, such as "words, batch 8" or "text, batch 32, 2 workers".

    Args:
        case: The case.
    """
    parts = [CASE_INPUTS[case.kind]]
    parts.append(f"{case.subwords} subwords" if case.subwords is not None else f"batch {case.batch_size}")
    if case.workers > 1:
        parts.append(f"{case.workers} workers")
    if case.processes > 1:
        parts.append(f"{case.processes} processes")
    if case.concurrency > 1:
        parts[1] = f"{case.concurrency} callers"
    if case.kind == "soak":
        parts.append("soak")
    return ", ".join(parts)


def label_backend(case: Case) -> str:
    """Return a label of what runs a case, such as "cpu" or "PyTorch eager, cuda".

    Args:
        case: The case.
    """
    return ", ".join(filter(None, (ENGINE_LABELS[case.engine], case.backend)))


def list_f1_names(report: Report) -> list[str]:
    """Return the names of the F1 scores that at least one model has.

    Args:
        report: The report.
    """
    return list(dict.fromkeys(name for subject in report.subjects for name in subject.f1 or ()))


def _format_spread(values: Spread | None, digits: int = 2) -> str:
    if values is None:
        return MISSING
    value, low, high = (format_number(number, digits) for number in values)
    return value if low == high else f"{value} ({low}–{high})"


def _format_percentiles(values: Sequence[float]) -> list[str]:
    figures = summarize_samples(values)
    cells = [format_number(getattr(figures, name)) for name in _PERCENTILES]
    for index, name in enumerate(_PERCENTILES):
        if ends := compute_percentile_interval(values, int(name[1:])) if name in _WITH_INTERVAL else None:
            cells[index] += " ({}–{})".format(*map(format_number, ends))
    return [*cells, f"{figures.n:,}"]


def _select_cases(report: Report, *kinds: str) -> list[Case]:
    return [case for case in report.cases if case.kind in kinds]


def _list_settings(case: Case, subjects: dict[str, ModelInfo]) -> list[str]:
    """Return the cells of the columns model, precision, backend and threads."""
    return [case.model, get_precision(case, subjects), label_backend(case), str(case.threads)]


def _tabulate_speed_and_f1(report: Report) -> ReportTable:
    names = list_f1_names(report)
    rows = []
    for subject in report.subjects:
        products: Counter[str] = Counter()
        for counts in subject.products.values():
            products.update(counts)
        matmuls = ", ".join(f"{count} {kind}" for kind, count in products.items()) or MISSING
        cases = [case for case in _select_cases(report, "latency") if case.model == subject.name and pool_samples(case)]
        least = min((case.batch_size for case in cases), default=0)
        times = [
            f"{summarize_samples(pool_samples(c)).p50:.2f} ({label_backend(c)}, {c.threads})"
            for c in cases
            if c.batch_size == least
        ]
        f1 = [format_number((subject.f1 or {}).get(name)) for name in names]
        latency = "; ".join(times) or MISSING
        rows.append([subject.name, subject.precision, matmuls, subject.sha256[:12], latency, *f1])
    head = ["model", "precision", "matrix products", "sha256", "p50 ms (backend, threads)", *(f"F1 {n}" for n in names)]
    note = "Milliseconds per call at the smallest batch size, and strict micro F1 (%) of the same model."
    return ReportTable("Speed and F1", note, head, rows, 5)


def _tabulate_latency(report: Report, subjects: dict[str, ModelInfo]) -> ReportTable:
    rows = [
        [
            *_list_settings(case, subjects),
            str(case.batch_size),
            *_format_percentiles(pool_samples(case)),
            _format_spread(compute_spread(round_.load for round_ in case.rounds), 0),
            _format_spread(compute_spread(round_.first for round_ in case.rounds), 1),
            _format_spread(compute_stage_ratio(case)),
        ]
        for case in _select_cases(report, "latency")
    ]
    limits = ", ".join(f"p{q} from {least:,}" for q, least in MIN_SAMPLES.items())
    note = (
        "Milliseconds per call on one batch. All rounds are pooled and no sample is dropped; percentiles are"
        f" interpolated linearly ({limits} samples on), p95 and p99 with their 95 % interval from order statistics."
        " Load time, first call and the ratio to the plain encoder (the transformer without the extraction layers) are"
        " medians over rounds with their range."
    )
    head = ["model", "precision", "backend", "threads", "batch", *_PERCENTILES, "n", "load", "first", "× plain encoder"]
    return ReportTable("Latency", note, head, rows, 3)


def _tabulate_stages(report: Report, subjects: dict[str, ModelInfo]) -> ReportTable:
    cases = [case for case in _select_cases(report, "latency") if list_stages(case)]
    names = list(dict.fromkeys(name for case in cases for name in list_stages(case)))
    rows = [
        [
            *_list_settings(case, subjects),
            str(case.batch_size),
            *(format_number(summarize_samples(pool_samples(case, name)).mean) for name in names),
        ]
        for case in cases
    ]
    note = (
        "Mean milliseconds per call, so that stages add up. The stages split (text into words) and parse precede the"
        " call and are not part of its latency."
    )
    return ReportTable("Stages", note, ["model", "precision", "backend", "threads", "batch", *names], rows, 3)


def _tabulate_throughput(report: Report, subjects: dict[str, ModelInfo]) -> ReportTable:
    rows = []
    for case in _select_cases(report, "throughput", "soak"):
        speeds = [rate for round_ in case.rounds if (rate := compute_speed(case, [round_]))]
        devices = [round_.memory.device for round_ in case.rounds if round_.memory.device is not None]
        padding = compute_spread(100 * round_.padding for round_ in case.rounds if round_.padding is not None)
        rows.append(
            [
                *_list_settings(case, subjects),
                *(str(value) for value in (case.batch_size, case.workers, case.processes, case.concurrency)),
                _format_spread(compute_spread(rate.sentences for rate in speeds), 1),
                _format_spread(compute_spread(rate.words for rate in speeds), 0),
                format_number(padding.value if padding else None, 1),
                format_number(max((round_.memory.host for round_ in case.rounds), default=None), 0),
                format_number(max(devices, default=None), 0),
            ]
        )
    note = (
        "From raw text, in wall-clock time: medians over rounds with their range. Padding is in %, memory is the peak"
        " in MB. Callers are threads that share one extractor."
    )
    head = ["model", "precision", "backend", "threads", "batch", "workers", "processes", "callers"]
    head += ["sentences/s", "words/s", "padding", "host MB", "device MB"]
    return ReportTable("Throughput", note, head, rows, 3)


def _tabulate_lengths(report: Report, subjects: dict[str, ModelInfo]) -> ReportTable:
    rows = [
        [
            *_list_settings(case, subjects),
            MISSING if case.subwords is None else str(case.subwords),
            *_format_percentiles(pool_samples(case)),
            format_number(summarize_samples(pool_samples(case, "plain encoder")).p50),
            _format_spread(compute_stage_ratio(case)),
        ]
        for case in _select_cases(report, "length")
    ]
    head = ["model", "precision", "backend", "threads", "subwords", *_PERCENTILES, "n", "plain p50", "× plain encoder"]
    note = "Milliseconds per call on one synthetic sentence with a fixed number of subwords."
    return ReportTable("Latency by length", note, head, rows, 3)


def _tabulate_ratios(report: Report) -> ReportTable:
    rows = [
        [
            entry.name.removeprefix(f"{entry.of}: "),
            entry.of,
            entry.to.replace(f"{entry.of}: ", "same case: ", 1),
            _format_spread(Spread(entry.value, entry.low, entry.high)),
            str(entry.rounds),
        ]
        for entry in report.ratios
    ]
    note = "Ratios of medians of the same round: median over rounds, with minimum and maximum."
    return ReportTable("Ratios", note, ["ratio", "of", "to", "value", "rounds"], rows, 3)


def _tabulate_floors(report: Report) -> ReportTable:
    rows = []
    for floor in report.floors:
        key = (floor.model, floor.backend, floor.threads, floor.batch_size)
        plain = [
            value
            for case in _select_cases(report, "latency")
            if case.engine == "onnx" and (case.model, case.backend, case.threads, case.batch_size) == key
            for value in compute_round_medians(case, "plain encoder")
        ]
        measured = compute_spread(value / floor.milliseconds for value in plain) if floor.milliseconds > 0 else None
        sizes = [str(size) for size in (floor.threads, floor.batch_size, floor.subwords)]
        amounts = (floor.operations / 1e9, floor.bytes / 1e6, floor.peak_operations / 1e9, floor.peak_bytes / 1e9)
        figures = [format_number(amount) for amount in (*amounts, floor.milliseconds)]
        rows.append([floor.model, floor.backend, *sizes, *figures, _format_spread(measured)])
    note = (
        "Lower bound on the latency of the encoder: operations and bytes of a call at the median length, divided by the"
        " measured peaks of the device. The last column is the measured latency of the plain encoder divided by this"
        " floor."
    )
    head = ["model", "backend", "threads", "batch", "subwords", "GFLOP", "MB", "peak GFLOP/s", "peak GB/s", "floor ms"]
    return ReportTable("Arithmetic floors", note, [*head, "measured / floor"], rows, 2)


def _tabulate_power(report: Report) -> ReportTable:
    rows = []
    for case in report.cases:
        powers = [round_.power for round_ in case.rounds if round_.power]
        if not powers:
            continue
        sentences = sum(size for round_ in case.rounds if round_.power for size, _ in round_.sizes)
        joules = sum(power.joules for power in powers) / sentences if case.kind == "throughput" and sentences else None
        reasons = ", ".join(dict.fromkeys(reason for power in powers for reason in power.throttled))
        rows.append(
            [
                case.name,
                reasons or "none",
                _format_spread(compute_spread(power.clock_mhz for power in powers), 0),
                format_number(min(power.lowest_clock_mhz for power in powers), 0),
                _format_spread(compute_spread(power.watts for power in powers), 1),
                format_number(joules, 3),
            ]
        )
    note = (
        "NVML readings while the rounds ran. Joules per sentence are given for throughput cases, which do nothing but"
        " extract."
    )
    head = ["case", "throttled by", "clock MHz", "lowest MHz", "W", "J per sentence"]
    return ReportTable("Power", note, head, rows, 2)


def _tabulate_memory_growth(report: Report) -> ReportTable:
    rows = []
    for case in report.cases:
        for number, round_ in enumerate(case.rounds, start=1):
            if growth := round_.memory.growth:
                (start, before), (end, after) = growth[0], growth[-1]
                figures = (
                    f"{start:,}",
                    f"{end:,}",
                    format_number(before, 1),
                    format_number(after, 1),
                    format_number(after - before, 1),
                )
                rows.append([case.name, str(number), *figures])
    head = ["case", "round", "first sample at", "last sample at", "first MB", "last MB", "growth MB"]
    note = "Resident memory at the first and last sample; samples are located by the number of sentences processed."
    return ReportTable("Memory over a long stream", note, head, rows, 1)


# --- Markdown ---


def _render_table(table: ReportTable) -> str:
    rule = ["---" if i < table.text_columns else "---:" for i in range(len(table.columns))]
    rows: Iterable[Sequence[str]] = (table.columns, *table.rows)
    lines = ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def replace_unprintable(text: str) -> str:
    """Return the text on one line, with a space for every unprintable character.

    Args:
        text: Text from a report.
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _indent_code(text: str) -> str:
    """Return the command as an indented code block, which has no fence that the text could close."""
    return f"    {replace_unprintable(text)}" if text else ""
