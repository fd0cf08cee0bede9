"""Words of a range of characters, against a search through all words."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trimf.runtime.text.tokenization import SplittingRules, split_sentences
from trimf.runtime.text.word_alignment import WordFinder, trim_range

PIECES = ["Ann", "Bob", ".", " ", "\n\n", "\t", "U.S.", "can't", "e\u0301", "👨‍👩‍👧", "東京", "\u00a0", "-"]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), min_size=1, max_size=12).map("".join).filter(bool)


@given(text=TEXTS, data=st.data())
def test_against_all_words(text: str, data: st.DataObject) -> None:
    sentences = split_sentences(text)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assume(not text[start:end].isspace())
    found = WordFinder(text, sentences).find(start, end)
    touched = [
        (place, index)
        for place, sentence in enumerate(sentences)
        for index, (first, after) in enumerate(zip(sentence.starts, sentence.ends, strict=True))
        if first < end and after > start
    ]
    if len({place for place, _ in touched}) > 1:
        assert found is None
        return
    assert found is not None
    place, first = touched[0]
    assert (found.sentence, found.first, found.end) == (place, first, touched[-1][1] + 1)
    ends = sentences[place].starts[found.first], sentences[place].ends[found.end - 1]
    assert found.aligned == (ends == trim_range(text, start, end))


@pytest.mark.parametrize(("start", "end"), [(0, 3), (8, 11), (0, 11)])
def test_a_place_outside_the_sentences_of_a_caller(start: int, end: int) -> None:
    text = "Ann met Bob"
    sentences = split_sentences(text, SplittingRules(sentences=lambda _: [(4, 7)]))
    assert WordFinder(text, sentences).find(start, end) is None
    assert WordFinder(text, sentences).find(4, 7) == (0, 0, 1, True)
    assert WordFinder(text, []).find(start, end) is None
