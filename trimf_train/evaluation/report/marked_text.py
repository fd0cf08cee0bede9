"""Divide a passage into the parts that a page marks; spans may overlap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from trimf.runtime.output.display_sentences import choose_colour

from .error_schema import Span


class MarkedPart(NamedTuple):
    """A part of a passage that the same spans cover.

    Attributes:
        text: The part.
        colour: Number of the colour of the shortest span that covers it; None outside of spans.
        nested: Whether several spans cover it.
        focus: Whether a span of the error covers it.
        labels: Labels of the spans that end here.
    """

    text: str
    colour: int | None
    nested: bool
    focus: bool
    labels: list[str]


def mark_text(text: str, spans: Sequence[Span], focus: Collection[Span] = ()) -> list[MarkedPart]:
    """Divide a text at the ends of its spans.

    Args:
        text: The text.
        spans: Spans to mark.
        focus: Those of them that the error is about.

    Returns:
        The parts in order; together they are the text.
    """
    cuts = sorted({0, len(text), *(cut for span in spans for cut in (span.start, span.end))})
    parts = []
    for start, end in pairwise(cuts):
        covering = [span for span in spans if span.start <= start and end <= span.end]
        shortest = min(covering, key=lambda span: span.end - span.start, default=None)
        parts.append(
            MarkedPart(
                text[start:end],
                choose_colour(shortest.label) if shortest else None,
                len(covering) > 1,
                any(span in focus for span in covering),
                [span.label for span in covering if span.end == end],
            )
        )
    return parts
