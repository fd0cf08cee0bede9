"""Render explanations as one HTML page: entities, relations, dependencies and heat maps of the model's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from html import escape
from itertools import count

from ..explain import RelationExplanation, SentenceExplanation
from ..results import Arc, Entity, Extraction, Relation, Trigger
from ..text.tokenization import join_words
from .render import PAGE_TAIL, make_visible, render_head, render_sections

#: Caption of the trigger sensor's heat maps, by ``explain.Sentence.sensor``.
_SENSOR = {
    "contribution": "Contribution of each word to each relation through the trigger sensor, relative to the largest "
    "contribution of a word outside the entities. The trigger words shown with the relation are underlined. Words with "
    "a negative contribution have no colour.",
    "attention": "Attention of the trigger sensor to each word for each relation, relative to the largest attention to "
    "a word outside the entities. The trigger words shown with the relation are underlined. This model is too old to "
    "give the contribution of a word to a relation; export it again.",
}

#: Caption of the memory attention's heat maps.
_FLOWS = (
    "Attention of each memory to each token, relative to the largest value of the row; in the rows with the entities "
    "masked, relative to the largest value outside the entities."
)

#: Caption of the graph weights' heat map.
_GRAPHS = (
    'Graph with the larger weight at each word: <span class="key" style="background:var(--syntax)"></span> the '
    'syntactic graph (dependencies), <span class="key" style="background:var(--sense)"></span> the semantic graph. '
    "Pale words take both graphs about equally."
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


def render_explanations(sentences: Sequence[SentenceExplanation], title: str = "Explanation") -> Iterator[str]:
    """Render explanations as one self-contained HTML page without scripts.

    Args:
        sentences: Explanations of the sentences.
        title: Title of the page.

    Yields:
        Parts of the page: its head, each sentence, its end. Write them as UTF-8.
    """
    yield render_head(title, _STYLE)
    names = count()
    for sentence in sentences:
        yield f"<article>\n{render_sections(_build_extraction(sentence), names)}{''.join(_render_maps(sentence))}</article>\n"
    yield PAGE_TAIL


def _build_extraction(sentence: SentenceExplanation) -> Extraction:
    """Convert the sentence to an extraction from its words joined by one space."""
    text, (_, starts, ends) = join_words(sentence.words)
    entities = [
        Entity(start, end, text[start:end], span.label, span.score)
        for span in sentence.entities
        for start, end in [(starts[span.start], ends[span.end - 1])]
    ]
    relations = [
        Relation(
            entities[relation.head],
            relation.label,
            entities[relation.tail],
            relation.score,
            tuple(
                Trigger(starts[index], ends[index], sentence.words[index], relation.weights[index])
                for index in relation.triggers
            ),
        )
        for relation in sentence.relations
    ]
    arcs = zip(starts, ends, sentence.words, sentence.arcs.heads, sentence.arcs.labels, strict=True)
    return Extraction(text, tuple(entities), tuple(relations), ((0, len(text)),), (), tuple(Arc(*arc) for arc in arcs))


def _render_maps(sentence: SentenceExplanation) -> Iterator[str]:
    """Yield the sections with heat maps of the sentence."""
    inside = {index for span in sentence.entities for index in range(span.start, span.end)}
    if sentence.relations:
        rows = [
            _render_map(
                _format_relation(sentence, relation), sentence.words, relation.weights, inside, set(relation.triggers)
            )
            for relation in sentence.relations
        ]
        yield _render_section("Trigger sensor", _SENSOR[sentence.sensor], rows)
    if sentence.subword_flow or sentence.word_flow:
        yield _render_section("Memory flow attention", _FLOWS, _render_flows(sentence, inside))
    if sentence.syntactic_share:
        cells = " ".join(map(_render_share, sentence.words, sentence.syntactic_share))
        yield _render_section("Graph weights", _GRAPHS, [f"<dt><b>words</b></dt>\n<dd>{cells}</dd>\n"])


def _render_section(title: str, caption: str, rows: Iterable[str]) -> str:
    return f'<section>\n<h2>{title}</h2>\n<p>{caption}</p>\n<dl class="maps">\n{"".join(rows)}</dl>\n</section>\n'


def _render_flows(sentence: SentenceExplanation, inside: Set[int]) -> Iterator[str]:
    """Yield two rows for each level and memory: all tokens, and only those outside the entities."""
    entity_subwords = [sentence.pieces[index] for index in sorted(inside)]
    masked_subwords = {index for first, last in entity_subwords for index in range(first, last + 1)}
    for level, flow, texts, masked in (
        ("subwords", sentence.subword_flow, sentence.subwords, masked_subwords),
        ("words", sentence.word_flow, sentence.words, inside),
    ):
        for memory, weights in flow.items():
            yield _render_map(f"<b>{memory} memory</b>, {level}", texts, weights, frozenset())
            if masked:
                yield _render_map("entities masked", texts, weights, masked)


def _format_relation(sentence: SentenceExplanation, relation: RelationExplanation) -> str:
    ends = (sentence.entities[index] for index in (relation.head, relation.tail))
    head, tail = (escape(make_visible(" ".join(sentence.words[end.start : end.end]))) for end in ends)
    return f"<b>{escape(make_visible(relation.label))}</b><br>{head} → {tail}"


def _render_map(
    name: str, texts: Sequence[str], weights: Sequence[float], masked: Set[int], shown: Set[int] = frozenset()
) -> str:
    """Render a row of tokens with a background as strong as their weights; ``masked`` tokens have none."""
    largest = max((weight for index, weight in enumerate(weights) if index not in masked), default=0.0)
    scale = 1 / largest if largest > 0 else 0.0
    cells = []
    for index, (text, weight) in enumerate(zip(texts, weights, strict=True)):
        if index in masked:
            cells.append(_render_cell(text, weight, "gone"))
        else:
            cells.append(
                _render_cell(text, weight, "shown" if index in shown else "", "heat", max(weight, 0.0) * scale)
            )
    return f"<dt>{name}</dt>\n<dd>{' '.join(cells)}</dd>\n"


def _render_share(text: str, share: float) -> str:
    """Render a word with the colour of the graph that has the larger weight."""
    return _render_cell(text, share, "", "syntax" if share > 0.5 else "sense", abs(2 * share - 1))


def _render_cell(text: str, value: float, kind: str, colour: str = "", strength: float = 0.0) -> str:
    """Render a token; its exact value is the tooltip."""
    style = f' style="background:color-mix(in srgb,var(--{colour}) {80 * strength:.0f}%,transparent)"' if colour else ""
    return f'<bdi class="cell{" " * bool(kind)}{kind}" title="{value:.3f}"{style}>{escape(make_visible(text))}</bdi>'
