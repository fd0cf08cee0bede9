"""Run sentences of words through the subgraphs and decode entities, relations and dependency arcs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from .bundle.labels import Labels
from .decoding import pair_blocks as pairs
from .decoding import span_decoding as decode
from .decoding.dependency_trees import find_best_tree, repair_tree
from .decoding.windows import join_window_arcs, merge_windows, split_windows
from .engine.contract import Subgraph
from .errors import BackendError, InputError
from .text import batch_arrays as features
from .text.batch_arrays import BoolArray
from .text.parser import JOIN_LABEL, ROOT_LABEL, Parse
from .text.subwords import MAX_WORD_SUBWORDS, IntArray, Subwords, SubwordTokenizer

#: Maximum number of subwords, padding included, in one call of the encoder.
MAX_BATCH_SUBWORDS = 4096

#: Number of padding subwords that cost a CPU about as much as another call of the subgraphs.
CPU_SPLIT_COST = 8

#: Like ``CPU_SPLIT_COST``, for int8 models on a CPU with int8 dot-product instructions, where a subword costs less.
CPU_SPLIT_COST_INT8 = 24

#: Default maximum number of ordered entity pairs that are scored in a sentence, or in one window of a long sentence.
MAX_SENTENCE_PAIRS = 100_000


class DecodingSettings(NamedTuple):
    """Label ids, thresholds and window limits that decoding needs.

    Attributes:
        dependencies: Id of each dependency label, from 1.
        symmetric: Indices of the relation types without direction.
        relation_threshold: Probability that a relation must exceed.
        overlap: Whether entities of a sentence may overlap.
        max_subwords: Maximum number of subwords in a window, special tokens included.
        max_words: Maximum number of words in a window.
        relations: Number of relation types, n_r.
        allowed: Relation types that may hold between a head type and a tail type, ``[n_e, n_e, n_r]``; None allows all.
    """

    dependencies: Mapping[str, int]
    symmetric: frozenset[int]
    relation_threshold: float
    overlap: bool
    max_subwords: int
    max_words: int
    relations: int = 1
    allowed: BoolArray | None = None

    @classmethod
    def of(cls, labels: Labels, relation_threshold: float, overlap: bool, max_subwords: int, max_words: int) -> Self:
        """Build the settings of a model from its labels and decoding options.

        Args:
            labels: Label sets of the model; their signatures, if any, restrict the relation types.
            relation_threshold: Probability that a relation must exceed.
            overlap: Whether entities of a sentence may overlap.
            max_subwords: Maximum number of subwords in a window, special tokens included.
            max_words: Maximum number of words in a window.

        Returns:
            The settings.
        """
        symmetric = frozenset(labels.relation_numbers[name] for name in labels.symmetric)
        allowed = None
        if labels.signatures:
            allowed = np.zeros((len(labels.entities), len(labels.entities), len(labels.relations)), np.bool_)
            types, columns = labels.entity_numbers, labels.relation_numbers
            for head, name, tail in labels.signatures:
                ends, label = (types[head] - 1, types[tail] - 1), columns[name]
                for head_type, tail_type in (ends, ends[::-1]) if label in symmetric else (ends,):
                    allowed[head_type, tail_type, label] = True
        return cls(
            labels.dependency_numbers,
            symmetric,
            relation_threshold,
            overlap,
            max_subwords,
            max_words,
            len(labels.relations),
            allowed,
        )


#: Dependency output of a run: the arcs that the model used, or a tree with a single root.
Syntax = Literal["arcs", "tree"]


class ExtraOutputSubgraph(Protocol):
    """A subgraph that can also return the ``backend.EXTRA`` outputs."""

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        """Run the subgraph.

        Args:
            arrays: Input arrays by name; further ones are ignored.
            extra: Return the ``backend.EXTRA`` outputs too.

        Returns:
            Output arrays by name.
        """


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
        found: Entities and relations.
        unknown: Indices of the words that became the unknown token.
        windows: Number of windows that the sentence was split into; 0 for a sentence without words.
        unpaired: Number of entities left out of the relation scoring because the sentence has too many.
        tree: Dependency arcs of the sentence, if they were requested.
    """

    found: decode.DecodedSentence
    unknown: tuple[int, ...]
    windows: int
    unpaired: int = 0
    tree: DependencyArcs | None = None


class _WindowResult(NamedTuple):
    """Decoded window: a ``SentenceResult`` whose indices count from the window's first word."""

    found: decode.DecodedSentence
    unpaired: int
    tree: Parse | None


