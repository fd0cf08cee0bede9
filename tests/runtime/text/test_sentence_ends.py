"""Full stops of abbreviations do not end a sentence; those of sentences do, also after an abbreviation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.errors import InputError
from trimf.runtime.text.tokenization import SplittingRules, check_rules, split_sentences

ONE = [
    "Smith et al. work for IBM in New York.",
    "Fig. 3 shows Jack Ruby of Dallas.",
    "Lt. Anna Bell of Oslo was shot by Sgt. Tom Hill.",
    "LT. ANNA BELL OF OSLO WAS SHOT BY SGT. TOM HILL.",
    "Lt. Col. Anna Bell and Brig. Gen. Tom Hill met Cpl. Lee and Pvt. Ruby.",
    "The firm, based in Halifax, approx. 90 miles from Truro, is owned by Bell.",
    "He lives at No. 5 Rue Royale in Paris.",
    "See pp. 3-5, vol. IV, ch. 2, sec. 4 and eq. (5) of Bell v. Hill.",
    "Capt. Tom Hill lives in Cheyenne, Wyo. and works for NASA.",
    "He moved from Calif. to Boston, Mass. in Sept. 1963.",
    "Acme Inc. hired Dr. J. R. Smith Jr. of St. Louis.",
    "Robert P. Lockwood met William P. Carey of Hill & Co. in Ft. Worth.",
    "Operating income incl. JV was SEK 2.1 m. in Sweden.",
    "It is 5 ft. 6 in. long and 3 km. from Oslo.",
    "The Dept. of Defense and the Univ. of Texas met Prof. Bell at 5 p.m. on Monday.",
    "U.S. President Bush met Smith (cf. Bell, e.g. in Rome, i.e. Italy) vs. Hill et al., as planned.",
    "Supt. Anna Bell, Det. Insp. Tom Hill and Atty. Gen. Lee met Rev. Ruby, Sens. Hill and Bell.",
    "Yahoo!, based in Sunnyvale, bought Flickr.",
    "1. Jack Ruby lives in Dallas.",
    "Fig . 3 shows Jack Ruby of Dallas .",
    "Bldg. 5 of the Mfg. Div. is on Elm Blvd. near Sgt. Hill's house.",
    "He met the Spvsr. of Oslo.",
]
TWO = [
    "He works for Acme Inc. The firm is in Oslo.",
    "He lives in Washington, D.C. He left.",
    "She came at 5 p.m. She left.",
    "He was born in Cheyenne, Wyo. In 1963 he left.",
    "He lives on Elm St. They left.",
    "He said No. He left.",
    "He said no. Bell left.",
    "The pole is 2.1 m. It fell.",
    "The pole is 5 ft. Bell fell.",
    "It was found by Smith et al. The authors left.",
    "She sells books, pens etc. Bell buys them.",
    "It was World War I. Bell left.",
    "He likes TV. Bell left.",
    "Hmm. Bell left.",
    "He bought art. Bell left.",
    'He works for "Acme Inc." The firm is in Oslo.',
    "He works for Acme Inc. (The firm is in Oslo.)",
    "He left in 1963. Bell stayed.",
    "he lives in oslo. she lives in rome.",
]


@pytest.mark.parametrize("text", ONE)
def test_an_abbreviation_ends_no_sentence(text: str) -> None:
    assert len(split_sentences(text)) == 1


@pytest.mark.parametrize("text", TWO)
def test_a_sentence_end_is_found(text: str) -> None:
    assert len(split_sentences(text)) == 2


@given(st.lists(st.sampled_from([*ONE[:1], *TWO, "Lt. ", "No.", " 5", "The", "Inc.", '"', ")", "\n", ",", "m."])))
def test_sentences_only_group_the_words(parts: list[str]) -> None:
    text = " ".join(parts)
    found = [start for sentence in split_sentences(text) for start in sentence.starts]
    assert found == [start for one in split_sentences(text, SplittingRules(sentences="whole")) for start in one.starts]


def test_the_whole_text_may_be_one_sentence() -> None:
    (sentence,) = split_sentences(" Bell left.\n\nHill came. ", SplittingRules(sentences="whole"))
    assert sentence.words == ["Bell", "left", ".", "Hill", "came", "."]
    assert sentence.starts == [1, 6, 10, 13, 18, 22]
    assert split_sentences(" \n", SplittingRules(sentences="whole")) == []


def test_the_caller_may_give_the_sentences() -> None:
    text = "Bell left Lt. Hill came  (not read) at last."
    rules = SplittingRules(sentences=lambda _: [(0, 14), (14, 24), (24, 25), (36, 44)])
    assert [text[one.starts[0] : one.ends[-1]] for one in split_sentences(text, rules)] == [
        "Bell left Lt.",
        "Hill came",
        "at last.",
    ]
    assert split_sentences("", rules) == []


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([(0, 50)], r"the range \(0, 50\) must have .* <= 10"),
        ([(-1, 5)], r"the range \(-1, 5\)"),
        ([(5, 5)], r"the range \(5, 5\)"),
        ([(0, 6), (5, 10)], r"the range \(5, 10\) starts before 6"),
        ([(5, 10), (0, 5)], r"the range \(0, 5\) starts before 10"),
        ([3], "3 is not a range"),
        ([("a", "b")], "is not a range"),
        ([(0, 1, 2)], "is not a range"),
        ([(0.0, 5.0)], "is not a range"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(ranges: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_sentences("Bell left.", SplittingRules(sentences=lambda _: ranges))


def test_a_function_that_returns_no_ranges_is_refused() -> None:
    with pytest.raises(InputError, match="returned None"):
        split_sentences("Bell left.", SplittingRules(sentences=lambda _: None))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (SplittingRules(sentences="none"), "unknown sentences 'none'"),  # type: ignore[arg-type]
        (SplittingRules(newlines="none"), "unknown newlines 'none'"),  # type: ignore[arg-type]
    ],
)
def test_unknown_options_are_refused(rules: SplittingRules, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_rules(rules)
