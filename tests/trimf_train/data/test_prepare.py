"""``prepare_file``: whole output or none, and the same bytes whether or not a run was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trimf.runtime.errors import DataError, InputError
from trimf.runtime.text.parser import Parse
from trimf_train.data import jsonl as prepared
from trimf_train.data.prepare import PreparationSummary, prepare_file
from trimf_train.data.readers import detect_format, read_sentences


class Chain:
    """Every word hangs on the one before it; stops in the way asked for after some sentences."""

    name = "chain"
    labels = ("ROOT", "next")

    def __init__(self, stop_after: int | None = None, error: BaseException | None = None) -> None:
        self.parsed = 0
        self.stop_after = stop_after
        self.error = error or KeyboardInterrupt()

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        if self.stop_after is not None and self.parsed >= self.stop_after:
            raise self.error
        self.parsed += len(sentences)
        return [Parse([max(i - 1, 0) for i in range(len(s))], ["ROOT", *["next"] * (len(s) - 1)]) for s in sentences]


def record(i: int) -> dict[str, Any]:
    return {
        "tokens": ["word", str(i), "é"],
        "entities": [{"type": "A", "start": 0, "end": 1}, {"type": "B", "start": 1, "end": 3}],
        "relations": [{"type": "R", "head": 0, "tail": 1}],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([record(i) for i in range(10)]), encoding="utf-8")
    return path


def run(data: Path, output: Path, parser: Any = None, **options: Any) -> PreparationSummary:
    return prepare_file(data, output, parser or Chain(), **{"batch_size": 3, "progress": False, **options})


def whole(data: Path) -> bytes:
    output = data.parent / "uninterrupted.jsonl"
    run(data, output)
    return output.read_bytes()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_writes_every_sentence_with_its_parse(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    report = run(data, output)
    assert detect_format(output) == "prepared"
    sentences = list(prepared.read_prepared_file(output))
    assert len(sentences) == report.statistics.sentences == report.parsed == 10
    assert sentences[4].tokens == ["word", "4", "é"]
    assert sentences[4].heads == [0, 0, 1]
    assert sentences[4].labels == ["ROOT", "next", "next"]
    assert sentences[4].id == "5"
    assert names(tmp_path) == {"data.json", "out.jsonl", "out.jsonl.source.json"}
    assert report.statistics.relations == 10
    assert "10  sentences parsed now, 0 kept" in str(report)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_bytes_do_not_depend_on_the_batch(data: Path, tmp_path: Path, batch_size: int) -> None:
    run(data, tmp_path / "out", batch_size=batch_size)
    assert (tmp_path / "out").read_bytes() == whole(data)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("parser broke")])
def test_interrupted_run_goes_on_to_the_same_bytes(data: Path, tmp_path: Path, error: BaseException) -> None:
    output = tmp_path / "out"
    with pytest.raises(type(error)):
        run(data, output, Chain(stop_after=6, error=error))
    assert not output.exists()
    assert (tmp_path / "out.part").read_bytes().count(b"\n") == 6
    parser = Chain()
    report = run(data, output, parser)
    assert (report.kept, report.parsed, parser.parsed) == (6, 4, 4)
    assert output.read_bytes() == whole(data)
    assert not (tmp_path / "out.part").exists()


def test_every_possible_cut_of_the_part_file_ends_in_the_same_bytes(data: Path, tmp_path: Path) -> None:
    expected = whole(data)
    output, part = tmp_path / "out", tmp_path / "out.part"
    run(data, output)
    lines = expected.splitlines(keepends=True)
    for size in range(0, len(expected) + 1, 7):
        output.unlink(missing_ok=True)
        part.write_bytes(expected[:size])
        report = run(data, output)
        assert output.read_bytes() == expected
        assert report.kept == expected[:size].count(b"\n")
    for damaged in (b"\0" * 40, lines[1], lines[0] + b"\xff\n" + lines[2], lines[0].replace(b"word", b"werd")):
        output.unlink()
        part.write_bytes(damaged)
        run(data, output)
        assert output.read_bytes() == expected


def test_killed_process_goes_on_to_the_same_bytes(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, sys\n"
        "from trimf.runtime.text.parser import Parse\n"
        "from trimf_train.data.prepare import prepare_file\n"
        "class Parser:\n"
        "    name, labels, calls = 'chain', ('ROOT', 'next'), 0\n"
        "    def parse(self, sentences):\n"
        "        self.calls += 1\n"
        "        if self.calls == 3:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return [Parse([max(i - 1, 0) for i in range(len(s))], ['ROOT'] + ['next'] * (len(s) - 1))\n"
        "                for s in sentences]\n"
        "prepare_file(sys.argv[1], sys.argv[2], Parser(), batch_size=3, progress=False)\n",
        encoding="utf-8",
    )
    output = tmp_path / "out"
    killed = subprocess.run([sys.executable, str(script), str(data), str(output)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    report = run(data, output)
    assert report.kept == 6
    assert output.read_bytes() == whole(data)


def test_a_finished_output_is_not_made_again(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = run(data, output)
    before = output.stat()
    parser = Chain()
    again = run(data, output, parser)
    assert parser.parsed == again.parsed == 0
    assert again.kept == 10
    assert again.statistics == first.statistics
    assert output.stat() == before


def test_force_makes_it_again(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(data, output)
    parser = Chain()
    assert run(data, output, parser, force=True).parsed == parser.parsed == 10


def test_interrupted_force_leaves_the_old_output_and_is_finished_later(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    old = whole(data).splitlines(keepends=True)[0]
    output.write_bytes(old)
    with pytest.raises(KeyboardInterrupt):
        run(data, output, Chain(stop_after=3), force=True)
    assert output.read_bytes() == old
    assert run(data, output).kept == 3
    assert output.read_bytes() == whole(data)


def test_a_file_of_others_is_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("the work of a year")
    with pytest.raises(InputError, match="was not written by `trimf prepare`"):
        run(data, tmp_path / "thesis.txt", force=True)
    assert (tmp_path / "thesis.txt").read_text() == "the work of a year"


def test_the_input_is_not_the_output(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    for output in (data, tmp_path / "link"):
        with pytest.raises(InputError, match="was not written by `trimf prepare`"):
            run(data, output, force=True)


def test_a_pipe_is_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        run(tmp_path / "pipe", tmp_path / "out")


def test_a_source_that_changes_meanwhile_is_refused(data: Path, tmp_path: Path) -> None:
    class Meanwhile(Chain):
        def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
            data.write_text(json.dumps([record(7)]), encoding="utf-8")
            return super().parse(sentences)

    with pytest.raises(DataError, match="changed while it was read"):
        run(data, tmp_path / "out", Meanwhile())
    assert not (tmp_path / "out").exists()
    run(data, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == whole(data)


@pytest.mark.parametrize("change", ["input", "parser", "output", "no record"])
def test_an_output_made_from_something_else_is_refused(data: Path, tmp_path: Path, change: str) -> None:
    output = tmp_path / "out"
    run(data, output)
    parser = Chain()
    if change == "input":
        data.write_text(json.dumps([record(7)]), encoding="utf-8")
    elif change == "parser":
        parser.name = "other"
    elif change == "output":
        output.write_bytes(output.read_bytes() + b"{}\n")
    else:
        (tmp_path / "out.source.json").unlink()
    before = output.read_bytes()
    with pytest.raises(InputError, match="already exists and was made from a different input"):
        run(data, output, parser)
    assert output.read_bytes() == before
    assert parser.parsed == 0


def test_part_of_another_input_is_not_continued(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(data, output, Chain(stop_after=3))
    data.write_text(json.dumps([record(i) for i in range(20, 25)]), encoding="utf-8")
    report = run(data, output)
    assert (report.kept, report.parsed) == (0, 5)
    assert output.read_bytes() == whole(data)


def test_bad_record_stops_before_anything_is_parsed_or_written(data: Path, tmp_path: Path) -> None:
    records = [record(i) for i in range(10)]
    records[8]["entities"][1]["end"] = 4
    data.write_text(json.dumps(records), encoding="utf-8")
    parser = Chain()
    with pytest.raises(DataError) as caught:
        run(data, tmp_path / "out", parser)
    assert str(caught.value) == (
        f"{data}: record 9: entities[1].end must be from 2 to 3 (exclusive; the sentence has 3 words), got 4"
    )
    assert names(tmp_path) == {"data.json"}
    assert parser.parsed == 0


def test_no_sentences(data: Path, tmp_path: Path) -> None:
    data.write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="the file contains no sentences"):
        run(data, tmp_path / "out")


def test_prepared_input_is_parsed_again(data: Path, tmp_path: Path) -> None:
    class Flat(Chain):
        name = "flat"

        def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
            return [Parse([0] * len(s), ["ROOT", *["flat"] * (len(s) - 1)]) for s in sentences]

    run(data, tmp_path / "chain")
    run(tmp_path / "chain", tmp_path / "flat", Flat())
    for one, other in zip(read_sentences(tmp_path / "chain"), read_sentences(tmp_path / "flat"), strict=True):
        assert other.heads == [0, 0, 0]
        assert (one.tokens, one.entities, one.relations, one.id) == (
            other.tokens, other.entities, other.relations, other.id,
        )  # fmt: skip
    run(tmp_path / "chain", tmp_path / "chain", Flat(), force=True)
    assert (tmp_path / "chain").read_bytes() == (tmp_path / "flat").read_bytes()


@pytest.mark.parametrize(
    ("parse", "expected"),
    [
        (Parse([0, 0], ["a"] * 3), "parser chain: parse of sentence '1': heads must be a list of 3 items"),
        (Parse([0, 3, 0], ["a"] * 3), "parser chain: parse of sentence '1': heads[1] must be a word index from 0 to"),
    ],
)
def test_parse_that_does_not_fit_is_refused(data: Path, tmp_path: Path, parse: Parse, expected: str) -> None:
    class Bad(Chain):
        def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
            return [parse] * len(sentences)

    with pytest.raises(DataError) as caught:
        run(data, tmp_path / "out", Bad())
    assert str(caught.value).startswith(expected)
    assert not (tmp_path / "out").exists()


def test_parser_that_loses_a_sentence_is_refused(data: Path, tmp_path: Path) -> None:
    class Lossy(Chain):
        def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
            return super().parse(sentences)[1:]

    with pytest.raises(DataError, match="parser chain must return 3 parses, one per sentence; got 2"):
        run(data, tmp_path / "out", Lossy())


def test_output_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        run(data, data / "out")
    assert names(tmp_path) == {"data.json"}


def test_the_folder_of_the_output_is_made(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "new" / "deep" / "out")
    assert (tmp_path / "new" / "deep" / "out").exists()


@pytest.mark.parametrize("option", ["max_span", "batch_size"])
def test_numbers_below_one_are_refused(data: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match=f"{option} must be >= 1, got 0"):
        run(data, tmp_path / "out", **{option: 0})


def test_span_limit_only_counts(data: Path, tmp_path: Path) -> None:
    report = run(data, tmp_path / "out", max_span=1)
    assert report.statistics.long_entities == 10
    assert report.statistics.entities == 20


def test_progress_goes_to_stderr(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data, tmp_path / "out", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "parsing" in captured.err
    run(data, tmp_path / "quiet", progress=False)
    assert capsys.readouterr().err == ""


SAMPLES = Path(__file__).parent / "samples"


def test_a_folder_is_prepared_once_and_again_when_a_file_changes(tmp_path: Path) -> None:
    folder, output = tmp_path / "brat", tmp_path / "out.jsonl"
    shutil.copytree(SAMPLES / "brat", folder)
    summary = run(folder, output)
    assert summary.source.format == "brat"
    assert summary.statistics.relation_types == {"met": 1, "located_in": 1}
    assert "entities in several pieces left out: Person 1" in str(summary)
    assert run(folder, output).parsed == 0
    (folder / "new.txt").write_text("No annotation, so not read.")
    assert run(folder, output).parsed == 0
    (folder / "empty.ann").write_text("T1\tX 0 7\tNothing\n")
    with pytest.raises(InputError, match="made from a different input"):
        run(folder, output)
    assert run(folder, output, force=True).statistics.entity_types["X"] == 1


@pytest.mark.parametrize("name", ["labelstudio.json", "doccano.jsonl", "prodigy.jsonl", "labelstudio.conll"])
def test_what_tools_export_is_prepared(tmp_path: Path, name: str) -> None:
    summary = run(SAMPLES / name, tmp_path / "out.jsonl")
    assert summary.statistics.entities == 3
    assert summary.statistics.entity_types == {"Person": 2, "City": 1}
    assert len(list(prepared.read_prepared_file(tmp_path / "out.jsonl"))) == summary.statistics.sentences


def test_the_command_line_takes_a_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trimf.cli", "prepare", str(tmp_path), str(tmp_path / "out.jsonl")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is a folder, and in no format of folders" in done.stderr
