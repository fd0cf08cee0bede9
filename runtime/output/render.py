"""Render extractions as marked text and tables on a console, or as one HTML page.

Text and labels are untrusted: nothing in them is interpreted as console markup, terminal codes or HTML.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from ..results import Entity, Extraction, Relation
from .plain_text import make_visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Console colours of entity types.
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")

#: Columns of the table of relations.
_COLUMNS = ("Head", "Relation", "Tail", "Score", "Triggers")

#: Note on an extraction without entities.
_NOTHING = "No entities found."

#: Label and CSS class of trigger words.
_TRIGGER = "trigger"


class _Mark(NamedTuple):
    """A character range of a sentence to mark; the label of a trigger is empty."""

    start: int
    end: int
    label: str


class _WordArc(NamedTuple):
    """A word with the index of its head in the sentence (a root has its own index) and its dependency label."""

    word: str
    head: int
    label: str


class _DisplaySentence(NamedTuple):
    """A sentence prepared for display; marks are in order and count characters of ``text``."""

    text: str
    entities: list[_Mark]
    triggers: list[_Mark]
    relations: list[Relation]
    arcs: list[_WordArc]


def print_extraction(extraction: Extraction, console: Console) -> None:
    """Print each sentence of an extraction with its entities and triggers marked, and a table of its relations.

    Entities look like ``[Jack Ruby]Peop`` and triggers like ``*shot*``, in colour if the console supports it.

    Args:
        extraction: Extraction to print.
        console: Console to print to.
    """
    for sentence in _split_sentences(extraction):
        console.print(_mark_sentence(sentence), soft_wrap=True)
        if sentence.relations:
            console.print(_build_table(sentence.relations))
    for note in _list_notes(extraction):
        console.print(note, markup=False, highlight=False, emoji=False, soft_wrap=True)


def render_html(extractions: Iterable[Extraction], title: str = "Entities and relations") -> Iterator[str]:
    """Render extractions as one self-contained HTML page.

    The page needs no network and no script, and follows the reader's light or dark setting.

    Args:
        extractions: Extractions, each consumed when its part of the page is requested.
        title: Title of the page.

    Yields:
        Parts of the page: its head, each extraction, its end. Write them as UTF-8.
    """
    yield render_head(title, ["page.css"])
    names = count()
    for extraction in extractions:
        yield Markup("<article>\n{}</article>\n").format(render_sections(extraction, names))
    yield render_tail()


def render_head(title: str, stylesheets: list[str]) -> str:
    """Return the beginning of a page, up to its content.

    Args:
        title: Title of the page, as plain text.
        stylesheets: Names of the files with its CSS rules.
    """
    return str(load_templates().get_template("page.html.j2").module.head(title, stylesheets))  # type: ignore[attr-defined]


def render_tail() -> str:
    """Return the end of a page."""
    return str(load_templates().get_template("page.html.j2").module.tail())  # type: ignore[attr-defined]


def render_sections(extraction: Extraction, names: Iterator[int]) -> Markup:
    """Render the sentences and the notes of an extraction.

    Args:
        extraction: Extraction to render.
        names: Numbers for the ids of the dependency graphs, unique within the page.

    Returns:
        HTML.
    """
    sentences = [_render_sentence(sentence, f"arcs-{next(names)}") for sentence in _split_sentences(extraction)]
    template = load_templates().get_template("extraction.html.j2")
    return Markup(template.render(sentences=sentences, columns=_COLUMNS, notes=_list_notes(extraction)))


@cache
def load_templates() -> Environment:
    """Return the environment with the templates of this package."""
    from .templates import create_environment

    environment = create_environment(make_visible)
    environment.filters |= {"entity": _render_entity, "score": _format_score}
    return environment


def _list_notes(extraction: Extraction) -> list[str]:
    """Return the notices of an extraction, and a note if it has no entities."""
    nothing = [] if extraction.entities else [_NOTHING]
    return nothing + [f"Note: {make_visible(notice)}" for notice in extraction.notices]


def _split_sentences(extraction: Extraction) -> Iterator[_DisplaySentence]:
    """Yield the sentences of an extraction, each with the entities, relations and words that begin in it."""
    ranges = (extraction.sentences or ((0, len(extraction.text)),)) if extraction.text else ()
    starts = [start for start, _ in ranges]
    entities: list[list[Entity]] = [[] for _ in ranges]
    relations: list[list[Relation]] = [[] for _ in ranges]
    arcs: list[list[_WordArc]] = [[] for _ in ranges]
    offsets: list[int] = [0] * len(ranges)
    for index, arc in enumerate(extraction.arcs):
        row = _find_sentence(starts, arc.start)
        if not arcs[row]:
            offsets[row] = index
        arcs[row].append(_WordArc(make_visible(arc.text), arc.head - offsets[row], make_visible(arc.label)))
    for entity in extraction.entities:
        entities[_find_sentence(starts, entity.start)].append(entity)
    for relation in extraction.relations:
        relations[_find_sentence(starts, relation.head.start)].append(relation)
    for (start, end), sentence_entities, sentence_relations, words in zip(
        ranges, entities, relations, arcs, strict=True
    ):
        triggers = {(trigger.start, trigger.end) for relation in sentence_relations for trigger in relation.triggers}
        yield _DisplaySentence(
            make_visible(extraction.text[start:end]),
            [_Mark(entity.start - start, min(entity.end, end) - start, entity.label) for entity in sentence_entities],
            [
                _Mark(first - start, last - start, "")
                for first, last in sorted(triggers)
                if start <= first < last <= end
            ],
            sentence_relations,
            words,
        )


def _find_sentence(starts: list[int], position: int) -> int:
    """Return the index of the sentence that a character belongs to."""
    return max(bisect_right(starts, position) - 1, 0)


def _choose_colour(label: str) -> int:
    """Return the colour index of an entity type, the same on every page."""
    return sum(label.encode()) % len(_COLOURS)


def _format_score(score: float) -> str:
    return f"{score:.2f}"


# --- console ---


def _mark_sentence(sentence: _DisplaySentence) -> Text:
    """Insert markers into a sentence; of two marks that start together the longer one encloses the other."""
    from rich.text import Text

    marks = sorted(sentence.entities + sentence.triggers, key=lambda mark: (mark.start, -mark.end))
    opening: dict[int, list[_Mark]] = {}
    closing: dict[int, list[_Mark]] = {}
    for mark in marks:
        opening.setdefault(mark.start, []).append(mark)
        closing.setdefault(mark.end, []).insert(0, mark)
    result = Text()
    opened: dict[_Mark, int] = {}
    for position, following in pairwise([*sorted({0, *opening, *closing}), len(sentence.text)]):
        for mark in closing.get(position, ()):
            result.append(f"]{make_visible(mark.label)}" if mark.label else "*")
            result.stylize(
                f"bold {_COLOURS[_choose_colour(mark.label)]}" if mark.label else "bold underline", opened[mark]
            )
        for mark in opening.get(position, ()):
            opened[mark] = len(result)
            result.append("[" if mark.label else "*")
        result.append(sentence.text[position:following])
    return result


def _build_table(relations: list[Relation]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold", justify="right" if name == "Score" else "left")
    for relation in relations:
        table.add_row(
            _format_entity(relation.head),
            Text(make_visible(relation.label)),
            _format_entity(relation.tail),
            _format_score(relation.score),
            Text(", ".join(make_visible(trigger.text) for trigger in relation.triggers)),
        )
    return table


def _format_entity(entity: Entity) -> Text:
    from rich.text import Text

    return Text.assemble(
        make_visible(entity.text), " ", (f"({make_visible(entity.label)})", _COLOURS[_choose_colour(entity.label)])
    )


# --- HTML ---


class _RenderedSentence(NamedTuple):
    """Parts of a sentence on a page; ``dependencies`` is empty without arcs."""

    marked: Markup
    relations: list[Relation]
    dependencies: Markup


def _render_sentence(sentence: _DisplaySentence, name: str) -> _RenderedSentence:
    """Render the text and the dependency graph of a sentence; ``name`` is the id of the graph."""
    overlapping = any(left.end > right.start for left, right in pairwise(sentence.entities))
    marked = _render_stacked(sentence) if overlapping else _render_inline(sentence)
    return _RenderedSentence(marked, sentence.relations, _render_dependencies(sentence, name))


def _render_inline(sentence: _DisplaySentence) -> Markup:
    """Render entities as labelled boxes, with displaCy's "ent" style, which cannot nest, and triggers between them."""
    from spacy.displacy.render import EntityRenderer

    taken = {position for mark in sentence.entities for position in range(mark.start, mark.end)}
    free = [mark for mark in sentence.triggers if taken.isdisjoint(range(mark.start, mark.end))]
    marks = [
        {"start": start, "end": end, "label": label, "params": _style_entity(label) if label else _UNDERLINE}
        for start, end, label in sorted(sentence.entities + free)
    ]
    return _run_displacy(EntityRenderer({"template": _ENT}), sentence.text, ents=marks)


