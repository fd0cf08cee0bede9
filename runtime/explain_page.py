"""Explanations as one HTML page: entities, relations and arcs, and heat maps of what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from html import escape
from itertools import count

from .explain import Sensed, Sentence
from .render import TAIL, head, sections, visible
from .results import Arc, Entity, Extraction, Relation, Trigger
from .text import joined

_SENSOR = {
    "contribution": "What every word adds to each relation through the trigger sensor, over the most that a word of no "
    "entity adds; underlined, the triggers that are shown. Words that speak against it are left pale.",
    "attention": "How much the trigger sensor attends to every word for each relation, over the most that it does to a "
    "word of no entity; underlined, the triggers that are shown. What a word adds to the relation, this model is too "
    "old to say.",
}
_FLOWS = (
    "How much each memory attends to every token, over the largest of its row; and with the entities masked, over the "
    "largest of the rest."
)
_GRAPHS = (
    'Which graph each word takes its node from: <span class="key" style="background:var(--syntax)"></span> the '
    'dependency graph, <span class="key" style="background:var(--sense)"></span> the semantic graph; pale where both '
    "weigh alike."
)

_STYLE = """\
:root { --heat: #f97316; --syntax: #2563eb; --sense: #f97316; }
@media (prefers-color-scheme: dark) { :root { --heat: #c2570c; --syntax: #2f62c8; --sense: #c2570c; } }
h2 { margin: .9rem 0 .2rem; font-size: .95rem; font-weight: 650; }
h2 + p { margin: 0 0 .5rem; color: var(--soft); font-size: .82rem; }
.maps { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; align-items: baseline; }
.maps dt { color: var(--soft); font-size: .82rem; white-space: nowrap; }
.maps dd { margin: 0; line-height: 1.9; overflow-wrap: anywhere; }
.maps dt b { color: var(--ink); font-weight: 600; }
.cell { padding: .1em .28em; border-radius: .25em; }
.cell.gone { color: var(--soft); opacity: .45; }
.cell.shown { font-weight: 650; text-decoration: underline; text-decoration-thickness: 2px;
  text-underline-offset: .25em; text-decoration-color: var(--trigger); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: .2em; vertical-align: -.05em; }
@media (max-width: 40rem) { .maps { grid-template-columns: 1fr; gap: .1rem; } .maps dd { margin-bottom: .5rem; } }
"""


def to_html(sentences: Sequence[Sentence], title: str = "Explanation") -> Iterator[str]:
    """Yield one self-contained page in pieces, as ``runtime.render.to_html`` does. Write it as UTF-8."""
    yield head(title, _STYLE)
    names = count()
    for sentence in sentences:
        yield f"<article>\n{sections(_extraction(sentence), names)}{''.join(_maps(sentence))}</article>\n"
    yield TAIL


def _extraction(sentence: Sentence) -> Extraction:
    """The sentence as an extraction from its words joined by one space."""
    text, (_, starts, ends) = joined(sentence.words)
    entities = [
        Entity(starts[one.start], ends[one.end - 1], text[starts[one.start] : ends[one.end - 1]], one.label, one.score)
        for one in sentence.entities
    ]
    relations = [
        Relation(
            entities[one.head],
            one.label,
            entities[one.tail],
            one.score,
            tuple(Trigger(starts[at], ends[at], sentence.words[at], one.weights[at]) for at in one.triggers),
        )
        for one in sentence.relations
    ]
    arcs = zip(starts, ends, sentence.words, sentence.arcs.heads, sentence.arcs.labels, strict=True)
    return Extraction(text, tuple(entities), tuple(relations), ((0, len(text)),), (), tuple(Arc(*arc) for arc in arcs))


def _maps(sentence: Sentence) -> Iterator[str]:
    inside = {place for one in sentence.entities for place in range(one.start, one.end)}
    if sentence.relations:
        rows = [
            _map(_named(sentence, one), sentence.words, one.weights, inside, set(one.triggers))
            for one in sentence.relations
        ]
        yield _section("Trigger sensor", _SENSOR[sentence.sensor], rows)
    if sentence.subword_flow or sentence.word_flow:
        yield _section("Memory flow attention", _FLOWS, _flows(sentence, inside))
    if sentence.syntactic_share:
        cells = " ".join(map(_share, sentence.words, sentence.syntactic_share))
        yield _section("Syntax and meaning", _GRAPHS, [f"<dt><b>words</b></dt>\n<dd>{cells}</dd>\n"])


def _section(title: str, about: str, rows: Iterable[str]) -> str:
    return f'<section>\n<h2>{title}</h2>\n<p>{about}</p>\n<dl class="maps">\n{"".join(rows)}</dl>\n</section>\n'


def _flows(sentence: Sentence, inside: Set[int]) -> Iterator[str]:
    """Two rows for each level and memory: all tokens, and those of no entity."""
    of_entities = [sentence.pieces[place] for place in sorted(inside)]
    pieces = {place for first, last in of_entities for place in range(first, last + 1)}
    for level, flow, texts, hidden in (
        ("subwords", sentence.subword_flow, sentence.subwords, pieces),
        ("words", sentence.word_flow, sentence.words, inside),
    ):
        for memory, weights in flow.items():
            yield _map(f"<b>{memory} memory</b>, {level}", texts, weights, frozenset())
            if hidden:
                yield _map("entities masked", texts, weights, hidden)


def _named(sentence: Sentence, relation: Sensed) -> str:
    ends = (sentence.entities[number] for number in (relation.head, relation.tail))
    head, tail = (escape(visible(" ".join(sentence.words[end.start : end.end]))) for end in ends)
    return f"<b>{escape(visible(relation.label))}</b><br>{head} → {tail}"


def _map(
    name: str, texts: Sequence[str], weights: Sequence[float], masked: Set[int], shown: Set[int] = frozenset()
) -> str:
    """A row of tokens, each on a ground as strong as its weight; those that are ``masked`` have none."""
    most = max((weight for place, weight in enumerate(weights) if place not in masked), default=0.0)
    share = 1 / most if most > 0 else 0.0
    cells = []
    for place, (text, weight) in enumerate(zip(texts, weights, strict=True)):
        if place in masked:
            cells.append(_cell(text, weight, "gone"))
        else:
            cells.append(_cell(text, weight, "shown" if place in shown else "", "heat", max(weight, 0.0) * share))
    return f"<dt>{name}</dt>\n<dd>{' '.join(cells)}</dd>\n"


def _share(text: str, share: float) -> str:
    return _cell(text, share, "", "syntax" if share > 0.5 else "sense", abs(2 * share - 1))


def _cell(text: str, value: float, kind: str, colour: str = "", strength: float = 0.0) -> str:
    style = f' style="background:color-mix(in srgb,var(--{colour}) {80 * strength:.0f}%,transparent)"' if colour else ""
    return f'<bdi class="cell{" " * bool(kind)}{kind}" title="{value:.3f}"{style}>{escape(visible(text))}</bdi>'
