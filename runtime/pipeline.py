"""Run sentences of words through the subgraphs and decode entities, relations and dependency arcs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .decoding.dependency_trees import find_best_tree
from .decoding.pair_blocks import PairBlock, iterate_pair_blocks, top_scoring_entities
from .decoding.relation_decoding import decode_relation_block, select_paired_entities
from .decoding.span_decoding import (
    DecodedSentence,
    EntitySpan,
    RelationSpan,
    decode_entities,
    find_entity_candidates,
    logit,
    merge_symmetric_relations,
)
from .engine.contract import JOINED, Subgraph
from .errors import BackendError, InputError, check_integer
from .model_settings import ModelSettings, has_extra_outputs
from .text.batch_arrays import Batch, encode_arcs, pad_arcs, pad_subwords
from .text.parser import JOIN_LABEL, ROOT_LABEL, Parse
from .text.subwords import MAX_WORD_SUBWORDS, IntArray, Subwords, SubwordTokenizer
from .triggers.effect_estimator import EffectEstimator
from .window_batching import (
    Window,
    WindowResult,
    batch_indices,
    cut_windows,
    join_window_results,
    select_window_entities,
)

#: Default maximum number of ordered entity pairs that are scored in a sentence, or in one window of a long sentence.
MAX_SENTENCE_PAIRS = 100_000

#: Dependency output of a run: the arcs that the model used, or a tree with a single root.
Syntax = Literal["arcs", "tree"]


class DependencyArcs(Protocol):
    """Dependency arcs of a sentence of N words."""

    @property
    def heads(self) -> Sequence[int] | IntArray:
        """Index of each word's head, ``[N]``; a root has its own index."""

    @property
    def labels(self) -> Sequence[str]:
        """Dependency label of each word, ``[N]``."""


class ParsedSentence(NamedTuple):
    """A sentence of N words with the index of each word's head (a root has its own index) and its dependency label."""

    words: Sequence[str]
    heads: Sequence[int] | IntArray
    labels: Sequence[str]


class SentenceResult(NamedTuple):
    """Decoded sentence.

    Attributes:
        decoded: Entities and relations.
        unknown_words: Indices of the words that became the unknown token.
        window_count: Number of windows that the sentence was split into; 0 for a sentence without words.
        unpaired_entities: Number of entities left out of the relation scoring because the sentence has too many.
        arcs: Dependency arcs of the sentence, if they were requested.
    """

    decoded: DecodedSentence
    unknown_words: tuple[int, ...]
    window_count: int
    unpaired_entities: int = 0
    arcs: DependencyArcs | None = None


class SubgraphCall(NamedTuple):
    """A finished call of a subgraph. The mapping ``inputs`` may grow later; copy what is kept.

    Attributes:
        name: Name of the subgraph.
        graph: The subgraph.
        inputs: All arrays passed to the subgraph, even those that it does not use.
        outputs: Its outputs; a GPU backend may still be computing them.
        started: Time at which the call started (``time.perf_counter``).
    """

    name: str
    graph: Subgraph
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    started: float


#: Function that is called after every call of a subgraph, in the thread of the call.
SubgraphObserver = Callable[[SubgraphCall], object]


