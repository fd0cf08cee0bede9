"""Extract entities and relations from text: the ``Extractor`` and ``load``."""

from __future__ import annotations

import copy
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args, overload

from .assembly import SentenceExtraction, assemble_sentence, join_sentences
from .batch_scheduler import BatchScheduler
from .bundle.reader import DEFAULT_BUNDLE, Bundle
from .decoding.span_decoding import DecodedSentence
from .document_reader import Document, GivenEntities, SentenceInText
from .engine.backend import divide_threads, resolve_thread_count
from .engine.backend_selection import open_backend
from .engine.cpu_info import count_available_cores
from .errors import BackendError, InputError, check_integer, describe_value
from .load_options import (
    DEFAULT_TRIGGERS,
    EXACT_TRIGGERS,
    LoadOptions,
    Triggers,
    check_triggers,
    has_other_pickler,
)
from .model_settings import Threshold
from .pipeline import Syntax
from .pipeline_loading import describe_parser_mismatch, open_parser, open_pipeline, set_thresholds
from .relating.entity_types import EntityTypes
from .relating.given_assembly import join_given_sentences
from .relating.given_document import GivenReading, Misaligned
from .results import Extraction
from .streaming.text_stream import ExtractionStream, OnError, TextSource, check_iterable, check_parallelism
from .text.line_ends import Newlines
from .text.parser import Parse, Parser, load_parser
from .text.tokenization import Sentences, SplittingRules, check_rules
from .triggers.exact_triggers import measure_triggers
from .triggers.trigger_scores import (
    DEFAULT_TRIGGER_FLOOR,
    SentenceTriggers,
    TriggerSettings,
    sense_triggers,
)
from .warm_up import warm_up_pipeline

if TYPE_CHECKING:
    from .streaming.worker_process import StreamMethod

Context = TypeVar("Context")


