"""Extractions shown on a console and as a page: marked, harmless and well-formed."""

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trimf.runtime.output.render import print_extraction, render_html
from trimf.runtime.results import Arc, Entity, Extraction, Relation, Trigger

TEXT = "Lee Harvey Oswald was shot by Jack Ruby. He ran."


def entity(text: str, words: str, label: str) -> Entity:
    start = text.index(words)
    return Entity(start, start + len(words), words, label, 0.9)


OSWALD = entity(TEXT, "Lee Harvey Oswald", "Peop")
RUBY = entity(TEXT, "Jack Ruby", "Peop")
KILL = Relation(RUBY, "Kill", OSWALD, 0.934, (Trigger(22, 26, "shot", 0.41),))
SHOT = Extraction(TEXT, (OSWALD, RUBY), (KILL,), ((0, 40), (41, 48)))
HIRED = "The University of California at Berkeley hired Ann."
OVERLAP = Extraction(
    HIRED,
    (
        entity(HIRED, "University of California", "Org"),
        entity(HIRED, "California at Berkeley", "Loc"),
        entity(HIRED, "Ann", "Peop"),
    ),
    (Relation(entity(HIRED, "Ann", "Peop"), "Work_For", entity(HIRED, "University of California", "Org"), 0.8,
              (Trigger(41, 46, "hired", 0.7),)),),
    ((0, len(HIRED)),),
)  # fmt: skip


def shown(extraction: Extraction, *, terminal: bool = False, width: int = 120) -> str:
    stream = io.StringIO()
    colours = "truecolor" if terminal else None
    print_extraction(extraction, Console(file=stream, force_terminal=terminal, color_system=colours, width=width))
    return stream.getvalue()


def page(*extractions: Extraction) -> str:
    return "".join(render_html(extractions))


