"""Remembered words are those of spaCy for the text as a whole, and memory does not grow without bound."""

import threading

import pytest
import spacy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.lang.lex_attrs import is_punct

from trimf.runtime.text import word_tokenizer as module
from trimf.runtime.text.rule_tokenizer import RuleTokenizer
from trimf.runtime.text.spacy_words import read_spacy_rules
from trimf.runtime.text.word_tokenizer import Token, WordTokenizer, is_punctuation


def build_tokenizer(language: str) -> WordTokenizer:
    rules = read_spacy_rules(spacy.blank(language))
    assert rules is not None
    return WordTokenizer(RuleTokenizer(rules))


LANGUAGES = ("en", "de", "xx", "ru")
_pipelines = {language: spacy.blank(language) for language in LANGUAGES}
_tokenizers = {language: build_tokenizer(language) for language in LANGUAGES}
_cases = {language: sorted(_pipelines[language].tokenizer.rules) for language in LANGUAGES}

PARTS = [
    *".,:;()'\"-–’‘!?/&$<>=_*°3oOxDé東",
    "no",
    "John",
    "He",
    "'s",
    "U.S.",
    "12",
    "km",
    "x-a.",
    "a@b.co",
    "http://a.b/c",
]
SPACES = ["", "", " ", "  ", "\n", "\t", "\u2003", "\u00a0", " \r\n "]


def tokenize_slowly(text: str, language: str, offset: int = 0) -> list[Token]:
    """Give the whole text to spaCy."""
    doc = _pipelines[language].tokenizer(text)
    return [Token(token.text, offset + token.idx, token.is_punct) for token in doc if not token.is_space]


@st.composite
def texts(draw: st.DrawFn, language: str) -> str:
    """Draw a text of special cases and marks, with and without white space between them."""
    part = st.sampled_from(PARTS) | st.sampled_from(_cases[language]) | st.text(max_size=4)
    parts = draw(st.lists(st.tuples(part, st.sampled_from(SPACES)), max_size=12))
    return "".join(word + space for word, space in parts)


@pytest.mark.parametrize("language", LANGUAGES)
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_words_are_those_of_the_text_as_a_whole(language: str, data: st.DataObject) -> None:
    text, offset = data.draw(texts(language)), data.draw(st.integers(0, 9))
    for _ in range(2):  # from spaCy, and from memory
        assert _tokenizers[language].tokenize(text, offset) == tokenize_slowly(text, language, offset)


@settings(deadline=None)
@given(st.text(max_size=80))
@example("")
@example("Oswald")
@example("no:) )")
@example("no:)")
@example("He said it's 5 p.m. in the U.S., o.k.?\n\n(Mr. Smith's “don't”) " * 200)
def test_any_text_has_the_words_of_spacy(text: str) -> None:
    for _ in range(2):
        assert _tokenizers["en"].tokenize(text) == tokenize_slowly(text, "en")


def test_a_special_case_hides_another_across_white_space() -> None:
    tokenizer = build_tokenizer("en")
    for text, words in (("no:)", ["no", ":)"]), ("no:) )", ["no", ":", ")", ")"]), ("no:)", ["no", ":)"])):
        assert [token.text for token in tokenizer.tokenize(text)] == words


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN_CHUNKS", 5)
    tokenizer = build_tokenizer("en")
    for start in range(0, 60, 3):
        text = " ".join(f"chunk{number}'s" for number in range(start, start + 8))
        assert tokenizer.tokenize(text) == tokenize_slowly(text, "en")
        assert len(tokenizer._known) <= 2 * 5
    long = "x" * (module.MAX_KNOWN_CHUNK_CHARS + 1)
    assert tokenizer.tokenize(long) == tokenize_slowly(long, "en")
    assert long not in tokenizer._known


def test_threads_get_what_one_thread_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN_CHUNKS", 20)  # so that threads empty the memory under each other
    tokenizer = build_tokenizer("en")
    lines = [f"Person{number}'s friend, Mr. A{number % 7}:) left at {number}p.m.!" for number in range(100)]
    expected = [tokenize_slowly(line, "en") for line in lines]
    results: dict[int, list[list[Token]]] = {}

    def work(number: int) -> None:
        results[number] = [tokenizer.tokenize(line) for line in lines]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(results.values()) == [expected] * 6


@given(st.text(min_size=1))
@example("'")
@example("…")
@example("。a")
def test_punctuation_is_that_of_spacy(word: str) -> None:
    assert is_punctuation(word) == is_punct(word)
