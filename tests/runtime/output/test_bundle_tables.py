"""What `trimf inspect` shows of a bundle: all that its manifest says, and nothing that moves the cursor."""

import io
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from support.shown_text import list_unsafe

from trimf.cli import main
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from trimf.runtime.output.bundle_tables import build_bundle_tables

Edit = Callable[[Callable[[Any], object]], None]

ERROR = {"max": 0.5, "mean": 0.25, "p99": 0.125}
PARITY = {
    "against": "PyTorch 2",
    "subgraphs": {
        "encoder.words": {**ERROR, "relative": {"max": 0.01, "mean": 0.002, "p99": 0.003}},
        "encoder.cls": ERROR,
    },
    "verified": {
        "cuda": {"against": "PyTorch 2", "extractions": {"sentences": 14, "data": "x", "identical": 100.0}},
        "tensorrt": {"extractions": {"sentences": 2, "data": "y", "identical": 50.0}, "failure": "too far"},
    },
    "skipped": {"relations": "no sentence gave it any input"},
    "extractions": {
        "sentences": 288,
        "data": "conll04/test.jsonl",
        "identical": 83.681,
        "agreement": {"entities": 97.9, "relations": 94.6, "support": [1053, 368]},
        "reference": {"entities": 85.7, "relations": 65.6, "support": [1079, 422]},
        "exported": {"entities": 86.2, "relations": 66.5, "support": [1079, 422]},
        "worst": {
            "id": "t-7",
            "text": "Anna lives in Rome.",
            "missing": ["Anna lives_in Rome"],
            "added": [[0, 1, "A"]],
        },
    },
}


