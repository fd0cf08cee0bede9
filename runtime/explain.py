"""What a model's result rests on, sentence by sentence: flows, graphs, arcs, and every word's part in a relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from .backend import EXPLAINING, MEMORIES
from .errors import InputError
from .labels import Labels
from .parser import Parse
from .pipeline import Pipeline, Tree
from .text import split
from .triggers import best_words, may_trigger


class Span(msgspec.Struct, frozen=True):
    """An entity in words ``start`` to ``end`` (exclusive) of its sentence."""

    start: int
    end: int
    label: str
    score: float


class Sensed(msgspec.Struct, frozen=True):
    """A relation between two of the sentence's entities (their numbers).

    ``weights`` ``[N]`` are what each word adds to the relation's logit through the trigger sensor (paper (24)-(27)), or
    as the sentence's ``sensor`` says; ``triggers`` the words that are shown of them, by falling weight.
    """

    head: int
    label: str
    tail: int
    score: float
    weights: list[float]
    triggers: list[int]


class Arcs(msgspec.Struct, frozen=True):
    """The head ``[N]`` of each word (a root's is its own) and the label of the arc to it."""

    heads: list[int]
    labels: list[str]


class Sentence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sentence of N words in T subwords, special ones included.

    ``pieces`` ``[N,2]`` are the first and the last subword of each word. ``subword_flow`` and ``word_flow`` hold for
    each memory the weight of every subword ``[T]`` and word ``[N]`` (paper (10)); ``syntactic_share`` ``[N]`` is the
    weight of the syntactic against the semantic graph (paper (19)). ``sensor`` says whether a word's weight in a
    relation is its contribution to the logit or, in bundles before schema 5, the attention t_ij alone (paper (24)).
    What the model does not have is left out.
    """

    words: list[str]
    subwords: list[str]
    pieces: list[tuple[int, int]]
    entities: list[Span]
    relations: list[Sensed]
    arcs: Arcs
    subword_flow: dict[str, list[float]] = {}
    word_flow: dict[str, list[float]] = {}
    syntactic_share: list[float] = []
    sensor: Literal["contribution", "attention"] = "contribution"


def explain(
    pipeline: Pipeline,
    labels: Labels,
    text: str,
    parse: Callable[[Sequence[Sequence[str]]], Sequence[Parse]] | None = None,
    triggers: int = 3,
) -> list[Sentence]:
    """Explain every sentence of a text. ``parse`` is needed where the model does not parse by itself.

    Raises:
        InputError: the graphs cannot explain (another backend than the CPU, or a bundle exported without
            ``--explain``), or a sentence is longer than one window.
        BackendError: the engine fails.
    """
    found = []
    for sentence in split(text):
        arcs = parse([sentence.words])[0] if parse is not None and not pipeline.parses else None
        found.append(explain_words(pipeline, labels, sentence.words, arcs, triggers))
    return found


def explain_words(
    pipeline: Pipeline, labels: Labels, words: Sequence[str], arcs: Tree | None, triggers: int = 3
) -> Sentence:
    """The same of a sentence of words; ``arcs`` are not used where the model parses by itself. Raises the same."""
    encoder, fusion = pipeline.graphs["encoder"], pipeline.graphs["fusion"]
    if not set(EXPLAINING) & {*encoder.outputs, *fusion.outputs}:
        raise InputError(
            "this model gives no weights to explain with; export it with --explain, and run it on the backend cpu"
        )
    given = None if arcs is None or pipeline.parses else arcs
    (result,) = pipeline.run_words([words], None if given is None else lambda: [given], trees="arcs")
    if result.windows > 1:
        raise InputError(
            f"the sentence that begins {' '.join(words)[:40]!r} takes {result.windows} windows of the encoder, "
            "and only what fits one can be explained"
        )
    tree = result.tree
    assert tree is not None
    (subwords,) = pipeline.tokenizer.encode([words])
    arrays = pipeline.read([subwords], None if given is None else [given], explaining=True)
    shown = may_trigger(words, result.found.entities)
    return Sentence(
        words=list(words),
        subwords=pipeline.tokenizer.texts(subwords),
        pieces=list(zip(subwords.first.tolist(), subwords.last.tolist(), strict=True)),
        entities=[Span(one.start, one.end, labels.entities[one.label], one.score) for one in result.found.entities],
        relations=[
            Sensed(
                one.head,
                labels.relations[one.label],
                one.tail,
                one.score,
                _floats(one.triggers),
                [place for place, _ in best_words(one, shown, triggers)],
            )
            for one in result.found.relations
        ],
        arcs=Arcs(np.asarray(tree.heads).tolist(), list(tree.labels)),
        subword_flow=_by_memory(arrays, "subword_flow"),
        word_flow=_by_memory(arrays, "word_flow"),
        syntactic_share=_floats(arrays["syntactic_share"][0]) if "syntactic_share" in arrays else [],
        sensor="contribution" if "word_logits" in pipeline.graphs["relations"].outputs else "attention",
    )


def _by_memory(arrays: Mapping[str, Any], name: str) -> dict[str, list[float]]:
    """The weights of the memories that flow at that level."""
    found = arrays[name][0] if name in arrays else []
    return {memory: _floats(row) for memory, row in zip(MEMORIES, found, strict=False) if np.any(row)}


def _floats(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]