def _style_entity(label: str) -> dict[str, str]:
    """Return the fields that an entity of this type fills in ``_ENT``."""
    tag = Markup(" <small>{}</small>").format(make_visible(label))
    return {"kind": "entity", "bg": _get_tint(label), "tag": tag}


def _render_stacked(sentence: _DisplaySentence) -> Markup:
    """Render overlapping entities as bars below the words, with displaCy's "span" style."""
    from spacy.displacy.render import SpanRenderer

    text = sentence.text
    marks = [*sentence.entities, *(mark._replace(label=_TRIGGER) for mark in sentence.triggers)]
    # A bar extends to the next word, so that it has no gap where another bar ends.
    ends = [len(text) - len(text[mark.end :].lstrip()) for mark in marks]
    words = (match.start() for match in re.finditer(r"\S+", text))
    cuts = sorted({0, len(text), *words, *ends, *(mark.start for mark in marks)})
    token_index = {cut: index for index, cut in enumerate(cuts)}
    spans = [
        {
            "start_token": token_index[mark.start],
            "end_token": token_index[end],
            "label": escape(make_visible(mark.label)),
        }
        for mark, end in zip(marks, ends, strict=True)
    ]
    colours = {escape(make_visible(mark.label)): _get_tint(mark.label) for mark in sentence.entities}
    options = {"template": _SPANS, "colors": colours | {_TRIGGER: "var(--tint-trigger)"}}
    tokens = [text[start:end] for start, end in pairwise(cuts)]
    return _run_displacy(SpanRenderer(options), text, tokens=tokens, spans=spans)