def shown(folder: Path, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(build_bundle_tables(Bundle(folder)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert not list_unsafe(text)
    assert all(len(line) <= width for line in text.splitlines())
    return str(text)


def rows(text: str) -> list[list[str]]:
    """The cells of every line that is a row of a table."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]


def test_a_bundle_without_anything_but_what_it_must_have(tiny_bundle: Path) -> None:
    text = shown(tiny_bundle)
    assert ["entities", "Person, Place, Address"] in rows(text)
    assert ["relations", "lives_in, knows (symmetric)"] in rows(text)
    assert ["decoding", "relations above 0.5, entities may not overlap"] in rows(text)
    assert "ranked by attention of the trigger sensor, which is no loss; export the model again" in text
    for title in ("parity", "errors", "matrix products", "quantization", "engines", "profiles", "not part of"):
        assert title not in text


def test_the_default_bundle() -> None:
    text = shown(DEFAULT_BUNDLE)
    identical = Bundle(DEFAULT_BUNDLE).manifest.parity["extractions"]["identical"]
    assert ["identical", f"{identical:g} %"] in rows(text)
    assert ["compared on", "231 sentences (conll04/dev.jsonl)"] in rows(text)
    (meaning,) = [cells[1] for cells in rows(text) if cells[0] == "trigger words"]
    assert meaning == "by the points of probability that the relation loses without them, estimated by the sensor"


def test_parity_in_full(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(lambda content: content.update(parity=PARITY))
    table = rows(shown(own_bundle))
    for row in (
        ["compared on", "288 sentences (conll04/test.jsonl)"],
        ["identical", "83.681 %"],
        ["F1 against PyTorch 2", "entities 97.9, relations 94.6 (support 1053 and 368)"],
        ["F1 of PyTorch 2", "entities 85.7, relations 65.6 (support 1079 and 422)"],
        ["F1 of the bundle", "entities 86.2, relations 66.5 (support 1079 and 422)"],
        ["largest difference", "t-7: Anna lives in Rome."],
        ["missing", "Anna lives_in Rome"],
        ["added", '[0,1,"A"]'],
        ["encoder.words", "absolute", "0.5", "0.25", "0.125"],
        ["encoder.words", "relative", "0.01", "0.002", "0.003"],
        ["encoder.cls", "absolute", "0.5", "0.25", "0.125"],
        ["relations", "no sentence gave it any input"],
        ["cuda", "PyTorch 2", "14 sentences (x)", "100 %", "within the limits"],
        ["tensorrt", "PyTorch", "2 sentences (y)", "50 %", "too far"],
    ):
        assert row in table
    assert sum(row[0] == "encoder.cls" for row in table) == 1


def without(value: Any) -> list[Any]:
    """``value`` without each of the keys in it, one at a time."""
    if not isinstance(value, dict):
        return []
    fewer = [{name: one for name, one in value.items() if name != key} for key in value]
    return fewer + [{**value, key: inner} for key in value for inner in without(value[key])]


@pytest.mark.parametrize("parity", without(PARITY))
def test_any_part_of_the_parity_report_may_be_absent(own_bundle: Path, edit_manifest: Edit, parity: Any) -> None:
    edit_manifest(lambda content: content.update(parity=parity))
    assert "not readable" not in shown(own_bundle)


@pytest.mark.parametrize("parity", [{"subgraphs": 3}, {"extractions": {"identical": "all"}}, {"against": ["x"]}])
def test_a_parity_report_of_another_kind_is_no_reason_to_fail(
    own_bundle: Path, edit_manifest: Edit, parity: Any
) -> None:
    edit_manifest(lambda content: content.update(parity=parity))
    assert any(row[0].startswith("Expected `") for row in rows(shown(own_bundle)))


def test_products_with_their_shares(own_bundle: Path, edit_manifest: Edit) -> None:
    products = {"encoder": {"half": 3, "int8": 1}, "entities": {"single": 4}, "relations": {}}
    edit_manifest(lambda content: content.update(products=products))
    table = rows(shown(own_bundle))
    assert ["encoder", "4", "75.0 %", "25.0 %"] in table
    assert ["entities", "4", "0.0 %", "0.0 %"] in table
    assert ["relations", "0", "–", "–"] in table
    assert ["all", "8", "37.5 %", "12.5 %"] in table


def test_quantization(own_bundle: Path, edit_manifest: Edit) -> None:
    quantization = {"data": "train.jsonl", "sentences": 64, "method": "entropy", "quantized": 34, "sensitivity": {}}
    edit_manifest(lambda content: content.update(quantization={**quantization, "kept": ["layer.0: 0.3", "layer.5"]}))
    table = rows(shown(own_bundle))
    at = table.index(["calibration data", "64 sentences (train.jsonl)"])
    assert table[at + 1 : at + 6] == [
        ["method", "entropy"],
        ["matrix products in int8", "34"],
        ["not quantized", "layer.0: 0.3"],
        ["", "layer.5"],
        ["x86 without VNNI", "runs in the slower exact mode"],
    ]
    limited = {**quantization, "kept": [], "saturates": False}
    edit_manifest(lambda content: content.update(quantization=limited))
    assert ["x86 without VNNI", "runs in the fast mode"] in rows(shown(own_bundle))


def add_engine(folder: Path, content: Any, subgraph: str, stale: bool, **sizes: list[int]) -> None:
    name = f"engines/{subgraph}.tensorrt.sm_89.engine"
    (folder / "engines").mkdir(exist_ok=True)
    (folder / name).write_bytes(b"engine")
    content["files"][name] = {"size": 6, "sha256": sha256(b"engine").hexdigest()}
    content["engines"].append(
        {
            "file": name,
            "subgraph": subgraph,
            "precision": "fp16",
            "builder": "tensorrt",
            "version": "10.9.0",
            "target": "sm_89",
            "profiles": [
                {"name": "latency", "axes": {"batch": [1, 1, 1]}},
                {"name": "throughput", "axes": {"batch": [1, 32, 64], **sizes}},
            ],
            "onnx_sha256": "0" * 64 if stale else content["files"][f"{subgraph}.onnx"]["sha256"],
            "products": {"half": 9, "single": 1},
        }
    )


def test_engines_with_their_profiles_and_whether_they_are_stale(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(lambda content: add_engine(own_bundle, content, "encoder", False))
    edit_manifest(lambda content: add_engine(own_bundle, content, "fusion", True))
    edit_manifest(lambda content: add_engine(own_bundle, content, "entities", False, words=[1, 24, 400]))
    table = rows(shown(own_bundle))
    about = ["{} fp16 sm_89", "tensorrt 10.9.0", "1 latency", "90.0 %"]
    for name, state in (("encoder", "current"), ("fusion", "stale"), ("entities", "current")):
        assert [f"engines/{name}.tensorrt.sm_89.engine", about[0].format(name), *about[1:], state] in table
    at = table.index(["1 latency", "1/1/1", "–"])
    assert table[at + 1 : at + 3] == [["2 throughput", "1/32/64", "–"], ["3 throughput", "1/32/64", "1/24/400"]]
    assert ["", "", "", "3 throughput", "", ""] in table


def test_tables_that_do_not_fit_show_their_rows_one_below_the_other(own_bundle: Path, edit_manifest: Edit) -> None:
    for name in ("encoder", "relations"):
        edit_manifest(lambda content, name=name: add_engine(own_bundle, content, name, False))  # type: ignore[misc]
    edit_manifest(lambda content: content.update(parity=PARITY))
    table = rows(shown(own_bundle, 80))
    for name in ("encoder", "relations"):
        at = table.index(["file", f"engines/{name}.tensorrt.sm_89.engine"])
        assert table[at + 1 : at + 7] == [
            ["subgraph", f"{name} fp16 sm_89"],
            ["built by", "tensorrt 10.9.0"],
            ["profiles", "1 latency"],
            ["", "2 throughput"],
            ["half precision", "90.0 %"],
            ["state", "current"],
        ]
    assert ["encoder.words", "absolute", "0.5", "0.25", "0.125"] in table  # this table fits


def test_files_that_are_no_part_of_the_bundle(own_bundle: Path) -> None:
    (own_bundle / "engines").mkdir()
    for name in (".cache", "engines/old.engine", "a[b]\x1b[2J", "caf\udce9"):
        (own_bundle / name).write_text("x")
    strangers = [row[0] for row in rows(shown(own_bundle)) if row[-1] == "not part of the bundle"]
    assert strangers == [".cache", "a[b]␛[2J", "caf�", "engines", "engines/old.engine"]


@pytest.mark.parametrize(
    ("value", "visible"),
    [
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("[/]", "[/]"),
        (":smile:", ":smile:"),
        ("a\x1b[31mb", "a␛[31mb"),
        ("\u202ex", "�x"),
        ("tab\there", "tab here"),
        ("x" * 500, "x" * 500),
    ],
)
def test_text_is_shown_as_it_is_and_whole(own_bundle: Path, edit_manifest: Edit, value: str, visible: str) -> None:
    edit_manifest(lambda content: content.update(licence=value))
    lines = [row for row in rows(shown(own_bundle, 60)) if len(row) == 2]
    at = next(place for place, row in enumerate(lines) if row[0] == "licence")
    whole = lines[at][1]
    for name, more in lines[at + 1 :]:
        if name:
            break
        whole += more
    assert whole == visible


def test_json_is_the_manifest_whole_and_the_same_each_time(
    own_bundle: Path, edit_manifest: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_manifest(lambda content: add_engine(own_bundle, content, "encoder", False))
    edit_manifest(lambda content: content.update(parity=PARITY, provenance={"z": [1, {"b": None, "a": 1.5}], "é": "x"}))
    given = json.loads((own_bundle / "manifest.json").read_bytes())
    given["engines"][0]["products"]["int8"] = 0
    printed = []
    for change in (dict, lambda content: dict(reversed(content.items()))):
        (own_bundle / "manifest.json").write_text(json.dumps(change(given)))
        assert main(["inspect", str(own_bundle), "--json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert json.loads(printed[0]) == given
    assert msgspec.json.encode(Bundle(own_bundle).manifest, order="sorted").decode() + "\n" == printed[0]
