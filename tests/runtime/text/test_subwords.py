"""Words to subwords: each word on its own, whatever it holds, and text is never a special token."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from trimf.runtime.engine.contract import CASE_MULTIPLIER
from trimf.runtime.errors import BundleError, InputError
from trimf.runtime.text import subwords as subwords_module
from trimf.runtime.text.subwords import (
    CASE_COUNT,
    MAX_WORD_SUBWORDS,
    Subwords,
    SubwordTokenizer,
    classify_letter_case,
)

AWKWARD = [
    "",
    " ",
    "\t\n",
    "\0",
    "\x1f",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\ufffd",
    "e\u0301",
    "👨‍👩‍👧",
    "漢字",
    "שלום",
    "New York",
    "don't",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "<s>",
    "</s>",
    "Ġthe",
    "##a",
    "a" * MAX_WORD_SUBWORDS,
    "a" * (MAX_WORD_SUBWORDS + 1),
    "a" * 500,
]
WORDS = st.lists(st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=12)


def word_piece() -> Tokenizer:
    """As BERT's: lower case, punctuation apart, words of more than 100 characters unknown."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdeghlnoprstuwy[]'", "the", "york", "new"]
    pieces = ["##" + piece for piece in (*"abcdeghlnoprstuwy", "he", "ork")]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(words + pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(words[:4])
    return tokenizer


def byte_level(prefix: bool = True, unknown: str = "<unk>") -> Tokenizer:
    """As RoBERTa's: bytes and merges, a space before every word."""
    tokens = ["<s>", "<pad>", "</s>", unknown, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "a")]
    numbers = {token: i for i, token in enumerate([*tokens, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(numbers, merges, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_special_tokens(tokens[:4])
    if prefix:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


TOKENIZERS = {"word pieces": word_piece, "bytes": byte_level}
UNKNOWN = {"word pieces": 1, "bytes": 3}
AROUND = {"word pieces": (2, 3), "bytes": (0, 2)}


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(kind: str) -> SubwordTokenizer:
    return SubwordTokenizer(TOKENIZERS[kind](), kind)


def check_equal(actual: Subwords, expected: Subwords) -> None:
    for name in ("ids", "first_positions", "last_positions"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), name)
        assert getattr(actual, name).dtype == np.int64
    assert actual.unknown_words == expected.unknown_words


def one_by_one(kind: str, words: Sequence[str]) -> Subwords:
    """The definition: every word alone, straight through the library."""
    raw = TOKENIZERS[kind]()
    raw.encode_special_tokens = True
    begin, end = AROUND[kind]
    ids, first, last, unknown = [begin], [], [], []
    for number, word in enumerate(words):
        pieces = raw.encode([word], is_pretokenized=True, add_special_tokens=False).ids
        if not 1 <= len(pieces) <= MAX_WORD_SUBWORDS:
            unknown.append(number)
            pieces = [UNKNOWN[kind]]
        elif UNKNOWN[kind] in pieces:
            unknown.append(number)
        first.append(len(ids))
        ids += pieces
        last.append(len(ids) - 1)
    return Subwords(np.array([*ids, end]), np.array(first, int), np.array(last, int), tuple(unknown))


def test_pieces_and_places(tokenizer: SubwordTokenizer, kind: str) -> None:
    (subwords,) = tokenizer.encode([["The", "new", "York"]])
    sizes = {"word pieces": [1, 1, 1], "bytes": [4, 4, 5]}[kind]
    assert (subwords.last_positions - subwords.first_positions + 1).tolist() == sizes
    assert subwords.first_positions[0] == 1
    assert (subwords.first_positions[1:] == subwords.last_positions[:-1] + 1).all()
    assert (subwords.ids[0], subwords.ids[-1]) == AROUND[kind]
    assert len(subwords.ids) == sum(sizes) + tokenizer.special_token_count
    assert subwords.unknown_words == ()
    assert tokenizer.special_token_count == 2


@given(words=WORDS)
@pytest.mark.parametrize("which", list(TOKENIZERS))
def test_a_sentence_is_its_words_one_by_one(which: str, words: list[str]) -> None:
    check_equal(SubwordTokenizer(TOKENIZERS[which](), which).encode([words])[0], one_by_one(which, words))


@pytest.mark.parametrize(
    ("case", "words"),
    list(
        enumerate(
            [
                ["", "the", "3rd", "x86", "1990", "-", "漢字", "שלום", "ß", "don't"],
                ["The", "Don't", "Ångström", "(The", "ǅa"],
                ["USA", "U.S.", "AT&T", "B2B", "ÉA"],
                ["A", "J.", "10K", "É"],
                ["McDonald", "iPhone", "O'Brien", "Smith-Jones", "e-Bay"],
            ]
        )
    ),
)
def test_letter_case(case: int, words: list[str]) -> None:
    assert [classify_letter_case(word) for word in words] == [case] * len(words)


@given(words=WORDS)
@pytest.mark.parametrize("which", list(TOKENIZERS))
def test_letter_case_stands_above_the_vocabulary(which: str, words: list[str]) -> None:
    tokenizer = SubwordTokenizer(TOKENIZERS[which](), which, casing=True)
    (found,) = tokenizer.encode([words])
    plain = one_by_one(which, words)
    check_equal(found._replace(ids=found.ids % CASE_MULTIPLIER), plain)
    above = np.zeros(len(plain.ids), int)
    for word, first, last in zip(words, plain.first_positions, plain.last_positions, strict=True):
        above[first : last + 1] = classify_letter_case(word)
    np.testing.assert_array_equal(found.ids // CASE_MULTIPLIER, above)
    assert (found.ids < CASE_MULTIPLIER * CASE_COUNT).all()
    assert tokenizer.subword_texts(found) == SubwordTokenizer(TOKENIZERS[which](), which).subword_texts(plain)


@given(sentences=st.lists(WORDS, max_size=4))
@pytest.mark.parametrize("which", list(TOKENIZERS))
def test_a_sentence_does_not_depend_on_the_others(which: str, sentences: list[list[str]]) -> None:
    tokenizer = SubwordTokenizer(TOKENIZERS[which](), which)
    for subwords, words in zip(tokenizer.encode(sentences), sentences, strict=True):
        check_equal(subwords, tokenizer.encode([tuple(words)])[0])


@given(words=WORDS, data=st.data())
@pytest.mark.parametrize("which", list(TOKENIZERS))
def test_a_cut_is_the_slice_encoded(which: str, words: list[str], data: st.DataObject) -> None:
    words = [*words, "a"]
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    tokenizer = SubwordTokenizer(TOKENIZERS[which](), which)
    cut = tokenizer.slice_words(tokenizer.encode([words])[0], start, end)
    check_equal(cut, tokenizer.encode([words[start:end]])[0]._replace(unknown_words=()))


def test_words_without_any_subword_are_unknown() -> None:
    tokenizer = SubwordTokenizer(word_piece(), "x")
    (subwords,) = tokenizer.encode([["\u200b", "a", "", "\0", "b", " "]])
    assert subwords.unknown_words == (0, 2, 3, 5)
    assert subwords.ids[subwords.first_positions].tolist() == [1, 4, 1, 1, 5, 1]
    assert (subwords.first_positions == subwords.last_positions).all()


def test_words_of_too_many_subwords_are_unknown(tokenizer: SubwordTokenizer, kind: str) -> None:
    most = "x" * (MAX_WORD_SUBWORDS - 1) if kind == "bytes" else "e" * MAX_WORD_SUBWORDS
    (subwords,) = tokenizer.encode([["the", most, most + "e", "the"]])
    assert subwords.unknown_words == (2,)
    assert (subwords.last_positions - subwords.first_positions + 1)[1:3].tolist() == [MAX_WORD_SUBWORDS, 1]
    assert subwords.ids[subwords.first_positions[2]] == UNKNOWN[kind]


@pytest.mark.parametrize("word", ["[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>"])
def test_text_is_no_special_token(tokenizer: SubwordTokenizer, kind: str, word: str) -> None:
    for words in ([word], ["a", word], [word, "a"], ["a" + word]):
        (subwords,) = tokenizer.encode([words])
        assert not set(subwords.ids[1:-1].tolist()) & {*AROUND[kind], 0}
        assert len(subwords.ids) > 2 + len(words)


def test_words_seen_before_are_looked_up_and_in_the_end_forgotten(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subwords_module, "MAX_CACHED_WORDS", 3)
    tokenizer = SubwordTokenizer(TOKENIZERS[kind](), kind)
    words = ["the", "new", "", "york", "the", "e" * 50, "a", "b", "new"]
    for start in range(len(words)):
        check_equal(tokenizer.encode([words[start:]])[0], one_by_one(kind, words[start:]))
        check_equal(tokenizer.encode([words[: start + 1]])[0], one_by_one(kind, words[: start + 1]))
        assert len(tokenizer._cached_ids) <= 2 * 3
        assert "e" * 50 not in tokenizer._cached_ids


def test_nothing(tokenizer: SubwordTokenizer, kind: str) -> None:
    assert tokenizer.encode([]) == []
    (subwords,) = tokenizer.encode([[]])
    check_equal(subwords, Subwords(np.array(AROUND[kind]), np.zeros(0, int), np.zeros(0, int), ()))


@pytest.mark.parametrize("words", [["a", "\ud800"], ["\udfff"], ["a", 3], [None], [b"a"], 7])
def test_what_is_no_text_is_refused(tokenizer: SubwordTokenizer, words: list[str]) -> None:
    with pytest.raises(InputError, match="words must be strings of valid Unicode text") as caught:
        tokenizer.encode([["a"], words])
    assert "\n" not in str(caught.value)


def test_the_files_own_padding_and_truncation_do_not_count() -> None:
    raw = word_piece()
    raw.enable_truncation(4)
    raw.enable_padding(length=9)
    tokenizer = SubwordTokenizer.from_bytes(raw.to_str().encode(), "x")
    for words in (["a"] * 30, ["a"]):
        check_equal(tokenizer.encode([words, ["b"] * 20])[0], one_by_one("word pieces", words))


def test_a_tokenizer_without_a_token_before_the_sentence_is_refused() -> None:
    with pytest.raises(BundleError, match=r"^my file: the tokenizer adds no special token before a sentence"):
        SubwordTokenizer(byte_level(prefix=False), "my file")


def test_a_suffix_alone_is_not_enough() -> None:
    raw = byte_level(prefix=False)
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    with pytest.raises(BundleError, match="no special token before"):
        SubwordTokenizer(raw, "x")


def test_a_prefix_alone_is_enough() -> None:
    raw = byte_level(prefix=False)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = SubwordTokenizer(raw, "x")
    assert tokenizer.special_token_count == 1
    whole = tokenizer.encode([["a", "the", "b"]])[0]
    check_equal(tokenizer.slice_words(whole, 1, 3), tokenizer.encode([["the", "b"]])[0])


def describe(**parts: object) -> bytes:
    """Return the tokenizer of word pieces with some parts replaced, as a file."""
    return json.dumps(json.loads(word_piece().to_str()) | parts).encode()


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}}, "a" * 33 + "c"),
        ({"model": {"type": "Unigram", "unk_id": None, "vocab": [["[UNK]", 0.0], ["a", -1.0]]}}, "x"),
    ],
)
def test_a_tokenizer_that_fails_on_a_word_is_one_error(parts: dict[str, object], word: str) -> None:
    tokenizer = SubwordTokenizer.from_bytes(describe(**parts), "t")
    with pytest.raises(BundleError, match=f"t: the tokenizer fails on the word '{word}'"):
        tokenizer.encode([["a", word]])
    assert len(tokenizer.encode([["a"]])) == 1


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 65},
        {"type": "Replace", "pattern": {"Regex": ""}, "content": "b" * 64},
        {"type": "Prepend", "prepend": "b" * 1000},
        {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 30},
    ],
)
def test_replacements_that_make_a_text_many_times_longer_are_refused(normalizer: dict[str, object]) -> None:
    with pytest.raises(BundleError, match=r"t: the replacements of the tokenizer may make [0-9]+ characters of one"):
        SubwordTokenizer.from_bytes(describe(normalizer=normalizer), "t")


