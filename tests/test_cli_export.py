"""Wrong input to export, compile and verify: one line that names it and the way out, and nothing written."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from trimf.cli import main
from trimf.export import engine_builder, parity_limits
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from trimf.runtime.errors import BackendError

RTX = pytest.mark.skipif(not find_spec("tensorrt_rtx_bindings"), reason="needs the wheels of TensorRT for RTX")
PLAIN = pytest.mark.skipif(bool(find_spec("tensorrt")), reason="TensorRT is installed")

#: Limits that no bundle meets.
STRICT = parity_limits.ParityLimits(
    max_relative_error=-1.0,
    min_identical=100.0,
    min_entity_agreement=100.0,
    min_relation_agreement=100.0,
    min_identical_arcs=100.0,
    max_f1_loss=0.0,
)


@pytest.fixture(scope="module")
def prepared(tiny_checkpoint, tiny_data, quick_export, tmp_path_factory):
    """A folder with a checkpoint, its fp32 bundle, good data and bad."""
    folder = tmp_path_factory.mktemp("prepared")
    tiny_checkpoint.save(folder / "checkpoint")
    quick_export(folder / "checkpoint", folder / "bundle")
    shutil.copy(tiny_data, folder / "good.jsonl")
    (folder / "empty.jsonl").write_text("")
    (folder / "blank.jsonl").write_text("\n\n")
    (folder / "prose.txt").write_text("hello\n")
    (folder / "bare.json").write_text(json.dumps([{"tokens": ["a"], "entities": [], "relations": []}]))
    (folder / "full").mkdir()
    (folder / "full" / "note.txt").write_text("mine")
    return folder


@pytest.fixture
def refused(prepared, monkeypatch, capsys):
    """Runs a command that must fail with this status, in one line with these words, and leave all files as they are."""

    def check(command: str, status: int, *words: str) -> None:
        monkeypatch.chdir(prepared)
        before = contents(prepared)
        capsys.readouterr()
        assert main(command.split()) == status
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        assert "--debug" not in captured.err
        for word in words:
            assert word in captured.err
        assert contents(prepared) == before

    return check


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--fp16 --bf16", ("--fp16 and --bf16", "one precision")),
        ("--int8 --int8-qdq --calibration-data good.jsonl", ("--int8 and --int8-qdq",)),
        ("--int8", ("--int8 needs --calibration-data FILE", "prepared")),
        ("--int8-qdq", ("--int8-qdq needs --calibration-data FILE",)),
        ("--calibration-data good.jsonl", ("--calibration-data good.jsonl", "fp32")),
        ("--fp16 --calibration-data good.jsonl", ("--calibration-data good.jsonl", "fp16")),
        ("--int8 --calibration-data good.jsonl --target sm_89", ("--int8", "sm_89", "--int8-qdq")),
        ("--int8 --calibration-data missing.jsonl", ("missing.jsonl: no such file",)),
        ("--int8 --calibration-data empty.jsonl", ("empty.jsonl: the file is empty",)),
        ("--data missing.jsonl", ("missing.jsonl: no such file",)),
        ("--data empty.jsonl", ("empty.jsonl: the file is empty",)),
        ("--data blank.jsonl", ("blank.jsonl: the file is empty",)),
        ("--data prose.txt", ("prose.txt: line 1", "'hello'", "prepared")),
        ("--data bare.json", ("bare.json: sentence '1' has no dependency parse", "trimf prepare")),
        ("--data full", ("'full' is a directory",)),
        ("--shapes batch=1:2", ("expected AXIS=MIN:OPT:MAX (as batch=1:8:16)", "got 'batch=1:2'")),
        ("--shapes batch=4:2:8", ("batch=4:2:8 must satisfy MIN <= OPT <= MAX",)),
        ("--shapes batch=1:2:900", ("batch must be 1 to 64", "got batch=1:2:900")),
        ("--shapes depth=1:1:1", ("unknown axis 'depth'", "batch, subwords")),
        ("--shapes batch=1:2:4", ("--shapes", "--target sm_89")),
        ("--workspace 64", ("--workspace", "--target sm_89")),
        ("--workspace many", ("'many'",)),
        pytest.param("--target sm_90", ("cannot build engines for sm_90", "sm_75", "sm_120"), marks=RTX),
        pytest.param("--target sm_89 --target 89", ("cannot build engines for 89", "sm_89"), marks=RTX),
        pytest.param("--target sm_89 --workspace 0", ("workspace_mb must be >= 1", "got 0"), marks=RTX),
        pytest.param(
            "--target sm_89 --workspace 99999999999999", ("workspace_mb must be <= 1048576", "got 9999"), marks=RTX
        ),
        pytest.param(
            "--target sm_89 --shapes subwords=100:100:100", ("subwords must be <= 40", "got 100 as MIN"), marks=RTX
        ),
    ],
)
def test_export_says_what_is_wrong_before_it_works(refused, arguments, words):
    refused(f"export checkpoint --output new {arguments}", 2, *words)


def test_export_keeps_what_is_there(refused):
    refused("export checkpoint --output full", 2, "full is not empty", "another folder")
    refused("export checkpoint --output good.jsonl", 2, "good.jsonl", "is a file")


def test_export_of_no_checkpoint(refused):
    refused("export missing --output new", 2, "missing: not a complete TriMF checkpoint")
    refused("export bundle --output new", 2, "bundle: not a complete TriMF checkpoint: it is a bundle")


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_compile_of_no_bundle(refused, backend):
    refused(f"compile missing --backend {backend}", 2, "bundle not found: missing", "trimf export")
    refused(f"compile checkpoint --backend {backend}", 2, "checkpoint is a checkpoint; run `trimf export")


@PLAIN
def test_compile_without_tensorrt(refused):
    refused("compile bundle", 1, "TensorRT is not installed", 'pip install "trimf[tensorrt]"')
    refused("compile bundle --target sm_89", 1, "TensorRT is not installed")


@RTX
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--target sm_90", ("cannot build engines for sm_90", "sm_75", "sm_120")),
        ("--target sm_89 --shapes batch=9:1:1", ("batch=9:1:1 must satisfy MIN <= OPT <= MAX",)),
        ("--target sm_89 --shapes subwords=100:100:100", ("subwords must be <= 40", "got 100 as MIN")),
        ("--target sm_89 --workspace -1", ("workspace_mb must be >= 1", "got -1")),
    ],
)
def test_compile_says_what_is_wrong(refused, arguments, words):
    refused(f"compile bundle --backend tensorrt-rtx {arguments}", 2, *words)


@RTX
def test_compile_of_an_int8_bundle(refused):
    refused(
        "compile default --backend tensorrt-rtx --target sm_89 --output new",
        1,
        "default is int8 for CPUs",
        "trimf export CHECKPOINT --output my-gpu-model --fp16",
        'pip install "trimf[tensorrt-rtx]"',
        "trimf compile my-gpu-model --backend tensorrt-rtx",
        "int8-qdq",
    )


@pytest.mark.parametrize("bundle", ["default", str(DEFAULT_BUNDLE)])
def test_the_packaged_bundle_is_not_changed(refused, bundle):
    before = contents(DEFAULT_BUNDLE)
    refused(f"verify {bundle} --save", 2, f"{bundle} is part of the installed package", "use --output FOLDER")
    for command in ("compile {}", "compile {} --backend tensorrt-rtx"):  # no option would help: it is int8
        refused(command.format(bundle), 1, f"{bundle} is int8 for CPUs", "trimf export", "trimf compile my-gpu-model")
    assert contents(DEFAULT_BUNDLE) == before


@pytest.mark.parametrize("command", ["compile bundle --backend tensorrt-rtx --target sm_89", "verify bundle"])
def test_a_copy_replaces_no_folder(refused, command):
    if command.startswith("compile") and not find_spec("tensorrt_rtx_bindings"):
        pytest.skip("needs the wheels of TensorRT for RTX")
    refused(f"{command} --output full", 2, "full is not empty", "another folder")
    refused(f"{command} --output good.jsonl", 2, "good.jsonl", "is a file")
    refused(f"{command} --overwrite", 2, "--overwrite requires --output FOLDER")


def test_the_report_is_stored_in_a_copy(prepared, tmp_path, capsys):
    before = contents(prepared)
    command = ["verify", str(prepared / "bundle"), "--backend", "cpu", "--output", str(tmp_path / "copy")]
    assert main(command) == 0
    assert main(command) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert contents(prepared) == before
    original, copied = Bundle(prepared / "bundle"), Bundle(tmp_path / "copy")
    assert copied.manifest.files == original.manifest.files
    assert copied.manifest.parity.keys() - original.manifest.parity.keys() == {"verified"}
    assert copied.manifest.parity["verified"]["cpu"]["failure"] is None
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"manifest.json", *original.manifest.files}
    for name in copied.manifest.files:
        copied.read(name)


def test_a_failed_report_is_stored_in_a_copy_too(prepared, monkeypatch, tmp_path):
    monkeypatch.setitem(parity_limits.LIMITS, "fp32", STRICT)
    assert main(["verify", str(prepared / "bundle"), "--backend", "cpu", "--output", str(tmp_path / "copy")]) == 1
    assert "encoder.words" in Bundle(tmp_path / "copy").manifest.parity["verified"]["cpu"]["failure"]


@RTX
def test_engines_are_added_to_a_copy(prepared, tmp_path, capsys):
    before = contents(prepared)
    command = ["compile", str(prepared / "bundle"), "--backend", "tensorrt-rtx", "--target", "sm_89"]
    assert main([*command, "--output", str(tmp_path / "copy")]) == 0
    assert "engines/encoder.tensorrt-rtx.sm_89" in capsys.readouterr().err
    assert contents(prepared) == before
    copied = Bundle(tmp_path / "copy")
    assert len(copied.manifest.engines) == 4
    for name in copied.manifest.files:
        copied.read(name)


@RTX
def test_a_failed_build_leaves_no_copy(prepared, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise BackendError("no")

    monkeypatch.setattr(engine_builder, "build_engine", fails)
    command = ["compile", str(prepared / "bundle"), "--backend", "tensorrt-rtx", "--target", "sm_89"]
    assert main([*command, "--output", str(tmp_path / "copy")]) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("missing", 2, ("bundle not found: missing", "trimf export")),
        ("bundle --data missing.jsonl", 2, ("missing.jsonl: no such file",)),
        ("bundle --data empty.jsonl", 2, ("empty.jsonl: the file is empty",)),
        ("bundle --data prose.txt", 2, ("prose.txt: line 1",)),
        ("bundle --batch-size 0", 2, ("batch_size must be >= 1", "got 0")),
        ("bundle --threads 0", 2, ("threads must be >= 1", "got 0")),
        ("bundle --backend quantum", 2, ("'quantum'", "cpu, cuda, tensorrt")),
        ("bundle --backend tensorrt", 1, ("bundle has no engines", "trimf compile bundle")),
        ("bundle --against missing", 2, ("missing: not a complete TriMF checkpoint",)),
        ("default --against checkpoint", 1, ("checkpoint: its labels differ from the bundle's", "exported from")),
    ],
)
def test_verify_says_what_is_wrong(refused, arguments, status, words):
    refused(f"verify {arguments}", status, *words)


def test_verify_against_another_encoder(refused, create, prepared, tmp_path):
    create("mpnet").save(tmp_path / "other")
    refused(
        f"verify bundle --against {tmp_path / 'other'}", 1, "its tokenizer differs from the bundle's", "exported from"
    )


def test_verify_against_another_width(refused, create, tmp_path):
    create(span={"max_width": 4}).save(tmp_path / "other")
    refused(f"verify bundle --against {tmp_path / 'other'}", 1, "its sizes differ from the bundle's", "exported from")


def test_a_damaged_file_fails_every_command(refused, prepared, tmp_path):
    damaged = Path(shutil.copytree(prepared / "bundle", tmp_path / "damaged"))
    graph = damaged / "relations.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    for command in ("inspect {}", "verify {}", "extract --model {} word"):
        refused(command.format(damaged), 1, "relations.onnx: SHA-256")


@RTX
def test_a_damaged_file_is_not_compiled(refused, prepared, tmp_path):
    damaged = Path(shutil.copytree(prepared / "bundle", tmp_path / "damaged"))
    (damaged / "fusion.onnx").write_bytes(b"short")
    refused(f"compile {damaged} --backend tensorrt-rtx --target sm_89", 1, "fusion.onnx: 5 bytes")
    assert not (damaged / "engines").exists()


def test_verify_reports_and_then_fails(prepared, monkeypatch, capsys):
    monkeypatch.setitem(parity_limits.LIMITS, "fp32", STRICT)
    assert main(["verify", str(prepared / "bundle"), "--backend", "cpu"]) == 1
    captured = capsys.readouterr()
    assert "encoder.words" in captured.out
    assert captured.err.startswith("trimf: cpu: parity: encoder.words")
    assert captured.err.count("\n") == 1
