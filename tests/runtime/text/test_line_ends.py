"""Line ends: an item of a list, a heading or a row ends a sentence; a wrapped line does not."""

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.text.line_ends import Newlines
from trimf.runtime.text.tokenization import SplittingRules, split_sentences

PROSE = (
    "Lee Harvey Oswald was shot in the basement of the police headquarters by the night club owner Jack Ruby of Dallas"
    " on 24 November 1963, two days after the death of President John F. Kennedy. Earl Warren of California led the"
    " commission that looked into it, with Gerald Ford of Michigan and Allen Dulles of New York among its members, and"
    " reported to Lyndon B. Johnson in September 1964."
)


def split(text: str, newlines: Newlines = "auto") -> list[str]:
    return [" ".join(sentence.words) for sentence in split_sentences(text, SplittingRules(newlines=newlines))]


@pytest.mark.parametrize("width", range(60, 81))
@pytest.mark.parametrize("prefix", ["", "> ", "    "])
def test_a_wrapped_paragraph_is_not_cut(width: int, prefix: str) -> None:
    lines = textwrap.wrap(PROSE, width, initial_indent=prefix, subsequent_indent=prefix)
    assert len(split("\n".join(lines))) == 2


@pytest.mark.parametrize(
    "start", ["Jack", "Ruby", "Dallas", "President", "John", "Kennedy", "Warren", "Ford", "Johnson"]
)
def test_a_name_at_the_start_of_a_wrapped_line_does_not_start_a_sentence(start: str) -> None:
    for width in range(55, 100):
        lines = textwrap.wrap(PROSE, width)
        if any(line.startswith(start) for line in lines[1:]):
            assert len(split("\r\n".join(lines))) == 2


@pytest.mark.parametrize(
    "text",
    [
        "Jack Ruby of Dallas\nLee Oswald of New Orleans\nMarie Curie of Warsaw\nTom Hill of Oslo\nAnna Bell of Rome",
        "- Jack Ruby lives in Dallas\n- Lee Oswald lives in New Orleans",
        "* jack ruby\n* lee oswald",
        "• Jack Ruby, Dallas\n• Lee Oswald, New Orleans",
        "1. Jack Ruby\n2. Lee Oswald\n10. Marie Curie",
        "a) Jack Ruby\nb) Lee Oswald",
        "# Death of a president\nOswald was shot in Dallas by Jack Ruby.",
        "Death of a president\nOswald was shot in Dallas by the night club owner Jack Ruby.",
        "Death of a president\n====\nOswald was shot.",
        "Name\tCity\nJack Ruby\tDallas\nLee Oswald\tNew Orleans",
        "| Name | City |\n| --- | --- |\n| Jack Ruby | Dallas |",
        "Jack Ruby      Dallas\nLee Oswald     New Orleans",
        "From: Jack Ruby\nTo: Lee Oswald\nSubject: Dallas",
        "Kind regards\nJack Ruby\nCarousel Club\n1312 Commerce Street",
        "Acme Corporation\n12 High Street\nOslo",
        "Jack Ruby lives in Dallas\u2028Lee Oswald lives in New Orleans",
    ],
)
def test_each_line_of_a_list_is_a_sentence(text: str) -> None:
    lines = [line for line in text.replace("\u2028", "\n").split("\n") if any(map(str.isalnum, line))]
    found = [sentence for sentence in split(text) if any(map(str.isalnum, sentence))]
    assert len(found) == len(lines)


def test_an_item_that_is_wrapped_stays_whole() -> None:
    item = (
        "- Jack Ruby was the owner of a night club in Dallas and shot the murderer of the\n  president of the country"
    )
    assert len(split(f"{item}\n- Lee Oswald was shot")) == 2


def test_an_email_is_parted_at_its_lines() -> None:
    text = (
        "Dear Bob,\nI met Jack Ruby in Dallas last week, and he told me that the police of\n"
        "Dallas had let him in.\n\nKind regards,\nAnna Bell\nAcme Corp.\nOslo, Norway\n"
    )
    assert split(text)[1] == (
        "I met Jack Ruby in Dallas last week , and he told me that the police of Dallas had let him in ."
    )
    assert split(text)[-1] == "Oslo , Norway"


def test_a_title_at_the_end_of_a_line_goes_on() -> None:
    assert len(split("Oswald was shot by Lt.\nAnna Bell of Oslo.")) == 1


def test_the_caller_may_decide() -> None:
    wrapped, items = "Jack Ruby lived\nin Dallas.", "Jack Ruby\nLee Oswald\nMarie Curie"
    assert [len(split(wrapped, mode)) for mode in ("space", "end")] == [1, 2]
    assert [len(split(items, mode)) for mode in ("space", "end")] == [1, 3]
    assert len(split("Jack Ruby\n\nLee Oswald", "space")) == 2


def test_a_list_of_any_length_is_parted() -> None:
    assert len(split("Jack Ruby of Dallas\n" * 20_000)) == 20_000


@settings(deadline=None)
@given(st.text("aB. -|\t\n\r\f\u2028>#1:,", max_size=80), st.sampled_from(["auto", "space", "end"]))
def test_no_word_is_lost_at_a_line_end(text: str, newlines: Newlines) -> None:
    found = [word for sentence in split_sentences(text, SplittingRules(newlines=newlines)) for word in sentence.words]
    whole = [word for sentence in split_sentences(text, SplittingRules(sentences="whole")) for word in sentence.words]
    assert found == whole