def test_a_word_of_any_length_is_not_tokenized(tokenizer: SubwordTokenizer) -> None:
    (subwords,) = tokenizer.encode([["a", "b" * 50_000_000]])
    assert subwords.unknown_words[-1] == 1
    assert len(subwords.ids) < 10


def test_an_interrupt_passes_through_the_tokenizer(
    tokenizer: SubwordTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "_encode_batch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode([["neverseen"]])


def test_a_tokenizer_without_an_unknown_token_is_refused() -> None:
    raw = Tokenizer(models.WordLevel({"[CLS]": 0, "a": 1}, unk_token="nothing"))
    raw.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 0)])
    with pytest.raises(BundleError, match=r"no unknown token \(tried nothing, \[UNK\], <unk>\)"):
        SubwordTokenizer(raw, "x")


def test_an_unknown_token_of_any_name() -> None:
    tokenizer = SubwordTokenizer(byte_level(unknown="<what>"), "x")
    assert tokenizer.encode([["x" * 99]])[0].ids.tolist() == [0, 3, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"model": {"type": "WordPiece"}}',
        b'{"model": {"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", '
        b'"max_input_chars_per_word": 100}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_tokenizer_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"^my file: ") as caught:
        SubwordTokenizer.from_bytes(content, "my file")
    assert "\n" not in str(caught.value)
