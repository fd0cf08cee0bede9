"""Extractions to show, a printer and a page for them, and a strict reader of pages."""

import io
from html.parser import HTMLParser

from hypothesis import strategies as st
from rich.console import Console

from trimf.runtime.output.html_page import render_html
from trimf.runtime.output.terminal_text import print_extraction
from trimf.runtime.results import Entity, Extraction, Relation, Trigger

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
    relations = []
    for entity in entities[:2]:
        places = draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))), max_size=3))
        triggers = [(entity.start, entity.end), *((start, end) for start, end in places if start < end)]
        shown = tuple(Trigger(start, end, text[start:end], draw(st.floats(0, 1))) for start, end in triggers)
        basis = draw(st.sampled_from(["words", "names", None]))
        relations.append(Relation(entity, draw(label), entity, 0.5, () if basis == "names" else shown, basis))
    return Extraction(text, entities, tuple(relations), ranges)


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