class Extractor:
    """A loaded bundle that extracts entities and relations. Create it with ``load``.

    An extractor may be shared by several threads; results are the same as with one. It may be pickled and copied, and
    so be sent to other processes: the copy is loaded anew from the same path and options, so the path must exist
    there. A parser of your own is pickled with it.

    Attributes:
        bundle: The loaded bundle (``bundle.path``, ``bundle.manifest``).
        backend: Name of the backend that runs the model, such as "cpu".
        backend_reason: Why that backend was selected.
        triggers: Maximum number of trigger words of a relation, or "exact".
        parser: The dependency parser that runs before the model; None if the in-model parser is used.
        splitting: How texts are split into sentences and words.
        parser_note: A warning if ``parser`` is not the parser that the model was trained with; else empty.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str = "auto",
        threads: int | None = None,
        parser: Parser | str | None = None,
        triggers: Triggers = DEFAULT_TRIGGERS,
        syntax: Syntax | None = None,
        sentences: Sentences = "auto",
        newlines: Newlines = "auto",
        threshold: Threshold | None = None,
        entity_threshold: Threshold | None = None,
        candidates: bool = False,
        warm: bool = False,
    ) -> None:
        """Load the model and the parser of a bundle; see ``load`` for the arguments and errors."""
        triggers = check_triggers(triggers)
        threads = None if threads is None else check_integer("threads", threads, 1)
        if not isinstance(backend, str):
            raise InputError(f"backend must be a name, such as 'auto', got {describe_value(backend)}")
        if syntax not in (None, *get_args(Syntax)):
            raise InputError(f"unknown syntax {syntax!r}; choose from None, 'arcs', 'tree'")
        self.splitting = SplittingRules(bundle.manifest.language, sentences, newlines)
        check_rules(self.splitting)
        if not isinstance(candidates, bool):
            raise InputError(f"candidates must be True or False, got {describe_value(candidates)}")
        if not isinstance(warm, bool):
            raise InputError(f"warm must be True or False, got {describe_value(warm)}")
        options = LoadOptions(
            backend,
            threads,
            parser,
            triggers,
            syntax,
            sentences,
            newlines,
            threshold,
            entity_threshold,
            candidates,
            warm,
        )
        trained = bundle.manifest.parser
        self.bundle = bundle
        self.triggers = triggers
        self.syntax = syntax
        self.candidates = candidates
        self._options = options
        self._path = "default" if bundle.path == DEFAULT_BUNDLE else str(bundle.path.absolute())
        self._closed, self._process_id, self._fork_lock = False, os.getpid(), threading.Lock()
        with ExitStack() as unfinished:  # an error, such as one of the parser, closes the pipeline
            with ThreadPoolExecutor(1) as loading:
                parsing = loading.submit(open_parser, trained, parser, bundle.manifest.language)
                opened = open_backend(str.__str__(backend), threads, bundle, has_external_parser=parser is not None)
                self.backend, self.backend_reason = opened.name, opened.reason
                self.pipeline = open_pipeline(bundle, opened, has_external_parser=parser is not None)
                unfinished.callback(self.pipeline.close)
            set_thresholds(self.pipeline, bundle.manifest.labels, threshold, entity_threshold, candidates=candidates)
            if triggers in (0, EXACT_TRIGGERS):
                self.pipeline.effects = None  # nothing would show the estimates
            self._trigger_settings = TriggerSettings(
                0 if triggers == EXACT_TRIGGERS else triggers,
                self.pipeline.settings.trigger_floor,
                attention=bundle.manifest.triggers == "attention",
            )
            self.parser = parsing.result()
            self.parser_note = describe_parser_mismatch(trained, None if parser is None else self.parser)
            load_another = partial(load_parser, trained.name) if parser is None else None
            self._scheduler = BatchScheduler(self.parser, load_another, cpu=self.backend == "cpu")
            if warm:
                self.warm_up()
            unfinished.pop_all()

    def __call__(self, text: str) -> Extraction:
        """Extract the entities and relations of one text.

        Args:
            text: Text of any length, as any kind of string.

        Returns:
            The extraction; empty if the text is empty or blank. Its strings are plain ``str``.

        Raises:
            InputError: ``text`` is not a string, or contains a lone surrogate.
        """
        document = Document.from_text(text, rules=self.splitting)
        return next(self._extract(iter([document]), 32, 1, self.splitting.language))

    @overload
    def stream(
        self,
        texts: Iterable[str],
        batch_size: int = 32,
        workers: int = 1,
        *,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: Literal[False] = False,
    ) -> ExtractionStream[Extraction]: ...

    @overload
    def stream(
        self,
        texts: Iterable[tuple[str, Context]],
        batch_size: int = 32,
        workers: int = 1,
        *,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: Literal[True],
    ) -> ExtractionStream[tuple[Extraction, Context]]: ...

    def stream(
        self,
        texts: Iterable[Any],
        batch_size: int = 32,
        workers: int = 1,
        *,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: bool = False,
    ) -> ExtractionStream[Any]:
        """Extract from many texts lazily, in memory that does not grow with their number.

        Sentences are sorted by length in windows of 16 batches, so up to ``16 * batch_size`` sentences are read ahead
        of the results; with a ``batch_size`` of 1 nothing is read before it is needed. With several workers twice as
        much is read ahead (with a ``batch_size`` of 1, two batches per worker). With several processes about
        ``16 * batch_size`` sentences are read ahead for each, and as many as 8 batches more. Results depend on none of
        these numbers.

        Args:
            texts: Texts, read in the caller's thread. An exception that the iterable raises is raised here after the
                results of all texts before it.
            batch_size: Maximum number of sentences that go through the model at once; batches of long sentences are
                smaller.
            workers: Number of threads that process whole batches, each with its own parser. Together they use up to
                ``workers * threads`` cores (see ``load``).
            processes: Number of processes that each load the model and process whole texts; more than 1 excludes more
                than one worker. They divide ``threads`` among themselves (see ``load``), share a GPU, and end with the
                stream. A process that dies, for example for want of memory, is a ``BackendError``. Your script must
                start them below ``if __name__ == "__main__":``. Warnings that a text causes are given in this process.
            on_error: What to do with a text that is not a string or contains a lone surrogate. ``"stop"`` raises the
                error after the results of all texts before it, and ends the stream. ``"skip"`` leaves the text out.
                ``"replace"`` puts an empty ``Extraction`` in its place, whose ``error`` says why. By default the stream
                does the same, goes on to the last text, and then raises one error that counts and names the bad texts:
                no result is lost, and no bad text goes unnoticed. ``bad_texts`` of the returned stream holds them.
            as_tuples: Take pairs ``(text, context)`` and yield pairs ``(extraction, context)``; the context is any
                object, such as an id.

        Returns:
            An iterator over one ``Extraction`` per text, in the order of ``texts``.

        Raises:
            InputError: ``texts`` is a single string or no iterable, a text cannot be read (see ``on_error``), a number
                is not a positive integer, both ``workers`` and ``processes`` are more than 1, or an option of the
                extractor, such as a parser, cannot be sent to processes.
        """
        check_iterable(texts, "stream", "texts")
        build = partial(Document.from_text, rules=self.splitting)
        source = TextSource(texts, build, "text", on_error, as_tuples)
        if check_parallelism(batch_size, workers, processes):
            extractions = self._extract_in_processes(source, "stream", batch_size, processes)
        else:
            extractions = self._extract(source, batch_size, workers, self.splitting.language)
        return ExtractionStream(source, extractions, as_tuples)

    @overload
    def words(
        self,
        sentences: Iterable[Sequence[str]],
        batch_size: int = 32,
        workers: int = 1,
        *,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: Literal[False] = False,
    ) -> ExtractionStream[Extraction]: ...

    @overload
    def words(
        self,
        sentences: Iterable[tuple[Sequence[str], Context]],
        batch_size: int = 32,
        workers: int = 1,
        *,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: Literal[True],
    ) -> ExtractionStream[tuple[Extraction, Context]]: ...

    def words(
        self,
        sentences: Iterable[Any],
        batch_size: int = 32,
        workers: int = 1,
        *,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: bool = False,
    ) -> ExtractionStream[Any]:
        """Extract from sentences that are already split into words; otherwise like ``stream``.

        Args:
            sentences: Sentences, each a list of words.
            batch_size: Maximum number of sentences that go through the model at once.
            workers: Number of threads that process whole batches.
            processes: Number of processes that process whole sentences; see ``stream``.
            on_error: What to do with a sentence that is no list of words, or has a word that is not a string or
                contains a lone surrogate; see ``stream``.
            as_tuples: Take pairs ``(sentence, context)`` and yield pairs ``(extraction, context)``.

        Returns:
            An iterator over one ``Extraction`` per sentence; its text is the words joined by one space.

        Raises:
            InputError: A sentence cannot be read (see ``on_error``), or a number is not a positive integer.
        """
        if isinstance(sentences, str):
            Document.from_words(sentences[:1])  # raises the error of its first character
        check_iterable(sentences, "words", "sentences")
        source = TextSource(sentences, Document.from_words, "sentence", on_error, as_tuples)
        if check_parallelism(batch_size, workers, processes):
            extractions = self._extract_in_processes(source, "words", batch_size, processes)
        else:
            extractions = self._extract(source, batch_size, workers)
        return ExtractionStream(source, extractions, as_tuples)

    def relate(
        self,
        text: str,
        entities: Iterable[Any],
        *,
        types: Mapping[str, str] | None = None,
        misaligned: Misaligned = "error",
    ) -> Extraction:
        """Find the relations between entities that you give, such as those of your own NER.

        Args:
            text: Text of any length, as any kind of string.
            entities: The entities, in any order; they may overlap. Each is an ``Entity``, a spaCy ``Span``, a
                dictionary with ``start``, ``end`` and ``label``, or a tuple ``(start, end, label)``; ``start`` and
                ``end`` count characters of ``text``. A dictionary may have a ``score``, otherwise 1, and a ``text``,
                which must then be that of its place.
            types: For names of your own, the entity type of the model, such as ``{"company": "Org"}``.
            misaligned: What to do with an entity that begins or ends inside a word: ``"error"``, ``"snap"`` to extend
                it to whole words, or ``"skip"`` to look for no relations of it.

        Returns:
            The extraction. Its entities are yours, in the same order and with your labels and scores. A relation is
            found only between entities of the same sentence and not between two that cover the same words; of equal
            entities it names the first. ``notices`` says which entities were changed or have no relations for such a
            reason.

        Raises:
            InputError: The text or an entity cannot be used, the model does not have an entity's type, or it has no
                relation types.
        """
        document = self._read_given(types, misaligned, False).build_document((text, entities), "text")
        return next(self._relate(iter([document]), 32, 1, self.splitting.language))

    def relate_words(
        self, words: Sequence[str], entities: Iterable[Any], *, types: Mapping[str, str] | None = None
    ) -> Extraction:
        """Find the relations between entities that you give in one sentence that is already split into words.

        Args:
            words: The words of the sentence.
            entities: The entities as in ``relate``, but ``start`` and ``end`` count words. Those of an ``Entity`` count
                characters of the words joined by one space, as in the results of ``words``.
            types: See ``relate``.

        Returns:
            The extraction, as ``relate`` returns it; its text is the words joined by one space.

        Raises:
            InputError: See ``relate``.
        """
        document = self._read_given(types, "error", True).build_document((words, entities), "sentence")
        return next(self._relate(iter([document]), 32, 1, None))

    @overload
    def relate_stream(
        self,
        pairs: Iterable[tuple[Any, Iterable[Any]]],
        batch_size: int = 32,
        workers: int = 1,
        *,
        types: Mapping[str, str] | None = None,
        misaligned: Misaligned = "error",
        words: bool = False,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: Literal[False] = False,
    ) -> ExtractionStream[Extraction]: ...

    @overload
    def relate_stream(
        self,
        pairs: Iterable[tuple[tuple[Any, Iterable[Any]], Context]],
        batch_size: int = 32,
        workers: int = 1,
        *,
        types: Mapping[str, str] | None = None,
        misaligned: Misaligned = "error",
        words: bool = False,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: Literal[True],
    ) -> ExtractionStream[tuple[Extraction, Context]]: ...

    def relate_stream(
        self,
        pairs: Iterable[Any],
        batch_size: int = 32,
        workers: int = 1,
        *,
        types: Mapping[str, str] | None = None,
        misaligned: Misaligned = "error",
        words: bool = False,
        processes: int = 1,
        on_error: OnError | None = None,
        as_tuples: bool = False,
    ) -> ExtractionStream[Any]:
        """Find the relations between given entities of many texts lazily; otherwise like ``stream``.

        Args:
            pairs: Pairs ``(text, entities)``, as ``relate`` takes them.
            batch_size: Maximum number of sentences that go through the model at once.
            workers: Number of threads that process whole batches.
            types: See ``relate``.
            misaligned: See ``relate``.
            words: Take pairs ``(words, entities)`` instead, as ``relate_words`` takes them.
            processes: Number of processes that process whole texts; see ``stream``.
            on_error: What to do with a pair that cannot be used; see ``stream``.
            as_tuples: Take pairs ``((text, entities), context)`` and yield pairs ``(extraction, context)``.

        Returns:
            An iterator over one ``Extraction`` per text, in the order of ``pairs``, each as ``relate`` returns it.

        Raises:
            InputError: A pair cannot be used (see ``on_error``), or an argument is wrong.
        """
        check_iterable(pairs, "relate_stream", "pairs (words, entities)" if words else "pairs (text, entities)")
        reading = self._read_given(types, misaligned, words)
        source = TextSource(pairs, reading.build_document, "sentence" if words else "text", on_error, as_tuples)
        if check_parallelism(batch_size, workers, processes):
            options = {"types": reading.types.names, "misaligned": misaligned, "words": words}
            extractions = self._extract_in_processes(source, "relate_stream", batch_size, processes, **options)
        else:
            extractions = self._relate(source, batch_size, workers, None if words else self.splitting.language)
        return ExtractionStream(source, extractions, as_tuples)

    def warm_up(self, batch_size: int = 32, workers: int = 1) -> None:
        """Do now what the first calls would wait for: run sentences of usual lengths, and on a GPU capture each size.

        Args:
            batch_size: Number of sentences of the largest batch; on a GPU it is warmed up as well as a single sentence.
            workers: Number of threads of the streams that will run (``stream``); each has device memory of its own.

        Raises:
            BackendError: The backend fails.
            InputError: A number is not a positive integer.
        """
        self._check_open("warmed up")
        batch_size, workers = check_integer("batch_size", batch_size, 1), check_integer("workers", workers, 1)
        on_gpu = self.backend != "cpu"
        sizes = {1, batch_size} if on_gpu else {1}
        if on_gpu and self.triggers == EXACT_TRIGGERS:  # batches have as many sentences as there are words to leave out
            sizes |= {1 << power for power in range(batch_size.bit_length())}
        warm_up_pipeline(self.pipeline, tuple(sorted(sizes)), workers, gpu=on_gpu)

    def close(self) -> None:
        """Free the memory of the backend; the extractor cannot be used afterwards."""
        self._closed = True
        self._scheduler.close()
        self.pipeline.close()

    def __reduce__(self) -> tuple[Callable[..., Extractor], tuple[str, LoadOptions]]:
        """Pickle the path and the options, with which the copy is loaded anew."""
        self._check_open("pickled")
        if not has_other_pickler():  # else that one may be at work, and gives its own error
            self._options.check_picklable()
        return _load_again, (self._path, self._options)

    def __copy__(self) -> Extractor:
        """Load the bundle anew, with the same parser."""
        self._check_open("copied")
        return _load_again(self._path, self._options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Extractor:
        """Do the same as ``copy.copy``: what the two extractors share cannot change."""
        return copy.copy(self)

    def _check_open(self, verb: str) -> None:
        if self._closed:
            raise BackendError(f"the extractor of {self.bundle.path} is closed and cannot be {verb}; load it again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extract(
        self, documents: Iterable[Document], batch_size: int, workers: int, language: str | None = None
    ) -> Generator[Extraction, None, None]:
        results = self._scheduler.process(documents, self._extract_batch, batch_size, workers)
        return (join_sentences(text, parts, language, candidates=self.candidates) for text, parts in results)

    def _relate(
        self, documents: Iterable[Document], batch_size: int, workers: int, language: str | None
    ) -> Generator[Extraction, None, None]:
        """Find the relations between the entities that the documents have."""
        pending: deque[GivenEntities | None] = deque()

        def read() -> Iterator[Document]:
            for document in documents:
                pending.append(document.given)
                yield document

        for text, parts in self._scheduler.process(read(), self._extract_batch, batch_size, workers):
            given = pending.popleft()
            if given is None:  # an empty text in the place of one that could not be read
                yield Extraction(text)
            else:
                yield join_given_sentences(text, parts, given, language, candidates=self.candidates)

    def _read_given(self, types: Mapping[str, str] | None, misaligned: Misaligned, words: bool) -> GivenReading:
        """Check how the entities of a caller are to be read."""
        if misaligned not in get_args(Misaligned):
            raise InputError(f"misaligned must be 'error', 'snap' or 'skip', got {describe_value(misaligned)}")
        if not isinstance(words, bool):
            raise InputError(f"words must be True or False, got {describe_value(words)}")
        return GivenReading(self.splitting, EntityTypes(self.bundle.manifest.labels, types), misaligned, words)

    def _extract_in_processes(
        self, source: TextSource, method: StreamMethod, batch_size: int, processes: int, **arguments: Any
    ) -> Generator[Extraction, None, None]:
        """Extract in processes that load the same model on the same backend, with a share of the threads each."""
        from .streaming.process_pool import extract_in_processes
        from .streaming.warning_transport import copy_filters
        from .streaming.worker_process import WorkerSetup

        self._check_open("used")
        threads = divide_threads(self.backend, self._options.threads, processes)
        options = self._options._replace(backend=self.backend, threads=threads)
        options.check_picklable()
        load = partial(_load_again, self._path, options)
        setup = WorkerSetup(load, method, batch_size, copy_filters(), arguments)
        return extract_in_processes(source, setup, processes)

    def _extract_batch(
        self, batch: list[SentenceInText], parses: Callable[[], Sequence[Parse]] | None, batch_size: int
    ) -> list[SentenceExtraction]:
        """Run the model on a batch; this is the work of the scheduler."""
        if os.getpid() != self._process_id:
            self._continue_after_fork()
        words = [sentence.words.words for sentence in batch]
        entities = [sentence.given for sentence in batch if sentence.given is not None]
        parses = None if parses is None else cache(parses)  # the triggers may need them again
        results = self.pipeline.run_words(words, parses, batch_size, syntax=self.syntax, entities=entities or None)
        triggers = self._find_triggers(words, [result.decoded for result in results], parses, batch_size)
        labels = self.bundle.manifest.labels
        return [
            assemble_sentence(sentence, result, labels, shown, candidates=self.candidates)
            for sentence, result, shown in zip(batch, results, triggers, strict=True)
        ]

    def _find_triggers(
        self,
        sentences: list[list[str]],
        decoded: list[DecodedSentence],
        parses: Callable[[], Sequence[Parse]] | None,
        batch_size: int,
    ) -> list[SentenceTriggers]:
        """Find out what the relations of a batch rest on."""
        settings = self._trigger_settings
        if self.triggers != EXACT_TRIGGERS or not any(one.relations or one.relation_candidates for one in decoded):
            return [
                sense_triggers(words, sentence, settings) for words, sentence in zip(sentences, decoded, strict=True)
            ]
        arcs = None if parses is None else parses()
        return measure_triggers(self.pipeline, sentences, decoded, arcs, DEFAULT_TRIGGER_FLOOR, batch_size)

    def _continue_after_fork(self) -> None:
        """Make the model usable in a forked process, which has none of the threads of its parent.

        A model on one CPU thread needs none and stays shared; with more threads it is loaded again.

        Raises:
            BackendError: The backend runs on a GPU, which a forked process cannot use.
        """
        with self._fork_lock:
            if os.getpid() == self._process_id or self._closed:
                return
            if self.backend != "cpu":
                raise BackendError(
                    f"an extractor on the {self.backend} backend cannot be used after a fork; load it in the new"
                    " process or start processes with the method 'spawn'"
                )
            if resolve_thread_count(self._options.threads, count_available_cores()) > 1:
                opened = open_backend("cpu", self._options.threads, self.bundle)
                pipeline = open_pipeline(self.bundle, opened, has_external_parser=self._options.parser is not None)
                pipeline.settings, pipeline.effects = self.pipeline.settings, self.pipeline.effects
                self.pipeline = pipeline
            self._process_id = os.getpid()


def _load_again(path: str, options: LoadOptions) -> Extractor:
    """Load a copy of an extractor."""
    return Extractor(Bundle(path), **options._asdict())


def load(
    path: str | Path = "default",
    *,
    backend: str = "auto",
    threads: int | None = None,
    parser: Parser | str | None = None,
    triggers: Triggers = DEFAULT_TRIGGERS,
    syntax: Syntax | None = None,
    sentences: Sentences = "auto",
    newlines: Newlines = "auto",
    threshold: Threshold | None = None,
    entity_threshold: Threshold | None = None,
    candidates: bool = False,
    warm: bool = False,
) -> Extractor:
    """Load a bundle.

    Args:
        path: ``"default"`` for the bundle inside the package, or a folder written by ``trimf export``.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"tensorrt"``, ``"tensorrt-ep"`` or ``"tensorrt-rtx-ep"``. With
            ``"auto"`` the best one that can run the bundle here is selected.
        threads: Maximum number of cores that one operation of the backend uses; the default is all. With several
            ``workers`` (``Extractor.stream``) choose ``threads * workers`` to be the number of cores; several
            ``processes`` divide them.
        parser: Dependency parser to use instead of the bundle's own, or the name of a spaCy pipeline, as
            ``trimf.load_parser`` takes it; all workers share it. By default the in-model parser is used, or the spaCy
            parser that the manifest names. A spaCy parser runs on another core while the model runs, if there is more
            than one. A warning about a
            parser that the model was not trained with is in ``Extractor.parser_note``.
        triggers: Maximum number of trigger words reported with a relation, which the model's trigger sensor estimates;
            or ``"exact"`` for every word and phrase that the relation measurably rests on: each is left out, and the
            relation is scored again. That takes several times as long.
        syntax: ``"arcs"`` adds the dependency arcs used by the model to the extractions; those of an in-model parser
            need not form a tree. ``"tree"`` adds the best tree with a single root instead; with an in-model parser
            this works on the cpu backend only.
        sentences: ``"auto"`` finds the sentences of a text by rules; ``"whole"`` takes each text as one sentence; a
            function takes a text and returns the character ranges (start, end) of its sentences, in order.
        newlines: What a line end within a paragraph does: ``"auto"`` tells list items, headings and table rows from
            wrapped text; ``"space"`` treats every line end as a space; with ``"end"`` each ends a sentence.
        threshold: Score that a relation must exceed, from 0 to 1; or a dictionary of such scores by relation type, with
            ``"*"`` for all types that it does not name. Default: the threshold of the bundle.
        entity_threshold: Score that an entity must exceed, or a dictionary by entity type. An entity below it is left
            out before relations are looked for. Default: none, every span that is more likely an entity than not.
        candidates: Add everything that the model considered above a score of 0.05 to the extractions
            (``Extraction.candidates``).
        warm: Warm the model up (``Extractor.warm_up``), so that the first call is as fast as later ones.

    Returns:
        The extractor; close it, or use it as a context manager, to free its memory.

    Raises:
        BundleError: The folder is not a complete bundle.
        BackendError: The backend or the parser is not installed or cannot run the bundle.
        InputError: An argument is of a wrong type or out of range, a threshold names a label that the model does not
            have, or the path holds no bundle.
    """
    return Extractor(
        Bundle(path),
        backend=backend,
        threads=threads,
        parser=parser,
        triggers=triggers,
        syntax=syntax,
        sentences=sentences,
        newlines=newlines,
        threshold=threshold,
        entity_threshold=entity_threshold,
        candidates=candidates,
        warm=warm,
    )
