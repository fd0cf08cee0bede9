"""Render extractions as one self-contained HTML page, and the parts of it that other pages share.

Text and labels are untrusted: nothing in them is interpreted as HTML.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from ..results import Entity, Extraction, Relation
from .display_sentences import (
    NAMES_ALONE,
    RELATION_COLUMNS,
    UNKNOWN_BASIS,
    DisplaySentence,
    choose_colour,
    format_score,
    list_notes,
    list_triggers,
    shows_triggers,
    split_sentences,
)
from .plain_text import make_visible

if TYPE_CHECKING:
    from jinja2 import Environment

#: Label and CSS class of trigger words.
_TRIGGER = "trigger"
#: Columns of a word in a dependency graph, and pixels of a column and of the least distance between two words.
_GRAPH_COLUMNS, _COLUMN_PIXELS, _LEAST_DISTANCE = 18, 7.6, 84


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
    sentences = [_render_sentence(sentence, f"arcs-{next(names)}") for sentence in split_sentences(extraction)]
    template = load_templates().get_template("extraction.html.j2")
    shown = {"columns": RELATION_COLUMNS, "names_alone": NAMES_ALONE, "unknown_basis": UNKNOWN_BASIS}
    return Markup(template.render(sentences=sentences, notes=list_notes(extraction), **shown))


@cache
def load_templates() -> Environment:
    """Return the environment with the templates of this package."""
    from .templates import create_environment

    environment = create_environment(make_visible)
    environment.filters |= {"entity": _render_entity, "score": format_score}
    environment.filters |= {"triggers": list_triggers, "shows_triggers": shows_triggers}
    return environment


class _RenderedSentence(NamedTuple):
    """Parts of a sentence on a page; ``dependencies`` is empty without arcs."""

    marked: Markup
    relations: list[Relation]
    dependencies: Markup


def _render_sentence(sentence: DisplaySentence, name: str) -> _RenderedSentence:
    """Render the text and the dependency graph of a sentence; ``name`` is the id of the graph."""
    overlapping = any(left.end > right.start for left, right in pairwise(sentence.entities))
    marked = _render_stacked(sentence) if overlapping else _render_inline(sentence)
    return _RenderedSentence(marked, sentence.relations, _render_dependencies(sentence, name))


def _render_inline(sentence: DisplaySentence) -> Markup:
    """Render entities as labelled boxes, with displaCy's "ent" style, which cannot nest, and triggers between them."""
    from spacy.displacy.render import EntityRenderer

    marks = [
        {"start": start, "end": end, "label": label, "params": _style_entity(label) if label else _UNDERLINE}
        for start, end, label in sorted(sentence.entities + sentence.triggers)
    ]
    return _run_displacy(EntityRenderer({"template": _ENT}), sentence.text, ents=marks)


def _style_entity(label: str) -> dict[str, str]:
    """Return the fields that an entity of this type fills in ``_ENT``."""
    tag = Markup("&nbsp;<small>{}</small>").format(make_visible(label))  # no line ends between a text and its label
    return {"kind": "entity", "bg": _get_tint(label), "tag": tag}


def _render_stacked(sentence: DisplaySentence) -> Markup:
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


def _render_dependencies(sentence: DisplaySentence, name: str) -> Markup:
    """Render the dependency graph with displaCy's "dep" style, with the id ``name``; empty without arcs."""
    from rich.cells import cell_len
    from spacy.displacy.render import DependencyRenderer

    if not sentence.arcs:
        return Markup()
    shown = [_shorten_word(arc.word) for arc in sentence.arcs]
    words = [
        # displaCy escapes the text of a word but not its tag.
        {"text": word, "tag": "" if arc.head != index else escape(arc.label)}
        for index, (word, arc) in enumerate(zip(shown, sentence.arcs, strict=True))
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
    distance = max(_LEAST_DISTANCE, round(_COLUMN_PIXELS * (1 + max(map(cell_len, shown)))))
    sizes = {"distance": distance, "offset_x": distance // 2, "word_spacing": 26}
    sizes |= {"arrow_spacing": 12, "arrow_width": 7, "arrow_stroke": 1}
    renderer = DependencyRenderer({**sizes, "color": "currentColor", "bg": "none", "font": "inherit"})
    markup: str = renderer.render_svg(name, words, arcs)
    # Within HTML an svg needs no namespace declarations, whose URLs look like network addresses.
    markup = re.sub(r' xmlns(:\w+)?="[^"]*"', "", markup).replace("xlink:href", "href")
    return Markup(markup.strip())


def _shorten_word(word: str) -> str:
    """Return the word without its middle if it is too wide for a graph; the sentence above shows it whole."""
    from rich.cells import cell_len, set_cell_size

    word = make_visible(word)
    if cell_len(word) <= _GRAPH_COLUMNS:
        return word
    half = _GRAPH_COLUMNS // 2
    return f"{set_cell_size(word, half).rstrip()}…{set_cell_size(word[::-1], half - 1).rstrip()[::-1]}"


def _run_displacy(renderer: Any, text: str, **content: object) -> Markup:
    """Run a displaCy renderer on a sentence, in the writing direction of its first strongly directional letter."""
    strong = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    direction = "ltr" if strong == "L" else "rtl"
    markup: str = renderer.render([{"text": text, "settings": {"direction": direction, "lang": ""}, **content}])
    return Markup(markup.strip())


def _get_tint(label: str) -> str:
    return f"var(--tint-{choose_colour(label)})"


def _render_entity(entity: Entity) -> Markup:
    return Markup(_ENT).format(text=make_visible(entity.text), **_style_entity(entity.label))


# Templates with the fields that displaCy fills. A mark is isolated as a whole: at the border of an element inside it a
# line may end, which leaves the padding of the mark behind at the end of the line.
_ENT = '<mark class="{kind}" style="background:{bg}" dir="auto">{text}{tag}</mark>'
_UNDERLINE = {"kind": _TRIGGER, "bg": "none", "tag": ""}
_SPANS = {
    "span": '<span class="word" style="height:{total_height}px">{text}{span_slices}{span_starts}</span>',
    "slice": '<span class="bar" style="background:{bg};top:{top_offset}px"></span>',
    "start": '<span class="bar" style="background:{bg};top:{top_offset}px">'
    '<small style="background:{bg}">{label}{kb_link}</small></span>',
}
