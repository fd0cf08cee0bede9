"""Render explanations as one HTML page: entities, relations, what they rest on, dependencies and heat maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import count
from typing import NamedTuple

from ..explain import RelationExplanation, SentenceExplanation
from ..results import Arc, Entity, Extraction, Relation, Trigger
from ..text.tokenization import join_words
from .display_sentences import format_points
from .html_page import load_templates, render_head, render_sections, render_tail

#: Loss, or gain, of a relation that is shown in the full colour.
_FULL_LOSS = 0.5

#: Losses that the scale shows.
_SCALE = (0.5, 0.3, 0.1, -0.1, -0.3, -0.5)


class _Cell(NamedTuple):
    """A token of a heat map.

    Attributes:
        text: The token.
        title: Its exact value, for a reader who points at it.
        kind: Classes of the stylesheet.
        colour: Variable of the stylesheet; empty for no colour.
        strength: Strength of the colour, from 0 to 1.
        figure: Figure beside the token; empty for none.
    """

    text: str
    title: str
    kind: str = ""
    colour: str = ""
    strength: float = 0.0
    figure: str = ""


class _RelationMap(NamedTuple):
    """Heat map of what a relation loses without each word, and without its phrases of several words."""

    label: str
    head: str
    tail: str
    cells: list[_Cell]
    phrases: list[_Cell]


class _FlowMap(NamedTuple):
    """Heat maps of a memory's attention to all tokens, and to those outside the entities if there are entities."""

    memory: str
    level: str
    cells: list[_Cell]
    masked_cells: list[_Cell]


def render_explanations(sentences: Sequence[SentenceExplanation], title: str = "Explanation") -> Iterator[str]:
    """Render explanations as one self-contained HTML page without scripts.

    Args:
        sentences: Explanations of the sentences.
        title: Title of the page.

    Yields:
        Parts of the page: its head, each sentence, its end. Write them as UTF-8.
    """
    yield render_head(title, ["page.css", "explanation.css"])
    template = load_templates().get_template("explanation.html.j2")
    names = count()
    for sentence in sentences:
        inside = {index for span in sentence.entities for index in range(span.start, span.end)}
        yield template.render(
            extraction=render_sections(_build_extraction(sentence), names),
            method=sentence.method,
            scale=[_show_loss("", loss) for loss in _SCALE],
            relations=[_map_relation(sentence, relation, inside) for relation in sentence.relations],
            flows=list(_map_flows(sentence, inside)),
            graph_cells=list(map(_colour_share, sentence.words, sentence.syntactic_share)),
        )
    yield render_tail()


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
                Trigger(starts[first], ends[last - 1], text[starts[first] : ends[last - 1]], score)
                for first, last, score in relation.triggers
            ),
            relation.basis,
        )
        for relation in sentence.relations
    ]
    arcs = zip(starts, ends, sentence.words, sentence.arcs.heads, sentence.arcs.labels, strict=True)
    return Extraction(text, tuple(entities), tuple(relations), ((0, len(text)),), (), tuple(Arc(*arc) for arc in arcs))


def _map_relation(sentence: SentenceExplanation, relation: RelationExplanation, inside: Set[int]) -> _RelationMap:
    ends = (sentence.entities[index] for index in (relation.head, relation.tail))
    head, tail = (" ".join(sentence.words[end.start : end.end]) for end in ends)
    shown = {index for span in relation.triggers for index in range(span.start, span.end)}
    if sentence.method == "attention":
        weights = [weight or 0.0 for weight in relation.weights]
        return _RelationMap(relation.label, head, tail, _colour_weights(sentence.words, weights, inside, shown), [])
    cells = [
        _Cell(word, "the words of the entities stay", "gone")
        if index in inside
        else _show_loss(word, weight, "shown" if index in shown else "")
        for index, (word, weight) in enumerate(zip(sentence.words, relation.weights, strict=True))
    ]
    phrases = [
        _show_loss(" ".join(sentence.words[span.start : span.end]), span.score, "shown")
        for span in relation.triggers
        if span.end - span.start > 1
    ]
    return _RelationMap(relation.label, head, tail, cells, phrases)


def _show_loss(text: str, loss: float | None, kind: str = "") -> _Cell:
    """Give words the colour and the figure of what a relation loses, or gains, without them."""
    if loss is None:
        return _Cell(text, "not left out by itself", f"{kind} unmeasured".strip())
    points = format_points(loss)
    figure = "" if abs(loss) < 0.005 else points.partition(" ")[0]
    colour = "heat" if loss > 0 else "cool"
    return _Cell(text, f"{points} without it", kind, colour, min(abs(loss) / _FULL_LOSS, 1.0), figure)


def _map_flows(sentence: SentenceExplanation, inside: Set[int]) -> Iterator[_FlowMap]:
    """Yield the heat maps of each level and memory."""
    entity_subwords = [sentence.pieces[index] for index in sorted(inside)]
    masked_subwords = {index for first, last in entity_subwords for index in range(first, last + 1)}
    for level, flow, texts, masked in (
        ("subwords", sentence.subword_flow, sentence.subwords, masked_subwords),
        ("words", sentence.word_flow, sentence.words, inside),
    ):
        for memory, weights in flow.items():
            masked_cells = _colour_weights(texts, weights, masked) if masked else []
            yield _FlowMap(memory, level, _colour_weights(texts, weights, frozenset()), masked_cells)


def _colour_weights(
    texts: Sequence[str], weights: Sequence[float], masked: Set[int], shown: Set[int] = frozenset()
) -> list[_Cell]:
    """Give each token a background as strong as its weight; ``masked`` tokens have none."""
    largest = max((weight for index, weight in enumerate(weights) if index not in masked), default=0.0)
    scale = 1 / largest if largest > 0 else 0.0
    return [
        _Cell(text, f"{weight:.3f}", "gone")
        if index in masked
        else _Cell(text, f"{weight:.3f}", "shown" if index in shown else "", "heat", max(weight, 0.0) * scale)
        for index, (text, weight) in enumerate(zip(texts, weights, strict=True))
    ]


def _colour_share(text: str, share: float) -> _Cell:
    """Give a word the colour of the graph that has the larger weight."""
    return _Cell(text, f"{share:.3f}", "", "syntax" if share > 0.5 else "sense", abs(2 * share - 1))
