"""The one class most callers need: text in, :class:`Extraction` out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self, get_args

import msgspec

from .backend import open_backend
from .bundle import Bundle, open_pipeline
from .cores import available_cores
from .errors import InputError
from .parser import Parse, Parser, load_parser
from .pipeline import Result, Syntax
from .results import Arc, Entity, Extraction, Relation, Trigger
from .stream import Begun, Document, Lazy, Plan, Sentence, in_order
from .text import Words, check_text, joined, prepare, sentences
from .triggers import best_words, may_trigger

#: Trigger words reported with a relation unless the caller says otherwise.
TRIGGERS = 3


class _Part(NamedTuple):
    """What one sentence adds to an :class:`Extraction`; heads of ``arcs`` count its own words."""

    place: tuple[int, int]
    entities: list[Entity]
    relations: list[Relation]
    notices: list[str]
    arcs: list[Arc]


class Extractor:
    """A loaded bundle. Make one with :func:`load` and share it: calls from several threads give the answers of one.

    Attributes:
        bundle: what is loaded (``bundle.path``, ``bundle.manifest``).
        backend: the name of the engine that runs it, such as "cpu".
        backend_reason: why it is that one.
        parser: the dependency parser in front of it; None where the model parses by itself.
        parser_note: what the model was not trained for, where that is another parser's arcs; else empty.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str = "auto",
        threads: int | None = None,
        parser: Parser | None = None,
        triggers: int = TRIGGERS,
        syntax: Syntax | None = None,
    ) -> None:
        if triggers < 0:
            raise InputError(f"triggers = {triggers}, but a number of words from 0 up is needed")
        if syntax not in (None, *get_args(Syntax)):
            raise InputError(f"syntax = {syntax!r}, but it is None, 'arcs' or 'tree'")
        self.bundle = bundle
        self.triggers = triggers
        self.syntax = syntax
        with ThreadPoolExecutor(1) as loading:
            parsing = loading.submit(_parser, bundle, parser)
            engine = open_backend(backend, threads, bundle)
            self.backend, self.backend_reason = engine.name, engine.reason
            self.pipeline = open_pipeline(bundle, engine)
        self.parser = parsing.result()
        learnt = bundle.manifest.parser
        foreign = parser is not None and (learnt.source == "encoder" or parser.name != learnt.name)
        self.parser_note = f"parsed by {parser.name}, but the model's parser is {learnt}" if parser and foreign else ""
        # Parsers that no worker of a stream uses now; one that the caller gave may be used by several.
        self._own_parser = parser is None
        self._spare = deque([self.parser] if self.parser else [])
        self._beside = ThreadPoolExecutor(1, "trimf-parser")
        self._process = os.getpid()

    def __call__(self, text: str) -> Extraction:
        """Everything found in one text of any length.

        Raises:
            InputError: ``text`` is not a string, or holds a lone surrogate.
        """
        return next(self.stream([text]))

    def stream(self, texts: Iterable[str], batch_size: int = 32, workers: int = 1) -> Iterator[Extraction]:
        """An :class:`Extraction` for each text, in order, lazily and in memory that does not grow with their number.

        ``batch_size`` is how many sentences go through the model at once, fewer where they are long. Those of 16
        batches are sorted by length, so up to 16 times ``batch_size`` sentences are read ahead of what was given out;
        with a ``batch_size`` of 1 nothing is read before it is needed. ``workers`` threads, each with a parser of
        its own, take whole batches, and twice as much is read ahead (with a ``batch_size`` of 1, two batches a worker).
        They use up to ``workers`` times as many cores as one operation does (``threads``, see :func:`load`). Results
        depend on neither number.

        ``texts`` is read in the caller's thread. What it raises is raised here once all before it was given out.

        Raises:
            InputError: a text is not a string or holds a lone surrogate, or a number is not positive.
        """
        if isinstance(texts, str):
            raise InputError(
                f"stream() takes an iterable of texts, but got the string {texts!r:.60}; call the extractor"
            )
        return self._extract((Document(text, sentences(text)) for text in texts), batch_size, workers)

    def words(self, sentences: Iterable[Sequence[str]], batch_size: int = 32, workers: int = 1) -> Iterator[Extraction]:
        """The same for sentences that are lists of words; an extraction's text is its words joined by one space.

        Raises:
            InputError: a sentence is a string, a word is not one or holds a lone surrogate, or a number is not
                positive.
        """
        return self._extract((_joined(sentence) for sentence in sentences), batch_size, workers)

    def close(self) -> None:
        """Free the engine's memory; the extractor cannot be used afterwards."""
        self._beside.shutdown(cancel_futures=True)
        for graph in self.pipeline.graphs.values():
            graph.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extract(self, documents: Iterable[Document], batch_size: int, workers: int) -> Iterator[Extraction]:
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise InputError(f"{name} = {value}, but at least 1 is needed")
        return self._run(documents, batch_size, workers)

    def _run(self, documents: Iterable[Document], batch_size: int, workers: int) -> Iterator[Extraction]:
        with self._work(batch_size, workers) as (begin, depth):
            for text, parts in in_order(documents, begin, Plan.of(batch_size, workers, depth, self.backend == "cpu")):
                yield Extraction(
                    text,
                    tuple(entity for part in parts for entity in part.entities),
                    tuple(relation for part in parts for relation in part.relations),
                    tuple(part.place for part in parts),
                    tuple(notice for part in parts for notice in part.notices),
                    tuple(_arcs(parts)),
                )

    @contextmanager
    def _work(self, batch_size: int, workers: int) -> Iterator[tuple[Callable[[list[Sentence]], Begun[_Part]], int]]:
        """How a stream begins a batch, and how many to begin at a time."""
        if workers == 1:
            # On one core a second thread only costs: some 5 % of a stream's time.
            beside = self.parser is not None and available_cores() > 1
            yield partial(self._begin if beside else self._later, batch_size), 1 + beside
            return
        pool = ThreadPoolExecutor(workers, "trimf-worker")
        try:
            yield lambda batch: pool.submit(self._whole, batch_size, batch), 2 * workers
        finally:
            pool.shutdown(cancel_futures=True)

    def _begin(self, batch_size: int, batch: list[Sentence]) -> Begun[_Part]:
        """Parse a batch in the thread beside; the rest is done in the caller's, when the result is asked for."""
        assert self.parser is not None
        if self._process != os.getpid():  # threads do not live on in a forked process
            self._process, self._beside = os.getpid(), ThreadPoolExecutor(1, "trimf-parser")
        try:
            parsing = self._beside.submit(self.parser.parse, [sentence.words.words for sentence in batch])
        except RuntimeError:  # closed, which the engine will say, or the interpreter is about to end
            return self._later(batch_size, batch)
        return Lazy(partial(self._parts, batch, parsing.result, batch_size))

    def _later(self, batch_size: int, batch: list[Sentence]) -> Begun[_Part]:
        """Everything in the caller's thread."""
        parses = partial(self.parser.parse, [sentence.words.words for sentence in batch]) if self.parser else None
        return Lazy(partial(self._parts, batch, parses, batch_size))

    def _whole(self, batch_size: int, batch: list[Sentence]) -> list[_Part]:
        """What a worker does with a batch."""
        if self.parser is None:
            return self._parts(batch, None, batch_size)
        parser = self._borrow(self.parser)
        try:
            parses = parser.parse([sentence.words.words for sentence in batch])
        finally:
            self._spare.append(parser)
        return self._parts(batch, lambda: parses, batch_size)

    def _borrow(self, parser: Parser) -> Parser:
        """A parser nobody else uses now, or the caller's own ``parser``, which several may."""
        if not self._own_parser:
            return parser
        try:
            return self._spare.pop()
        except IndexError:
            return load_parser(self.bundle.manifest.parser.name)

    def _parts(
        self, batch: list[Sentence], parses: Callable[[], Sequence[Parse]] | None, batch_size: int
    ) -> list[_Part]:
        words = [sentence.words.words for sentence in batch]
        results = self.pipeline.run_words(words, parses, batch_size, trees=self.syntax)
        return list(map(self._part, batch, results))

    def _part(self, sentence: Sentence, result: Result) -> _Part:
        (words, starts, ends), labels = sentence.words, self.bundle.manifest.labels
        entities = []
        for first, stop, label, score in result.found.entities:
            start, end = starts[first], ends[stop - 1]
            entities.append(Entity(start, end, sentence.text[start:end], labels.entities[label], score))
        relations = []
        if result.found.relations:
            shown = may_trigger(words, result.found.entities)
            for relation in result.found.relations:
                triggers = tuple(
                    Trigger(starts[at], ends[at], words[at], weight)
                    for at, weight in best_words(relation, shown, self.triggers)
                )
                head, tail, name = entities[relation.head], entities[relation.tail], labels.relations[relation.label]
                relations.append(Relation(head, name, tail, relation.score, triggers))
        arcs = []
        if result.tree is not None:
            tree = zip(starts, ends, words, map(int, result.tree.heads), result.tree.labels, strict=True)
            arcs = [Arc(*arc) for arc in tree]
        return _Part((starts[0], ends[-1]), entities, relations, list(_notices(sentence.words, result)), arcs)


