"""The command line: exit codes, one-line errors, formats. Needs the default bundle and an installed parser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trimf.cli import main

SENTENCE = "Lee Harvey Oswald was shot by Jack Ruby in Dallas."


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "trimf.cli", *arguments], input=stdin, capture_output=True, check=False
    )


def one_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["extract"], 2, "TEXT"),
        (["extract", "a", "--input", "b"], 2, "TEXT"),
        (["extract", "--nonsense", "a"], 2, "nonsense"),
        (["extract", "--model", "no/such/folder", "a"], 2, "no/such/folder"),
        (["extract", "--backend", "quantum", "a"], 2, "quantum"),
        (["extract", "--threads", "0", "a"], 2, "0"),
        (["extract", "--triggers", "-1", "a"], 2, "-1"),
        (["extract", "--triggers", "all", "a"], 2, "'all' is neither a number of words, such as 3, nor `exact`"),
        (["extract", "--triggers", "9" * 5000, "a"], 2, "is neither a number of words"),
        (["relate", "x.jsonl", "--triggers", "2.5"], 2, "'2.5' is neither a number of words"),
        (["explain", "default", "a", "--triggers", ""], 2, "'' is neither a number of words"),
        (["extract", "--batch-size", "0", "a"], 2, "batch_size must be >= 1, got 0"),
        (["inspect", "no/such/folder"], 2, "no/such/folder"),
        (["eval", "default", "no/such/file.json"], 2, "no/such/file.json"),
        (["eval", "no/such/model", "no/such/file.json"], 2, "no/such/file.json"),
        (["train", "no/such/config.toml"], 2, "no/such/config.toml"),
        (["train", "conll05"], 2, "a packaged recipe: ade, conll04, conll04-syntax, scierc"),
        (
            ["export", "no/such/checkpoint", "--output", "x", "--engine", "sm_89"],
            2,
            "--engine was renamed; use --target",
        ),
        (["export", "a", "--output", "x", "--calibrate", "b"], 2, "--calibrate was renamed; use --calibration-data"),
        (["export", "no/such/checkpoint", "--output", "x"], 2, "no/such/checkpoint"),
        (["prepare", "no/such/file.json", "x.jsonl"], 2, "no/such/file.json"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_errors_are_one_line(arguments, status, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert words in one_line(captured.err)
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_the_package_runs_as_a_program():
    result = subprocess.run(
        [sys.executable, "-m", "trimf", "inspect", "no/such/folder"], capture_output=True, check=False
    )
    assert result.returncode == 2
    assert one_line(result.stderr.decode()).startswith("trimf: bundle not found: no/such/folder")


def test_debug_raises():
    with pytest.raises(Exception, match="no/such/folder"):
        main(["--debug", "extract", "--model", "no/such/folder", "a"])


def test_text_shows_entities_relations_and_triggers():
    result = run("extract", "--triggers", "exact", SENTENCE)
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode()
    assert "[Jack Ruby]Peop" in text
    assert "Kill" in text
    assert re.search(r"\*[^*]*\bshot\b[^*]*\*", text)
    assert re.search(r"shot[^:]*:\s+−\d+ points", text)


def test_text_says_nothing_of_triggers_that_were_not_asked_for():
    result = run("extract", "--triggers", "0", SENTENCE)
    assert result.returncode == 0, result.stderr
    assert not re.search(r"[Tt]rigger|names|points|\*", result.stdout.decode())


def test_json_and_jsonl_hold_the_same(capsys):
    assert main(["extract", "--format", "json", SENTENCE, ""]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main(["extract", "--format", "jsonl", SENTENCE, ""]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert whole == lines
    assert whole[0]["text"] == SENTENCE
    relation = whole[0]["relations"][0]
    assert relation["label"] == "Kill"
    assert whole[0]["entities"][relation["head"]]["text"] == "Jack Ruby"
    assert whole[0]["entities"][relation["tail"]]["text"] == "Lee Harvey Oswald"
    assert whole[1] == {"text": "", "entities": [], "relations": []}


def test_lines_of_a_file_become_lines_of_output(tmp_path):
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_bytes("\ufeffAnna lives in Rome.\r\n\n東京 🗼\n".encode())
    assert main(["extract", "--input", str(source), "--format", "jsonl", "--output", str(output)]) == 0
    texts = [json.loads(line)["text"] for line in output.read_text(encoding="utf-8").splitlines()]
    assert texts == ["Anna lives in Rome.", "", "東京 🗼"]


def test_standard_input(tmp_path):
    result = run("extract", "--input", "-", "--format", "jsonl", stdin=b"Anna lives in Rome.\n")
    assert json.loads(result.stdout)["text"] == "Anna lives in Rome."


def test_invalid_utf8_names_the_line_and_keeps_what_is_done(tmp_path, capsys):
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_bytes(b"fine\nbad \xff\n")
    assert main(["extract", "--input", str(source), "--format", "jsonl", "--output", str(output)]) == 2
    message = one_line(capsys.readouterr().err)
    assert "line 2" in message
    assert f"the one result before it is in {output}" in message
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == ["fine"]


def test_html_is_one_page(tmp_path):
    output = tmp_path / "out.html"
    assert main(["extract", "--format", "html", "--output", str(output), SENTENCE]) == 0
    page = output.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_inspect_default(capsys):
    assert main(["inspect", "default"]) == 0
    assert "int8" in capsys.readouterr().out
    assert main(["inspect", "default", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "int8"


def test_a_closed_pipe_is_no_traceback(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("Anna lives in Rome.\n" * 2000)
    command = f'"{sys.executable}" -m trimf.cli extract --input "{source}" --format jsonl | head -n 1'
    result = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert b"Traceback" not in result.stderr


def check_options_change_nothing(tmp_path, capsys, *changed):
    source = tmp_path / "in.txt"
    source.write_text("Anna lives in Rome.\n\nBob Dylan works for IBM in Texas. He left.\n" * 3)
    answers = []
    for options in ((), changed):
        assert main(["extract", "--input", str(source), "--format", "jsonl", *options]) == 0
        answers.append([json.loads(line)["entities"] for line in capsys.readouterr().out.splitlines()])
    plain = [[[(one["start"], one["label"]) for one in entities] for entities in answer] for answer in answers]
    assert plain[0] == plain[1]


def test_workers_change_nothing(tmp_path, capsys):
    check_options_change_nothing(tmp_path, capsys, "--workers", "2", "--batch-size", "2")


@pytest.mark.slow
def test_processes_change_nothing(tmp_path, capsys):
    check_options_change_nothing(tmp_path, capsys, "--processes", "2", "--batch-size", "2")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "0"], "workers must be >= 1, got 0"),
        (["--processes", "0"], "processes must be >= 1, got 0"),
        (["--workers", "2", "--processes", "2"], "workers and processes cannot both be more than 1, got 2 and 2"),
    ],
)
def test_workers_and_processes_that_are_refused(options, words, capsys):
    assert main(["extract", "Anna lives in Rome.", *options]) == 2
    assert words in one_line(capsys.readouterr().err)


def test_a_missing_input_file(capsys):
    assert main(["extract", "--input", str(Path("no") / "such.txt")]) == 2
    assert "such.txt" in one_line(capsys.readouterr().err)


def test_arcs_have_no_place_in_text(capsys):
    assert main(["extract", "--syntax", SENTENCE]) == 2
    assert "--format html, json or jsonl" in one_line(capsys.readouterr().err)


def test_arcs_of_another_parser(capsys):
    options = ["extract", "--syntax", "--format", "jsonl", "--parser", "en_core_web_sm"]
    assert main([*options, "Jack Ruby shot him."]) == 0
    arcs = json.loads(capsys.readouterr().out)["arcs"]
    assert [(arc["text"], arc["head"], arc["label"]) for arc in arcs[:3]] == [
        ("Jack", 1, "compound"),
        ("Ruby", 2, "nsubj"),
        ("shot", 2, "ROOT"),
    ]


def test_a_parser_that_is_not_installed(capsys):
    assert main(["extract", "--parser", "no_such_pipeline", SENTENCE]) == 1
    assert "no_such_pipeline" in one_line(capsys.readouterr().err)