class _Window(NamedTuple):
    """Words ``start`` to ``end`` (exclusive) of the sentence with index ``sentence``, with their subwords."""

    sentence: int
    start: int
    end: int
    subwords: Subwords


class Pipeline:
    """Runs sentences through the subgraphs and decodes the outputs.

    A pipeline holds no state of a run, so threads may share it as far as the backend allows.

    Args:
        graphs: The subgraphs by name.
        tokenizer: Subword tokenizer of the encoder.
        settings: Label ids, thresholds and window limits.
        max_pairs: Maximum number of ordered entity pairs that are scored in a sentence or window.
        call: Cost of another call of the subgraphs, in subwords of padding: a batch is split where that saves more
            padding than this. None never splits a batch.

    Attributes:
        parses: Whether the encoder contains an in-model parser, so that no dependency parser is needed.
    """

    def __init__(
        self,
        graphs: Mapping[str, Subgraph],
        tokenizer: SubwordTokenizer,
        settings: DecodingSettings,
        max_pairs: int = MAX_SENTENCE_PAIRS,
        call: int | None = None,
    ) -> None:
        self.graphs, self.tokenizer, self.settings, self.max_pairs = graphs, tokenizer, settings, max_pairs
        self.call = call
        self.parses = "heads" in graphs["encoder"].outputs
        self._label_names = [ROOT_LABEL, *settings.dependencies]
        self._logit_threshold = decode.logit(settings.relation_threshold)

    @property
    def _window_capacity(self) -> int:
        """Number of subwords of words in one window."""
        return self.settings.max_subwords - self.tokenizer.specials

    def read(
        self, sentences: Sequence[Subwords], trees: Sequence[DependencyArcs] | None = None, *, explaining: bool = False
    ) -> dict[str, Any]:
        """Run a batch through the encoder and the fusion without decoding.

        Args:
            sentences: Sentences, each short enough for one window.
            trees: Dependency arcs of each sentence; required without an in-model parser.
            explaining: Return the outputs of ``backend.EXPLAINING`` too.

        Returns:
            The padded inputs and all outputs of both subgraphs by name.
        """
        arrays = self._run_encoder(sentences, explaining)
        if trees is not None:
            self._set_arcs(arrays, [(tree, 0, len(tree.heads)) for tree in trees])
        return arrays | self._run_subgraph("fusion", arrays, explaining)

    def run(
        self, sentences: Sequence[ParsedSentence], batch_size: int = 32, *, trees: Syntax | None = None
    ) -> list[SentenceResult]:
        """Extract from parsed sentences; see ``run_words``.

        Args:
            sentences: Words with their dependency arcs, which are ignored if the model has an in-model parser.
            batch_size: Maximum number of windows in a batch.
            trees: Dependency output to return, if any.

        Returns:
            One result per sentence, in order.
        """
        parses = None if self.parses else lambda: sentences
        return self.run_words([sentence.words for sentence in sentences], parses, batch_size, trees=trees)

    def run_words(
        self,
        sentences: Sequence[Sequence[str]],
        parses: Callable[[], Sequence[DependencyArcs]] | None = None,
        batch_size: int = 32,
        *,
        trees: Syntax | None = None,
    ) -> list[SentenceResult]:
        """Extract from sentences of words; the result of a sentence does not depend on the others.

        Sentences are split into windows where needed, sorted by length and cut into batches.

        Args:
            sentences: Sentences as lists of words.
            parses: Returns the dependency arcs of all sentences. It is called once, after the encoder has processed the
                first batch, so that a parser can work meanwhile. Optional with an in-model parser (``parses``).
            batch_size: Maximum number of windows in a batch.
            trees: Dependency output to return: the arcs that were used, or, with an in-model parser, the best tree with
                a single root (``trees``).

        Returns:
            One result per sentence, in order.

        Raises:
            InputError: ``batch_size`` is not positive, ``parses`` is missing, or trees are requested from a backend
                that returns no arc scores.
            BackendError: The backend fails, or returns logits that are not finite.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be >= 1, got {batch_size}")
        if parses is None and not self.parses:
            raise InputError("this model has no in-model parser; pass parses, for example from load_parser()")
        encoded = self.tokenizer.encode(sentences, min(MAX_WORD_SUBWORDS, self._window_capacity))
        items = [window for index, subwords in enumerate(encoded) for window in self._split_windows(index, subwords)]
        decoded = [_WindowResult(decode.DecodedSentence([], []), 0, None)] * len(items)
        external: Sequence[DependencyArcs] | None = None
        for indices in batch_indices([len(item.subwords.ids) for item in items], batch_size, self.call):
            batch = [items[index] for index in indices]
            arrays = self._encode_windows(batch, trees == "tree" and parses is None)
            if parses is not None and external is None:
                external = parses()
            model_arcs = trees if external is None else None
            for index, result in zip(indices, self._decode_windows(batch, arrays, external, model_arcs), strict=True):
                decoded[index] = result
        results = [SentenceResult(decode.DecodedSentence([], []), subwords.unknown, 0) for subwords in encoded]
        for sentence, group in groupby(range(len(items)), key=lambda index: items[index].sentence):
            indices = list(group)
            ranges = [(items[index].start, items[index].end) for index in indices]
            merged = merge_windows(ranges, [decoded[index].found for index in indices], self.settings.overlap)
            unpaired = sum(decoded[index].unpaired for index in indices)
            tree: DependencyArcs | None = None
            if trees:
                if external is not None:
                    tree = external[sentence]
                else:
                    tree = join_window_arcs([decoded[index].tree for index in indices], ranges)
            if trees == "tree" and len(indices) > 1 and external is None and tree is not None:
                tree = Parse(*repair_tree(np.asarray(tree.heads), tree.labels, ROOT_LABEL, JOIN_LABEL))
            results[sentence] = SentenceResult(merged, encoded[sentence].unknown, len(indices), unpaired, tree)
        return results

    def _split_windows(self, sentence: int, subwords: Subwords) -> Iterator[_Window]:
        """Yield the windows of a sentence: one if it fits, none if it has no words."""
        count = len(subwords.first)
        if not count:
            return
        if count <= self.settings.max_words and len(subwords.ids) <= self.settings.max_subwords:
            yield _Window(sentence, 0, count, subwords)
            return
        for start, end in split_windows(
            subwords.last - subwords.first + 1, self._window_capacity, self.settings.max_words
        ):
            yield _Window(sentence, start, end, self.tokenizer.cut(subwords, start, end))

    def _encode_windows(self, batch: Sequence[_Window], scores: bool) -> dict[str, Any]:
        """Run the encoder on a batch, with ``scores`` for the arc scores too."""
        if scores and "arc_scores" not in self.graphs["encoder"].outputs:
            raise InputError(
                'syntax="tree" needs arc scores, which only the cpu backend returns; use syntax="arcs" or backend="cpu"'
            )
        return self._run_encoder([item.subwords for item in batch], scores)

    def _run_encoder(self, sentences: Sequence[Subwords], extra: bool) -> dict[str, Any]:
        """Return the padded arrays of a batch together with the encoder's outputs."""
        arrays: dict[str, Any] = dict(zip(features.Batch._fields, features.pad_subwords(sentences), strict=False))
        return arrays | self._run_subgraph("encoder", arrays, extra)

    def _run_subgraph(self, name: str, arrays: Mapping[str, Any], extra: bool) -> dict[str, Any]:
        """Return the outputs of a subgraph, with ``extra`` those of ``backend.EXTRA`` too."""
        graph = self.graphs[name]
        return cast(ExtraOutputSubgraph, graph).run(arrays, extra=True) if extra else graph.run(arrays)

    def _decode_windows(
        self,
        batch: Sequence[_Window],
        arrays: dict[str, Any],
        trees: Sequence[DependencyArcs] | None,
        model_arcs: Syntax | None,
    ) -> Iterator[_WindowResult]:
        """Run the other subgraphs on an encoded batch and decode each window.

        ``trees`` are the arcs of all sentences from an external parser; ``model_arcs`` requests those of the in-model
        parser in the results.
        """
        if trees is not None:
            self._set_arcs(arrays, [(trees[item.sentence], item.start, item.end) for item in batch])
        for name in ("fusion", "entities"):
            arrays.update(self.graphs[name].run(arrays))
        lengths = [item.end - item.start for item in batch]
        entities = decode.decode_entities(_require_finite(arrays, "entity_logits"), lengths, self.settings.overlap)
        relations, unpaired = self._find_relations(arrays, entities, lengths)
        parses = self._read_model_arcs(arrays, lengths) if model_arcs else [None] * len(batch)
        return map(_WindowResult, map(decode.DecodedSentence, entities, relations), unpaired, parses)

    def _set_arcs(self, arrays: dict[str, Any], parts: Sequence[tuple[DependencyArcs, int, int]]) -> None:
        """Set the arcs of a batch from a (tree, first word, last word (exclusive)) for each row."""
        label_ids = self.settings.dependencies
        arrays["heads"], arrays["labels"] = features.pad_arcs(
            [features.encode_arcs(tree.heads, tree.labels, label_ids, start, end) for tree, start, end in parts]
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

    def _find_relations(
        self, arrays: dict[str, Any], entities: list[list[decode.EntitySpan]], lengths: list[int]
    ) -> tuple[list[list[decode.RelationSpan]], list[int]]:
        """Score the entity pairs of a batch; return each row's relations and its number of unpaired entities."""
        relations: list[list[decode.RelationSpan]] = [[] for _ in entities]
        kept = pairs.top_scoring_entities(entities, self.max_pairs)
        counts = [len(indices) for indices in kept]
        unpaired = [len(spans) - count for spans, count in zip(entities, counts, strict=True)]
        if max(counts) < 2:
            return relations, unpaired
        # Every entity that is paired: its row, first and last word; and its index within the row.
        flat = [(row, *entities[row][index][:2]) for row, indices in enumerate(kept) for index in indices]
        entity_indices = [index for indices in kept for index in indices]
        spans = np.array(flat, np.int64)
        spans[:, 2] -= 1
        graph, threshold, allowed = self.graphs["relations"], self._logit_threshold, self.settings.allowed
        types = np.zeros(0, np.int64)
        if allowed is not None:
            types = np.array([entities[row][index].label for row, indices in enumerate(kept) for index in indices])
        words, width = arrays["nodes"].shape[1:]
        for block in pairs.iterate_pair_blocks(counts, spans, words, width, self.settings.relations):
            outputs = graph.run({**arrays, **block._asdict()})
            logits = _require_finite(outputs, "relation_logits")
            above = logits > threshold
            if allowed is not None:
                heads, tails = types[block.pairs + block.first].T
                above &= allowed[heads, tails]
            pair_indices, labels = above.nonzero()
            if not len(pair_indices):
                continue
            triggers = np.asarray(outputs["triggers"])
            word_logits = np.asarray(outputs["word_logits"]) if "word_logits" in outputs else None
            ends = (block.pairs[pair_indices] + block.first).tolist()
            scores = decode.sigmoid(logits[pair_indices, labels]).tolist()
            for pair, (head, tail), label, score in zip(
                pair_indices.tolist(), ends, labels.tolist(), scores, strict=True
            ):
                row = flat[head][0]
                weights = triggers[pair, : lengths[row]]
                # The copy keeps a view of the block's whole array from staying in memory.
                weights = weights.copy() if word_logits is None else weights * word_logits[row, : lengths[row], label]
                relations[row].append(
                    decode.RelationSpan(entity_indices[head], entity_indices[tail], label, score, weights)
                )
        return [decode.merge_symmetric_relations(found, self.settings.symmetric) for found in relations], unpaired


def _require_finite(arrays: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """Copy logits to the host and check them.

    Raises:
        BackendError: A logit is NaN or infinite: a half-precision graph has overflowed, which would otherwise look like
            a sentence without entities or relations.
    """
    logits = np.asarray(arrays[name])
    if not (math.isfinite(logits.sum()) or np.isfinite(logits).all()):
        raise BackendError(f"{name} contains NaN/inf (fp16 overflow); re-export as fp32 or bf16")
    return logits


def batch_indices(lengths: Sequence[int], batch_size: int, call: int | None = None) -> Iterator[list[int]]:
    """Group sentences of similar length into batches of at most MAX_BATCH_SUBWORDS padded subwords.

    Args:
        lengths: Number of subwords of each sentence.
        batch_size: Maximum number of sentences in a batch.
        call: Start a new batch where a longer sentence would add more than this many subwords of padding to those
            before it; None never does.

    Yields:
        Indices into ``lengths``, shortest sentences first.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch:
            full = len(batch) == batch_size or (len(batch) + 1) * lengths[index] > MAX_BATCH_SUBWORDS
            if full or (call is not None and (lengths[index] - lengths[batch[-1]]) * len(batch) > call):
                yield batch
                batch = []
        batch.append(index)
    if batch:
        yield batch
