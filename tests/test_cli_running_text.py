"""Every command that takes annotated data reads running text with character offsets, or says what to do with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimf.bench.measure.corpus import read_corpus
from trimf.cli import main
from trimf.runtime.text.parser import Parse
from trimf_train.data.prepare import SourceRecord
from trimf_train.data.readers import read_documents
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation import prediction
from trimf_train.evaluation.documents import evaluate_documents
from trimf_train.evaluation.model_loading import open_model
from trimf_train.training.train import train_model

#: What every command says of the entity inside a word, and of nothing else.
LEFT_OUT = "text.jsonl: left out 1 entity with a start or end inside a word"


@pytest.fixture(scope="module")
def record(sentences: list[Sentence]) -> dict[str, Any]:
    """The twelve sentences as one document, with an entity inside a word."""
    text, entities, relations = "", [], []
    for sentence in sentences:
        starts, first = [], len(entities)
        for word in sentence.tokens:
            text += " " if text and word != "." else ""
            starts.append(len(text))
            text += word
        for entity in sentence.entities:
            end = starts[entity.end - 1] + len(sentence.tokens[entity.end - 1])
            entities.append({"start": starts[entity.start], "end": end, "label": entity.type})
        relations += [
            {"head": first + one.head, "tail": first + one.tail, "label": one.type} for one in sentence.relations
        ]
    entities.append({"start": 0, "end": 2, "label": "Peop"})
    return {"text": text, "entities": entities, "relations": relations}


@pytest.fixture
def text(record: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _parse_by_hand(sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch) -> None:
    parses = {tuple(one.tokens): Parse(one.heads or [], one.labels or []) for one in sentences}

    class Parser:
        def parse(self, texts: list[list[str]]) -> list[Parse]:
            return [parses[tuple(words)] for words in texts]

    monkeypatch.setattr(prediction, "load_parser", lambda name: Parser())


@pytest.fixture
def checkpoint(tiny_checkpoint: Any, tmp_path: Path) -> Path:
    tiny_checkpoint.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_eval_gives_the_scores_of_the_words(
    checkpoint: Path, text: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for data in (text, tiny_data):
        assert main(["eval", str(checkpoint), str(data), "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    characters, words = printed
    assert (characters["sentences"], characters["documents"]) == (12, 1)
    assert characters["relations"] == words["relations"]
    assert characters["entities"]["micro"]["precision"] == words["entities"]["micro"]["precision"] > 0
    assert characters["entities"]["micro"]["support"] == words["entities"]["micro"]["support"] + 1
    assert characters["unreachable"]["entities"][0]["count"] == 1


@pytest.mark.slow
def test_calibrate_and_verify_and_export_split_it(
    checkpoint: Path,
    text: Path,
    quick_export: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    main(["calibrate", str(checkpoint), str(text), "--output", str(tmp_path / "calibrated")])
    assert "predicted in 12 sentences" in capsys.readouterr().err
    manifest = quick_export(checkpoint, tmp_path / "bundle", precision="int8", data=text, calibration_data=text)
    assert manifest.parity["extractions"]["sentences"] == 12
    assert main(["verify", str(tmp_path / "bundle"), "--data", str(text), "--threads", "1"]) in (0, 1)
    assert "parity with ONNX Runtime" in capsys.readouterr().out
    said = [entry.getMessage() for entry in caplog.records if entry.name == "trimf_train.data.readers"]
    assert len(said) == 4
    assert all(line.endswith(LEFT_OUT) for line in said)


def test_bench_reads_texts_and_sentences(text: Path, record: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    corpus = read_corpus(text)
    assert corpus.texts == [record["text"]]
    assert corpus.annotated
    assert len(corpus.sentences) == len(corpus.sentence_texts) == 12
    assert " ".join(corpus.sentence_texts) == record["text"]
    assert sum(len(sentence.entities) for sentence in corpus.sentences) == len(record["entities"]) - 1
    assert LEFT_OUT in caplog.text


def test_the_language_of_the_model_splits_it(text: Path, tmp_path: Path) -> None:
    words = "Das ist z.B. Berlin."
    text.write_text(json.dumps({"text": words, "entities": [{"start": 8, "end": 12, "label": "Loc"}]}))
    (tmp_path / "plain.txt").write_text(words)
    for path in (text, tmp_path / "plain.txt"):
        assert [len(read_corpus(path, language).sentences[0].tokens) for language in ("en", "de")] == [6, 5]
    model = open_model("default", 1)
    documents = list(read_documents(text) or ())
    for language in ("en", "de"):
        scores = evaluate_documents(model._replace(language=language), documents)
        assert scores["language"] == language
    longer = [msgspec.structs.replace(documents[0], text=words.replace("z.B.", "u.a.b."))]
    assert evaluate_documents(model, longer)["unreachable"]["entities"]


def test_training_asks_for_prepared_data(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], configure: Callable[..., Any]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'output = "{tmp_path / "run"}"\n[data]\ntrain = ["{text}"]\n')
    expected = "running text with character offsets must become words first; run `trimf prepare` on it"
    assert main(["train", str(config)]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    for part in ("train", "test"):
        (tmp_path / f"{part}.jsonl").write_bytes(text.read_bytes())
    assert main(["experiment", "main", "--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert expected in capsys.readouterr().err


def test_training_says_that_the_text_was_split_by_another_language(
    configure: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(train={"stage1": {"epochs": 1}, "stage2": {"epochs": 0}})
    path = Path(config.data.train[0])
    source = SourceRecord("", "offsets", "by-hand", "", (), "", "fr", "skip")
    record = path.with_name(path.name + ".source.json")
    record.write_bytes(msgspec.json.encode(source))
    try:
        train_model(config)
    finally:
        record.unlink()
    assert f"{path} was split into words by the rules of 'fr', but model.language is 'en'" in capsys.readouterr().err
