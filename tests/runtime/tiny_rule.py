"""What the tiny bundle finds, by its rule, and texts to try it on."""

from itertools import pairwise

import trimf

PEOPLE, PLACES, NUMBERS = ("Ann", "Bob", "Jack"), ("Rome", "Oslo"), ("7", "42")
WORDS = (*PEOPLE, *PLACES, *NUMBERS, "met", "visited", "zoo", ",", "the")
AWKWARD = [
    "Ann met Bob.",
    "e\u0301 Ann",
    "👨‍👩‍👧 and Bob 🎉",
    "🇩🇪Ann",
    "Ann\r\nmet\r\n\r\nBob\r\n",
    "\tAnn\t\tRome\t7\t",
    "Ann\0met\0Bob",
    "\ufeffAnn\u200bmet\u2028Bob",
    "\u202eשלום Ann مرحبا\u202c",
    "漢字。Ann 東京",
    "ไทย Rome 7",
    "A\u0300nn's U.S. trip... (Bob)",
    "x" * 70 + " Ann",
]


def found(extraction: trimf.Extraction) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    return (
        [(entity.text, entity.label) for entity in extraction.entities],
        [(relation.head.text, relation.label, relation.tail.text) for relation in extraction.relations],
    )


def truth(words: list[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """What the tiny bundle finds in one sentence of WORDS."""
    entities = []
    for place, (word, after) in enumerate(pairwise([*words, ""])):
        if word in PEOPLE:
            entities.append((place, word, "Person"))
        elif word in PLACES and after in NUMBERS:
            entities.append((place, f"{word} {after}", "Address"))
        elif word in PLACES:
            entities.append((place, word, "Place"))
    relations = []
    for start, head, label in entities:
        for other, tail, other_label in entities:
            if label == "Person" == other_label and start < other:
                relations.append((head, "knows", tail))
            elif label == "Person" != other_label:
                relations.append((head, "lives_in", tail))
    return [entity[1:] for entity in entities], relations


def check_offsets(extraction: trimf.Extraction, text: str) -> None:
    assert extraction.text == text
    places = [(entity.start, entity.end) for entity in extraction.entities]
    assert places == sorted(set(places))
    triggers = [trigger for relation in extraction.relations for trigger in relation.triggers]
    for span in (*extraction.entities, *triggers):
        assert span.text == text[span.start : span.end] != ""
        assert span.text == span.text.strip()
        assert any(start <= span.start and span.end <= end for start, end in extraction.sentences)
    for relation in extraction.relations:
        assert relation.head in extraction.entities
        assert relation.tail in extraction.entities
        assert relation.head != relation.tail
        weights = [trigger.score for trigger in relation.triggers]
        assert weights == sorted(weights, reverse=True)
