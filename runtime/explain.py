"""Explain the extractions of a text: memory attention, graph weights, dependencies and trigger contributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from .bundle.labels import Labels
from .engine.contract import EXPLAINING, MEMORIES
from .errors import InputError
from .pipeline import DependencyArcs, Pipeline
from .text.parser import Parse
from .text.tokenization import SplittingRules, split_sentences
from .text.words import DEFAULT_LANGUAGE
from .triggers.trigger_words import top_trigger_words, trigger_candidate_mask


class EntityExplanation(msgspec.Struct, frozen=True):
    """An entity in the words ``start`` to ``end`` (exclusive) of its sentence."""

    start: int
    end: int
    label: str
    score: float


class RelationExplanation(msgspec.Struct, frozen=True):
    """A relation between two entities of a sentence of N words, with the weight of every word.

    Attributes:
        head: Index of the head in the sentence's entities.
        label: Relation type.
        tail: Index of the tail in the sentence's entities.
        score: Probability of the relation.
        weights: Weight of each word, ``[N]``: its contribution to the relation's logit through the trigger sensor
            (paper, section 3.5 and equations (24) to (27)), or its attention; see ``Sentence.sensor``.
        triggers: Indices of the trigger words, by decreasing weight.
    """

    head: int
    label: str
    tail: int
    score: float
    weights: list[float]
    triggers: list[int]


class ExplainedArcs(msgspec.Struct, frozen=True):
    """Dependency arcs of N words: the index of each word's head (a root has its own index) and its label, ``[N]``."""

    heads: list[int]
    labels: list[str]


class SentenceExplanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Explanation of a sentence of N words in T subwords, special tokens included.

    Fields of parts that the model does not have are empty.

    Attributes:
        words: Words of the sentence.
        subwords: Subwords as the vocabulary spells them.
        pieces: Index of the first and of the last subword of each word, ``[N, 2]``.
        entities: Entities of the sentence.
        relations: Relations of the sentence.
        arcs: Dependency arcs that the model used.
        subword_flow: For each memory, the attention to every subword, ``[T]`` (paper, section 3.3, equation (10)).
        word_flow: For each memory, the attention to every word, ``[N]`` (equation (10)).
        syntactic_share: Weight of the syntactic graph relative to the semantic graph at every word, ``[N]``, from 0 to
            1 (paper, section 3.4, equation (19)).
        sensor: Meaning of the weights of a relation: ``"contribution"`` to the logit or, in bundles of manifest schema
            4 or older, ``"attention"`` of the trigger sensor only (equation (24)).
    """

    words: list[str]
    subwords: list[str]
    pieces: list[tuple[int, int]]
    entities: list[EntityExplanation]
    relations: list[RelationExplanation]
    arcs: ExplainedArcs
    subword_flow: dict[str, list[float]] = {}
    word_flow: dict[str, list[float]] = {}
    syntactic_share: list[float] = []
    sensor: Literal["contribution", "attention"] = "contribution"


def explain_text(
    pipeline: Pipeline,
    labels: Labels,
    text: str,
    parse: Callable[[Sequence[Sequence[str]]], Sequence[Parse]] | None = None,
    triggers: int = 3,
    language: str = DEFAULT_LANGUAGE,
) -> list[SentenceExplanation]:
    """Explain every sentence of a text.

    Args:
        pipeline: Pipeline of the model, on the cpu backend and exported with ``--explain``.
        labels: Label sets of the model.
        text: Text to explain.
        parse: Dependency parser; required without an in-model parser, ignored otherwise.
        triggers: Maximum number of trigger words of a relation.
        language: Language whose rules split the text into words.

    Returns:
        One explanation per sentence, in order.

    Raises:
        InputError: The subgraphs have no outputs for explanations (another backend than cpu, or a bundle exported
            without ``--explain``), or a sentence is longer than one window.
        BackendError: The backend fails.
    """
    explanations = []
    for sentence in split_sentences(text, SplittingRules(language)):
        arcs = parse([sentence.words])[0] if parse is not None and not pipeline.has_parser else None
        explanations.append(explain_words(pipeline, labels, sentence.words, arcs, triggers))
    return explanations


def explain_words(
    pipeline: Pipeline, labels: Labels, words: Sequence[str], arcs: DependencyArcs | None, triggers: int = 3
) -> SentenceExplanation:
    """Explain one sentence of words.

    Args:
        pipeline: Pipeline of the model, on the cpu backend and exported with ``--explain``.
        labels: Label sets of the model.
        words: Words of the sentence.
        arcs: Dependency arcs; required without an in-model parser, ignored otherwise.
        triggers: Maximum number of trigger words of a relation.

    Returns:
        The explanation.

    Raises:
        InputError: The subgraphs have no outputs for explanations, or the sentence is longer than one window.
        BackendError: The backend fails.
    """
    if not set(EXPLAINING) & {name for graph in pipeline.graphs.values() for name in graph.outputs}:
        raise InputError(
            "this bundle was exported without --explain, or does not run on the cpu backend; explain a checkpoint that "
            "`trimf train` wrote, or a bundle from `trimf export CHECKPOINT --output my-bundle --explain`"
        )
    external = None if arcs is None or pipeline.has_parser else arcs
    (result,) = pipeline.run_words([words], None if external is None else lambda: [external], syntax="arcs")
    if result.window_count > 1:
        raise InputError(
            f"the sentence starting with {' '.join(words)[:40]!r} needs {result.window_count} windows of the encoder; "
            "only a sentence that fits one window can be explained, shorten it"
        )
    used_arcs = result.arcs
    assert used_arcs is not None
    (subwords,) = pipeline.tokenizer.encode([words])
    arrays = pipeline.encode_sentences([subwords], None if external is None else [external], explain=True)
    candidates = trigger_candidate_mask(words, result.decoded.entities)
    return SentenceExplanation(
        words=list(words),
        subwords=pipeline.tokenizer.subword_texts(subwords),
        pieces=list(zip(subwords.first_positions.tolist(), subwords.last_positions.tolist(), strict=True)),
        entities=[
            EntityExplanation(entity.start, entity.end, labels.entity_types[entity.type_index], entity.score)
            for entity in result.decoded.entities
        ],
        relations=[
            RelationExplanation(
                relation.head,
                labels.relation_types[relation.type_index],
                relation.tail,
                relation.score,
                _round_floats(relation.trigger_weights),
                [index for index, _ in top_trigger_words(relation, candidates, triggers)],
            )
            for relation in result.decoded.relations
        ],
        arcs=ExplainedArcs(np.asarray(used_arcs.heads).tolist(), list(used_arcs.labels)),
        subword_flow=_split_by_memory(arrays, "subword_flow"),
        word_flow=_split_by_memory(arrays, "word_flow"),
        syntactic_share=_round_floats(arrays["syntactic_share"][0]) if "syntactic_share" in arrays else [],
        sensor="attention" if _ranks_by_attention(pipeline) else "contribution",
    )


def _ranks_by_attention(pipeline: Pipeline) -> bool:
    """Return True if the weights of a relation are the trigger sensor's attention alone."""
    relations = pipeline.graphs.get("relations")
    return relations is not None and "word_logits" not in relations.outputs


def _split_by_memory(arrays: Mapping[str, Any], name: str) -> dict[str, list[float]]:
    """Return the attention of each memory that is active at a level, ``subword_flow`` or ``word_flow``."""
    rows = arrays[name][0] if name in arrays else []
    return {memory: _round_floats(row) for memory, row in zip(MEMORIES, rows, strict=False) if np.any(row)}


def _round_floats(values: Any) -> list[float]:
    """Round to six digits, which keeps JSON short."""
    return [round(float(value), 6) for value in values]
