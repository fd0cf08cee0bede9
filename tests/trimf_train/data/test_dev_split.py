"""A dev part of whole documents, the same every time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trimf_train.data.dev_split import MAX_DEV_SENTENCES, split_off_dev
from trimf_train.data.sentence import EntityMention, Sentence


def document(name: str, sentences: int, label: str = "A") -> list[Sentence]:
    return [Sentence([f"{name}", f"word{i}"], [EntityMention(label, 0, 1)], id=f"{name}:{i}") for i in range(sentences)]


def test_a_fifth_by_document() -> None:
    sentences = [sentence for number in range(50) for sentence in document(f"news:{number}", 4)]
    split = split_off_dev(sentences)
    assert len(split.dev) == 40
    assert (split.train_documents, split.dev_documents) == (40, 10)
    parts = [{sentence.id.rpartition(":")[0] for sentence in part} for part in (split.train, split.dev)]
    assert not parts[0] & parts[1]
    assert sorted(split.train + split.dev, key=sentences.index) == sentences
    assert split.train == [sentence for sentence in sentences if sentence in split.train], "in the order of the data"


def test_equal_data_give_equal_parts_in_any_order() -> None:
    sentences = [sentence for number in range(30) for sentence in document(f"d{number}", 2)]
    split, other = split_off_dev(sentences), split_off_dev(sentences[30:] + sentences[:30])
    assert {sentence.id for sentence in split.dev} == {sentence.id for sentence in other.dev}


def test_equal_documents_with_other_ids_stay_together() -> None:
    once = [Sentence([f"w{number}"], [EntityMention("A", 0, 1)], id=str(number)) for number in range(30)]
    twice = once + [Sentence(sentence.tokens, sentence.entities, id=f"again-{sentence.id}") for sentence in once]
    split = split_off_dev(twice)
    assert split.dev
    assert not {tuple(sentence.tokens) for sentence in split.dev} & {tuple(sentence.tokens) for sentence in split.train}


def test_one_document_is_not_divided() -> None:
    split = split_off_dev(document("only", 40))
    assert (len(split.train), split.dev, split.dev_documents) == (40, [], 0)
    assert split_off_dev([]).dev == []


def test_two_documents() -> None:
    split = split_off_dev(document("long", 40) + document("short", 3))
    assert (len(split.train), len(split.dev)) == (40, 3)


def test_a_label_keeps_an_example_in_training() -> None:
    sentences = [sentence for number in range(40) for sentence in document(f"d{number}", 1, f"label {number % 20}")]
    split = split_off_dev(sentences)
    assert len({entity.type for sentence in split.train for entity in sentence.entities}) == 20
    assert len(split.dev) == 8


def test_a_label_for_each_document_still_gives_a_dev_part() -> None:
    sentences = [sentence for number in range(10) for sentence in document(f"d{number}", 1, f"label {number}")]
    assert len(split_off_dev(sentences).dev) == 1


def test_large_data_set_aside_no_more_than_the_limit() -> None:
    sentences = [Sentence([str(number)], [EntityMention("A", 0, 1)]) for number in range(12_000)]
    assert len(split_off_dev(sentences).dev) == MAX_DEV_SENTENCES


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "a:1", "", "é:x"]), st.integers(0, 3), st.sampled_from(["x", "y"])),
        max_size=20,
    )
)
def test_nothing_is_lost_and_no_document_divided(items: list[tuple[str, int, str]]) -> None:
    sentences = [
        Sentence([word, str(index)], [EntityMention(word, 0, 1)], id=f"{name}:{number}" if name else "")
        for index, (name, number, word) in enumerate(items)
    ]
    split = split_off_dev(sentences)
    key = repr
    assert Counter(map(key, split.train + split.dev)) == Counter(map(key, sentences))
    names = [{s.id.rpartition(":")[0] for s in part if s.id} for part in (split.train, split.dev)]
    assert not names[0] & names[1]
    assert not split.dev or split.train
