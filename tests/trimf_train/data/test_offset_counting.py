"""Countings of offsets against slow, obvious versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf_train.data.offset_counting import (
    CODE_POINTS,
    COUNTINGS,
    GRAPHEMES,
    UTF16,
    CountedSpan,
    Counting,
    convert_span,
    count_word_ends,
    find_counting,
    index_units,
    is_simple,
)

SPECIAL = "a \t\r\n\u0301\u200d\ufe0f\U0001f600\U0001f3fd\U0001f468"
SPECIAL += "\U0001f1e9\U0001f1ea\uac00\u1100\u1161\u11a8\u0940"
texts = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters(codec="utf-8")), max_size=20)


def count_slowly(text: str, counting: Counting) -> int:
    if counting.joined_line_ends:
        text = text.replace("\r\n", "\n")
    return len(text.encode("utf-16-le")) // 2 if counting.unit == "UTF-16 code units" else len(text)


@pytest.mark.parametrize("counting", COUNTINGS)
@given(text=texts)
def test_every_unit_begins_where_it_should(counting: Counting, text: str) -> None:
    units = index_units(text, counting)
    assert len(units) - 1 == count_slowly(text, counting)
    for index in range(len(text) + 1):
        if text[index - 1 : index + 1] != "\r\n" or not counting.joined_line_ends:
            assert units[count_slowly(text[:index], counting)] == index


@given(text=texts)
def test_graphemes_are_those_of_unicode(text: str) -> None:
    regex = pytest.importorskip("regex")
    if not set(text) <= set(SPECIAL):  # of other characters Python knows an older or newer Unicode than regex
        return
    starts = [match.start() for match in regex.finditer(r"\X", text)]
    assert index_units(text, GRAPHEMES) == [*starts, len(text)]


@given(text=texts)
def test_in_simple_texts_all_count_alike(text: str) -> None:
    if is_simple(text):
        assert len({tuple(index_units(text, counting)) for counting in (*COUNTINGS, GRAPHEMES)}) == 1


def test_a_span_that_cuts_a_character_or_leaves_the_text_is_none() -> None:
    units = index_units("\U0001f600a", UTF16)
    assert convert_span(CountedSpan(2, 3), units) == (1, 2)
    for span in ((1, 3), (0, 1), (2, 4), (-1, 2), (2, 2), (3, 2), (10**30, 10**31)):
        assert convert_span(CountedSpan(*span), units) is None


def test_the_covered_text_decides() -> None:
    text = "\U0001f600 \r\nAda Ada"
    joined = Counting("UTF-16 code units", True)
    for counting, start in ((CODE_POINTS, 8), (UTF16, 9), (joined, 8)):
        found = find_counting(text, [CountedSpan(start, start + 3, "Ada")])
        assert found in (counting, CODE_POINTS)
    assert find_counting(text, [CountedSpan(3, 6, "Ada"), CountedSpan(7, 10, "Ada")]) == Counting("code points", True)
    assert find_counting(text, [CountedSpan(4, 7, "Ada"), CountedSpan(8, 11, "Ada")]) == CODE_POINTS
    assert find_counting(text, [CountedSpan(4, 7, "Bob")]) is None
    assert find_counting("a\r\nb", [CountedSpan(0, 4, "a\\nb")]) == CODE_POINTS
    assert find_counting("", []) == CODE_POINTS


def test_word_ends_decide_without_covered_text() -> None:
    text = "\U0001f600 Ada met Bob"
    spans = [CountedSpan(3, 6), CountedSpan(11, 14)]
    scores = {counting: count_word_ends(text, spans, counting) for counting in COUNTINGS}
    assert max(scores, key=scores.__getitem__) == UTF16
    assert scores[UTF16] == 4
    assert count_word_ends("a", [CountedSpan(0, 5)], CODE_POINTS) == -2
