"""Words of a spaCy pipeline, and its rules read out of it."""

import re

import pytest
import spacy

from trimf.runtime.text import spacy_words as module
from trimf.runtime.text.rule_tokenizer import RuleTokenizer
from trimf.runtime.text.spacy_words import SpacyWordTokenizer, read_spacy_rules
from trimf.runtime.text.word_tokenizer import Token

TEXT = " Zorplax blivet7 met\nMr. Quonk in Frabjous. He left. "


def test_words_have_their_places() -> None:
    tokenizer = SpacyWordTokenizer(spacy.blank("en"))
    assert tokenizer.tokenize(" Mr. A!\n", 5) == [Token("Mr.", 6, False), Token("A", 10, False), Token("!", 11, True)]
    assert tokenizer.tokenize("") == tokenizer.tokenize("\n ") == []


def test_a_full_vocabulary_stays_full_and_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = spacy.blank("en")
    tokenizer = SpacyWordTokenizer(nlp)
    expected = tokenizer.tokenize(TEXT)
    monkeypatch.setattr(module, "MAX_NEW_STRINGS", 0)
    assert tokenizer.tokenize(TEXT) == expected
    before = len(nlp.vocab.strings)
    for i in range(50):
        tokenizer.tokenize(f"neverseen{i} andneither{i}.")
    assert len(nlp.vocab.strings) == before


def test_a_tokenizer_of_another_kind_has_no_rules() -> None:
    assert read_spacy_rules(spacy.blank("zh")) is None
    nlp = spacy.blank("en")
    nlp.tokenizer.faster_heuristics = False
    assert read_spacy_rules(nlp) is None


@pytest.mark.parametrize("name", ["prefix_search", "suffix_search", "infix_finditer", "token_match", "url_match"])
def test_rules_that_are_no_patterns_stay_in_spacy(name: str) -> None:
    nlp = spacy.blank("en")
    setattr(nlp.tokenizer, name, lambda text: [] if name == "infix_finditer" else None)
    assert read_spacy_rules(nlp) is None
    pattern = re.compile("a.b")
    setattr(nlp.tokenizer, name, pattern.findall if name == "infix_finditer" else pattern.fullmatch)
    assert read_spacy_rules(nlp) is None


def test_a_language_may_lack_any_pattern() -> None:
    nlp = spacy.blank("en")
    for name in ("prefix_search", "suffix_search", "infix_finditer", "token_match", "url_match"):
        setattr(nlp.tokenizer, name, None)
    rules = read_spacy_rules(nlp)
    assert rules is not None
    text = "(don't) a-b don't :) 5km http://a.b."
    assert [word for word, _ in RuleTokenizer(rules).tokenize(text)] == [token.text for token in nlp.tokenizer(text)]


def test_letter_case_may_not_matter() -> None:
    nlp = spacy.blank("en")
    nlp.tokenizer.token_match = re.compile("x-[a-c]+", re.IGNORECASE).match
    rules = read_spacy_rules(nlp)
    assert rules is not None
    for text in ("X-Abc", "(x-A.)", "X-d"):
        assert [word for word, _ in RuleTokenizer(rules).tokenize(text)] == [
            token.text for token in nlp.tokenizer(text)
        ]
