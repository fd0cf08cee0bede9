"""Extract entities and relations from text: the ``Extractor`` and ``load``."""

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

from .batch_scheduler import DeferredBatch, Document, PendingBatch, SchedulePlan, SentenceInText, process_in_order
from .bundle.reader import Bundle, open_pipeline
from .decoding.triggers import top_trigger_words, trigger_candidate_mask
from .engine.contract import open_backend
from .engine.cpu_info import count_available_cores
from .errors import InputError
from .pipeline import SentenceResult, Syntax
from .results import Arc, Entity, Extraction, Relation, Trigger
from .text.parser import Parse, Parser, load_parser
from .text.tokenization import TokenizedSentence, check_text, iterate_sentences, join_words, load_tokenizer_rules

#: Default maximum number of trigger words reported with a relation.
DEFAULT_TRIGGERS = 3


class _SentenceExtraction(NamedTuple):
    """Contribution of one sentence to an ``Extraction``; heads of ``arcs`` are indices into its own words."""

    span: tuple[int, int]
    entities: list[Entity]
    relations: list[Relation]
    notices: list[str]
    arcs: list[Arc]


class Extractor:
    """A loaded bundle that extracts entities and relations. Create it with ``load``.

    An extractor may be shared by several threads; results are the same as with one.

    Attributes:
        bundle: The loaded bundle (``bundle.path``, ``bundle.manifest``).
        backend: Name of the backend that runs the model, such as "cpu".
        backend_reason: Why that backend was selected.
        parser: The dependency parser that runs before the model; None if the in-model parser is used.
        parser_note: A warning if ``parser`` is not the parser that the model was trained with; else empty.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str = "auto",
        threads: int | None = None,
        parser: Parser | None = None,
        triggers: int = DEFAULT_TRIGGERS,
        syntax: Syntax | None = None,
    ) -> None:
        """Load the model and the parser of a bundle; see ``load`` for the arguments and errors."""
        if triggers < 0:
            raise InputError(f"triggers must be >= 0, got {triggers}")
        if syntax not in (None, *get_args(Syntax)):
            raise InputError(f"unknown syntax {syntax!r}; choose from None, 'arcs', 'tree'")
        self.bundle = bundle
        self.triggers = triggers
        self.syntax = syntax
        with ThreadPoolExecutor(1) as loading:
            parsing = loading.submit(_open_parser, bundle, parser)
            opened = open_backend(backend, threads, bundle)
            self.backend, self.backend_reason = opened.name, opened.reason
            self.pipeline = open_pipeline(bundle, opened)
        self.parser = parsing.result()
        trained = bundle.manifest.parser
        mismatch = parser is not None and (trained.source == "encoder" or parser.name != trained.name)
        self.parser_note = (
            f"parser mismatch: parsed by {parser.name}, expected {trained}" if parser and mismatch else ""
        )
        # Parsers that no worker of a stream uses at the moment. A parser that the caller passed is shared by all.
        self._owns_parser = parser is None
        self._idle_parsers = deque([self.parser] if self.parser else [])
        self._parser_thread = ThreadPoolExecutor(1, "trimf-parser")
        self._process_id = os.getpid()

    def __call__(self, text: str) -> Extraction:
        """Extract the entities and relations of one text.

        Args:
            text: Text of any length.

        Returns:
            The extraction; empty if the text is empty or blank.

        Raises:
            InputError: ``text`` is not a string, or contains a lone surrogate.
        """
        return next(self.stream([text]))

    def stream(self, texts: Iterable[str], batch_size: int = 32, workers: int = 1) -> Iterator[Extraction]:
        """Extract from many texts lazily, in memory that does not grow with their number.

        Sentences are sorted by length in windows of 16 batches, so up to ``16 * batch_size`` sentences are read ahead
        of the results; with a ``batch_size`` of 1 nothing is read before it is needed. With several workers twice as
        much is read ahead (with a ``batch_size`` of 1, two batches per worker). Results depend on neither number.

        Args:
            texts: Texts, read in the caller's thread. An exception that the iterable raises is raised here after the
                results of all texts before it.
            batch_size: Maximum number of sentences that go through the model at once; batches of long sentences are
                smaller.
            workers: Number of threads that process whole batches, each with its own parser. Together they use up to
                ``workers * threads`` cores (see ``load``).

        Returns:
            An iterator over one ``Extraction`` per text, in the order of ``texts``.

        Raises:
            InputError: A text is not a string or contains a lone surrogate, or a number is not positive.
        """
        if isinstance(texts, str):
            raise InputError(
                f"stream() takes an iterable of texts, got the string {texts!r:.60}; call the extractor on it instead"
            )
        return self._stream_documents((Document(text, iterate_sentences(text)) for text in texts), batch_size, workers)

    def words(self, sentences: Iterable[Sequence[str]], batch_size: int = 32, workers: int = 1) -> Iterator[Extraction]:
        """Extract from sentences that are already split into words; otherwise like ``stream``.

        Args:
            sentences: Sentences, each a list of words.
            batch_size: Maximum number of sentences that go through the model at once.
            workers: Number of threads that process whole batches.

        Returns:
            An iterator over one ``Extraction`` per sentence; its text is the words joined by one space.

        Raises:
            InputError: A sentence is a string, a word is not a string or contains a lone surrogate, or a number is not
                positive.
        """
        return self._stream_documents((_document_from_words(sentence) for sentence in sentences), batch_size, workers)

    def close(self) -> None:
        """Free the memory of the backend; the extractor cannot be used afterwards."""
        self._parser_thread.shutdown(cancel_futures=True)
        for graph in self.pipeline.graphs.values():
            graph.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stream_documents(self, documents: Iterable[Document], batch_size: int, workers: int) -> Iterator[Extraction]:
        """Check the numbers at once, and not when the first result is requested, as a generator would."""
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise InputError(f"{name} must be >= 1, got {value}")
        return self._iterate_extractions(documents, batch_size, workers)

    def _iterate_extractions(
        self, documents: Iterable[Document], batch_size: int, workers: int
    ) -> Iterator[Extraction]:
        with self._batch_runner(batch_size, workers) as (begin, depth):
            for text, parts in process_in_order(
                documents, begin, SchedulePlan.of(batch_size, workers, depth, self.backend == "cpu")
            ):
                yield Extraction(
                    text,
                    tuple(entity for part in parts for entity in part.entities),
                    tuple(relation for part in parts for relation in part.relations),
                    tuple(part.span for part in parts),
                    tuple(notice for part in parts for notice in part.notices),
                    tuple(_merge_arcs(parts)),
                )

    @contextmanager
    def _batch_runner(
        self, batch_size: int, workers: int
    ) -> Iterator[tuple[Callable[[list[SentenceInText]], PendingBatch[_SentenceExtraction]], int]]:
        """Yield the function that starts a batch, and how many batches to start at a time."""
        if workers == 1:
            # On a single core a second thread only costs time, about 5 % of a stream's.
            background = self.parser is not None and count_available_cores() > 1
            start = self._parse_in_background if background else self._defer_batch
            yield partial(start, batch_size), 1 + background
            return
        pool = ThreadPoolExecutor(workers, "trimf-worker")
        try:
            yield lambda batch: pool.submit(self._run_in_worker, batch_size, batch), 2 * workers
        finally:
            pool.shutdown(cancel_futures=True)

    def _parse_in_background(self, batch_size: int, batch: list[SentenceInText]) -> PendingBatch[_SentenceExtraction]:
        """Start parsing in the background thread; run the model in the caller's thread when the result is requested."""
        assert self.parser is not None
        if self._process_id != os.getpid():  # threads do not survive a fork
            self._process_id, self._parser_thread = os.getpid(), ThreadPoolExecutor(1, "trimf-parser")
        try:
            parsing = self._parser_thread.submit(self.parser.parse, [sentence.words.words for sentence in batch])
        except RuntimeError:  # the extractor is closed, which the backend will report, or the interpreter is exiting
            return self._defer_batch(batch_size, batch)
        return DeferredBatch(partial(self._extract_batch, batch, parsing.result, batch_size))

    def _defer_batch(self, batch_size: int, batch: list[SentenceInText]) -> PendingBatch[_SentenceExtraction]:
        """Parse and run the model in the caller's thread when the result is requested."""
        parses = partial(self.parser.parse, [sentence.words.words for sentence in batch]) if self.parser else None
        return DeferredBatch(partial(self._extract_batch, batch, parses, batch_size))

    def _run_in_worker(self, batch_size: int, batch: list[SentenceInText]) -> list[_SentenceExtraction]:
        """Parse and extract one batch in a worker thread."""
        if self.parser is None:
            return self._extract_batch(batch, None, batch_size)
        parser = self._acquire_parser(self.parser)
        try:
            parses = parser.parse([sentence.words.words for sentence in batch])
        finally:
            if self._owns_parser:
                self._idle_parsers.append(parser)
        return self._extract_batch(batch, lambda: parses, batch_size)

    def _acquire_parser(self, parser: Parser) -> Parser:
        """Return a parser that no other worker uses, or the caller's own ``parser``, which workers share."""
        if not self._owns_parser:
            return parser
        try:
            return self._idle_parsers.pop()
        except IndexError:
            return load_parser(self.bundle.manifest.parser.name)

    def _extract_batch(
        self, batch: list[SentenceInText], parses: Callable[[], Sequence[Parse]] | None, batch_size: int
    ) -> list[_SentenceExtraction]:
        words = [sentence.words.words for sentence in batch]
        results = self.pipeline.run_words(words, parses, batch_size, trees=self.syntax)
        return list(map(self._assemble_sentence, batch, results))

    def _assemble_sentence(self, sentence: SentenceInText, result: SentenceResult) -> _SentenceExtraction:
        """Convert word indices to character offsets and label indices to names."""
        (words, starts, ends), labels = sentence.words, self.bundle.manifest.labels
        entities = []
        for first, stop, label, score in result.found.entities:
            start, end = starts[first], ends[stop - 1]
            entities.append(Entity(start, end, sentence.text[start:end], labels.entities[label], score))
        relations = []
        if result.found.relations:
            candidates = trigger_candidate_mask(words, result.found.entities)
            for relation in result.found.relations:
                triggers = tuple(
                    Trigger(starts[index], ends[index], words[index], weight)
                    for index, weight in top_trigger_words(relation, candidates, self.triggers)
                )
                head, tail, name = entities[relation.head], entities[relation.tail], labels.relations[relation.label]
                relations.append(Relation(head, name, tail, relation.score, triggers))
        arcs = []
        if result.tree is not None:
            tree = zip(starts, ends, words, map(int, result.tree.heads), result.tree.labels, strict=True)
            arcs = [Arc(*arc) for arc in tree]
        notices = list(_build_notices(sentence.words, result))
        return _SentenceExtraction((starts[0], ends[-1]), entities, relations, notices, arcs)


