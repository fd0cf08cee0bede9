"""The sentences that are measured: annotated ones of any format, plain text, or those that come with TriMF."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from trimf_train.data.sentence import Sentence
from trimf_train.evaluate import parsed

from ..runtime.errors import InputError
from ..runtime.files import read_file
from ..runtime.parser import Parser
from ..runtime.pipeline import ParsedSentence

#: Sixty sentences of news, written for this.
BUILT_IN = Path(__file__).with_name("sentences.txt")


class Corpus(msgspec.Struct, frozen=True):
    """Parsed sentences and the texts they are from.

    ``texts`` are what raw-text cases read, of annotated sentences their words joined by spaces; ``own`` is the text of
    each sentence, where the data is text. ``annotated``
    says whether F1 can be measured.
    """

    name: str
    annotated: bool
    sentences: list[Sentence]
    texts: list[str]
    own: list[str]

    @property
    def words(self) -> int:
        """Of all sentences."""
        return sum(len(one.tokens) for one in self.sentences)

    def parsed(self) -> list[ParsedSentence]:
        """The sentences as a pipeline takes them, heads as a parser gives them (none, where no model needs them)."""
        return [
            ParsedSentence(one.tokens, np.asarray(one.heads or [], np.int64), one.labels or [])
            for one in self.sentences
        ]


def read(path: Path | None) -> Corpus:
    """The sentences of a file, not yet parsed unless they were prepared.

    A file called ``….txt`` is plain text, one or more sentences a line; any other is annotated, in a format that
    ``trimf prepare`` reads. None is :data:`BUILT_IN`.

    Raises:
        InputError: the text cannot be read, or holds no sentence.
        DataError: the annotated file cannot be used.
    """
    if path is None or path.suffix == ".txt":
        corpus = _text(path or BUILT_IN)
    else:
        from trimf_train.data.readers import read_sentences

        sentences = list(read_sentences(path))
        annotated = any(one.entities for one in sentences)
        corpus = Corpus(_name(path), annotated, sentences, [" ".join(one.tokens) for one in sentences], [])
    if not corpus.sentences:
        raise InputError(f"{path}: holds no sentence")
    return corpus


def _text(path: Path) -> Corpus:
    from ..runtime.text import split

    texts = [line for line in read_file(path) if line.strip()]
    sentences, own = [], []
    for text in texts:
        for one in split(text):
            sentences.append(Sentence(one.words))
            own.append(text[one.starts[0] : one.ends[-1]])
    return Corpus(_name(path), False, sentences, texts, own)


def _name(path: Path) -> str:
    """The last folder and the file, nothing else of the machine."""
    return "sentences of TriMF" if path == BUILT_IN else "/".join(path.parts[-2:])


def parse(corpus: Corpus, parser: Parser) -> Corpus:
    """The corpus with a parse of every sentence; those that have one keep it."""
    return msgspec.structs.replace(corpus, sentences=parsed(corpus.sentences, parser))


def of_words(words: list[str], name: str) -> Corpus:
    """A corpus of one sentence."""
    return Corpus(name, False, [Sentence(words)], [" ".join(words)], [])


def write(corpus: Corpus, path: Path) -> None:
    """Put a corpus where child processes find it."""
    path.write_bytes(msgspec.json.encode(corpus))


def load(path: str) -> Corpus:
    """What :func:`write` wrote."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Corpus)
