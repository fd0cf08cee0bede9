"""A document of words against its words one by one."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimf.runtime.document_reader import Document
from trimf.runtime.errors import InputError
from trimf.runtime.text.plain_text import are_plain_texts, read_text


class Markup(str):
    """A string of a type of its own."""


WORDS = st.text(max_size=5) | st.text(max_size=3).map(Markup) | st.just("\ud83d") | st.just("\ude00") | st.just(None)


def read_slowly(words: Iterable[Any]) -> tuple[str, list[str], list[int], list[int]]:
    text, read, starts, ends = "", [], [], []
    for position, word in enumerate(words):
        text += " " * (position > 0)
        starts.append(len(text))
        read.append(read_text(word, f"word {position} of it"))
        text += read[-1]
        ends.append(len(text))
    return text, read, starts, ends


@given(st.lists(WORDS, max_size=8))
@example([])
@example(["Oswald"])
@example(["\ud83d", "\ude00"])
@example(["東京", "", "Łódź"] * 500)
def test_words_and_offsets(words: list[Any]) -> None:
    try:
        text, read, starts, ends = read_slowly(words)
    except InputError as error:
        with pytest.raises(InputError, match=re.escape(str(error))):
            Document.from_words(words, "it")
        return
    document = Document.from_words(iter(words), "it")
    assert document.text == text
    assert list(document.sentences) == ([(read, starts, ends)] if words else [])
    assert all(type(word) is str for sentence in document.sentences for word in sentence.words)


def test_plain_texts() -> None:
    assert are_plain_texts([])
    assert are_plain_texts(["a", "", "東京"])
    for word in ("\ud83d", Markup("a"), 1, None, b"a"):
        assert not are_plain_texts(["a", word])