class Pipeline:
    """Runs sentences through the subgraphs and decodes the outputs.

    A pipeline holds no state of a run, so threads may share it as far as the backend allows.

    Args:
        graphs: The subgraphs by name, as ``engine.contract.list_subgraphs`` lists them.
        tokenizer: Subword tokenizer of the encoder.
        settings: Label ids, thresholds and window limits.
        max_pairs: Maximum number of ordered entity pairs that are scored in a sentence or window.
        split_cost_subwords: Cost of another call of the subgraphs, in subwords of padding: a batch is split where that
            saves more padding than this. None never splits a batch.
        effects: Estimator of the effects of words on relations; None leaves the trigger weights of the subgraphs.

    Attributes:
        has_parser: Whether the encoder contains an in-model parser, so that no dependency parser is needed.
        observers: Functions called after every call of a subgraph; see ``observe``.
    """

    def __init__(
        self,
        graphs: Mapping[str, Subgraph],
        tokenizer: SubwordTokenizer,
        settings: ModelSettings,
        max_pairs: int = MAX_SENTENCE_PAIRS,
        split_cost_subwords: int | None = None,
        effects: EffectEstimator | None = None,
    ) -> None:
        self.graphs, self.tokenizer, self.max_pairs = graphs, tokenizer, max_pairs
        self.effects = effects
        self.settings = settings
        self.split_cost_subwords = split_cost_subwords
        self._first = JOINED if JOINED in graphs else "encoder"
        self.has_parser = "heads" in graphs[self._first].outputs
        self.observers: tuple[SubgraphObserver, ...] = ()
        self._label_names = [ROOT_LABEL, *settings.dependency_label_to_id]

    @property
    def settings(self) -> ModelSettings:
        """Label ids, thresholds and window limits. Set them before the pipeline is used."""
        return self._settings

    @settings.setter
    def settings(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._logit_thresholds = np.array([logit(threshold) for threshold in settings.relation_thresholds])

    def close(self) -> None:
        """Free the memory of all subgraphs, even if closing one of them fails; the pipeline cannot run afterwards."""
        with ExitStack() as closing:
            for graph in self.graphs.values():
                closing.callback(graph.close)

    @contextmanager
    def observe(self, observer: SubgraphObserver) -> Iterator[None]:
        """Call a function after every call of a subgraph, for as long as the context is open.

        Args:
            observer: Function to call. It must not change the arrays. If several threads run the pipeline, each calls
                it.
        """
        self.observers += (observer,)
        try:
            yield
        finally:
            remaining = list(self.observers)
            remaining.remove(observer)
            self.observers = tuple(remaining)

    def encode_sentences(
        self, sentences: Sequence[Subwords], arcs: Sequence[DependencyArcs] | None = None, *, explain: bool = False
    ) -> dict[str, Any]:
        """Run a batch through the encoder and the fusion without decoding.

        Args:
            sentences: Sentences, each short enough for one window.
            arcs: Dependency arcs of each sentence; required without an in-model parser.
            explain: Return the outputs of ``engine.contract.EXPLAINING`` too.

        Returns:
            The padded inputs and all outputs of both subgraphs by name.
        """
        arrays = self._run_encoder(sentences, explain)
        if arcs is not None:
            self._set_arcs(arrays, [(tree, 0, len(tree.heads)) for tree in arcs])
        if self._first == JOINED:
            return arrays
        return arrays | self._run_subgraph("fusion", arrays, explain)

    def run_relations(
        self, arrays: Mapping[str, Any], block: PairBlock
    ) -> tuple[npt.NDArray[np.floating[Any]], dict[str, Any]]:
        """Score a block of entity pairs of an encoded batch.

        Args:
            arrays: The batch, as ``encode_sentences`` returns it.
            block: The pairs.

        Returns:
            The relation logits, ``[P, n_r]``, and all outputs of the subgraph.

        Raises:
            BackendError: The backend fails, or returns logits that are not finite.
        """
        outputs = self._run_subgraph("relations", {**arrays, **block._asdict()})
        return _require_finite(outputs, "relation_logits"), outputs

    def read_nodes(self, arrays: Mapping[str, Any]) -> npt.NDArray[np.floating[Any]]:
        """Copy the node states of an encoded batch to the host.

        Args:
            arrays: The batch, as ``encode_sentences`` returns it.

        Returns:
            The states, ``[B, N, H]``.
        """
        nodes = arrays["nodes"]
        return np.asarray(nodes.float().cpu().numpy() if hasattr(nodes, "cpu") else nodes)  # PyTorch must be asked

    def run(
        self,
        sentences: Sequence[ParsedSentence],
        batch_size: int = 32,
        *,
        syntax: Syntax | None = None,
        entities: Sequence[Sequence[EntitySpan]] | None = None,
    ) -> list[SentenceResult]:
        """Extract from parsed sentences; see ``run_words``.

        Args:
            sentences: Words with their dependency arcs, which are ignored if the model has an in-model parser.
            batch_size: Maximum number of windows in a batch.
            syntax: Dependency output to return, if any.
            entities: The entities of each sentence; None finds them.

        Returns:
            One result per sentence, in order.
        """
        parses = None if self.has_parser else lambda: sentences
        words = [sentence.words for sentence in sentences]
        return self.run_words(words, parses, batch_size, syntax=syntax, entities=entities)

    def run_words(
        self,
        sentences: Sequence[Sequence[str]],
        parses: Callable[[], Sequence[DependencyArcs]] | None = None,
        batch_size: int = 32,
        *,
        syntax: Syntax | None = None,
        entities: Sequence[Sequence[EntitySpan]] | None = None,
    ) -> list[SentenceResult]:
        """Extract from sentences of words; the result of a sentence does not depend on the others.

        Sentences are split into windows where needed, sorted by length and cut into batches.

        Args:
            sentences: Sentences as lists of words.
            parses: Returns the dependency arcs of all sentences. It is called once, after the encoder has processed the
                first batch, so that a parser can work meanwhile. Optional with an in-model parser (``has_parser``).
            batch_size: Maximum number of windows in a batch.
            syntax: Dependency output to return: the arcs that were used, or, with an in-model parser, the best tree
                with a single root (``tree``).
            entities: The entities of each sentence, in any order; they may overlap. Relations are found between these.
                None finds the entities of the sentences.

        Returns:
            One result per sentence, in order.

        Raises:
            InputError: ``batch_size`` is not positive, ``parses`` is missing, or trees are requested from a backend
                that returns no arc scores.
            BackendError: The backend fails, or returns logits that are not finite.
        """
        check_integer("batch_size", batch_size, 1)
        if parses is None and not self.has_parser:
            raise InputError("this model has no in-model parser; pass parses, for example from load_parser()")
        if parses is not None and self._first == JOINED:
            raise InputError("this model parses by itself here; name the parser when the model is loaded")
        capacity = self.settings.max_subwords - self.tokenizer.special_token_count
        encoded = self.tokenizer.encode(sentences, min(MAX_WORD_SUBWORDS, capacity))
        windows = list(cut_windows(encoded, self.tokenizer, self.settings))
        decoded: dict[int, WindowResult] = {}
        external: Sequence[DependencyArcs] | None = None
        for indices in batch_indices(
            [len(window.subwords.ids) for window in windows], batch_size, self.split_cost_subwords
        ):
            batch = [windows[index] for index in indices]
            arrays = self._encode_windows(batch, syntax == "tree" and parses is None)
            if parses is not None and external is None:
                external = parses()
            given = None if entities is None else [select_window_entities(entities, window) for window in batch]
            results = self._decode_windows(batch, arrays, external, syntax is not None and external is None, given)
            decoded.update(zip(indices, results, strict=True))
        results_by_sentence = [
            SentenceResult(DecodedSentence([], []), subwords.unknown_words, 0) for subwords in encoded
        ]
        for sentence, group in groupby(range(len(windows)), key=lambda index: windows[index].sentence):
            indices = list(group)
            joined = join_window_results(
                [windows[index] for index in indices],
                [decoded[index] for index in indices],
                overlap=self.settings.overlap,
                tree=syntax == "tree",
                given=None if entities is None else entities[sentence],
            )
            results_by_sentence[sentence] = SentenceResult(
                joined.decoded,
                encoded[sentence].unknown_words,
                len(indices),
                joined.unpaired_entities,
                external[sentence] if syntax is not None and external is not None else joined.arcs,
            )
        return results_by_sentence

    def _encode_windows(self, batch: Sequence[Window], scores: bool) -> dict[str, Any]:
        """Run the encoder on a batch, with ``scores`` for the arc scores too."""
        if scores and "arc_scores" not in self.graphs[self._first].outputs:
            raise InputError(
                'syntax="tree" needs arc scores, which only the cpu backend returns; use syntax="arcs" or backend="cpu"'
            )
        return self._run_encoder([window.subwords for window in batch], scores)

    def _run_encoder(self, sentences: Sequence[Subwords], extra: bool) -> dict[str, Any]:
        """Return the padded arrays of a batch together with the outputs of the encoder, or of the joined graph."""
        arrays: dict[str, Any] = dict(zip(Batch._fields, pad_subwords(sentences), strict=False))
        return arrays | self._run_subgraph(self._first, arrays, extra)

    def _run_subgraph(self, name: str, arrays: Mapping[str, Any], extra: bool = False) -> dict[str, Any]:
        """Run a subgraph, with ``extra`` also for the outputs of ``engine.contract.EXTRA``, and call the observers."""
        graph, observers = self.graphs[name], self.observers
        started = time.perf_counter() if observers else 0.0
        outputs = graph.run(arrays, extra=True) if extra and has_extra_outputs(graph) else graph.run(arrays)
        for observer in observers:
            observer(SubgraphCall(name, graph, arrays, outputs, started))
        return outputs

    def _decode_windows(
        self,
        batch: Sequence[Window],
        arrays: dict[str, Any],
        external: Sequence[DependencyArcs] | None,
        return_arcs: bool,
        given: list[list[EntitySpan]] | None,
    ) -> Iterator[WindowResult]:
        """Run the other subgraphs on an encoded batch and decode each window.

        ``external`` are the arcs of all sentences from a dependency parser; ``return_arcs`` requests those of the
        in-model parser in the results; ``given`` are the caller's entities of each window.
        """
        if external is not None:
            self._set_arcs(arrays, [(external[window.sentence], window.start, window.end) for window in batch])
        separate = ("fusion", "entities") if given is None else ("fusion",)
        for name in () if self._first == JOINED else separate:
            arrays.update(self._run_subgraph(name, arrays))
        lengths = [window.end - window.start for window in batch]
        entities, spans = self._find_entities(arrays, lengths) if given is None else (given, [[] for _ in batch])
        relations, candidates, unpaired = self._find_relations(arrays, entities, lengths)
        if given is not None:
            relations, candidates = (_drop_relations_of_same_words(found, given) for found in (relations, candidates))
        arcs = self._read_model_arcs(arrays, lengths) if return_arcs else [None] * len(batch)
        return map(WindowResult, map(DecodedSentence, entities, relations, spans, candidates), unpaired, arcs)

    def _set_arcs(self, arrays: dict[str, Any], parts: Sequence[tuple[DependencyArcs, int, int]]) -> None:
        """Set the arcs of a batch from (arcs, first word, last word (exclusive)) for each row."""
        label_ids = self.settings.dependency_label_to_id
        arrays["heads"], arrays["labels"] = pad_arcs(
            [encode_arcs(arcs.heads, arcs.labels, label_ids, start, end) for arcs, start, end in parts]
        )

    def _read_model_arcs(self, arrays: Mapping[str, Any], lengths: Sequence[int]) -> list[Parse | None]:
        """Return the arcs of the in-model parser with label names, or trees if the encoder returned arc scores.

        A word whose head in the tree is not its best head keeps the label of the arc from its best head.
        """
        heads, labels = np.asarray(arrays["heads"]), np.asarray(arrays["labels"])
        parses: list[Parse | None] = []
        for row, length in enumerate(lengths):
            best = heads[row, :length].astype(np.int64)
            names = [self._label_names[label] for label in labels[row, :length].tolist()]
            if "arc_scores" in arrays:
                best = find_best_tree(arrays["arc_scores"][row, :length, :length])
                is_root = best == np.arange(length)
                for index in np.flatnonzero(is_root != (labels[row, :length] == 0)).tolist():
                    names[index] = ROOT_LABEL if is_root[index] else JOIN_LABEL
            parses.append(Parse(best, names))
        return parses

    def _find_entities(
        self, arrays: Mapping[str, Any], lengths: list[int]
    ) -> tuple[list[list[EntitySpan]], list[list[EntitySpan]]]:
        """Return each row's entities and its entity candidates."""
        logits, settings = _require_finite(arrays, "entity_logits"), self.settings
        entities = decode_entities(logits, lengths, settings.overlap, settings.entity_thresholds)
        if settings.candidate_floor is None:
            return entities, [[] for _ in lengths]
        return entities, find_entity_candidates(logits, lengths, settings.candidate_floor)

    def _find_relations(
        self, arrays: dict[str, Any], entities: list[list[EntitySpan]], lengths: list[int]
    ) -> tuple[list[list[RelationSpan]], list[list[RelationSpan]], list[int]]:
        """Score the entity pairs of a batch.

        Returns each row's relations, its relation candidates, and its number of unpaired entities.
        """
        settings = self.settings
        relations: list[list[RelationSpan]] = [[] for _ in entities]
        candidates: list[list[RelationSpan]] = [[] for _ in entities]
        if not settings.relation_count:
            return relations, candidates, [0] * len(entities)
        wanted = [(relations, self._logit_thresholds)]
        if settings.candidate_floor is not None:
            wanted.append((candidates, np.full(settings.relation_count, logit(settings.candidate_floor))))
        selected = top_scoring_entities(entities, self.max_pairs)
        counts = [len(indices) for indices in selected]
        unpaired = [len(spans) - count for spans, count in zip(entities, counts, strict=True)]
        if max(counts) < 2:
            return relations, candidates, unpaired
        paired = select_paired_entities(entities, selected)
        words, width = arrays["nodes"].shape[1:]
        for block in iterate_pair_blocks(counts, paired.spans, words, width, settings.relation_count):
            logits, outputs = self.run_relations(arrays, block)
            for found, thresholds in wanted:
                for row, relation in decode_relation_block(
                    block, logits, outputs, paired, lengths, thresholds, settings.allowed_relations
                ):
                    found[row].append(relation)
        for found, _ in wanted:
            found[:] = [merge_symmetric_relations(row, settings.symmetric_relations) for row in found]
            if self.effects is not None and any(found):
                found[:] = self.effects.estimate(self.read_nodes(arrays), entities, found, lengths)
        return relations, candidates, unpaired


def _drop_relations_of_same_words(
    relations: list[list[RelationSpan]], entities: list[list[EntitySpan]]
) -> list[list[RelationSpan]]:
    """Leave out relations between entities of a caller that cover the same words."""
    return [
        [one for one in found if spans[one.head][:2] != spans[one.tail][:2]]
        for found, spans in zip(relations, entities, strict=True)
    ]


def _require_finite(arrays: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """Copy logits to the host and check them.

    Raises:
        BackendError: A logit is NaN or infinite: a half-precision graph has overflowed, which would otherwise look like
            a sentence without entities or relations.
    """
    logits = np.asarray(arrays[name])
    # Both positions are those of a NaN if there is one. Other reductions of numpy load ten times as much code.
    if logits.size and not all(math.isfinite(logits.item(place)) for place in (logits.argmax(), logits.argmin())):
        raise BackendError(f"{name} contains NaN/inf (fp16 overflow); re-export as fp32 or bf16")
    return logits
