"""A parity report as tables, which export, verify and inspect share."""

import io

from rich.console import Console

from trimf.runtime.bundle.parity_report import (
    ArcParity,
    ErrorFigures,
    ExtractionParity,
    F1Scores,
    OutputErrors,
    ParityReport,
    StoredParity,
    VerificationReport,
)
from trimf.runtime.output.parity_tables import build_parity_tables


def render(report: ParityReport) -> str:
    console = Console(file=io.StringIO(), width=160)
    for table in build_parity_tables(report):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]


def test_an_empty_report_has_no_tables() -> None:
    assert build_parity_tables(ParityReport()) == []


def test_arcs_and_errors_and_extractions() -> None:
    text = render(
        ParityReport(
            subgraphs={"encoder.words": OutputErrors(max=1e-6, mean=0.0, p99=2e-7, relative=ErrorFigures(max=0.5))},
            arcs=ArcParity(words=1926, identical=97.975),
            extractions=ExtractionParity(sentences=12, identical=100.0, agreement=F1Scores(entities=0.0)),
            against="PyTorch [b]2[/b]",
        )
    )
    assert "parity with PyTorch [b]2[/b]" in text
    for row in (
        ["identical arcs", "97.975 % of 1926 words"],
        ["encoder.words", "absolute", "1e-06", "0", "2e-07"],
        ["encoder.words", "relative", "0.5", "–", "–"],
        ["compared on", "12 sentences (data not stated)"],
        ["F1 against PyTorch [b]2[/b]", "entities 0, relations –"],
    ):
        assert row in rows(text)


def test_verified_backends() -> None:
    extractions = ExtractionParity(sentences=2, identical=50.0, data="y")
    verified = {"cuda": VerificationReport(extractions=extractions, failure="too far"), "cpu": VerificationReport()}
    table = rows(render(StoredParity(verified=verified)))
    assert ["cuda", "PyTorch", "2 sentences (y)", "50 %", "too far"] in table
    unstated = "number of sentences not stated (data not stated)"
    assert ["cpu", "PyTorch", unstated, "– %", "within the limits"] in table
