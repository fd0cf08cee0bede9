"""What a tool's file says is what the reader gives: the same text, spans and relations, character for character."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import annotation_writers as writers

from trimf_train.data.document import AnnotatedDocument, EntityAnnotation, RelationAnnotation
from trimf_train.data.readers import FORMATS, detect_format, read_documents, read_sentences
from trimf_train.data.reading_report import ReadingReport
from trimf_train.data.sentence import Sentence

NATURAL = Path(__file__).parents[4].parent / "shared" / "data" / "conll04" / "natural"


def entity(text: str, covered: str, label: str) -> EntityAnnotation:
    start = text.index(covered)
    return EntityAnnotation(start, start + len(covered), label)


def sample() -> list[AnnotatedDocument]:
    first = "\U0001f600\tTitle\r\nJos\u00e9 Garc\u00eda, \U0001f468\u200d\U0001f467, works for \u6771\u4eac Labs."
    first += "\r\n\r\nMary Ann\nSmith does, too."
    second = "e\u0301a \U0001f1eb\U0001f1f7 Paris is in France. \U00020bb7"
    return [
        AnnotatedDocument(
            first,
            [
                entity(first, "José García", "Person"),
                entity(first, "東京 Labs", "Org"),
                entity(first, "Mary Ann\nSmith", "Person"),
                entity(first, "東京", "City"),
            ],
            [RelationAnnotation(0, 1, "works_for"), RelationAnnotation(2, 1, "works_for")],
        ),
        AnnotatedDocument("Nothing here.\r\n"),
        AnnotatedDocument(
            second,
            [entity(second, "Paris", "City"), entity(second, "France", "Country")],
            [RelationAnnotation(0, 1, "in"), RelationAnnotation(1, 0, "contains")],
        ),
    ]


WRITERS: dict[str, tuple[str, Callable[..., Path]]] = {
    "labelstudio-points": ("labelstudio", writers.write_labelstudio),
    "labelstudio-utf16": ("labelstudio", lambda p, d: writers.write_labelstudio(p, d, writers.count_utf16)),
    "labelstudio-joined": ("labelstudio", lambda p, d: writers.write_labelstudio(p, d, writers.count_utf16_joined)),
    "doccano-utf16": ("doccano", writers.write_doccano),
    "doccano-points": ("doccano", lambda p, d: writers.write_doccano(p, d, len)),
    "prodigy": ("prodigy", writers.write_prodigy),
    "brat": ("brat", writers.write_brat),
    "spacy": ("spacy", writers.write_docbin),
}


def check_round_trip(path: Path, format: str, documents: list[AnnotatedDocument]) -> None:
    assert detect_format(path) == format
    found = read_documents(path)
    assert found is not None
    for document, read in zip(documents, found, strict=True):
        assert read.text == document.text
        assert describe(read) == describe(document)


def describe(document: AnnotatedDocument) -> tuple[list[tuple[int, int, str]], list[tuple[object, object, str]]]:
    """Entities and relations without regard to their order, which some formats do not keep."""
    places = [(entity.start, entity.end, entity.label) for entity in document.entities]
    relations = [(places[r.head], places[r.tail], r.label) for r in document.relations]
    return sorted(places), sorted(relations)


@pytest.mark.parametrize("name", WRITERS)
def test_sample(tmp_path: Path, name: str) -> None:
    format, write = WRITERS[name]
    check_round_trip(write(tmp_path / "data", sample()), format, sample())


def test_doccano_that_counts_graphemes(tmp_path: Path) -> None:
    regex = pytest.importorskip("regex")
    path = writers.write_doccano(tmp_path / "data", sample(), lambda text: len(regex.findall(r"\X", text)))
    check_round_trip(path, "doccano", sample())


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_real_text(tmp_path: Path, name: str, part: str) -> None:
    source = NATURAL / f"{part}.jsonl"
    if not source.exists():
        pytest.skip("development data is not here")
    documents = list(read_documents(source) or ())
    assert len(documents) > 200
    format, write = WRITERS[name]
    check_round_trip(write(tmp_path / "data", documents), format, documents)


def write_conll(path: Path, sentences: list[Sentence]) -> Path:
    lines = []
    for sentence in sentences:
        tags = ["O"] * len(sentence.tokens)
        for mention in sentence.entities:
            tags[mention.start : mention.end] = [f"B-{mention.type}"] + [f"I-{mention.type}"] * (
                mention.end - mention.start - 1
            )
        lines += [f"{word}\t{tag}" for word, tag in zip(sentence.tokens, tags, strict=True)] + [""]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    return path


def test_real_words_as_columns(tmp_path: Path) -> None:
    source = NATURAL / "test.jsonl"
    if not source.exists():
        pytest.skip("development data is not here")
    sentences = list(read_sentences(source))
    path = write_conll(tmp_path / "x", sentences)
    assert detect_format(path) == "conll"
    for before, after in zip(sentences, read_sentences(path), strict=True):
        assert (after.tokens, after.entities) == (before.tokens, sorted(before.entities, key=lambda e: e.start))


def write_spert(path: Path, sentences: list[Sentence]) -> Path:
    return writers.write_lines(path, [record(sentence) for sentence in sentences])


def record(sentence: Sentence) -> dict[str, Any]:
    entities = [{"type": e.type, "start": e.start, "end": e.end} for e in sentence.entities]
    relations = [{"type": r.type, "head": r.head, "tail": r.tail} for r in sentence.relations]
    return {"tokens": sentence.tokens, "entities": entities, "relations": relations, "orig_id": sentence.id}


def write_parquet(path: Path, sentences: list[Sentence]) -> Path:
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    rows = [record(sentence) for sentence in sentences]
    pq.write_table(pyarrow.Table.from_pylist([{**row, "id": row["orig_id"]} for row in rows]), path)
    return path


@pytest.mark.parametrize(("format", "write"), [("spert", write_spert), ("datasets", write_parquet)])
def test_real_words_as_records(tmp_path: Path, format: str, write: Callable[..., Path]) -> None:
    source = NATURAL / "test.jsonl"
    if not source.exists():
        pytest.skip("development data is not here")
    sentences = list(read_sentences(source))
    path = write(tmp_path / "x", sentences)
    assert detect_format(path) == format
    assert list(read_sentences(path)) == sentences


def test_real_text_as_parquet(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    source = NATURAL / "test.jsonl"
    if not source.exists():
        pytest.skip("development data is not here")
    documents = list(read_documents(source) or ())
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    pq.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x")
    check_round_trip(tmp_path / "x", "datasets-text", documents)


words = st.text(st.characters(codec="utf-8", exclude_categories=["Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=4)
blanks = st.sampled_from([" ", "\t", "\r\n", "\n", "  ", "\u00a0"])


@st.composite
def documents(draw: st.DrawFn) -> AnnotatedDocument:
    text, places = draw(st.sampled_from(["", "\U0001f600 "])), []
    for word in draw(st.lists(words, min_size=1, max_size=8)):
        places.append((len(text), len(text) + len(word)))
        text += word + draw(blanks)
    picked = draw(st.lists(st.tuples(st.sampled_from(places), st.sampled_from("AB")), unique=True, max_size=5))
    entities = [EntityAnnotation(start, end, label) for (start, end), label in picked]
    pairs = st.tuples(*[st.integers(0, max(len(entities) - 1, 0))] * 2).filter(lambda pair: pair[0] != pair[1])
    chosen = draw(st.lists(pairs, max_size=3, unique=True)) if len(entities) > 1 else []
    return AnnotatedDocument(text, entities, [RelationAnnotation(*pair, "R") for pair in chosen])


@pytest.mark.parametrize("name", ["labelstudio-points", "labelstudio-utf16", "labelstudio-joined", "prodigy", "brat"])
@given(found=st.lists(documents(), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_any_text(tmp_path_factory: pytest.TempPathFactory, name: str, found: list[AnnotatedDocument]) -> None:
    format, write = WRITERS[name]
    path = write(tmp_path_factory.mktemp("x") / "data", found)
    report = ReadingReport()
    reader = FORMATS[format].read_documents
    assert reader is not None
    read = list(reader(path, report))
    assume(not report.counts["unchecked_offsets"])
    assert [(document.text, describe(document)) for document in read] == [(d.text, describe(d)) for d in found]
