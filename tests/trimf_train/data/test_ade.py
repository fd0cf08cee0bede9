"""The ADE reader: each sentence found in its document, words that fit the annotation, folds, the overlap setting."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.errors import DataError, InputError
from trimf.runtime.text.tokenization import split_sentences
from trimf_train.data.formats import ade
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import EntityMention, RelationMention, Sentence
from trimf_train.data.statistics import DataStatistics

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "ade" / "DRUG-AE.head.rel"


def line(sentence: str, effect: tuple[str, int], drug: tuple[str, int], shift: int = 100, id: str = "1") -> str:
    """A line whose mentions begin at the given characters of the sentence."""
    ends = [f"{text}|{shift + at}|{shift + at + len(text)}" for text, at in (effect, drug)]
    return "|".join([id, sentence, *ends])


def read(tmp_path: Path, *lines: str) -> list[Sentence]:
    path = tmp_path / "x.rel"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(ade.read_ade(path))


def mentions(sentence: Sentence) -> list[tuple[str, list[str]]]:
    return [(entity.type, sentence.tokens[entity.start : entity.end]) for entity in sentence.entities]


def failure(tmp_path: Path, *lines: str) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *lines)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(tmp_path / "x.rel"))


def test_one_line(tmp_path: Path) -> None:
    (sentence,) = read(
        tmp_path, "10030778|Intravenous azithromycin-induced ototoxicity.|ototoxicity|43|54|azithromycin|22|34"
    )
    assert sentence == Sentence(
        tokens=["Intravenous", "azithromycin", "-", "induced", "ototoxicity", "."],
        entities=[EntityMention("Drug", 1, 2), EntityMention("Adverse-Effect", 4, 5)],
        relations=[RelationMention("Adverse-Effect", 1, 0)],
        id="10030778:0",
    )


def test_lines_of_one_sentence_are_one_record(tmp_path: Path) -> None:
    text = "Rash and fever after aspirin."
    sentences = read(
        tmp_path,
        line(text, ("Rash", 0), ("aspirin", 21)),
        line("Aspirin gave rash.", ("rash", 13), ("Aspirin", 0), shift=700),
        line(text, ("fever", 9), ("aspirin", 21)),
        line(text, ("fever", 9), ("aspirin", 21), id="2"),
    )
    assert [sentence.id for sentence in sentences] == ["1:0", "1:1", "2:0"]
    assert mentions(sentences[0]) == [
        ("Adverse-Effect", ["Rash"]),
        ("Adverse-Effect", ["fever"]),
        ("Drug", ["aspirin"]),
    ]
    assert sentences[0].relations == [RelationMention("Adverse-Effect", 0, 2), RelationMention("Adverse-Effect", 1, 2)]


def test_offsets_choose_among_several_occurrences(tmp_path: Path) -> None:
    text = "rash, not this rash, came from gold after gold"
    (first,) = read(tmp_path, line(text, ("rash", 15), ("gold", 31)))
    assert first.entities == [EntityMention("Adverse-Effect", 4, 5), EntityMention("Drug", 8, 9)]
    (second,) = read(tmp_path, line(text, ("rash", 0), ("gold", 42)))
    assert second.entities == [EntityMention("Adverse-Effect", 0, 1), EntityMention("Drug", 10, 11)]


def test_several_possible_shifts_take_the_first_occurrence_or_what_another_line_settles(tmp_path: Path) -> None:
    text = "rash by gold; rash by gold and fever"
    (alone,) = read(tmp_path, line(text, ("rash", 14), ("gold", 22), shift=50))
    assert alone.entities == [EntityMention("Adverse-Effect", 0, 1), EntityMention("Drug", 2, 3)]
    (settled,) = read(
        tmp_path,
        line(text, ("rash", 14), ("gold", 22), shift=50),
        line(text, ("fever", 31), ("gold", 22), shift=50),
    )
    assert [(e.start, e.end) for e in settled.entities] == [(4, 5), (6, 7), (8, 9)]


def test_a_sentence_that_the_document_holds_twice(tmp_path: Path) -> None:
    text = "Gold gave rash and fever."
    (sentence,) = read(
        tmp_path, line(text, ("rash", 10), ("Gold", 0), shift=5), line(text, ("fever", 19), ("Gold", 0), shift=900)
    )
    assert len(sentence.entities) == 3
    assert len(sentence.relations) == 2


def test_words_are_cut_where_a_mention_begins_or_ends_inside_one(tmp_path: Path) -> None:
    (sentence,) = read(tmp_path, line("Postaspirinoid neurorash.", ("rash", 20), ("aspirin", 4)))
    assert sentence.tokens == ["Post", "aspirin", "oid", "neuro", "rash", "."]
    assert mentions(sentence) == [("Drug", ["aspirin"]), ("Adverse-Effect", ["rash"])]


def test_white_space_and_bars_around_and_in_a_sentence(tmp_path: Path) -> None:
    (sentence,) = read(tmp_path, line(" a | b  rash  by  gold ", ("rash ", 8), ("gold", 18)))
    assert sentence.tokens == ["a", "|", "b", "rash", "by", "gold"]
    assert mentions(sentence) == [("Adverse-Effect", ["rash"]), ("Drug", ["gold"])]


def test_a_repeated_line_is_a_repeated_relation_and_is_merged(tmp_path: Path) -> None:
    once = line("Gold gave rash.", ("rash", 10), ("Gold", 0))
    (sentence,) = read(tmp_path, once, once)
    assert len(sentence.relations) == 2
    statistics = DataStatistics()
    (merged,) = read_sentences(tmp_path / "x.rel", statistics=statistics)
    assert len(merged.relations) == statistics.merged_relations == 1


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("1|a|b", ": a line must have 8 fields (PubMed id|sentence|effect|begin|end|drug|begin|end), got 3"),
        ("1|gold rash|rash|x|9|gold|0|4", ": effect begin must be a character offset (digits only), got 'x'"),
        ("1|gold rash|rash|5|9|gold|-1|3", ": drug begin must be a character offset (digits only), got '-1'"),
        ("1|gold rash|rash|5|8|gold|0|4", ": effect end must be 9 (begin + length of 'rash'), got 8"),
        ("1|gold rash|itch|5|9|gold|0|4", ": effect must be a text that occurs in the sentence, got 'itch'"),
        ("1|gold rash|rash|5|9||0|0", ": drug must be a text that occurs in the sentence, got ''"),
        (
            "1|gold rash|rash|6|10|gold|0|4",
            ": begin of effect and drug must be offsets that match the positions of 'rash' and 'gold' in the"
            " sentence, got [6, 0]",
        ),
        (
            "1|gold rash|rash|3|7|gold|0|4",
            ": begin of effect and drug must be offsets that match the positions of 'rash' and 'gold' in the"
            " sentence, got [3, 0]",
        ),
    ],
)
def test_bad_line_is_named(tmp_path: Path, bad: str, expected: str) -> None:
    assert failure(tmp_path, "1|gold rash|rash|5|9|gold|0|4", "", bad) == f": line 3{expected}"


@given(st.text(alphabet="ab-.' \u00e9,0", max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_words_cover_the_text_and_break_at_every_border(text: str, borders: list[int]) -> None:
    words = ade.split_at_borders(text, borders)
    covered = {i for start, end in words for i in range(start, end)}
    assert covered == {i for i, character in enumerate(text) if not character.isspace()}
    assert all(start < end <= following for (start, end), (following, _) in pairwise(words))
    assert not any(start < border < end for start, end in words for border in borders)


def test_words_are_those_of_the_runtime_without_borders() -> None:
    text = "Dr. Who isn't well. He took 5mg/day of (R)-warfarin!"
    assert [text[a:b] for a, b in ade.split_at_borders(text)] == [
        word for part in split_sentences(text) for word in part.words
    ]


def sentences(count: int) -> list[Sentence]:
    return [Sentence(tokens=["x"], id=str(i)) for i in range(count)]


def test_folds_test_every_sentence_once() -> None:
    data = sentences(23)
    parts = list(ade.split_into_folds(data, count=10, seed=1))
    assert len(parts) == 10
    tested = [sentence.id for _, test in parts for sentence in test]
    assert sorted(tested, key=int) == [sentence.id for sentence in data]
    for train, test in parts:
        assert len(test) in (2, 3)
        assert [s for s in data if s in train or s in test] == data
        assert len(train) + len(test) == 23
        assert test == sorted(test, key=lambda s: int(s.id))


def test_folds_are_fixed_by_their_seed() -> None:
    data = sentences(20)
    assert list(ade.split_into_folds(data, seed=3)) == list(ade.split_into_folds(data, seed=3))
    assert list(ade.split_into_folds(data, seed=3)) != list(ade.split_into_folds(data, seed=4))
    assert [s.id for s in next(ade.split_into_folds(data, seed=0))[1]] == ["0", "4"]


@pytest.mark.parametrize("count", [1, 0, 4])
def test_impossible_number_of_folds(count: int) -> None:
    with pytest.raises(InputError, match=rf"folds must be from 2 to 3 \(the number of sentences\), got {count}"):
        ade.split_into_folds(sentences(3), count=count)


def test_dropping_overlap_leaves_out_whole_sentences(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        line("Lithium intoxication is bad.", ("Lithium intoxication", 0), ("Lithium", 0)),
        line("Gold gave rash.", ("rash", 10), ("Gold", 0)),
    )
    assert [sentence.tokens[0] for sentence in ade.drop_overlapping_sentences(data)] == ["Gold"]


def test_real_file() -> None:
    if not DATA.exists():
        pytest.skip("development data ade is not here")
    statistics = DataStatistics()
    data = list(read_sentences(DATA, statistics=statistics))
    assert statistics.sentences == 964
    assert statistics.relations == 1500
    assert statistics.entity_types == {"Adverse-Effect": 1282, "Drug": 1118}
    assert statistics.merged_relations == 0
    assert len(ade.drop_overlapping_sentences(data)) == 964 - statistics.sentences_with_overlap == 921
    found = {
        ("".join(s.tokens), *("".join(s.tokens[s.entities[i].start : s.entities[i].end]) for i in (r.head, r.tail)))
        for s in data
        for r in s.relations
    }
    fields = [row.split("|") for row in DATA.read_text(encoding="utf-8").splitlines()]
    assert found == {tuple("".join(row[i].split()) for i in (1, 2, 5)) for row in fields}
