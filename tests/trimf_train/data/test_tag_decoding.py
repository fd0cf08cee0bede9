"""Tags of every scheme against conlleval's rules, and columns of words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.errors import DataError
from trimf_train.data.readers import detect_format, read_sentences
from trimf_train.data.tag_decoding import decode_tags, is_tag


def spans(*tags: str) -> list[tuple[str, int, int]]:
    return [(entity.type, entity.start, entity.end) for entity in decode_tags(tags, [""] * len(tags), "tag")]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-A I-A O B-B", [("A", 0, 2), ("B", 3, 4)]),
        ("I-A I-A O I-B", [("A", 0, 2), ("B", 3, 4)]),
        ("I-A B-A I-A", [("A", 0, 1), ("A", 1, 3)]),
        ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),
        ("B-A B-A", [("A", 0, 1), ("A", 1, 2)]),
        ("S-A B-A E-A S-A", [("A", 0, 1), ("A", 1, 3), ("A", 3, 4)]),
        ("U-A B-A I-A L-A I-A", [("A", 0, 1), ("A", 1, 4), ("A", 4, 5)]),
        ("B-A M-A E-A", [("A", 0, 3)]),
        ("E-A L-A", [("A", 0, 1), ("A", 1, 2)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_schemes(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert spans(*tags.split()) == expected


def decode_like_conlleval(tags: list[str]) -> list[tuple[str, int, int]]:
    """The start and end conditions of conlleval, written out."""
    found, start = [], -1
    before, label_before = "O", ""
    for index, tag in enumerate([*tags, "O"]):
        now, _, label = tag.partition("-")
        ends = (before in "BI" and now in "BSO") or before in "ES" or (before != "O" and label != label_before)
        if ends and start >= 0:
            found.append((label_before, start, index))
            start = -1
        starts = now in "BS" or (before in "ESO" and now in "EI") or (now != "O" and label != label_before)
        if starts:
            start = index
        before, label_before = now, label
    return found


@given(st.lists(st.sampled_from(["O", *(f"{position}-{label}" for position in "BIES" for label in "AB")]), max_size=8))
def test_any_tags_as_conlleval_does(tags: list[str]) -> None:
    assert spans(*tags) == decode_like_conlleval(tags)


def test_is_tag() -> None:
    assert all(map(is_tag, ("O", "B-x", "U-a b")))
    assert not any(map(is_tag, ("", "B", "B-", "X-a", "o", "NN")))


@pytest.mark.parametrize(
    "text",
    [
        "Ada B-P\nmet O\n\nBob B-P\n",
        "Ada\tB-P\r\nmet\tO\r\n\r\nBob\tB-P\r\n",
        "# a comment\nAda NNP B-P\nmet VBD O\n \t\n# another\nBob NNP I-P",
        "-DOCSTART- -X- -X- O\n\nAda NNP I-NP I-P\nmet V I-VP O\n-DOCSTART- -X- O\nBob NNP B-NP I-P\n\n\n",
        "\ufeff-DOCSTART- (testa)\n\nAda\tS-P\nmet\tO\n\nBob\tU-P\n",
    ],
)
def test_columns(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text, encoding="utf-8", newline="")
    assert detect_format(path) == "conll"
    found = [(s.tokens, [(e.type, e.start, e.end) for e in s.entities], s.id) for s in read_sentences(path)]
    assert found == [(["Ada", "met"], [("P", 0, 1)], "1"), (["Bob"], [("P", 0, 1)], "2")]


def test_words_that_look_like_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    words = ["#", "\u00a0x", "\U0001f600", "\u2028"]
    path.write_text("".join(f"{word}\tO\n" for word in words), encoding="utf-8", newline="")
    assert [sentence.tokens for sentence in read_sentences(path, "conll")] == [words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada B-P\nmet\n", "line 2: needs a word and a tag, in columns separated by a tab or a space, got 'met'"),
        ("Ada B-P\nmet V O\n", "line 2: has 3 columns, but the lines before it have 2: 'met V O'"),
        (
            "Ada B-P\nmet VBD\n",
            "line 2: tag must be O, or one of B I E S L U M, a hyphen and a label",
        ),
        ("Ada B-P\n\tO\n", "line 2: needs a word and a tag"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "x"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_sentences(path, "conll"))
    assert f"{path}: {expected}" in str(caught.value)
