"""Extractions that are hard to write, and a strategy for more."""

from __future__ import annotations

from hypothesis import strategies as st

from trimf.runtime.results import Entity, Extraction, RecordExtraction, Relation, Trigger

#: Every line end that some reader knows, white space, letters of one, two and four bytes, quotes and separators.
CHARACTERS = "ab .,;\"'\t\n\r\x0b\x0c\x1c\x85\u2028\u2029\x00\x1b\u00e9\u4e2d\U0001f600\u200d\ufeff=<&>"


def build(
    text: str, places: list[tuple[str, str]], relations: list[tuple[int, str, int]], **fields: object
) -> Extraction:
    """Build an extraction of the first places of words, and relations between them by index."""
    entities = []
    for index, (words, label) in enumerate(places):
        start = text.index(words)
        entities.append(Entity(start, start + len(words), words, label, 0.5 + index / 16))
    built = tuple(Relation(entities[head], label, entities[tail], 0.75) for head, label, tail in relations)
    return RecordExtraction(text, tuple(entities), built, ((0, len(text)),) if text else (), fields=dict(fields))


SMILE = build(
    "\U0001f600 Ann met Bob\r\nStone in\tNew\nYork \U0001f600 (NY).",
    [("Ann", "Person"), ("Bob\r\nStone", "Person"), ("New\nYork", "City"), ("York", "Name"), ("NY", "City")],
    [(0, "met", 1), (0, "knows", 1), (1, "met", 0), (1, "lives in", 2)],
    id=7,
)
EMPTY = build("", [], [], id="empty")
FAILED = RecordExtraction("", error="line 3: no field 'text'", fields={"id": "bad"})
PLAIN = build("Nothing here.", [], [])


@st.composite
def extractions(draw: st.DrawFn) -> Extraction:
    """Extractions with overlapping and equal spans, several relations of a pair, and other fields."""
    text = draw(st.text(st.sampled_from(CHARACTERS), max_size=30))
    label = st.sampled_from(["a", "A", "a b", "a_b", "a|<b>:", "\u00e9", "\U0001f600", "-"])
    spans = draw(st.lists(st.tuples(st.integers(0, 29), st.integers(1, 30), label), max_size=5, unique=True))
    score = st.sampled_from([0.0, 0.25, 0.8125, 1.0])
    entities = tuple(
        Entity(start, end, text[start:end], name, draw(score))
        for start, end, name in sorted(spans)
        if start < end <= len(text)
    )
    pair = st.tuples(st.sampled_from(entities or [None]), label, st.sampled_from(entities or [None]))
    triples = draw(st.lists(pair, max_size=5, unique=True)) if entities else []
    relations = tuple(
        Relation(head, name, tail, draw(score), (Trigger(head.start, head.end, head.text, 0.5),))
        for head, name, tail in triples
    )
    cut = draw(st.integers(0, len(text)))
    sentences = tuple(place for place in ((0, cut), (cut, len(text))) if place[0] < place[1])
    value = st.sampled_from(["", "1", "../1", "a/b.txt", "\u00e9\t\n"])
    fields = draw(st.dictionaries(st.sampled_from(["id", "path", "filename"]), value, max_size=2))
    return RecordExtraction(text, entities, relations, sentences, fields=fields)
