"""Explain the extractions of a text: memory attention, graph weights, dependencies and what relations rest on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from .bundle.labels import Labels
from .decoding.span_decoding import DecodedSentence, RelationSpan
from .engine.contract import EXPLAINING, MEMORIES
from .errors import InputError
from .load_options import EXACT_TRIGGERS, Triggers, check_triggers
from .pipeline import DependencyArcs, Pipeline
from .results import Basis
from .text.parser import Parse
from .text.tokenization import SplittingRules, split_sentences
from .text.words import DEFAULT_LANGUAGE
from .triggers.exact_triggers import measure_relations
from .triggers.trigger_scores import (
    DEFAULT_TRIGGER_FLOOR,
    RelationTriggers,
    TriggerSettings,
    TriggerSpan,
    estimate_losses,
    sense_relation_triggers,
)
from .triggers.trigger_words import followed_word_mask, trigger_candidate_mask

#: Source of the weights and triggers of relations; see ``SentenceExplanation.method``.
Method = Literal["sensor", "exact", "attention"]


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
        weights: Probability that the relation loses without each word, ``[N]``: negative where the word speaks against
            the relation, None where it was not measured. See ``SentenceExplanation.method``.
        triggers: Words and phrases that the relation rests on, by decreasing loss: for each the index of its first
            word, the index after its last word, and the probability that the relation loses without it.
        basis: See ``Relation.basis``.
    """

    head: int
    label: str
    tail: int
    score: float
    weights: list[float | None]
    triggers: list[TriggerSpan]
    basis: Basis | None = None


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
        method: Source of the weights and triggers of the relations: the trigger sensor's estimate (``"sensor"``), words
            left out one at a time (``"exact"``) or, in bundles of manifest schema 4 or older, the attention of the
            trigger sensor (equation (24)), which is no loss (``"attention"``).
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
    method: Method = "sensor"


def explain_text(
    pipeline: Pipeline,
    labels: Labels,
    text: str,
    parse: Callable[[Sequence[Sequence[str]]], Sequence[Parse]] | None = None,
    triggers: Triggers = EXACT_TRIGGERS,
    language: str = DEFAULT_LANGUAGE,
) -> list[SentenceExplanation]:
    """Explain every sentence of a text.

    Args:
        pipeline: Pipeline of the model, on the cpu backend and exported with ``--explain``.
        labels: Label sets of the model.
        text: Text to explain.
        parse: Dependency parser; required without an in-model parser, ignored otherwise.
        triggers: Maximum number of trigger words of a relation, by the trigger sensor; or ``"exact"``, see ``load``.
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
    pipeline: Pipeline,
    labels: Labels,
    words: Sequence[str],
    arcs: DependencyArcs | None,
    triggers: Triggers = EXACT_TRIGGERS,
) -> SentenceExplanation:
    """Explain one sentence of words.

    Args:
        pipeline: Pipeline of the model, on the cpu backend and exported with ``--explain``.
        labels: Label sets of the model.
        words: Words of the sentence.
        arcs: Dependency arcs; required without an in-model parser, ignored otherwise.
        triggers: Maximum number of trigger words of a relation, by the trigger sensor; or ``"exact"``, see ``load``.

    Returns:
        The explanation.

    Raises:
        InputError: The subgraphs have no outputs for explanations, or the sentence is longer than one window.
        BackendError: The backend fails.
    """
    triggers = check_triggers(triggers)
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
    explained, method = _explain_relations(pipeline, labels, words, result.decoded, external, triggers)
    return SentenceExplanation(
        words=list(words),
        subwords=pipeline.tokenizer.subword_texts(subwords),
        pieces=list(zip(subwords.first_positions.tolist(), subwords.last_positions.tolist(), strict=True)),
        entities=[
            EntityExplanation(entity.start, entity.end, labels.entity_types[entity.type_index], entity.score)
            for entity in result.decoded.entities
        ],
        relations=explained,
        arcs=ExplainedArcs(np.asarray(used_arcs.heads).tolist(), list(used_arcs.labels)),
        subword_flow=_split_by_memory(arrays, "subword_flow"),
        word_flow=_split_by_memory(arrays, "word_flow"),
        syntactic_share=_round_floats(arrays["syntactic_share"][0]) if "syntactic_share" in arrays else [],
        method=method,
    )


def _explain_relations(
    pipeline: Pipeline,
    labels: Labels,
    words: Sequence[str],
    decoded: DecodedSentence,
    arcs: DependencyArcs | None,
    triggers: Triggers,
) -> tuple[list[RelationExplanation], Method]:
    """Explain the relations of a sentence by leaving words out, or by the trigger sensor."""
    if triggers == EXACT_TRIGGERS:
        used = None if arcs is None else [arcs]
        (measured,) = measure_relations(pipeline, [words], [decoded], used, DEFAULT_TRIGGER_FLOOR)
        explained = []
        for relation in decoded.relations:
            found, losses = measured[relation[:3]]
            weights = [round(losses[place], 6) if place in losses else None for place in range(len(words))]
            explained.append(_explain_relation(relation, labels, weights, found))
        return explained, "exact"
    settings = TriggerSettings(triggers, pipeline.settings.trigger_floor, attention=_ranks_by_attention(pipeline))
    mask, followed = trigger_candidate_mask(words, decoded.entities), followed_word_mask(words, decoded.entities)
    return [
        _explain_relation(
            relation,
            labels,
            [*_round_floats(relation.trigger_weights if settings.attention else estimate_losses(relation))],
            sense_relation_triggers(relation, mask, settings, followed),
        )
        for relation in decoded.relations
    ], "attention" if settings.attention else "sensor"


def _explain_relation(
    relation: RelationSpan, labels: Labels, weights: list[float | None], found: RelationTriggers
) -> RelationExplanation:
    """Explain a relation."""
    return RelationExplanation(
        relation.head,
        labels.relation_types[relation.type_index],
        relation.tail,
        relation.score,
        weights,
        [span._replace(score=round(span.score, 6)) for span in found.spans],
        found.basis,
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
