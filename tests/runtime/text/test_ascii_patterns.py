"""A narrowed pattern has the same matches in ASCII text."""

import re
import warnings
from collections.abc import Iterable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.text.ascii_patterns import narrow_pattern
from trimf.runtime.text.word_rules import FOLDER, find_frozen_rules

LANGUAGES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
FIELDS = ("prefix", "suffix", "infix", "token_match", "url_match")


def read_patterns(languages: Iterable[str]) -> list[str]:
    rules = [found for language in languages if (found := find_frozen_rules(language))]
    return sorted({pattern for each in rules for field in FIELDS if isinstance(pattern := getattr(each, field), str)})


@cache
def compile_all(languages: tuple[str, ...]) -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """Each pattern of the languages, and what it is narrowed to."""
    return [(re.compile(pattern), re.compile(narrow_pattern(pattern))) for pattern in read_patterns(languages)]


ASCII = st.text(st.characters(max_codepoint=127), max_size=20)


def find_all(pattern: str, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(pattern, text)]


@pytest.mark.parametrize(
    "pattern",
    [
        "[é]", "[^é]", "[aé-ü-z]", "[é^a]", "[^é^a]", "[]é]", "[^]é]", r"[\u00e9-\U0010ffff]a?", r"[\x00-\xff]",
        r"\[é\]", r"\\[é]b", "[é[a]+", "[é&&b]", "[a-]é?", r"[\wé-]+", r"[\]é]", "é|a", "(?i)[ſ]", "(?i:[ſ])s",
        r"(?<![é])a", "[a-é]", "[é^-^]", "[é[-a]",
        r"[\u00e9\-b]", "[-é]", "[é-]", r"[\W_é]{2,}", "[é]{2}|b", r"[^\s\u00a0]", r"\d[é\d]", "",
    ],
)  # fmt: skip
def test_odd_classes(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the pattern as it is
        re.compile(pattern)
    narrow = narrow_pattern(pattern)
    for number in range(128):
        for text in (chr(number), f"a{chr(number)}[s]-", f"{chr(number)}{chr(number)}\\b"):
            assert find_all(narrow, text) == find_all(pattern, text)


@settings(max_examples=300)
@given(st.text("aé-^[]\\uw0&|~ü√", max_size=8), ASCII)
def test_any_class(body: str, text: str) -> None:
    pattern = f"[{body}]+"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            expected = find_all(pattern, text)
        except re.error:
            return
        assert find_all(narrow_pattern(pattern), text) == expected


@pytest.mark.parametrize("languages", [("en", "xx"), pytest.param(LANGUAGES, marks=pytest.mark.slow)], ids=len)
@settings(deadline=None, max_examples=100)
@given(text=ASCII | st.text("aA1.,-'\"()$%+/:@~_", max_size=20))
def test_patterns_of_word_rules(languages: tuple[str, ...], text: str) -> None:
    for whole, narrow in compile_all(languages):
        assert [match.span() for match in narrow.finditer(text)] == [match.span() for match in whole.finditer(text)]


def test_patterns_get_short() -> None:
    patterns = read_patterns(["en", "xx"])
    assert sum(map(len, map(narrow_pattern, patterns))) < sum(map(len, patterns)) / 4
