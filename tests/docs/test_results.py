"""Every published figure comes from a results file."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "tools" / "render_results.py"
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
#: A number with a unit, or with the decimals of a score: what a measurement looks like.
MEASURED = re.compile(
    r"\d[\d.,]*\s?(?:(?:ms|s|seconds|minutes|MB|GB|KB|F1|times|sentences)\b|%|×)|\b\d{1,3}\.\d+\b(?!\.\d)"
)
#: Numbers in prose that are versions or identifiers.
NOT_MEASURED = re.compile(
    r"Python \d+\.\d+|CUDA \d+(\.\d+)?|arXiv|ONNX Runtime \d+\.\d+|TensorRT \d+\.\d+|Apache-2\.0|\d+\.\d+\.\d+"
)


@pytest.fixture(scope="module")
def renderer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render_results", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results() -> list[Path]:
    return sorted((ROOT / "docs" / "results").glob("*.json"))


def test_pages_show_what_the_results_files_say(renderer: ModuleType) -> None:
    for page in renderer.pages():
        text = page.read_text(encoding="utf-8")
        assert renderer.rendered(text) == text, f"run python docs/tools/render_results.py: {page.name} differs"


@pytest.mark.parametrize("path", results(), ids=lambda path: path.stem)
def test_a_results_file_says_how_it_was_measured(path: Path, renderer: ModuleType) -> None:
    content = renderer.load(path.stem)
    for measurement in content["measured"]:
        if "from" in measurement:
            assert renderer.load(measurement["from"])
            continue
        assert measurement["command"].startswith(("trimf ", "for ", "python "))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", measurement["date"])
        assert re.fullmatch(r"[0-9a-f]{7,40}", measurement["commit"])


@pytest.mark.parametrize("path", results(), ids=lambda path: path.stem)
def test_every_results_file_is_shown(path: Path, renderer: ModuleType) -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in renderer.pages())
    assert f"<!-- results: {path.stem}" in shown


def prose(text: str, renderer: ModuleType) -> str:
    """A page without its generated tables, its code and its links."""
    text = renderer.BLOCK.sub("", text)
    text = re.sub(r"\]\([^)]*\)", "]", CODE.sub("", text))
    return NOT_MEASURED.sub("", text)


def test_readme_holds_no_other_figure(renderer: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert MEASURED.findall(prose(text, renderer)) == []


@pytest.mark.parametrize(
    "figure", ["It takes 5.9 ms.", "It needs 26 MB.", "an F1 of 87.9", "1.4 times the encoder", "93 %."]
)
def test_a_figure_in_prose_would_be_seen(figure: str, renderer: ModuleType) -> None:
    assert MEASURED.findall(prose(figure, renderer))


def test_a_changed_digit_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("images"))
    shutil.copy(ROOT / "README.md", tmp_path)
    command = [sys.executable, str(tmp_path / "docs" / "tools" / "render_results.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0
    readme = tmp_path / "README.md"
    text = readme.read_text(encoding="utf-8")
    block = re.search(r"<!-- results: headline brief -->.*?<!-- /results -->", text, re.DOTALL)
    assert block
    digit = re.search(r"\d", block[0].partition("| --- |\n")[2])
    assert digit
    start = block.start() + block[0].index("| --- |\n") + len("| --- |\n") + digit.start()
    readme.write_text(f"{text[:start]}{(int(text[start]) + 1) % 10}{text[start + 1 :]}", encoding="utf-8")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == "README.md\n"


def test_a_wrong_reference_is_named(tmp_path: Path, renderer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = [{"command": "trimf x", "device": "d", "date": "2026-01-01", "commit": "abcdef1"}]
    source = {"title": "t", "columns": ["a", "b"], "rows": [["row", "1"]], "measured": measured}
    for name, row in (("good", "row"), ("bad", "other")):
        cell = {"from": "source", "row": row, "column": "b"}
        content = {"title": "t", "columns": ["x", "y"], "rows": [["label", cell]], "measured": [{"from": "source"}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "source.json").write_text(json.dumps(source))
    monkeypatch.setattr(renderer, "RESULTS", tmp_path)
    assert "| label | 1 |" in renderer.render("good")
    with pytest.raises(ValueError, match=r"source.json has no row 'other'"):
        renderer.render("bad")


def test_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "cli" / "index.html").read_text(encoding="utf-8").count("trimf extract") > 1
