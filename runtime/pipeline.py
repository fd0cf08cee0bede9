"""Sentences of words, with their arcs, to entities and relations in words: everything between text and engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from . import decode, features, pairs
from .backend import Subgraph
from .errors import BackendError, InputError
from .features import BoolArray
from .labels import Labels
from .parser import CONTINUED, ROOT, Parse
from .subwords import MAX_PIECES, IntArray, Subwords, SubwordTokenizer
from .trees import joined, single_root
from .windows import join, merge, windows

#: Most padded subwords of one call of the encoder.
MAX_BATCH_SUBWORDS = 4096

#: Subwords of padding that cost a CPU about as much as another call of the subgraphs; and where eight-bit products have
#: instructions of their own, so that a subword costs little.
CPU_CALL = 8
CPU_CALL_INT8 = 24

#: Most ordered pairs of entities that are scored in a sentence, or a window of it, unless the caller says otherwise.
SENTENCE_PAIRS = 100_000


class Settings(NamedTuple):
    """What decoding needs to know of a model: label numbers, thresholds and the limits of one window.

    ``allowed`` ``[n_e,n_e,n_r]`` says which relation types are found between a head and a tail of which types; None is
    all.
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
        """Settings with the numbers that ``labels`` give its names."""
        symmetric = frozenset(labels.relation_numbers[name] for name in labels.symmetric)
        allowed = None
        if labels.signatures:
            allowed = np.zeros((len(labels.entities), len(labels.entities), len(labels.relations)), np.bool_)
            types, columns = labels.entity_numbers, labels.relation_numbers
            for head, name, tail in labels.signatures:
                ends, label = (types[head] - 1, types[tail] - 1), columns[name]
                for one, other in (ends, ends[::-1]) if label in symmetric else (ends,):
                    allowed[one, other, label] = True
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


#: What is asked for of the parse: the arcs that were used, or a tree.
Syntax = Literal["arcs", "tree"]


class ScoringSubgraph(Protocol):
    """A subgraph that gives :data:`~.backend.EXTRA` outputs, too."""

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        """As a :class:`~.backend.Subgraph`, with ``extra`` those as well."""


class Tree(Protocol):
    """The head of each of N words (a root is its own) and the label of the arc from it."""

    @property
    def heads(self) -> Sequence[int] | IntArray:
        """``[N]``."""

    @property
    def labels(self) -> Sequence[str]:
        """``[N]``."""


class ParsedSentence(NamedTuple):
    """N words with the head and the arc label of each (a root is its own head)."""

    words: Sequence[str]
    heads: Sequence[int] | IntArray
    labels: Sequence[str]


class Result(NamedTuple):
    """Found entities and relations, the words the tokenizer could not read, and how many windows it took.

    ``unpaired`` counts the entities that were left out when relations were sought, because the sentence had too many.
    ``tree`` holds the arcs of the sentence, where they were asked for.
    """

    found: decode.Found
    unknown: tuple[int, ...]
    windows: int
    unpaired: int = 0
    tree: Tree | None = None


class _Part(NamedTuple):
    """The same of a window."""

    found: decode.Found
    unpaired: int
    tree: Parse | None


class _Window(NamedTuple):
    """Words ``start`` to ``end`` of a sentence, as the encoder reads them."""

    sentence: int
    start: int
    end: int
    subwords: Subwords


