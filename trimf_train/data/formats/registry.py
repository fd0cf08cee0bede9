"""List the supported data formats, and how each is recognised by its content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from trimf.runtime.errors import DataError

from ..dataset_files import list_dataset_files
from ..json_errors import read_lines
from ..jsonl import read_prepared_file
from ..sentence import Sentence
from .ade import is_ade_line, read_ade
from .brat import is_brat, list_brat_files, read_brat
from .conll import is_conll, read_conll
from .doccano import is_doccano, read_doccano
from .dygie import read_dygie
from .format import Format, FormatSample
from .hugging_face import is_dataset_of_text, is_dataset_of_words, read_dataset_of_text, read_dataset_of_words
from .labelstudio import is_labelstudio, read_labelstudio
from .offsets import read_offsets
from .prodigy import is_prodigy, read_prodigy
from .spacy_docbin import is_docbin, read_docbin
from .spert import read_spert

__all__ = ["FORMATS", "Format", "FormatSample"]


def _is_offsets(sample: FormatSample) -> bool:
    return (
        sample.record is not None
        and {"text", "entities"} <= sample.record.keys()
        and not is_doccano(sample)
        and not is_dataset_of_text(sample)
    )


def _is_spert(sample: FormatSample) -> bool:
    return sample.record is not None and "tokens" in sample.record and not _is_other_words(sample)


def _is_other_words(sample: FormatSample) -> bool:
    """Return True for other formats that have a field ``tokens``."""
    return is_prodigy(sample) or is_dataset_of_words(sample)


_SENTENCE = msgspec.json.Decoder(Sentence)


def _is_prepared(sample: FormatSample) -> bool:
    """Return True for one record a line, with fields of prepared sentences alone.

    SpERT and prepared records look alike. Only prepared ones have ``heads``, ``labels`` or ``id``. A file without these
    is in both formats if no record has a field that prepared ones do not know; the first record may lack such fields.
    """
    if sample.record is None or "tokens" not in sample.record or sample.line.lstrip().startswith("["):
        return False
    if _is_other_words(sample):
        return False
    if any(record.keys() & {"heads", "labels", "id"} for record in sample.records):
        return True
    return sample.record.keys() <= set(Sentence.__struct_fields__) and not _has_unknown_fields(sample.path)


def _has_unknown_fields(path: Path) -> bool:
    """Return True if a line of a file has a field that prepared sentences do not have."""
    for line in _iterate_lines(path):
        try:
            _SENTENCE.decode(line)
        except msgspec.ValidationError as error:
            if "unknown field" in str(error):
                return True
        except (msgspec.DecodeError, RecursionError):
            return False
    return False


def _iterate_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines that are not blank, up to one that is no text."""
    try:
        yield from (line for _, line in read_lines(path) if line.strip())
    except DataError:
        return  # the reader says what is wrong


#: Supported formats by name, in the order in which they are tried.
FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        Format(
            "offsets",
            'JSON lines of {"text", "entities", "relations"}, which count characters',
            _is_offsets,
            read_documents=read_offsets,
        ),
        Format(
            "dygie",
            'JSON lines, or a JSON list, of {"sentences", "ner", "relations"}',
            lambda sample: sample.record is not None and "sentences" in sample.record,
            read_sentences=read_dygie,
        ),
        Format(
            "prepared",
            'JSON lines of {"tokens", "entities", "relations", "heads", "labels", "id"}',
            _is_prepared,
            read_sentences=lambda path, _: read_prepared_file(path),
        ),
        Format(
            "spert",
            'a JSON list, or JSON lines, of {"tokens", "entities", "relations"}',
            _is_spert,
            read_sentences=read_spert,
        ),
        Format(
            "ade",
            "lines of PubMed id|sentence|effect|begin|end|drug|begin|end",
            lambda sample: is_ade_line(sample.line),
            read_sentences=lambda path, _: read_ade(path),
        ),
        Format(
            "labelstudio",
            'the export "JSON" of Label Studio',
            is_labelstudio,
            read_documents=read_labelstudio,
        ),
        Format(
            "doccano",
            "the JSON lines of doccano",
            is_doccano,
            read_documents=read_doccano,
        ),
        Format(
            "prodigy",
            "the JSON lines of Prodigy",
            is_prodigy,
            read_documents=read_prodigy,
        ),
        Format(
            "brat",
            "a folder of .txt and .ann files of brat, or one of them",
            is_brat,
            read_documents=read_brat,
            list_files=list_brat_files,
        ),
        Format(
            "spacy",
            "a DocBin of spaCy (.spacy)",
            is_docbin,
            read_documents=read_docbin,
        ),
        Format(
            "conll",
            "columns of words and tags (BIO, IOB1, BIOES, BILOU), entities alone",
            is_conll,
            read_sentences=read_conll,
        ),
        Format(
            "datasets",
            "a Hugging Face data set of tokens with ner_tags or entities: Arrow, Parquet or JSON",
            is_dataset_of_words,
            read_sentences=read_dataset_of_words,
            list_files=list_dataset_files,
        ),
        Format(
            "datasets-text",
            "a Hugging Face data set of text with entities: Arrow, Parquet or JSON",
            is_dataset_of_text,
            read_documents=read_dataset_of_text,
            list_files=list_dataset_files,
        ),
    )
}
