"""Extract entities and relations from text: the ``Extractor`` and ``load``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self, get_args

from .assembly import SentenceExtraction, assemble_sentence, join_sentences
from .batch_scheduler import BatchScheduler
from .bundle.reader import Bundle
from .document_reader import Document, SentenceInText
from .engine.backend_selection import open_backend
from .errors import InputError
from .pipeline import Syntax
from .pipeline_loading import describe_parser_mismatch, open_parser, open_pipeline
from .results import Extraction
from .text.line_ends import Newlines
from .text.parser import Parse, Parser, load_parser
from .text.tokenization import Sentences, SplittingRules, check_rules

#: Default maximum number of trigger words reported with a relation.
DEFAULT_TRIGGERS = 3


class Extractor:
    """A loaded bundle that extracts entities and relations. Create it with ``load``.

    An extractor may be shared by several threads; results are the same as with one.

    Attributes:
        bundle: The loaded bundle (``bundle.path``, ``bundle.manifest``).
        backend: Name of the backend that runs the model, such as "cpu".
        backend_reason: Why that backend was selected.
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
        parser: Parser | None = None,
        triggers: int = DEFAULT_TRIGGERS,
        syntax: Syntax | None = None,
        sentences: Sentences = "auto",
        newlines: Newlines = "auto",
    ) -> None:
        """Load the model and the parser of a bundle; see ``load`` for the arguments and errors."""
        if triggers < 0:
            raise InputError(f"triggers must be >= 0, got {triggers}")
        if syntax not in (None, *get_args(Syntax)):
            raise InputError(f"unknown syntax {syntax!r}; choose from None, 'arcs', 'tree'")
        self.splitting = SplittingRules(bundle.manifest.language, sentences, newlines)
        check_rules(self.splitting)
        trained = bundle.manifest.parser
        self.bundle = bundle
        self.triggers = triggers
        self.syntax = syntax
        with ExitStack() as unfinished:  # an error, such as one of the parser, closes the pipeline
            with ThreadPoolExecutor(1) as loading:
                parsing = loading.submit(open_parser, trained, parser, bundle.manifest.language)
                opened = open_backend(backend, threads, bundle)
                self.backend, self.backend_reason = opened.name, opened.reason
                self.pipeline = open_pipeline(bundle, opened)
                unfinished.callback(self.pipeline.close)
            self.parser = parsing.result()
            self.parser_note = describe_parser_mismatch(trained, parser)
            load_another = partial(load_parser, trained.name) if parser is None else None
            self._scheduler = BatchScheduler(self.parser, load_another, cpu=self.backend == "cpu")
            unfinished.pop_all()

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
        documents = (Document.from_text(text, self.splitting) for text in texts)
        return self._extract(documents, batch_size, workers, self.splitting.language)

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
        return self._extract(map(Document.from_words, sentences), batch_size, workers)

    def close(self) -> None:
        """Free the memory of the backend; the extractor cannot be used afterwards."""
        self._scheduler.close()
        self.pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extract(
        self, documents: Iterable[Document], batch_size: int, workers: int, language: str | None = None
    ) -> Iterator[Extraction]:
        results = self._scheduler.process(documents, self._extract_batch, batch_size, workers)
        return (join_sentences(text, sentences, language) for text, sentences in results)

    def _extract_batch(
        self, batch: list[SentenceInText], parses: Callable[[], Sequence[Parse]] | None, batch_size: int
    ) -> list[SentenceExtraction]:
        """Run the model on a batch; this is the work of the scheduler."""
        words = [sentence.words.words for sentence in batch]
        results = self.pipeline.run_words(words, parses, batch_size, syntax=self.syntax)
        labels = self.bundle.manifest.labels
        return [
            assemble_sentence(sentence, result, labels, self.triggers)
            for sentence, result in zip(batch, results, strict=True)
        ]


def load(
    path: str | Path = "default",
    *,
    backend: str = "auto",
    threads: int | None = None,
    parser: Parser | None = None,
    triggers: int = DEFAULT_TRIGGERS,
    syntax: Syntax | None = None,
    sentences: Sentences = "auto",
    newlines: Newlines = "auto",
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
        sentences: ``"auto"`` finds the sentences of a text by rules; ``"whole"`` takes each text as one sentence; a
            function takes a text and returns the character ranges (start, end) of its sentences, in order.
        newlines: What a line end within a paragraph does: ``"auto"`` tells list items, headings and table rows from
            wrapped text; ``"space"`` treats every line end as a space; with ``"end"`` each ends a sentence.

    Returns:
        The extractor; close it, or use it as a context manager, to free its memory.

    Raises:
        BundleError: The folder is not a complete bundle.
        BackendError: The backend or the parser is not installed or cannot run the bundle.
        InputError: An argument is out of range.
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
    )