def load(
    path: str | Path = "default",
    *,
    backend: str = "auto",
    threads: int | None = None,
    parser: Parser | None = None,
    triggers: int = DEFAULT_TRIGGERS,
    syntax: Syntax | None = None,
) -> Extractor:
    """Load a bundle.

    Args:
        path: ``"default"`` for the bundle inside the package, or a folder written by ``trimf export``.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"tensorrt"``, ``"tensorrt-ep"`` or ``"tensorrt-rtx-ep"``. With
            ``"auto"`` the best one that can run the bundle here is selected.
        threads: Maximum number of cores that one operation of the backend uses; the default is all. With several
            ``workers`` (``Extractor.stream``) choose ``threads * workers`` to be the number of cores.
        parser: Dependency parser to use instead of the bundle's own (see ``trimf.runtime.text.parser.load_parser``);
            all workers share it. By default the in-model parser is used, or the spaCy parser that the manifest names.
            A spaCy parser runs on another core while the model runs, if there is more than one. A warning about a
            parser that the model was not trained with is in ``Extractor.parser_note``.
        triggers: Maximum number of trigger words reported with a relation.
        syntax: ``"arcs"`` adds the dependency arcs used by the model to the extractions; those of an in-model parser
            need not form a tree. ``"tree"`` adds the best tree with a single root instead; with an in-model parser
            this works on the cpu backend only.

    Returns:
        The extractor; close it, or use it as a context manager, to free its memory.

    Raises:
        BundleError: The folder is not a complete bundle.
        BackendError: The backend or the parser is not installed or cannot run the bundle.
        InputError: An argument is out of range.
    """
    return Extractor(Bundle(path), backend=backend, threads=threads, parser=parser, triggers=triggers, syntax=syntax)