def load(
    path: str | Path = "default",
    *,
    backend: str = "auto",
    threads: int | None = None,
    parser: Parser | None = None,
    triggers: int = TRIGGERS,
    syntax: Syntax | None = None,
) -> Extractor:
    """Load a bundle: ``default`` is the one inside the package, anything else a folder written by ``trimf export``.

    ``threads`` bounds the cores one operation of the engine may use (default: all there are); with several ``workers``
    (:meth:`Extractor.stream`) let ``threads`` times ``workers`` be the cores. Some bundles parse by themselves; others
    name a spaCy pipeline, which uses a core of its own while the engine runs, where there is more than one. ``parser``
    replaces either (see :func:`load_parser`) and is shared by all workers; ``parser_note`` says where the model learnt
    from another. ``triggers`` is how many trigger words a relation reports at most. With
    ``syntax="arcs"`` extractions hold the dependency arcs that were used, which need not be a tree where the model
    parses by itself; with ``"tree"`` the best tree with a single root instead (on the CPU).

    Raises:
        BundleError: the folder is no complete bundle.
        BackendError: the engine or the parser is not installed or cannot run it.
        InputError: a number is out of range.
    """
    return Extractor(Bundle(path), backend=backend, threads=threads, parser=parser, triggers=triggers, syntax=syntax)


