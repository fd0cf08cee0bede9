"""The one class most callers need: text in, :class:`Extraction` out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from .backend import open_backend
from .bundle import Bundle, open_pipeline
from .errors import InputError
from .parser import Parser, load_parser
from .pipeline import ParsedSentence, Result
from .results import Entity, Extraction, Relation, Trigger
from .text import Words, check_text, split
from .triggers import best_words, may_trigger

#: Trigger words reported with a relation unless the caller says otherwise.
TRIGGERS = 3


class _Document(NamedTuple):
    text: str
    sentences: list[Words]


class Extractor:
    """A loaded bundle. Make one with :func:`load` and share it: calls from several threads give the answers of one.

    Attributes:
        bundle: what is loaded (``bundle.path``, ``bundle.manifest``).
        backend: the name of the engine that runs it, such as "cpu".
        backend_reason: why it is that one.
        parser: the dependency parser in front of it.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str = "auto",
        threads: int | None = None,
        parser: Parser | None = None,
        triggers: int = TRIGGERS,
    ) -> None:
        if triggers < 0:
            raise InputError(f"triggers = {triggers}, but a number of words from 0 up is needed")
        self.bundle = bundle
        self.triggers = triggers
        engine = open_backend(backend, threads, bundle)
        self.backend, self.backend_reason = engine.name, engine.reason
        self.pipeline = open_pipeline(bundle, engine)
        self.parser = load_parser(bundle.manifest.parser.name) if parser is None else parser

    def __call__(self, text: str) -> Extraction:
        """Everything found in one text of any length.

        Raises:
            InputError: ``text`` is not a string, or holds a lone surrogate.
        """
        return next(self.stream([text]))

    def stream(self, texts: Iterable[str], batch_size: int = 32) -> Iterator[Extraction]:
        """An :class:`Extraction` for each text, in order, lazily and in memory that does not grow with their number.

        ``batch_size`` is how many sentences go through the model at once; results do not depend on it.

        Raises:
            InputError: a text is not a string or holds a lone surrogate, or ``batch_size`` is not positive.
        """
        if isinstance(texts, str):
            raise InputError(
                f"stream() takes an iterable of texts, but got the string {texts!r:.60}; call the extractor"
            )
        return self._extract((_Document(text, split(text)) for text in texts), batch_size)

    def words(self, sentences: Iterable[Sequence[str]], batch_size: int = 32) -> Iterator[Extraction]:
        """The same for sentences that are lists of words; an extraction's text is its words joined by one space.

        Raises:
            InputError: a sentence is a string, a word is not one or holds a lone surrogate, or ``batch_size`` is not
                positive.
        """
        return self._extract((_joined(sentence) for sentence in sentences), batch_size)

    def close(self) -> None:
        """Free the engine's memory; the extractor cannot be used afterwards."""
        for graph in self.pipeline.graphs.values():
            graph.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extract(self, documents: Iterable[_Document], batch_size: int) -> Iterator[Extraction]:
        if batch_size < 1:
            raise InputError(f"batch_size = {batch_size}, but at least 1 is needed")
        return self._batched(documents, batch_size)

    def _batched(self, documents: Iterable[_Document], batch_size: int) -> Iterator[Extraction]:
        """Sentences of several documents share batches; a document is given out when its last sentence is done."""
        waiting: deque[tuple[_Document, list[Result]]] = deque()
        sentences: list[Words] = []
        owners: list[list[Result]] = []

        def finish() -> Iterator[Extraction]:
            for owner, result in zip(owners, self._run(sentences, batch_size), strict=True):
                owner.append(result)
            sentences.clear()
            owners.clear()
            while waiting and len(waiting[0][1]) == len(waiting[0][0].sentences):
                yield self._extraction(*waiting.popleft())

        for document in documents:
            results: list[Result] = []
            waiting.append((document, results))
            for sentence in document.sentences:
                sentences.append(sentence)
                owners.append(results)
                if len(sentences) == batch_size:
                    yield from finish()
            if len(waiting) >= batch_size:
                yield from finish()
        yield from finish()

    def _run(self, sentences: Sequence[Words], batch_size: int) -> list[Result]:
        words = [sentence.words for sentence in sentences]
        parses = self.parser.parse(words)
        parsed = [ParsedSentence(one, *parse) for one, parse in zip(words, parses, strict=True)]
        return self.pipeline.run(parsed, batch_size)

    def _extraction(self, document: _Document, results: Sequence[Result]) -> Extraction:
        entities: list[Entity] = []
        relations: list[Relation] = []
        notices: list[str] = []
        for sentence, result in zip(document.sentences, results, strict=True):
            own = [self._entity(document.text, sentence, *span) for span in result.found.entities]
            entities += own
            shown = may_trigger(sentence.words, result.found.entities)
            for relation in result.found.relations:
                triggers = tuple(
                    Trigger(sentence.starts[at], sentence.ends[at], sentence.words[at], weight)
                    for at, weight in best_words(relation, shown, self.triggers)
                )
                name = self.bundle.manifest.labels.relations[relation.label]
                relations.append(Relation(own[relation.head], name, own[relation.tail], relation.score, triggers))
            notices += _notices(sentence, result)
        places = tuple((sentence.starts[0], sentence.ends[-1]) for sentence in document.sentences)
        return Extraction(document.text, tuple(entities), tuple(relations), places, tuple(notices))

    def _entity(self, text: str, sentence: Words, first: int, stop: int, label: int, score: float) -> Entity:
        start, end = sentence.starts[first], sentence.ends[stop - 1]
        return Entity(start, end, text[start:end], self.bundle.manifest.labels.entities[label], score)


def load(
    path: str | Path = "default",
    *,
    backend: str = "auto",
    threads: int | None = None,
    parser: Parser | None = None,
    triggers: int = TRIGGERS,
) -> Extractor:
    """Load a bundle: ``default`` is the one inside the package, anything else a folder written by ``trimf export``.

    ``threads`` bounds the cores one operation of the engine may use (default: all there are). ``parser`` replaces the
    spaCy pipeline that the bundle names. ``triggers`` is how many trigger words a relation reports at most.

    Raises:
        BundleError: the folder is no complete bundle.
        BackendError: the engine or the parser is not installed or cannot run it.
        InputError: a number is out of range.
    """
    return Extractor(Bundle(path), backend=backend, threads=threads, parser=parser, triggers=triggers)


def _joined(sentence: Sequence[str]) -> _Document:
    words = list(sentence) if isinstance(sentence, Iterable) and not isinstance(sentence, str) else None
    if words is None or not all(isinstance(word, str) for word in words):
        raise InputError(f"words() takes lists of words, but one sentence is {sentence!r:.80}")
    text = " ".join(words)
    check_text(text)
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
    return _Document(text, [Words(words, starts, ends)] if words else [])


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