class Reader(HTMLParser):
    """Collects tags and text, and fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_text_without_a_terminal_is_marked_and_has_no_codes() -> None:
    lines = shown(SHOT).splitlines()
    assert lines[0] == "[Lee Harvey Oswald]Peop was *shot* by [Jack Ruby]Peop."
    assert lines[-1] == "He ran."
    assert lines[2].split() == ["Head", "Relation", "Tail", "Score", "Triggers"]
    assert " ".join(lines[4].split()) == "Jack Ruby (Peop) Kill Lee Harvey Oswald (Peop) 0.93 shot"
    assert "\x1b" not in shown(SHOT)


def test_text_on_a_terminal_is_the_same_in_colour() -> None:
    coloured = shown(SHOT, terminal=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == shown(SHOT)


def test_a_long_sentence_is_not_broken_up() -> None:
    text = "word " * 100
    assert shown(Extraction(text, sentences=((0, len(text)),)), width=40).splitlines()[0] == text


def test_overlapping_entities_in_text() -> None:
    first = shown(OVERLAP).splitlines()[0]
    assert first == "The [University of [California]Org at Berkeley]Loc *hired* [Ann]Peop."
    nested = Extraction("New York City", (Entity(0, 8, "New York", "Loc", 1), Entity(0, 13, "New York City", "Org", 1)))
    assert shown(nested).splitlines() == ["[[New York]Loc City]Org"]


@pytest.mark.parametrize("text", ["", "Nothing here.", " \n"])
def test_nothing_found_says_so(text: str) -> None:
    extraction = Extraction(text)
    assert shown(extraction).splitlines()[-1] == "No entities found."
    assert "No entities found." in page(extraction)


def test_notices_are_shown() -> None:
    extraction = Extraction("Word.", notices=("word 0 [bold] was\x1b cut",))
    assert "Note: word 0 [bold] was␛ cut" in shown(extraction)
    assert "Note: word 0 [bold] was␛ cut" in page(extraction)


HOSTILE = "[bold]x[/bold] \x1b[31mred\x07 <script>alert('1')</script> \x9b2J :smile: &amp; \u202eevil {0} {text}"
ATTACK = Extraction(
    HOSTILE,
    (Entity(0, 6, "[bold]", "<b>[red]\x1b", 0.5), Entity(15, 20, HOSTILE[15:20], '"><i>{bg}', 0.5)),
    (
        Relation(
            Entity(0, 6, "[bold]", "<b>[red]\x1b", 0.5),
            "<u>[link]\x1b",
            Entity(15, 20, HOSTILE[15:20], '"><i>{bg}', 0.5),
            0.5,
            (Trigger(30, 37, "<script\x1b", 0.5),),
        ),
    ),
)


def test_hostile_text_is_harmless_on_a_console() -> None:
    out = shown(ATTACK)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
    assert "[[bold]]<b>[red]␛x[/bold]" in out
    assert ":smile:" in out
    assert "<u>[link]␛" in out
    coloured = shown(ATTACK, terminal=True)
    assert not re.search(r"\x1b(?!\[[\d;]*m)", coloured)


def test_hostile_text_is_harmless_in_a_page() -> None:
    crossing = Extraction(HOSTILE, (*ATTACK.entities, Entity(16, 30, HOSTILE[16:30], "<b>", 0.5)), ATTACK.relations)
    html = page(ATTACK, crossing)
    reader = read(html)
    assert not reader.tags & {"script", "b", "i", "u"}
    assert not any(name.startswith("on") for name in reader.attributes)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", html)
    assert "alert('1')" in "".join(reader.words)


def test_a_page_stands_alone() -> None:
    html = page(SHOT, OVERLAP)
    reader = read(html)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert '<meta charset="utf-8">' in html
    assert "<title>Entities and relations</title>" in html
    assert "prefers-color-scheme: dark" in html
    assert not reader.attributes & {"src", "href"}
    assert "url(" not in html
    assert "@import" not in html


def test_a_page_shows_the_text_its_entities_relations_and_triggers() -> None:
    html = page(SHOT)
    assert '<bdi>Lee Harvey Oswald</bdi> <small>Peop</small></mark> was <mark class="trigger"' in html
    assert "<td>Kill</td>" in html
    assert '<span class="trigger">shot</span> <small>0.41</small>' in html
    words = "".join(read(html).words)
    assert "was shot by Jack Ruby Peop." in words


def test_overlapping_entities_in_a_page_are_all_shown() -> None:
    words = " ".join("".join(read(page(OVERLAP)).words).split())
    for part in ("University", "Berkeley", "Org", "Loc", "Peop", "trigger"):
        assert part in words


def test_right_to_left_text_says_so() -> None:
    assert "direction: rtl" in page(Extraction("123 שלום"))
    assert "direction: ltr" in page(Extraction("123 abc שלום"))


def test_a_page_is_streamed() -> None:
    taken = []

    def source() -> Iterator[Extraction]:
        for i in range(3):
            taken.append(i)
            yield SHOT

    pieces = render_html(source())
    next(pieces)
    assert taken == []
    next(pieces)
    assert taken == [0]
    assert len(list(pieces)) == 3


def test_a_page_of_nothing() -> None:
    assert read(page()).tags >= {"html", "head", "title", "body"}
    assert "<title>a&lt;b</title>" in "".join(render_html([], title="a<b"))


@st.composite
def extractions(draw: st.DrawFn) -> Extraction:
    text = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
    cut = draw(st.integers(1, len(text)))
    ranges = ((0, cut), (cut, len(text))) if cut < len(text) else ((0, cut),)
    spans = set()
    for first, last in draw(st.lists(st.sampled_from(ranges), max_size=5)):
        start = draw(st.integers(first, last - 1))
        spans.add((start, draw(st.integers(start + 1, last))))
    label = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
    entities = tuple(Entity(start, end, text[start:end], draw(label), 0.5) for start, end in sorted(spans))
    relations = tuple(
        Relation(entity, draw(label), entity, 0.5, (Trigger(entity.start, entity.end, entity.text, 0.5),))
        for entity in entities[:2]
    )
    return Extraction(text, entities, relations, ranges)


@settings(deadline=None)
@given(extractions())
def test_anything_can_be_shown(extraction: Extraction) -> None:
    out = shown(extraction)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)
    html = page(extraction)
    html.encode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", html)
    read(html)


def test_arcs_are_drawn_and_harmless() -> None:
    words = [("He", 1, "nsubj"), ("<b>ran</b>", 1, "ROOT"), ("&", 1, "<i>"), ("Up", 3, "ROOT"), (".", 3, "punct")]
    text = " ".join(word for word, _, _ in words)
    starts = [text.index(word) for word, _, _ in words]
    arcs = tuple(
        Arc(at, at + len(word), word, head, label) for at, (word, head, label) in zip(starts, words, strict=True)
    )
    drawn = page(Extraction(text, (), (), ((0, starts[3] - 1), (starts[3], len(text))), (), arcs))
    assert drawn.count("<svg") == 2
    assert drawn.count('class="displacy-arrow"') == 3
    assert "&lt;b&gt;ran&lt;/b&gt;" in drawn
    assert "&lt;i&gt;" in drawn
    assert "<b>" not in drawn
    assert "<i>" not in drawn
    assert "://" not in drawn
    assert sorted(set(re.findall(r'id="(arcs-\d+)"', drawn))) == ["arcs-0", "arcs-1"]
    assert drawn == page(Extraction(text, (), (), ((0, starts[3] - 1), (starts[3], len(text))), (), arcs))


def test_without_arcs_nothing_is_drawn() -> None:
    assert "<svg" not in page(SHOT)