def _joined(sentence: Sequence[str]) -> Document:
    words = list(sentence) if isinstance(sentence, Iterable) and not isinstance(sentence, str) else None
    if words is None or not all(isinstance(word, str) for word in words):
        raise InputError(f"words() takes lists of words, but one sentence is {sentence!r:.80}")
    text, placed = joined(words)
    check_text(text)
    return Document(text, [placed] if words else [])


def _parser(bundle: Bundle, given: Parser | None) -> Parser | None:
    """The caller's parser, or else the one that a bundle needs in front; and the word rules, which need spaCy too."""
    if given is not None:
        return given
    note = bundle.manifest.parser
    parser = load_parser(note.name) if note.source == "spacy" else None
    prepare()
    return parser


def _arcs(parts: Sequence[_Part]) -> Iterator[Arc]:
    """The arcs of a text from those of its sentences: heads count the words of all."""
    first = 0
    for part in parts:
        for arc in part.arcs:
            yield msgspec.structs.replace(arc, head=arc.head + first)
        first += len(part.arcs)


def _notices(sentence: Words, result: Result) -> Iterator[str]:
    place = f"characters {sentence.starts[0]}-{sentence.ends[-1]}"
    if result.unknown:
        first = result.unknown[0]
        yield (
            f"{len(result.unknown)} of the words at {place} were read as the unknown token, having no subword or too "
            f"many; the first is {sentence.words[first]!r:.40} at {sentence.starts[first]}"
        )
    if result.windows > 1:
        yield (
            f"the sentence at {place} was read in {result.windows} overlapping windows; relations between entities "
            "that share no window are not found"
        )
    if result.unpaired:
        yield (
            f"the sentence at {place} has so many entities that relations were sought only between the surest; "
            f"{result.unpaired} were left out"
        )
