"""A parity report as tables, which export, verify and inspect share."""

import io

from rich.console import Console

from trimf.runtime.bundle.parity_report import (
    ArcParity,
    ErrorFigures,
    ExceededLimit,
    ExtractionParity,
    F1Losses,
    F1Scores,
    LossInterval,
    NearTies,
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


def test_near_ties_losses_and_accepted_limits() -> None:
    text = render(
        ParityReport(
            arcs=ArcParity(words=1747, identical=99.828, differing=3, near_ties=3, tie_margin=0.0312),
            extractions=ExtractionParity(
                sentences=10,
                identical=70.0,
                near_ties=NearTies(entities=(4, 3), relations=(0, 0), margins=(0.5, 0.1), identical=90.0),
                losses=F1Losses(
                    entities=LossInterval(lost=0.5, low=-0.25, high=1.5), relations=LossInterval(lost=0, low=0, high=0)
                ),
            ),
            accepted=[ExceededLimit(subject="arcs", value=1.0, limit=2.0, text="arcs [b]differ[/b]")],
        )
    )
    assert "limits exceeded, accepted at the export" in text
    for row in (
        ["", "arcs [b]differ[/b]"],
        ["differing arcs", "3 of 1,747 arcs differ, 3 of them near ties (margin below 0.0312)"],
        ["differing entities", "4 differ, 3 of them near ties (margin below 0.5)"],
        ["identical but for near ties", "90 %"],
        ["lost F1 of entities", "0.50 points (95 % interval -0.25 to 1.50)"],
    ):
        assert row in rows(text)
    assert "differing relations" not in text