def _document_from_words(sentence: Sequence[str]) -> Document:
    """Build a document of one sentence whose text is its words joined by one space."""
    words = list(sentence) if isinstance(sentence, Iterable) and not isinstance(sentence, str) else None
    if words is None or not all(isinstance(word, str) for word in words):
        raise InputError(f"words() takes sentences as lists of words, got {sentence!r:.80}; pass raw text to stream()")
    text, located = join_words(words)
    check_text(text)
    return Document(text, [located] if words else [])


def _open_parser(bundle: Bundle, requested: Parser | None) -> Parser | None:
    """Return the requested parser, or else load the one that the bundle needs, with spaCy's tokenization rules."""
    if requested is not None:
        return requested
    note = bundle.manifest.parser
    parser = load_parser(note.name) if note.source == "spacy" else None
    load_tokenizer_rules()
    return parser


def _merge_arcs(parts: Sequence[_SentenceExtraction]) -> Iterator[Arc]:
    """Yield the arcs of all sentences with heads shifted to indices into the words of the text."""
    offset = 0
    for part in parts:
        for arc in part.arcs:
            yield msgspec.structs.replace(arc, head=arc.head + offset)
        offset += len(part.arcs)


def _build_notices(sentence: TokenizedSentence, result: SentenceResult) -> Iterator[str]:
    """Yield a message for each limitation that affected the sentence."""
    where = f"characters {sentence.starts[0]}-{sentence.ends[-1]}"
    if result.unknown:
        first, count = result.unknown[0], len(result.unknown)
        yield (
            f"{count} word{'s' * (count > 1)} at {where} became the unknown token (no subwords, or too many); first: "
            f"{sentence.words[first]!r:.40} at character {sentence.starts[first]}"
        )
    if result.windows > 1:
        yield (
            f"the sentence at {where} was split into {result.windows} overlapping windows; relations between entities "
            "that share no window are not found"
        )
    if result.unpaired:
        yield (
            f"the sentence at {where} has too many entities to score every pair; relations were scored only between "
            f"the most confident entities, {result.unpaired} left out"
        )
