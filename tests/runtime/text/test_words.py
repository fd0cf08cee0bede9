"""Words of languages: exact offsets in scripts without spaces, and one line for a language that cannot be used."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.errors import BackendError
from trimf.runtime.text import words as words_module
from trimf.runtime.text.tokenization import SplittingRules, split_sentences
from trimf.runtime.text.words import find_unsplit_letters, iterate_words, load_language

CHINESE = "王小明出生于北京。他在阿里巴巴工作,住在杭州!IBM在纽约吗？"


def split(text: str, language: str = "en") -> list[list[str]]:
    return [sentence.words for sentence in split_sentences(text, SplittingRules(language))]


@pytest.mark.parametrize("language", ["en", "xx", "zh"])
def test_chinese_is_split_into_characters_and_sentences(language: str) -> None:
    assert split(CHINESE, language) == [
        [*"王小明出生于北京。"],
        [*"他在阿里巴巴工作,住在杭州!"],
        ["IBM", *"在纽约吗？"],
    ]


def test_a_long_chinese_text_gives_the_same_words() -> None:
    assert split(CHINESE * 2_000) == split(CHINESE) * 2_000


def test_a_character_keeps_its_marks() -> None:
    assert split("ที่นี่") == [["ที่", "นี่"]]
    assert split("か\u3099") == [["か\u3099"]]


@pytest.mark.parametrize("text", ["東京に住む", "ສະບາຍດີ", "សួស្តី", "မြန်မာ", "สวัสดีครับผม", "カタカナカタカナカタカナ"])
def test_no_word_of_a_script_without_spaces_is_long(text: str) -> None:
    assert max(len(word) for sentence in split(text) for word in sentence) <= 8
    assert find_unsplit_letters(text, "en") is not None


@settings(deadline=None)
@given(st.text("aé.,。！ \n漢字かカ\u3099ที่ສ\u200d-'"), st.sampled_from(["en", "xx", "zh", "de"]))
def test_words_are_where_their_offsets_say(text: str, language: str) -> None:
    position = 0
    for word in iterate_words(text, language):
        assert text[word.start : word.start + len(word.text)] == word.text
        assert not text[position : word.start].strip()
        position = word.start + len(word.text)
    assert not text[position:].strip()


@settings(deadline=None)
@given(st.text("abcDÉñß 1.,'’\"-–()!?$€&@/:;…\n\u00a0أبב", max_size=60))
def test_other_scripts_are_split_as_spacy_does(text: str) -> None:
    expected = [token.text for token in load_language("en").tokenizer(text) if not token.is_space]
    assert [word.text for word in iterate_words(text)] == expected


@pytest.mark.parametrize("language", ["qq", "en-US", "../en", ""])
def test_an_unknown_language_is_one_line(language: str) -> None:
    with pytest.raises(BackendError, match=r"language '.*': "):
        load_language(language)


@pytest.mark.parametrize(("language", "package"), [("ja", "sudachipy"), ("th", "pythainlp")])
def test_a_missing_package_is_named_with_the_command(
    language: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    load_language.cache_clear()
    with pytest.raises(BackendError, match=f"`pip install {package}"):
        load_language(language)


@pytest.mark.parametrize(("language", "text"), [("ja", "田中さんは東京で働いています。"), ("th", "เขาทำงานที่กรุงเทพ")])
def test_a_language_that_finds_words_keeps_them(language: str, text: str) -> None:
    pytest.importorskip({"ja": "sudachipy", "th": "pythainlp"}[language])
    load_language.cache_clear()
    found = [word.text for word in iterate_words(text * 200, language)]
    assert "".join(found) == text * 200
    assert max(map(len, found)) > 1
    assert find_unsplit_letters(text, language) is None


def test_letters_that_a_language_splits_need_no_notice() -> None:
    assert find_unsplit_letters(CHINESE, "zh") is None
    assert find_unsplit_letters(CHINESE, "en") == (0, 8)
    assert find_unsplit_letters("สวัสดี", "zh") == (0, 6)
    assert find_unsplit_letters("Łódź, Zürich", "en") is None
    assert words_module.MIN_UNSPLIT_LETTERS == 4
