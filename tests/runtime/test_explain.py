"""Explaining with bundles that were not exported to explain."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimf.cli import main
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.errors import InputError
from trimf.runtime.explain import explain_text
from trimf.runtime.pipeline_loading import open_pipeline


def test_a_plain_bundle_says_how_it_could_explain(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    pipeline = open_pipeline(bundle, open_backend("cpu", 1, bundle))
    with pytest.raises(InputError, match="exported without --explain"):
        explain_text(pipeline, bundle.manifest.labels, "Abc knows Def.")


def test_nothing_to_explain_is_said(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tiny_bundle), " "]) == 2
    assert "TEXT is empty" in capsys.readouterr().err
