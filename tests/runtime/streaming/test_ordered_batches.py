"""Documents in batches: the order of the results, what is held, and whose error it is."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.document_reader import Document, OpenDocument, QueuedSentence, SentenceInText
from trimf.runtime.streaming.ordered_batches import DeferredBatch, SchedulePlan, batch_by_length, process_in_order
from trimf.runtime.text.tokenization import TokenizedSentence


def test_a_batch_that_fails_though_none_of_its_sentences_does() -> None:
    documents = [Document(str(i), [TokenizedSentence([str(i)], [0], [1])]) for i in range(9)]

    def begin(batch: list[SentenceInText]) -> DeferredBatch[str]:
        def work() -> list[str]:
            if len(batch) > 1 and any(sentence.text == "5" for sentence in batch):
                raise MemoryError("too large")
            return [sentence.text for sentence in batch]

        return DeferredBatch(work)

    found = process_in_order(documents, begin, SchedulePlan(3, 99, 3, 3, 1))
    assert [next(found) for _ in range(3)] == [(str(i), [str(i)]) for i in range(3)]
    with pytest.raises(MemoryError, match="too large"):
        next(found)


def test_a_long_document_is_not_held_in_whole() -> None:
    read = done = furthest = 0

    def sentences() -> Iterator[TokenizedSentence]:
        nonlocal read, furthest
        for _ in range(5000):
            read += 1
            furthest = max(furthest, read - done)
            yield TokenizedSentence(["a"], [0], [1])

    def begin(batch: list[SentenceInText]) -> DeferredBatch[int]:
        def work() -> list[int]:
            nonlocal done
            done += len(batch)
            return [1] * len(batch)

        return DeferredBatch(work)

    plan = SchedulePlan.for_stream(4, 1, 2)
    ((text, parts),) = process_in_order([Document("long", sentences())], begin, plan)
    assert (text, len(parts)) == ("long", 5000)
    assert furthest <= plan.max_buffered


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 30))
def test_batches_are_of_like_length_and_bounded(lengths: list[int], batch_size: int) -> None:
    document = OpenDocument[int](0)
    queued = [
        QueuedSentence(SentenceInText("", TokenizedSentence(["a"] * length, [0], [0])), document, index, length, 1)
        for index, length in enumerate(lengths)
    ]
    most = SchedulePlan.for_stream(batch_size, 1, 2).max_words
    made = list(batch_by_length(queued, batch_size, most))
    assert sorted(sentence.sentence_index for batch in made for sentence in batch) == list(range(len(lengths)))
    flat = [one.length for batch in made for one in batch]
    assert flat == sorted(flat, reverse=True)
    for batch in made:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * batch[0].length <= most
