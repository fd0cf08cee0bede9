"""Sentences to benchmark on: an annotated file of any format, plain text, or the sentences shipped with TriMF."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.prediction import add_missing_parses

from ...runtime.errors import InputError
from ...runtime.files.lines import read_file_lines
from ...runtime.pipeline import ParsedSentence
from ...runtime.text.parser import ROOT_LABEL, Parser
from ...runtime.text.words import DEFAULT_LANGUAGE

if TYPE_CHECKING:
    from trimf_train.data.document import AnnotatedDocument

#: Sixty news sentences, written for TriMF.
BUILT_IN_SENTENCES = Path(__file__).with_name("sentences.txt")


class Corpus(msgspec.Struct, frozen=True):
    """Sentences and the texts they come from.

    Attributes:
        name: Name of the data in the report.
        annotated: Whether F1 can be measured.
        sentences: Sentences, parsed if a model needs that.
        texts: Input of the cases that start from raw text; for annotated words, those of a sentence joined by spaces.
        sentence_texts: Text of each sentence, if the data is running text; otherwise empty.
        language: Language whose rules split the texts.
    """

    name: str
    annotated: bool
    sentences: list[Sentence]
    texts: list[str]
    sentence_texts: list[str]
    language: str = DEFAULT_LANGUAGE

    @property
    def word_count(self) -> int:
        """Number of words of all sentences."""
        return sum(len(sentence.tokens) for sentence in self.sentences)

    def to_parsed_sentences(self) -> list[ParsedSentence]:
        """Return the sentences as input of a pipeline, without heads and labels if they are not parsed."""
        return [
            ParsedSentence(sentence.tokens, np.asarray(sentence.heads or [], np.int64), sentence.labels or [])
            for sentence in self.sentences
        ]


def read_corpus(path: Path | None, language: str = DEFAULT_LANGUAGE) -> Corpus:
    """Read the sentences of a file.

    They are not parsed, except in prepared files.

    Args:
        path: A file named ``*.txt`` is plain text with one or more sentences per line; any other is annotated, in a
            format that ``trimf prepare`` reads. None reads ``BUILT_IN_SENTENCES``.
        language: Language whose rules split running text.

    Returns:
        The sentences and their texts.

    Raises:
        InputError: The text cannot be read, or contains no sentences.
        DataError: The annotated file cannot be used.
    """
    if path is None or path.suffix == ".txt":
        corpus = _read_text(path or BUILT_IN_SENTENCES, language)
    else:
        from trimf_train.data.readers import read_documents, read_sentences

        documents = read_documents(path)
        if documents is not None:
            corpus = _split_documents(path, documents, language)
        else:
            sentences = list(read_sentences(path))
            annotated = any(sentence.entities for sentence in sentences)
            texts = [" ".join(sentence.tokens) for sentence in sentences]
            corpus = Corpus(_shorten_path(path), annotated, sentences, texts, [], language)
    if not corpus.sentences:
        raise InputError(f"{path}: contains no sentences")
    return corpus


def _split_documents(path: Path, documents: Iterable[AnnotatedDocument], language: str) -> Corpus:
    """Split annotated running text; a warning counts the annotation that the splitting makes impossible."""
    from trimf_train.data.document import normalize_document
    from trimf_train.data.document_splitting import DocumentSplitting, split_document
    from trimf_train.data.readers import warn_of_losses
    from trimf_train.data.reading_report import ReadingReport

    report, splitting = ReadingReport(), DocumentSplitting(language)
    corpus = Corpus(_shorten_path(path), False, [], [], [], language)
    for document in documents:
        split = split_document(normalize_document(document), splitting, report)
        if split.sentences:
            corpus.texts.append(document.text)
            corpus.sentences.extend(split.to_sentences())
            corpus.sentence_texts.extend(document.text[words.starts[0] : words.ends[-1]] for words in split.sentences)
    warn_of_losses(path, report)
    return msgspec.structs.replace(corpus, annotated=any(sentence.entities for sentence in corpus.sentences))


def _read_text(path: Path, language: str) -> Corpus:
    from ...runtime.text.tokenization import DEFAULT_RULES, split_sentences

    rules = DEFAULT_RULES._replace(language=language)
    texts = [line for line in read_file_lines(path) if line.strip()]
    sentences, sentence_texts = [], []
    for text in texts:
        for words in split_sentences(text, rules):
            sentences.append(Sentence(words.words))
            sentence_texts.append(text[words.starts[0] : words.ends[-1]])
    return Corpus(_shorten_path(path), False, sentences, texts, sentence_texts, language)


def _shorten_path(path: Path) -> str:
    """Return the last folder and the file name, so that a report reveals nothing else about the machine."""
    return "sentences of TriMF" if path == BUILT_IN_SENTENCES else "/".join(path.parts[-2:])


def parse_corpus(corpus: Corpus, parser: Parser) -> Corpus:
    """Parse the sentences that have no parse yet.

    Args:
        corpus: Sentences, parsed or not.
        parser: Dependency parser.

    Returns:
        The corpus with a parse of every sentence.
    """
    return msgspec.structs.replace(corpus, sentences=add_missing_parses(corpus.sentences, parser))


def link_words(corpus: Corpus) -> Corpus:
    """Give the sentences that have no parse arbitrary arcs: each word depends on the one before.

    Args:
        corpus: Sentences, parsed or not.
    """
    return msgspec.structs.replace(corpus, sentences=[_link_words(sentence) for sentence in corpus.sentences])


def _link_words(sentence: Sentence) -> Sentence:
    if sentence.heads is not None:
        return sentence
    count = len(sentence.tokens)
    labels = [ROOT_LABEL, *["dep"] * (count - 1)]
    return msgspec.structs.replace(sentence, heads=[max(0, index - 1) for index in range(count)], labels=labels)


def build_sentence_corpus(words: list[str], name: str) -> Corpus:
    """Build a corpus of one sentence.

    Args:
        words: Words of the sentence.
        name: Name of the corpus.
    """
    return Corpus(name, False, [Sentence(words)], [" ".join(words)], [])


def write_corpus(corpus: Corpus, path: Path) -> None:
    """Write a corpus for child processes to ``load_corpus``.

    Args:
        corpus: Sentences and texts.
        path: JSON file to write.
    """
    path.write_bytes(msgspec.json.encode(corpus))


def load_corpus(path: str) -> Corpus:
    """Load a corpus that ``write_corpus`` wrote."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Corpus)
