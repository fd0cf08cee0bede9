"""The parity report in a manifest: what was written is read, and what is read is written alike."""

import json
from math import isnan
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from trimf.runtime.bundle.manifest import encode_manifest
from trimf.runtime.bundle.parity_report import (
    ArcParity,
    ErrorFigures,
    ExtractionParity,
    F1Scores,
    OutputErrors,
    ParityReport,
    VerificationReport,
    WorstSentence,
    decode_parity,
    encode_parity,
)
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle

SCORES = F1Scores(entities=97.9, relations=94.6, support=(1053, 368))
REPORT = ParityReport(
    subgraphs={
        "encoder.words": OutputErrors(max=0.5, mean=0.25, p99=0.3, relative=ErrorFigures(max=0.1, mean=0.2, p99=0.3))
    },
    skipped={},
    arcs=ArcParity(words=60, identical=98.333),
    extractions=ExtractionParity(
        sentences=288,
        identical=99.653,
        agreement=SCORES,
        worst=WorstSentence(id="7", text="Anna lives in Rome .", missing=["[Anna]Peop"], added=[]),
        reference=SCORES,
        exported=SCORES,
        data="conll04/test.jsonl",
    ),
    against="PyTorch",
)

#: The same as a manifest holds it, and as `trimf verify --json` prints it.
WRITTEN = (
    '{"subgraphs":{"encoder.words":{"max":0.5,"mean":0.25,"p99":0.3,"relative":{"max":0.1,"mean":0.2,"p99":0.3}}},'
    '"skipped":{},"arcs":{"words":60,"identical":98.333},"extractions":{"sentences":288,"identical":99.653,'
    '"agreement":{"entities":97.9,"relations":94.6,"support":[1053,368]},'
    '"worst":{"id":"7","text":"Anna lives in Rome .","missing":["[Anna]Peop"],"added":[]},'
    '"reference":{"entities":97.9,"relations":94.6,"support":[1053,368]},'
    '"exported":{"entities":97.9,"relations":94.6,"support":[1053,368]},"data":"conll04/test.jsonl"},'
    '"against":"PyTorch"}'
)


def test_a_report_is_written_as_ever() -> None:
    assert msgspec.json.encode(REPORT).decode() == WRITTEN
    assert encode_parity(REPORT) == json.loads(WRITTEN)


def test_a_verification_is_written_as_ever() -> None:
    report = VerificationReport(**msgspec.structs.asdict(REPORT), backend="cpu", reason="requested")
    assert (
        msgspec.json.encode(report).decode() == WRITTEN[:-1] + ',"backend":"cpu","reason":"requested","failure":null}'
    )


def test_parts_that_do_not_apply_are_not_written() -> None:
    report = ParityReport(extractions=ExtractionParity(sentences=2, identical=100.0, agreement=SCORES))
    content = encode_parity(report)
    assert content.keys() == {"subgraphs", "skipped", "extractions", "against"}
    assert content["extractions"].keys() == {"sentences", "identical", "agreement", "data"}


def test_the_report_of_the_default_bundle_is_read_and_written_alike() -> None:
    manifest = Bundle(DEFAULT_BUNDLE).manifest
    report = decode_parity(manifest.parity)
    assert report.arcs
    assert report.extractions.worst
    again = msgspec.structs.replace(manifest, parity=encode_parity(report))
    assert encode_manifest(again) == encode_manifest(manifest)


@pytest.mark.parametrize("content", [{}, {"pytorch": 1, "extractions": {"pytorch": {"entities": 1.0}}}])
def test_absent_and_unknown_parts(content: dict[str, Any]) -> None:
    report = decode_parity(content)
    assert report.against == "PyTorch"
    assert not report.extractions
    assert isnan(report.extractions.identical)
    assert (report.arcs, report.verified, report.extractions.exported) == (UNSET, UNSET, UNSET)


def test_a_score_of_zero_is_stated() -> None:
    assert F1Scores(entities=0.0, relations=0.0)
    assert not F1Scores()
    assert OutputErrors(max=0.0)
    assert not ErrorFigures()
