"""The words of the rules are those of spaCy: on the corpora at hand, and on random text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.language import Language

from trimf.runtime.text.rule_tokenizer import RuleTokenizer
from trimf.runtime.text.spacy_words import read_spacy_rules
from trimf.runtime.text.word_rules import FOLDER
from trimf.runtime.text.words import load_word_tokenizer

LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.json"))
CORPORA = ("conll04", "scierc", "ade", "redocred", "knowledgenet", "fewrel", "unlabelled")
PARTS = [
    *".,:;()[]{}'\"`-–—’‘“”«»„!?¿/\\&$€£<>=_*°%+#@~|…0123oOxDéß東мا",
    *["don't", "can’t", "it's", "I'm", "we'll", "rock'n'roll", "'Cause", "o'clock", "J.", "U.S.", "e.g.", "Mr."],
    *["10km", "5kg", "3m²", "20°C", "$5", "5p.m.", "1,000.5", "3-4", "2020-01-02", "10%", "x-y", "a/b", "A.B", "a.B"],
    *["http://a.b/c?d=e-f", "www.x.de", "x.com", "a@b.co", "mailto:a.b@c-d.org", "file.txt", "192.168.0.1:80"],
    *["😀", "👩‍👩‍👧", "🇩🇪", ":)", ":-(", "<3", "^_^", "(:", "¯\\_(ツ)_/¯", "8-)", "...", "....", "--", "``", "''"],
]
SPACES = ["", "", "", " ", " ", "  ", "\n", "\t", "\u2003", "\u00a0", " \r\n ", "\x1c"]


@cache
def pipeline(language: str) -> Language:
    return spacy.blank(language)


@cache
def rules(language: str) -> RuleTokenizer:
    found = read_spacy_rules(pipeline(language))
    assert found is not None
    return RuleTokenizer(found)


def words_of_spacy(text: str, language: str) -> list[tuple[str, int]]:
    return [(token.text, token.idx) for token in pipeline(language).tokenizer(text) if not token.is_space]


def read_strings(value: Any) -> Iterator[str]:
    """Yield the strings of a JSON value, lists of words joined."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from chain.from_iterable(map(read_strings, value.values()))
    elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        yield " ".join(value)
    elif isinstance(value, list):
        yield from chain.from_iterable(map(read_strings, value))


def read_texts(folder: Path) -> Iterator[str]:
    """Yield the texts of a corpus."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jsonl"):
            content = path.read_text(encoding="utf-8")
            try:
                values = [json.loads(content)]
            except json.JSONDecodeError:  # a value a line
                values = map(json.loads, content.splitlines())
            yield from chain.from_iterable(map(read_strings, values))
        elif path.suffix in (".txt", ".rel"):
            yield from path.read_text(encoding="utf-8").splitlines()


def check_corpus(folder: Path, count: int | None) -> None:
    if not folder.is_dir():
        pytest.skip(f"needs the data set {folder.name}")
    tokenizer = load_word_tokenizer("en")
    texts = list(islice(dict.fromkeys(read_texts(folder)), count))
    assert len(texts) > 100
    for text in texts:
        expected = words_of_spacy(text, "en")
        assert rules("en").tokenize(text) == expected
        assert [(token.text, token.start) for token in tokenizer.tokenize(text)] == expected


@pytest.mark.parametrize("corpus", CORPORA)
def test_words_of_a_sample(shared_data: Path, corpus: str) -> None:
    check_corpus(shared_data / corpus, 150)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", CORPORA)
def test_words_of_a_corpus(shared_data: Path, corpus: str) -> None:
    check_corpus(shared_data / corpus, None)


@st.composite
def texts(draw: st.DrawFn, language: str) -> str:
    """Draw a text of marks, units, links, contractions, special cases of the language, and any characters."""
    part = st.sampled_from(PARTS) | st.sampled_from(sorted(pipeline(language).tokenizer.rules)) | st.text(max_size=4)
    parts = draw(st.lists(st.tuples(part, st.sampled_from(SPACES)), max_size=12))
    return "".join(word + space for word, space in parts)


@settings(deadline=None, max_examples=500)
@given(texts("en"))
@example("")
@example(" ")
@example("  (don't)\u00a0 :)")
@example("no:) )")
@example("I'll pay $5.50/km (see http://a.b/c-d?e=f), o.k.?")
@example("“Don’t!”—she said… 5p.m.-6p.m.")
def test_words_of_random_text(text: str) -> None:
    assert rules("en").tokenize(text) == words_of_spacy(text, "en")


@pytest.mark.parametrize("language", ["ru", "tr", "hu", pytest.param("fr", marks=pytest.mark.slow)])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_words_of_other_languages(language: str, data: st.DataObject) -> None:
    text = data.draw(texts(language))
    assert rules(language).tokenize(text) == words_of_spacy(text, language)


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_words_of_every_frozen_language(language: str, data: st.DataObject) -> None:
    text = data.draw(texts(language))
    expected = words_of_spacy(text, language)
    assert rules(language).tokenize(text) == expected
    for _ in range(2):  # by the rules, and from memory
        assert [(token.text, token.start) for token in load_word_tokenizer(language).tokenize(text)] == expected


@given(st.text(st.characters(exclude_categories=["Zs", "Zl", "Zp", "Cc", "Cs"]), max_size=30))
def test_the_words_of_a_chunk_are_the_chunk(chunk: str) -> None:
    assert "".join(rules("en").split_chunk(chunk)) == chunk


@pytest.mark.parametrize("chunk", ["!" * 300, "(" * 150 + ")" * 150, "a." * 150, "-" * 300, "don't" * 60, ":)" * 150])
def test_long_chunks(chunk: str) -> None:
    assert rules("en").tokenize(chunk) == words_of_spacy(chunk, "en")
