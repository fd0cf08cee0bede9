"""Texts that cannot be read: left out, replaced, or the end; contexts; every kind of string."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import markupsafe
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimf
from trimf.runtime.text.parser import Parser

GOOD = "Ann met Bob in Rome 7."


class Odd(str):
    """A string that shows itself as something else."""

    def __str__(self) -> str:
        return "?"

    def __repr__(self) -> str:
        raise ValueError("no repr")


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path, chain_parser: Parser) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser, syntax="arcs") as extractor:
        yield extractor


def strings_in(value: Any) -> Iterator[str]:
    """Every string of a result."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        yield from itertools.chain.from_iterable(map(strings_in, value))
    elif hasattr(value, "__struct_fields__"):
        yield from strings_in(tuple(getattr(value, name) for name in value.__struct_fields__))


@pytest.mark.parametrize("kind", [np.str_, markupsafe.Markup, Odd, collections.UserString])
def test_every_kind_of_string_gives_plain_results(extract: trimf.Extractor, kind: Any) -> None:
    expected = extract(GOOD)
    found = [
        extract(kind(GOOD)),
        *extract.stream([kind(GOOD)]),
        *extract.words([[kind(word) for word in ["Ann", "met", "Bob"]]]),
    ]
    assert found[:2] == [expected, expected]
    assert found[2] == next(extract.words([["Ann", "met", "Bob"]]))
    assert {type(text) for one in found for text in strings_in(one)} == {str}
    assert trimf.Extraction.from_json(found[0].to_json()) == expected


def test_arrow_strings(extract: trimf.Extractor) -> None:
    arrow = pytest.importorskip("pyarrow")
    assert [one.text for one in extract.stream(arrow.array([GOOD]))] == [GOOD]
    with pytest.raises(trimf.InputError, match="text 0 must be a str, got NoneType: None is a missing value"):
        list(extract.stream(arrow.array([None, GOOD])))


def test_by_default_every_good_text_comes_and_the_end_is_an_error(extract: trimf.Extractor) -> None:
    stream = extract.stream([GOOD, float("nan"), None, GOOD])
    found = [next(stream) for _ in range(4)]
    assert [bool(one.error) for one in found] == [False, True, True, False]
    assert found[1].to_dict() == {"text": "", "entities": [], "relations": [], "error": found[1].error}
    with pytest.raises(trimf.InputError, match=r"^2 texts could not be read: text 1 must be a str, got float: nan"):
        next(stream)
    assert [bad.index for bad in stream.bad_texts.first] == [1, 2]


@settings(deadline=None, max_examples=30)
@given(
    texts=st.lists(st.sampled_from([GOOD, "", None, 3, "a\ud800", b"x"]), max_size=8),
    batch_size=st.integers(1, 4),
    workers=st.integers(1, 2),
)
def test_each_policy_against_a_loop(extract: trimf.Extractor, texts: list[Any], batch_size: int, workers: int) -> None:
    good = [index for index, text in enumerate(texts) if text in (GOOD, "")]
    pairs = [(text, index) for index, text in enumerate(texts)]
    options: Any = {"batch_size": batch_size, "workers": workers, "as_tuples": True}
    skipping = extract.stream(pairs, on_error="skip", **options)
    assert list(skipping) == [(extract(texts[index]), index) for index in good]
    assert [bad.index for bad in skipping.bad_texts.first] == [i for i in range(len(texts)) if i not in good]
    replaced = list(extract.stream(pairs, on_error="replace", **options))
    assert [index for _, index in replaced] == list(range(len(texts)))
    assert [index for one, index in replaced if not one.error] == good
    first_bad = next((index for index in range(len(texts)) if index not in good), None)
    stopping, before = extract.stream(pairs, on_error="stop", **options), []
    if first_bad is None:
        before = list(stopping)
    else:
        with pytest.raises(trimf.InputError, match=f"^text {first_bad} "):
            before.extend(stopping)
    assert [index for _, index in before] == list(range(len(texts) if first_bad is None else first_bad))


def test_words_that_cannot_be_read(extract: trimf.Extractor) -> None:
    sentences: Any = [["Ann"], ["Ann", None], "Ann met Bob", {"Ann": 1}, 5, ["Bob"]]
    stream = extract.words(sentences, on_error="skip")
    assert [one.text for one in stream] == ["Ann", "Bob"]
    assert "word 1 of sentence 1 must be a str, got NoneType" in str(stream.bad_texts)
    assert stream.bad_texts.count == 4


def test_an_iterable_that_fails_ends_the_stream_in_its_place(extract: trimf.Extractor) -> None:
    def texts() -> Iterator[str]:
        yield GOOD
        raise KeyError("source")

    stream = extract.stream(texts(), on_error="skip")
    assert next(stream).text == GOOD
    with pytest.raises(KeyError, match="source"):
        next(stream)


@pytest.mark.parametrize("texts", [None, 5, b"bytes", {"text": "x"}, Path("x"), GOOD])
def test_what_is_no_iterable_of_texts_is_refused_at_once(extract: trimf.Extractor, texts: Any) -> None:
    with pytest.raises(trimf.InputError, match=r"stream\(\) takes an iterable of texts") as caught:
        extract.stream(texts)
    assert "\n" not in str(caught.value)


def test_pairs_and_policies_are_checked(extract: trimf.Extractor) -> None:
    with pytest.raises(trimf.InputError, match=r"text 0: with as_tuples=True every item is a pair"):
        next(extract.stream([GOOD], as_tuples=True))  # type: ignore[list-item]
    with pytest.raises(trimf.InputError, match="on_error must be 'stop', 'skip' or 'replace', got 'ignore'"):
        extract.stream([GOOD], on_error="ignore")  # type: ignore[call-overload]


def test_an_endless_stream_keeps_few_bad_texts(extract: trimf.Extractor) -> None:
    stream = extract.stream(itertools.chain([None] * 5000, [GOOD]), on_error="skip")  # type: ignore[list-item]
    assert next(stream).text == GOOD
    assert (stream.bad_texts.count, len(stream.bad_texts.first)) == (5000, 1000)
