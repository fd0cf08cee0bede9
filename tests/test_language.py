"""A language other than English from annotated data to the benchmark, with a tiny model and a tiny parser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spacy
from spacy.training import Example

from trimf.cli import main

TEXT = "Frau Müller wohnt in Köln, z. B. am Rhein."
WORDS = ["Frau", "Müller", "wohnt", "in", "Köln", ",", "z.", "B.", "am", "Rhein", "."]
#: English rules would split "z." into two words.
HEADS = [1, 2, 2, 2, 3, 2, 7, 8, 2, 8, 2]
LABELS = ["nk", "sb", "ROOT", "mo", "nk", "punct", "mo", "mo", "mo", "nk", "punct"]


def make_parser(folder: Path, language: str = "de") -> None:
    nlp = spacy.blank(language)
    doc = spacy.tokens.Doc(nlp.vocab, WORDS)
    example = Example.from_dict(doc, {"heads": HEADS, "deps": LABELS})
    nlp.add_pipe("parser", config={"min_action_freq": 1})
    optimizer = nlp.initialize(lambda: [example])
    for _ in range(30):
        nlp.update([example], sgd=optimizer)
    nlp.to_disk(folder)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_parser(tmp_path / "de_tiny")
    people, places = ["Müller", "Groß", "Jäger", "Weiß"], ["Köln", "Tübingen", "Fürth", "Goch"]
    records = []
    for index in range(16):
        words = [*WORDS]
        words[1], words[4] = people[index % 4], places[index // 4]
        entities = [{"type": "PER", "start": 1, "end": 2}, {"type": "ORT", "start": 4, "end": 5}]
        records.append({"tokens": words, "entities": entities, "relations": [{"type": "wohnt", "head": 0, "tail": 1}]})
    Path("train.json").write_text(json.dumps(records), encoding="utf-8")
    assert main(["prepare", "train.json", "train.jsonl", "--parser", "de_tiny"]) == 0
    return tmp_path


def list_settings(encoder: str, **changes: str) -> list[str]:
    settings = {
        "model.language": "de",
        "model.encoder.name": encoder,
        "data.train": '["train.jsonl"]',
        "data.dev": "train.jsonl",
        "train.stage1.epochs": "2",
        "train.stage2.epochs": "2",
        "train.head_lr": "2e-2",
        "output": "run",
    }
    return [part for name, value in (settings | changes).items() for part in ("--set", f"{name}={value}")]


def test_a_parser_of_another_language_is_named_in_training(prepared, encoders, capsys):
    Path("other.jsonl").write_text(Path("train.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    short = {"train.stage1.epochs": "0", "train.stage2.epochs": "1", "data.train": '["other.jsonl"]'}
    cases = [
        ("de_core_news_sm", "de", False),
        ("en_core_web_sm", "de", True),
        ("de_core_news_sm", "en", True),
        ("folder/de_mine", "xx", False),
        ("mine", "de", False),
    ]
    for number, (parser, language, told) in enumerate(cases):
        changes = short | {"data.parser": parser, "model.language": language, "output": f"run{number}"}
        capsys.readouterr()
        settings = list_settings(encoders["roberta"], **{"model.syntax.source": "encoder"}, **changes)
        assert main(["train", "conll04", *settings]) == 0
        assert (f"was parsed by {parser}, but model.language is {language}" in capsys.readouterr().err) == told


def test_a_pipeline_that_is_not_installed(prepared, capsys):
    capsys.readouterr()
    for name, words in (
        ("de_core_news_none", "python -m spacy download de_core_news_none"),
        ("./nothing", "a folder with a meta.json"),
    ):
        assert main(["prepare", "train.json", "new.jsonl", "--parser", name]) == 1
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert words in told
        assert "en_core_web_sm" not in told


@pytest.mark.slow
@pytest.mark.parametrize("source", ["encoder", "spacy"])
def test_from_data_to_benchmark(prepared, encoders, capsys, source):
    settings = list_settings(encoders["roberta"], **{"model.syntax.source": source})
    assert main(["train", "conll04", *settings]) == 0
    capsys.readouterr()
    assert main(["eval", "run/best", "train.jsonl", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["export", "run/best", "--output", "modell", "--data", "train.jsonl", "--explain"]) == 0
    assert json.loads(Path("modell/manifest.json").read_text())["language"] == "de"
    capsys.readouterr()
    assert main(["eval", "modell", "train.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained

    assert main(["extract", "--model", "modell", "--format", "jsonl", "--syntax", TEXT]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [arc["text"] for arc in found["arcs"]] == WORDS
    assert main(["explain", "modell", TEXT]) == 0
    assert [sentence["words"] for sentence in json.loads(capsys.readouterr().out)] == [WORDS]
    assert main(["verify", "modell", "--data", "train.jsonl"]) == 0
    assert main(["inspect", "modell"]) == 0
    assert "language" in capsys.readouterr().out
    Path("texte.txt").write_text(f"{TEXT}\n" * 4, encoding="utf-8")
    bench = ["bench", "--model", "modell", "--data", "texte.txt", "--batch-sizes", "1", "--lengths", "16"]
    assert main([*bench, "--seconds", "0.2", "--rounds", "1", "--output", "bericht"]) == 0
    report = json.loads(Path("bericht/report.json").read_text(encoding="utf-8"))
    assert report["words"] == 4 * len(WORDS)
