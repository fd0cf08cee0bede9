"""Judge a bundle on the pages of plain sentences: the triggers that it shows, and the triples that it finds.

The pages lie in ``tests/plain_sentences``. ``measure_plain_sentences.py`` prints the scores and writes the results
files; a test compares them with the floors in ``tests/plain_sentences/floors.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trimf.runtime.results import Entity, Extraction, Trigger
from trimf.runtime.triggers.trigger_words import load_stop_words

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "tests" / "plain_sentences"
TRIGGER_PAGE = PAGES / "triggers.jsonl"
NEWS_PAGE = PAGES / "news.jsonl"

#: What ``trimf.load(triggers=...)`` takes for each way of finding triggers.
MODES: dict[str, dict[str, Any]] = {"sensor": {}, "exact": {"triggers": "exact"}}

#: Characters from start to end (exclusive).
Range = tuple[int, int]

#: Text of the head, relation type, text of the tail.
Triple = tuple[str, str, str]


class JudgedRelation(NamedTuple):
    """A relation that a reader sees in a sentence, with the triggers that a bundle shows for it.

    Attributes:
        text: The sentence.
        triple: The relation.
        marked: Words and phrases that a reader would mark, each good enough; empty where only names and order say it.
        found: The bundle finds the relation between the given entities.
        shown: Text of the triggers, best first.
        is_right: The first trigger has a content word of a marked phrase; or nothing is marked and nothing is shown.
    """

    text: str
    triple: Triple
    marked: tuple[str, ...]
    found: bool
    shown: tuple[str, ...]
    is_right: bool


class TriggerScore(NamedTuple):
    """Counts over judged relations; a relation that is not found counts in ``expected`` alone.

    Attributes:
        expected: All relations.
        found: Those that the bundle finds.
        shown: Found relations with a trigger.
        marked: Found relations for which a reader would mark something.
        marked_right: Those whose first trigger is right.
        unmarked: Found relations for which a reader would mark nothing.
        unmarked_right: Those without any trigger.
    """

    expected: int
    found: int
    shown: int
    marked: int
    marked_right: int
    unmarked: int
    unmarked_right: int

    def to_percent(self) -> dict[str, float]:
        """Return the shares that have a floor, in per cent; a share of nothing is 0."""
        return {
            "found": percent(self.found, self.expected),
            "precision": percent(self.marked_right, self.shown),
            "recall": percent(self.marked_right, self.marked),
            "none": percent(self.unmarked_right, self.unmarked),
        }


class JudgedText(NamedTuple):
    """A sentence with the triples that a bundle finds in it.

    Attributes:
        text: The sentence.
        right: Triples that a reader expects and the bundle finds.
        missed: Triples that a reader expects and the bundle does not find.
        wrong: Triples that the bundle finds and that a reader neither expects nor would accept as implied.
    """

    text: str
    right: frozenset[Triple]
    missed: frozenset[Triple]
    wrong: frozenset[Triple]


class NewsScore(NamedTuple):
    """Counts of triples over a page.

    Attributes:
        right: Triples expected and found.
        missed: Triples expected and not found.
        wrong: Triples found and not expected.
        empty: Sentences without anything to find.
        left_empty: Those in which nothing is found.
    """

    right: int
    missed: int
    wrong: int
    empty: int
    left_empty: int

    def to_percent(self) -> dict[str, float]:
        """Return the shares that have a floor, in per cent; a share of nothing is 0."""
        return {
            "precision": percent(self.right, self.right + self.wrong),
            "recall": percent(self.right, self.right + self.missed),
            "empty": percent(self.left_empty, self.empty),
        }


def percent(part: int, whole: int) -> float:
    """Return a share in per cent; 0 of nothing."""
    return 100 * part / whole if whole else 0.0


def read_page(path: Path) -> list[dict[str, Any]]:
    """Read the records of a page, one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judge_triggers(
    records: Iterable[dict[str, Any]], relate: Callable[[str, Sequence[Any]], Extraction]
) -> list[JudgedRelation]:
    """Judge the triggers of every relation of a page.

    Args:
        records: Records with ``text``, ``entities``, and ``relations`` whose ``triggers`` are phrases of the text.
        relate: Finds the relations between given entities, as ``Extractor.relate`` does.
    """
    judged: list[JudgedRelation] = []
    for record in records:
        judged += _judge_record(record, relate(record["text"], record["entities"]))
    return judged