def _render_dependencies(sentence: _DisplaySentence, name: str) -> Markup:
    """Render the dependency graph with displaCy's "dep" style, with the id ``name``; empty without arcs."""
    from spacy.displacy.render import DependencyRenderer

    if not sentence.arcs:
        return Markup()
    words = [
        # displaCy escapes the text of a word but not its tag.
        {"text": arc.word, "tag": "" if arc.head != index else escape(arc.label)}
        for index, arc in enumerate(sentence.arcs)
    ]
    arcs = [
        {
            "start": min(index, arc.head),
            "end": max(index, arc.head),
            "label": escape(arc.label),
            "dir": "left" if index < arc.head else "right",
        }
        for index, arc in enumerate(sentence.arcs)
        if arc.head != index
    ]
    renderer = DependencyRenderer({"distance": 140, "color": "currentColor", "bg": "none", "font": "inherit"})
    markup: str = renderer.render_svg(name, words, arcs)
    # Within HTML an svg needs no namespace declarations, whose URLs look like network addresses.
    markup = re.sub(r' xmlns(:\w+)?="[^"]*"', "", markup).replace("xlink:href", "href")
    return Markup(markup.strip())


def _run_displacy(renderer: Any, text: str, **content: object) -> Markup:
    """Run a displaCy renderer on a sentence, in the writing direction of its first strongly directional letter."""
    strong = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    direction = "ltr" if strong == "L" else "rtl"
    markup: str = renderer.render([{"text": text, "settings": {"direction": direction, "lang": ""}, **content}])
    return Markup(markup.strip())


def _get_tint(label: str) -> str:
    return f"var(--tint-{_choose_colour(label)})"


def _render_entity(entity: Entity) -> Markup:
    return Markup(_ENT).format(text=make_visible(entity.text), **_style_entity(entity.label))


# Templates with the fields that displaCy fills.
_ENT = '<mark class="{kind}" style="background:{bg}"><bdi>{text}</bdi>{tag}</mark>'
_UNDERLINE = {"kind": _TRIGGER, "bg": "none", "tag": ""}
_SPANS = {
    "span": '<span class="word" style="height:{total_height}px">{text}{span_slices}{span_starts}</span>',
    "slice": '<span class="bar" style="background:{bg};top:{top_offset}px"></span>',
    "start": '<span class="bar" style="background:{bg};top:{top_offset}px">'
    '<small style="background:{bg}">{label}{kb_link}</small></span>',
}
