"""Shared fixtures: where the real data lies, and what it holds once prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"needs the data sets in {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def conll04_test(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 288 test sentences of CoNLL04, parsed."""
    pytest.importorskip("spacy")
    from trimf.runtime.errors import BackendError
    from trimf.runtime.parser import load_parser
    from trimf_train.data.prepare import prepare

    try:
        parser = load_parser()
    except BackendError as error:
        pytest.skip(str(error))
    output = tmp_path_factory.mktemp("prepared") / "test.jsonl"
    prepare(shared_data / "conll04" / "test.json", output, parser, progress=False)
    return output