def _judge_record(record: dict[str, Any], extraction: Extraction) -> Iterator[JudgedRelation]:
    text, entities = record["text"], record["entities"]
    triggers = {_place(link.head, link.label, link.tail): link.triggers for link in extraction.relations}
    for relation in record["relations"]:
        head, tail, marked = entities[relation["head"]], entities[relation["tail"]], tuple(relation["triggers"])
        shown = triggers.get((head["start"], head["end"], relation["label"], tail["start"], tail["end"]))
        yield JudgedRelation(
            text,
            (head["text"], relation["label"], tail["text"]),
            marked,
            shown is not None,
            tuple(trigger.text for trigger in shown or ()),
            shown is not None and is_right(text, marked, shown),
        )


def _place(head: Entity, label: str, tail: Entity) -> tuple[int, int, str, int, int]:
    return head.start, head.end, label, tail.start, tail.end


def is_right(text: str, marked: Sequence[str], shown: Sequence[Trigger]) -> bool:
    """Return whether the first trigger has a content word of a marked phrase, or both are empty.

    Args:
        text: The sentence.
        marked: Phrases of the sentence; a phrase that occurs several times counts at every place.
        shown: Triggers of the relation, best first.
    """
    if not marked or not shown:
        return not marked and not shown
    first = (shown[0].start, shown[0].end)
    ranges = [place for phrase in marked for place in find_phrase(text, phrase)]
    return any(_overlap(first, word) for phrase in ranges for word in content_words(text, phrase))


def find_phrase(text: str, phrase: str) -> list[Range]:
    """Return the places of a phrase in a text where it begins and ends with whole words."""
    return [match.span() for match in re.finditer(rf"\b{re.escape(phrase)}\b", text)]


def content_words(text: str, place: Range) -> list[Range]:
    """Return the words of a part of a text that are no stop words."""
    words = [match.span() for match in re.finditer(r"\w+", text[: place[1]]) if match.start() >= place[0]]
    return [(start, end) for start, end in words if text[start:end].lower() not in load_stop_words()]


def _overlap(one: Range, other: Range) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def score_triggers(judged: Iterable[JudgedRelation]) -> TriggerScore:
    """Count found relations, shown triggers and right ones."""
    judged = list(judged)
    found = [relation for relation in judged if relation.found]
    marked = [relation for relation in found if relation.marked]
    unmarked = [relation for relation in found if not relation.marked]
    return TriggerScore(
        expected=len(judged),
        found=len(found),
        shown=sum(bool(relation.shown) for relation in found),
        marked=len(marked),
        marked_right=sum(relation.is_right for relation in marked),
        unmarked=len(unmarked),
        unmarked_right=sum(relation.is_right for relation in unmarked),
    )


def judge_news(records: Iterable[dict[str, Any]], extract: Callable[[str], Extraction]) -> list[JudgedText]:
    """Judge the triples that are found in every sentence of a page.

    Args:
        records: Records with ``text``, ``triples``, and ``implied`` for triples that may be found and need not.
        extract: Finds entities and relations, as an ``Extractor`` does.
    """
    judged = []
    for record in records:
        relations = extract(record["text"]).relations
        found = frozenset(name_triple(relation.head.text, relation.label, relation.tail.text) for relation in relations)
        expected = frozenset(name_triple(*triple) for triple in record["triples"])
        accepted = expected | frozenset(name_triple(*triple) for triple in record.get("implied", []))
        judged.append(JudgedText(record["text"], found & expected, expected - found, found - accepted))
    return judged


def name_triple(head: str, label: str, tail: str) -> Triple:
    """Return a triple whose names have no article in front, so that "The World Bank" and "World Bank" are the same."""
    return re.sub(r"^[Tt]he ", "", head), label, re.sub(r"^[Tt]he ", "", tail)


def score_news(judged: Iterable[JudgedText]) -> NewsScore:
    """Count right, missed and wrong triples, and the sentences that are rightly left empty."""
    judged = list(judged)
    empty = [text for text in judged if not text.right and not text.missed]
    return NewsScore(
        right=sum(len(text.right) for text in judged),
        missed=sum(len(text.missed) for text in judged),
        wrong=sum(len(text.wrong) for text in judged),
        empty=len(empty),
        left_empty=sum(not text.wrong for text in empty),
    )
