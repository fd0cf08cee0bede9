"""``trimf extract --format`` for annotation tools and tables, from the command line."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from trimf.cli import main
from trimf.commands.extraction import _WRITERS
from trimf.runtime.output.writers import FORMATS

SENTENCE = "Lee Harvey Oswald was shot by Jack Ruby in Dallas."
RECORDS = [
    {"id": 7, "text": SENTENCE, "source": {"page": 3}},
    {"id": "b/../c", "text": ""},
    {"id": "c", "text": f"\U0001f600 Yes.\r\n\r\n{SENTENCE}"},
]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    monkeypatch.chdir(tmp_path)
    return "in.jsonl"


def test_the_names_of_the_formats() -> None:
    assert list(FORMATS) == _WRITERS


def test_label_studio(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--from-name", "ner", "--to-name", "body", "--labelstudio-config", "config.xml"]
    assert main(["extract", "--input", source, "--format", "labelstudio", "--output", "out.json", *options]) == 0
    tasks = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert [task["data"] for task in tasks] == RECORDS
    predictions = [task["predictions"][0] for task in tasks]
    assert len({prediction["model_version"] for prediction in predictions}) == 1
    assert predictions[0]["model_version"].startswith("default-")
    assert [item["labels"] for item in predictions[2]["result"] if item["type"] == "relation"] == [["Kill"]]
    config = ElementTree.fromstring(Path("config.xml").read_text(encoding="utf-8"))
    assert [tag.get("value") for tag in config.iter("Label")] == ["Loc", "Org", "Other", "Peop"]
    assert config.find("Labels").attrib == {"name": "ner", "toName": "body"}  # type: ignore[union-attr]
    assert {item.get("from_name") for item in predictions[2]["result"]} == {"ner", None}
    assert "limited results (1): 1 word" in capsys.readouterr().err


def test_doccano(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "--input", source, "--format", "doccano"]) == 0
    shown = capsys.readouterr()
    first, third = map(json.loads, shown.out.splitlines())
    assert (first["id"], third["id"], first["source"]) == (7, "c", {"page": 3})
    assert "empty texts were left out, which doccano refuses (1): b/../c" in shown.err


def test_brat(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", "--input", source, "--format", "brat", "--output", "out"]
    assert main(command) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "7.ann", "7.txt", "annotation.conf", "b_c.ann", "b_c.txt", "c.ann", "c.txt",
    ]  # fmt: skip
    assert Path("out/c.txt").read_bytes().decode() == RECORDS[2]["text"]
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "out"]
    capsys.readouterr()
    assert main(command) == 2
    assert capsys.readouterr().err == "trimf: out is not empty; choose another folder\n"


def test_documents_of_a_folder_for_brat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in/may").mkdir(parents=True)
    Path("in/may/1.txt").write_text(SENTENCE)
    Path("in/1.txt").write_text(SENTENCE)
    assert main(["extract", "--input", "in", "--format", "brat", "--output", "out"]) == 0
    assert sorted(path.name for path in Path("out").glob("*.ann")) == ["1.ann", "may_1.ann"]


def test_spacy(source: str) -> None:
    assert main(["extract", "--input", source, "--format", "spacy", "--output", "out.spacy"]) == 0
    docs = list(DocBin().from_disk("out.spacy").get_docs(Vocab()))
    assert [doc.text for doc in docs] == [record["text"] for record in RECORDS]
    assert [span.text for span in docs[2].ents if span.label_ == "Peop"] == ["Lee Harvey Oswald", "Jack Ruby"]


@pytest.mark.parametrize(("format_", "delimiter"), [("triples", "\t"), ("triples-csv", ",")])
def test_triples(format_: str, delimiter: str, source: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["extract", "--input", source, "--format", format_, "--triggers", "exact"]) == 0
    rows = list(csv.DictReader(capsysbinary.readouterr().out.decode().splitlines(), delimiter=delimiter))
    assert [(row["head"], row["relation"], row["tail"], row["number"], row["id"]) for row in rows] == [
        ("Jack Ruby", "Kill", "Lee Harvey Oswald", "1", "7"),
        ("Jack Ruby", "Kill", "Lee Harvey Oswald", "3", "c"),
    ]
    assert rows[1]["sentence"] == SENTENCE
    assert rows[0]["triggers"].split()[0] == "shot"
    assert rows[0]["triggers"].count("; ") == rows[0]["points"].count("; ")
    assert float(rows[0]["points"].split("; ")[0]) > 50
    assert rows[0]["basis"] == "words"


def test_records_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"id": 1, "text": SENTENCE}), '{"id": 2}', json.dumps({"id": 3, "text": SENTENCE})]
    Path("in.jsonl").write_text("\n".join(lines))
    command = ["extract", "--input", "in.jsonl", "--format"]
    assert main([*command, "labelstudio", "--on-error", "replace"]) == 0
    shown = capsys.readouterr()
    assert [task["data"].get("error", "")[:15] for task in json.loads(shown.out)] == ["", "in.jsonl, line ", ""]
    assert "(replaced, as --on-error replace says)" in shown.err
    assert "limited results" not in shown.err
    assert main([*command, "brat", "--output", "out"]) == 2
    assert "the one result before it is in out" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out").iterdir()) == ["1.ann", "1.txt", "annotation.conf"]
    assert main([*command, "labelstudio", "--output", "out.json", "--labelstudio-config", "config.xml"]) == 2
    assert len(json.loads(Path("out.json").read_text())) == 1
    assert Path("config.xml").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "brat"], "--format brat writes a folder; name it with --output FOLDER"),
        (["--format", "brat", "--output", "-"], "--format brat writes a folder"),
        (["--format", "brat", "--output", "a_file"], "a_file is a file, but a folder must be written there"),
        (["--format", "brat", "--output", "full"], "full is not empty; choose another folder"),
        (["--format", "spacy"], "--format spacy writes a binary file; name it with --output FILE.spacy"),
        (["--format", "spacy", "--output", "full"], "--output full is a folder, but --format spacy writes a file"),
        (["--format", "jsonl", "--output", "full"], "--output full is a folder, but --format jsonl writes a file"),
        (["--format", "triples", "--output", "t.csv"], "its ending is that of --format triples-csv"),
        (["--from-name", "x"], "--from-name requires --format labelstudio, got --format text"),
        (["--format", "brat", "--to-name", "x"], "--to-name requires --format labelstudio, got --format brat"),
        (["--labelstudio-config", "c.xml", "--format", "json"], "--labelstudio-config requires --format labelstudio"),
        (["--format", "labelstudio", "--from-name", ""], "--from-name must be a name, got ''"),
        (["--format", "labelstudio", "--labelstudio-config", "a_file/c.xml"], "a_file/c.xml: cannot be written"),
        (["--format", "labelstudio", "--labelstudio-config", "-"], "--labelstudio-config - must be a file of its own"),
        (["--format", "labelstudio", "--output", "x", "--labelstudio-config", "x"], "must be a file of its own"),
        (["--format", "spacy", "--syntax", "--output", "x"], "--syntax and --tree cannot be shown as spacy"),
        (["--format", "triples", "--candidates"], "--candidates cannot be shown as triples"),
    ],
)
def test_options_that_do_not_fit(options: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("x")
    Path("full").mkdir()
    Path("full/file").write_text("x")
    assert main(["extract", SENTENCE, *options]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_file", "full"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files are POSIX's")
@pytest.mark.parametrize("format_", ["labelstudio", "brat", "spacy", "triples"])
def test_a_full_disk_is_one_line(format_: str, tmp_path: Path) -> None:
    limit = "import resource, sys\nfrom trimf.cli import main\nresource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + "sys.exit(main(sys.argv[1:]))", "extract", SENTENCE,
         "--format", format_, "--output", "out"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == "trimf: out: cannot be written: File too large"
    assert list(tmp_path.iterdir()) == []


def test_relations_between_given_entities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spans = [("Lee Harvey Oswald", "suspect"), ("Jack Ruby", "suspect"), ("Ruby", "Peop")]
    entities = [
        {"start": SENTENCE.index(words), "end": SENTENCE.index(words) + len(words), "label": label}
        for words, label in spans
    ]
    Path("in.jsonl").write_text(json.dumps({"id": 7, "text": SENTENCE, "entities": entities}) + "\n")
    command = ["relate", "in.jsonl", "--type", "suspect=Peop", "--format"]
    assert main([*command, "labelstudio", "--output", "out.json", "--labelstudio-config", "config.xml"]) == 0
    ((prediction,),) = (task["predictions"] for task in json.loads(Path("out.json").read_text()))
    assert [item["value"]["labels"] for item in prediction["result"][:3]] == [["suspect"], ["suspect"], ["Peop"]]
    config = ElementTree.fromstring(Path("config.xml").read_text(encoding="utf-8"))
    assert [tag.get("value") for tag in config.iter("Label")] == ["Loc", "Org", "Other", "Peop", "suspect"]
    assert main([*command, "brat", "--output", "out"]) == 0
    assert Path("out/7.ann").read_text().startswith("T1\tsuspect 0 17\tLee Harvey Oswald\nT2\tsuspect 30 39\tJack Ruby")
