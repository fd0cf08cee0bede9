"""Folders for brat."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hard_extractions import EMPTY, FAILED, PLAIN, SMILE, build, extractions

from trimf.runtime.errors import InputError
from trimf.runtime.output.exchange.brat import write_brat
from trimf.runtime.output.exchange.brat_names import FileNames
from trimf.runtime.output.exchange.settings import Losses, ToolSettings
from trimf.runtime.results import Extraction, RecordExtraction

SETTINGS = ToolSettings(("Person", "City", "Name", "Unused"), ("met", "knows", "lives in", "lives_in"))


def write(folder: Path, *results: Extraction, model: ToolSettings = SETTINGS) -> Losses:
    losses = Losses()
    write_brat(iter(results), folder, model, losses)
    return losses


def test_a_folder(tmp_path: Path) -> None:
    losses = write(tmp_path / "new", SMILE, EMPTY, FAILED, PLAIN)
    names = ["7", "annotation.conf", "bad", "empty", "text-000004"]
    assert (
        sorted({path.name.removesuffix(".txt").removesuffix(".ann") for path in (tmp_path / "new").iterdir()}) == names
    )
    assert (tmp_path / "new" / "7.txt").read_bytes() == SMILE.text.encode()
    assert (tmp_path / "new" / "7.ann").read_bytes().decode() == (
        "T1\tPerson 2 5\tAnn\n"
        "T2\tPerson 10 13;15 20\tBob Stone\n"
        "T3\tCity 24 27;28 32\tNew York\n"
        "T4\tName 28 32\tYork\n"
        "T5\tCity 36 38\tNY\n"
        "R1\tmet Arg1:T1 Arg2:T2\n"
        "R2\tknows Arg1:T1 Arg2:T2\n"
        "R3\tmet Arg1:T2 Arg2:T1\n"
        "R4\tlives_in_2 Arg1:T2 Arg2:T3\n"
    )
    assert (tmp_path / "new" / "empty.ann").read_bytes() == b""
    assert (tmp_path / "new" / "bad.txt").read_bytes() == b""
    assert (tmp_path / "new" / "annotation.conf").read_text().splitlines() == [
        "[entities]", "Person", "City", "Name", "Unused", "", "[relations]",
        "met\tArg1:<ENTITY>, Arg2:<ENTITY>", "knows\tArg1:<ENTITY>, Arg2:<ENTITY>",
        "# lives_in_2 stands for lives in", "lives_in_2\tArg1:<ENTITY>, Arg2:<ENTITY>",
        "lives_in\tArg1:<ENTITY>, Arg2:<ENTITY>",
        "<OVERLAP>\tArg1:<ENTITY>, Arg2:<ENTITY>, <OVL-TYPE>:<ANY>", "", "[events]", "", "[attributes]",
    ]  # fmt: skip
    assert losses.describe() == ["labels were changed to names that brat takes (1): 'lives in' to 'lives_in_2'"]


def test_labels_that_brat_does_not_take(tmp_path: Path) -> None:
    model = ToolSettings(("A B", "A_B", "\u4e2d\u6587", "\u65e5", "met", "x\ty"), ("met",))
    losses = write(tmp_path / "new", model=model)
    lines = (tmp_path / "new" / "annotation.conf").read_text().splitlines()
    entities = [line for line in lines[1 : lines.index("")] if not line.startswith("#")]
    assert entities == ["A_B_2", "A_B", "entity", "entity_2", "met", "x_y"]
    assert "met_2\tArg1:<ENTITY>, Arg2:<ENTITY>" in lines
    assert "# x_y stands for x y" in lines
    assert len(losses.describe()) == 1


def test_entities_of_white_space_alone(tmp_path: Path) -> None:
    extraction = build("a \n b", [(" \n ", "Person"), ("a", "Person")], [(0, "met", 1)])
    losses = write(tmp_path / "new", extraction, model=ToolSettings())
    assert (tmp_path / "new" / "text-000001.ann").read_text() == "T1\tPerson 0 1\ta\n"
    assert losses.describe() == ["entities of white space alone were left out (1): ' \\n '"]


def test_a_folder_that_is_not_empty_is_never_replaced(tmp_path: Path) -> None:
    write(tmp_path / "old", SMILE)
    with pytest.raises(InputError, match=r"old is not empty; choose another folder$"):
        write(tmp_path / "old", SMILE)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file, but a folder"):
        write(tmp_path / "file", SMILE)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["annotation.conf"]


@pytest.mark.parametrize(("fields", "name"), [
    ({}, "text-000003"),
    ({"id": 12}, "12"),
    ({"id": 0}, "0"),
    ({"id": None}, "text-000003"),
    ({"id": "../../etc/passwd"}, "etc_passwd"),
    ({"id": "/etc/passwd\x00"}, "etc_passwd"),
    ({"id": "..\\x:y?"}, "x_y"),
    ({"id": ".hidden."}, "hidden"),
    ({"id": "\u4e2d\u6587"}, "text-000003"),
    ({"id": "caf\u00e9 1"}, "cafe_1"),
    ({"id": "CON"}, "text-CON"),
    ({"id": "nul.x"}, "text-nul.x"),
    ({"id": {"a": [1]}}, "a_1"),
    ({"path": "may/1.txt"}, "may_1"),
    ({"path": "may/1.jsonl", "id": "x"}, "may_1_x"),
    ({"path": 5}, "text-000003"),
    ({"id": "x" * 1000}, "x" * 100),
])  # fmt: skip
def test_names_of_files(fields: dict[str, object], name: str) -> None:
    assert FileNames().choose(RecordExtraction("a", fields=fields), 3) == name


def test_names_are_unique_without_regard_to_case() -> None:
    names = FileNames()
    given = ["a", "A", "a-2", "a", "A-2", "a"]
    chosen = [names.choose(RecordExtraction("", fields={"id": id}), 1) for id in given]
    assert chosen == ["a", "A-2", "a-2-2", "a-3", "A-2-3", "a-4"]


@settings(deadline=None, max_examples=50)
@given(st.lists(extractions(), max_size=3))
def test_brat_reads_what_was_found(results: list[Extraction]) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder) / "new", *results, model=ToolSettings())
        texts = sorted((Path(folder) / "new").glob("*.txt"))
        assert sorted(path.read_bytes() for path in texts) == sorted(result.text.encode() for result in results)
        config = (Path(folder) / "new" / "annotation.conf").read_text()
        types = set(re.findall(r"^([A-Za-z0-9_-]+)(?:\t.*)?$", config, re.MULTILINE))
        found = 0
        for path in texts:
            found += _check_annotation(path, types)
        assert found == sum(len([one for one in result.entities if one.text.strip()]) for result in results)


def _check_annotation(path: Path, types: set[str]) -> int:
    """Check an annotation file as brat does, line by line; return the number of its entities."""
    text = path.read_bytes().decode()
    content = path.with_suffix(".ann").read_bytes().decode()
    ids = set()
    for line in content.splitlines():  # at what Python calls line ends, as brat's stream reader does
        if match := re.fullmatch(r"(T\d+)\t([A-Za-z0-9_-]+) ([\d ;]+)\t(.*)", line):
            places = [tuple(map(int, place.split())) for place in match[3].split(";")]
            assert " ".join(text[start:end] for start, end in places) == match[4]
            assert match[2] in types
            ids.add(match[1])
        else:
            relation = re.fullmatch(r"R\d+\t([A-Za-z0-9_-]+) Arg1:(T\d+) Arg2:(T\d+)", line)
            assert relation is not None, line
            assert {relation[2], relation[3]} <= ids
            assert relation[1] in types
    return len(ids)
