"""Sentences and words of raw text: exact offsets for any Unicode, the sentence rule, linear time."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.errors import InputError
from trimf.runtime.text import tokenization as text_module
from trimf.runtime.text import words as words_module
from trimf.runtime.text.tokenization import split_sentences
from trimf.runtime.text.words import MAX_RUN_CHARS

# Pieces that tokenizers get wrong, besides any character at all.
AWKWARD = [
    "e\u0301",
    "👨‍👩‍👧",
    "🇩🇪",
    "\r\n",
    "\n\n",
    "\t",
    "\0",
    "\u200b",
    "\ufeff",
    "שלום",
    "مرحبا",
    "ไทย",
    "漢字。",
    "\u00a0",
]
TRICKY = [
    "U.S.",
    "don't",
    "can't.",
    ":)",
    "8-)",
    "...",
    '."',
    "(a)",
    "http://a.b/c?d=e",
    "x@y.z",
    "$5k",
    "10km.",
    "—",
    "'",
    " ",
]
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(AWKWARD + TRICKY) | st.text(max_size=4), max_size=40).map("".join),
)


def check(text: str) -> None:
    """Every word is where its offsets say, and all that is not white space is in exactly one word, in order."""
    position = 0
    for sentence in split_sentences(text):
        assert sentence.words
        assert len(sentence.words) == len(sentence.starts) == len(sentence.ends)
        for word, start, end in zip(*sentence, strict=True):
            assert text[start:end] == word
            assert word
            assert not any(character.isspace() for character in word)
            assert not text[position:start].strip()
            position = end
    assert not text[position:].strip()


@settings(deadline=None)
@given(TEXTS)
def test_offsets_are_exact_and_cover_the_text(text: str) -> None:
    check(text)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["!", "a", "é", "e\u0301", "(", "漢", "👍", "_", "\u200d"]), min_size=MAX_RUN_CHARS).map(
        "".join
    )
)
def test_offsets_hold_in_runs_without_white_space(text: str) -> None:
    check(text)
    check(f"He saw {text} there.")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_cutting_long_text_into_pieces_changes_nothing(text: str) -> None:
    whole = split_sentences(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words_module, "MAX_CHUNK_CHARS", 7)
        patch.setattr(words_module, "MAX_RUN_CHARS", 0)
        assert split_sentences(text) == whole


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t \u00a0\u2003"])
def test_nothing_gives_nothing(text: str) -> None:
    assert split_sentences(text) == []


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Oswald was shot. Ruby did it.", ["Oswald was shot .", "Ruby did it ."]),
        ("U.S. President Bush met Mr. Smith.", ["U.S. President Bush met Mr. Smith ."]),
        ("It rose 3.5 points to 7.", ["It rose 3.5 points to 7 ."]),
        ('He said "Stop." Then he left.', ['He said " Stop . "', "Then he left ."]),
        ('He left. "Stop," she said.', ["He left .", '" Stop , " she said .']),
        ("He left. (Then he came.) He ate.", ["He left .", "( Then he came . )", "He ate ."]),
        ("Really?! Yes.", ["Really ? !", "Yes ."]),
        ("one line\nand its rest", ["one line and its rest"]),
        ("one line\r\nand its rest", ["one line and its rest"]),
        ("Heading\n\nBody", ["Heading", "Body"]),
        ("Heading\r\n\r\nBody", ["Heading", "Body"]),
        ("Heading\n \t\nBody", ["Heading", "Body"]),
        ("Heading\r\rBody", ["Heading", "Body"]),
        ("One. . .Two", ["One . .", ".Two"]),
        ("...", ["..."]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [" ".join(sentence.words) for sentence in split_sentences(text)] == sentences


def test_commas_and_final_stops_are_words_as_in_the_training_data() -> None:
    (sentence,) = split_sentences("In Washington, D.C., President Reagan's aides met.")
    assert sentence.words == ["In", "Washington", ",", "D.C.", ",", "President", "Reagan", "'s", "aides", "met", "."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a" * 2_000_000, 1),
        ("!" * 2_000_000, 1),
        ("word " * 100_000, 100_000),
        (("!" * MAX_RUN_CHARS + " ") * 200, 200 * MAX_RUN_CHARS),
        ("x" + " " * 2_000_000 + "y", 2),
    ],
    ids=["one word", "one symbol", "no full stop", "symbols", "white space"],
)
def test_long_text_is_one_sentence_and_prompt(text: str, words: int) -> None:
    began = time.perf_counter()
    (sentence,) = split_sentences(text)
    assert time.perf_counter() - began < 20
    assert len(sentence.words) == words


def test_text_longer_than_spacys_limit() -> None:
    sentences = split_sentences("Hello there. " * 90_000)
    assert len(sentences) == 90_000
    assert sentences[-1].starts[0] == 13 * 89_999


@pytest.mark.parametrize("text", [None, b"bytes", 3, ["list"]])
def test_other_types_are_refused(text: object) -> None:
    with pytest.raises(InputError, match=f"must be a str, got {type(text).__name__}"):
        split_sentences(text)  # type: ignore[arg-type]


def test_a_lone_surrogate_is_refused_with_its_position() -> None:
    with pytest.raises(InputError, match=r"U\+D83D at character 3"):
        split_sentences("abc\ud83d def")


def test_threads_get_what_one_thread_gets() -> None:
    texts = [f"Person{i} met Mr. Smith{i} in Paris. He left{i}!" for i in range(200)]
    expected = [split_sentences(text) for text in texts]
    results: dict[int, list[list[text_module.TokenizedSentence]]] = {}

    def work(number: int) -> None:
        results[number] = [split_sentences(text) for text in texts]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[i] for i in range(8)] == [expected] * 8