class Pipeline:
    """Runs sentences through the subgraphs. Stateless, so as many threads may share it as the engine allows.

    At most ``max_pairs`` ordered pairs are scored in a sentence (:data:`SENTENCE_PAIRS`). ``call`` is what a call costs
    in subwords of padding: a batch is split where it saves more; None never splits one.
    """

    def __init__(
        self,
        graphs: Mapping[str, Subgraph],
        tokenizer: SubwordTokenizer,
        settings: Settings,
        max_pairs: int = SENTENCE_PAIRS,
        call: int | None = None,
    ) -> None:
        self.graphs, self.tokenizer, self.settings, self.max_pairs = graphs, tokenizer, settings, max_pairs
        self.call = call
        #: Whether the encoder gives arcs, so that no parser is needed.
        self.parses = "heads" in graphs["encoder"].outputs
        self._names = [ROOT, *settings.dependencies]
        self._limit = decode.logit(settings.relation_threshold)

    @property
    def _room(self) -> int:
        """Subwords of words that one window holds."""
        return self.settings.max_subwords - self.tokenizer.specials

    def read(
        self, sentences: Sequence[Subwords], trees: Sequence[Tree] | None = None, *, explaining: bool = False
    ) -> dict[str, Any]:
        """The arrays of one padded batch up to its nodes, without decoding: what the first two subgraphs take and give.

        Every sentence must fit one window. ``trees`` are needed where the model does not parse by itself;
        ``explaining`` asks for the outputs of :data:`~.backend.EXPLAINING` too.
        """
        arrays = self._embed(sentences, explaining)
        if trees is not None:
            self._place(arrays, [(tree, 0, len(tree.heads)) for tree in trees])
        return arrays | self._run("fusion", arrays, explaining)

    def run(
        self, sentences: Sequence[ParsedSentence], batch_size: int = 32, *, trees: Syntax | None = None
    ) -> list[Result]:
        """Results in the order of ``sentences``, as :meth:`run_words` gives them.

        Where the model parses by itself, the given arcs are not used.
        """
        given = None if self.parses else lambda: sentences
        return self.run_words([sentence.words for sentence in sentences], given, batch_size, trees=trees)

    def run_words(
        self,
        sentences: Sequence[Sequence[str]],
        parses: Callable[[], Sequence[Tree]] | None = None,
        batch_size: int = 32,
        *,
        trees: Syntax | None = None,
    ) -> list[Result]:
        """Results in the order of ``sentences``; a sentence's result does not depend on the others.

        Sentences are sorted by length and cut into batches of at most ``batch_size`` windows. ``parses`` is called
        once, after the encoder has read the first of them, so that a parser may work meanwhile; it may be left out
        where the model parses by itself (:attr:`parses`). ``trees`` asks for the arcs that were used, or, where they
        are the model's own, for the best tree with one root (:mod:`.trees`).

        Raises:
            InputError: ``batch_size`` is not positive, there are no arcs, or trees are asked of an engine that gives
                none.
            BackendError: the engine fails, or gives logits that are not finite.
        """
        if batch_size < 1:
            raise InputError(f"batch_size = {batch_size}, but at least 1 is needed")
        if parses is None and not self.parses:
            raise InputError("this model does not parse by itself, and no arcs were given")
        encoded = self.tokenizer.encode(sentences, min(MAX_PIECES, self._room))
        items = [item for number, subwords in enumerate(encoded) for item in self._windows(number, subwords)]
        found = [_Part(decode.Found([], []), 0, None)] * len(items)
        given: Sequence[Tree] | None = None
        for chosen in batches([len(item.subwords.ids) for item in items], batch_size, self.call):
            batch = [items[place] for place in chosen]
            arrays = self._encode(batch, trees == "tree" and parses is None)
            if parses is not None and given is None:
                given = parses()
            own = trees if given is None else None
            for place, result in zip(chosen, self._decode(batch, arrays, given, own), strict=True):
                found[place] = result
        results = [Result(decode.Found([], []), subwords.unknown, 0) for subwords in encoded]
        for number, group in groupby(range(len(items)), key=lambda place: items[place].sentence):
            places = list(group)
            ranges = [(items[place].start, items[place].end) for place in places]
            whole = merge(ranges, [found[place].found for place in places], self.settings.overlap)
            unpaired = sum(found[place].unpaired for place in places)
            tree: Tree | None = None
            if trees:
                tree = given[number] if given is not None else join([found[place].tree for place in places], ranges)
            if trees == "tree" and len(places) > 1 and given is None and tree is not None:
                tree = Parse(*joined(np.asarray(tree.heads), tree.labels, ROOT, CONTINUED))
            results[number] = Result(whole, encoded[number].unknown, len(places), unpaired, tree)
        return results

    def _windows(self, number: int, subwords: Subwords) -> Iterator[_Window]:
        count = len(subwords.first)
        if not count:
            return
        if count <= self.settings.max_words and len(subwords.ids) <= self.settings.max_subwords:
            yield _Window(number, 0, count, subwords)
            return
        for start, end in windows(subwords.last - subwords.first + 1, self._room, self.settings.max_words):
            yield _Window(number, start, end, self.tokenizer.cut(subwords, start, end))

    def _encode(self, batch: Sequence[_Window], scores: bool) -> dict[str, Any]:
        if scores and "arc_scores" not in self.graphs["encoder"].outputs:
            raise InputError(
                "trees need the scores of arcs, which the backend cpu alone gives; ask for arcs, or take it"
            )
        return self._embed([item.subwords for item in batch], scores)

    def _embed(self, sentences: Sequence[Subwords], extra: bool) -> dict[str, Any]:
        """The padded arrays of a batch, and what the encoder makes of them."""
        arrays: dict[str, Any] = dict(zip(features.Batch._fields, features.pad_subwords(sentences), strict=False))
        return arrays | self._run("encoder", arrays, extra)

    def _run(self, name: str, arrays: Mapping[str, Any], extra: bool) -> dict[str, Any]:
        """A subgraph's outputs, with ``extra`` those of :data:`~.backend.EXTRA` too."""
        graph = self.graphs[name]
        return cast(ScoringSubgraph, graph).run(arrays, extra=True) if extra else graph.run(arrays)

    def _decode(
        self, batch: Sequence[_Window], arrays: dict[str, Any], trees: Sequence[Tree] | None, own: Syntax | None
    ) -> Iterator[_Part]:
        if trees is not None:
            self._place(arrays, [(trees[item.sentence], item.start, item.end) for item in batch])
        for name in ("fusion", "entities"):
            arrays.update(self.graphs[name].run(arrays))
        lengths = [item.end - item.start for item in batch]
        entities = decode.entity_spans(_finite(arrays, "entity_logits"), lengths, self.settings.overlap)
        relations, unpaired = self._relations(arrays, entities, lengths)
        parses = self._trees(arrays, lengths) if own else [None] * len(batch)
        return map(_Part, map(decode.Found, entities, relations), unpaired, parses)

    def _place(self, arrays: dict[str, Any], parts: Sequence[tuple[Tree, int, int]]) -> None:
        """Set the arcs of a batch: of each tree those of the words from a first to a last (exclusive)."""
        known = self.settings.dependencies
        arrays["heads"], arrays["labels"] = features.pad_arcs(
            [features.arcs(tree.heads, tree.labels, known, start, end) for tree, start, end in parts]
        )

    def _trees(self, arrays: Mapping[str, Any], lengths: Sequence[int]) -> list[Parse | None]:
        """The encoder's own arcs with names for labels, or trees, where it gave scores.

        A word whose head in the tree is not its best keeps the label of the arc from that.
        """
        heads, labels = np.asarray(arrays["heads"]), np.asarray(arrays["labels"])
        found: list[Parse | None] = []
        for row, length in enumerate(lengths):
            best = heads[row, :length].astype(np.int64)
            names = [self._names[number] for number in labels[row, :length].tolist()]
            if "arc_scores" in arrays:
                best = single_root(arrays["arc_scores"][row, :length, :length])
                own = best == np.arange(length)
                for place in np.flatnonzero(own != (labels[row, :length] == 0)).tolist():
                    names[place] = ROOT if own[place] else CONTINUED
            found.append(Parse(best, names))
        return found

    def _relations(
        self, arrays: dict[str, Any], entities: list[list[decode.EntitySpan]], lengths: list[int]
    ) -> tuple[list[list[decode.RelationSpan]], list[int]]:
        found: list[list[decode.RelationSpan]] = [[] for _ in entities]
        kept = pairs.surest(entities, self.max_pairs)
        counts = [len(numbers) for numbers in kept]
        unpaired = [len(spans) - count for spans, count in zip(entities, counts, strict=True)]
        if max(counts) < 2:
            return found, unpaired
        # Every entity with pairs: its sentence, first and last word; and its number in the sentence.
        flat = [(row, *entities[row][number][:2]) for row, numbers in enumerate(kept) for number in numbers]
        numbers = [number for numbers in kept for number in numbers]
        spans = np.array(flat, np.int64)
        spans[:, 2] -= 1
        graph, limit, allowed = self.graphs["relations"], self._limit, self.settings.allowed
        kinds = np.zeros(0, np.int64)
        if allowed is not None:
            kinds = np.array([entities[row][number].label for row, chosen in enumerate(kept) for number in chosen])
        words, width = arrays["nodes"].shape[1:]
        for block in pairs.blocks(counts, spans, words, width, self.settings.relations):
            outputs = graph.run({**arrays, **block._asdict()})
            logits = _finite(outputs, "relation_logits")
            found_here = logits > limit
            if allowed is not None:
                heads, tails = kinds[block.pairs + block.first].T
                found_here &= allowed[heads, tails]
            places, labels = found_here.nonzero()
            if not len(places):
                continue
            triggers = np.asarray(outputs["triggers"])
            added = np.asarray(outputs["word_logits"]) if "word_logits" in outputs else None
            ends = (block.pairs[places] + block.first).tolist()
            scores = decode.sigmoid(logits[places, labels]).tolist()
            for place, (head, tail), label, score in zip(places.tolist(), ends, labels.tolist(), scores, strict=True):
                row = flat[head][0]
                weights = triggers[place, : lengths[row]]
                weights = weights.copy() if added is None else weights * added[row, : lengths[row], label]
                found[row].append(decode.RelationSpan(numbers[head], numbers[tail], label, score, weights))
        return [decode.fold_symmetric(relations, self.settings.symmetric) for relations in found], unpaired


def _finite(arrays: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """Logits on the host.

    Raises:
        BackendError: one is NaN or infinite: a half-precision graph has overflowed, which would read as nothing found.
    """
    logits = np.asarray(arrays[name])
    if not (math.isfinite(logits.sum()) or np.isfinite(logits).all()):
        raise BackendError(f"{name} holds a number that is not finite; export the model as fp32 or bf16")
    return logits


def batches(lengths: Sequence[int], batch_size: int, call: int | None = None) -> Iterator[list[int]]:
    """Indices in groups of like length, each of at most ``batch_size`` rows and MAX_BATCH_SUBWORDS padded subwords.

    A longer row begins a group of its own where it would pad those before it by more than ``call`` subwords.
    """
    chosen: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chosen:
            full = len(chosen) == batch_size or (len(chosen) + 1) * lengths[place] > MAX_BATCH_SUBWORDS
            if full or (call is not None and (lengths[place] - lengths[chosen[-1]]) * len(chosen) > call):
                yield chosen
                chosen = []
        chosen.append(place)
    if chosen:
        yield chosen
