"""Teach the trigger sensor of a checkpoint, and write the result as a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trimf.runtime.files.atomic import check_new_folder
from trimf.runtime.files.folder_kinds import CHECKPOINT
from trimf.runtime.pipeline import ParsedSentence
from trimf_train.data.document_splitting import DocumentSplitting
from trimf_train.data.file_hashes import hash_file
from trimf_train.data.readers import read_sentences
from trimf_train.evaluation.model_loading import open_checkpoint
from trimf_train.evaluation.prediction import add_missing_parses
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.triggers.deletion_cache import DeletionCache
from trimf_train.triggers.teaching import TaughtSensor, teach_sensor

#: Called with a line of text at each step.
Log = Callable[[str], None]


def teach_checkpoint(
    folder: Path,
    data: Sequence[Path],
    dev: Path | None,
    output: Path,
    *,
    cache: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    log: Log = lambda _: None,
) -> TaughtSensor:
    """Teach the trigger sensor of a checkpoint.

    Args:
        folder: Checkpoint folder to read.
        data: Files with the sentences to leave words out of, in any format of the data readers.
        dev: File with the sentences that choose the floor; None takes a part of ``data``.
        output: Checkpoint folder to write; it may be ``folder`` itself.
        cache: File that keeps what was measured, so that a run that is stopped goes on; None keeps nothing.
        seed: Seed of the training.
        threads: CPU threads for inference; None leaves PyTorch's setting.
        device: Device of the model, as PyTorch names it.
        overwrite: Replace ``output`` if it exists.
        log: Called with a line of text at each step.

    Returns:
        The sensor.

    Raises:
        BundleError: ``folder`` is not a complete checkpoint.
        DataError: The data cannot be used, or hold too few relations.
        InputError: ``output`` exists and ``overwrite`` is false.
    """
    check_new_folder(output, CHECKPOINT, overwrite=overwrite)
    checkpoint, pipeline = open_checkpoint(folder, threads, device)
    description = checkpoint.description
    parser = description.parser.name if checkpoint.model.parser is None else None
    language = description.model.language
    key = f"{hash_file(folder / 'model.safetensors')} {hash_data(data, dev)}"
    taught = teach_sensor(
        pipeline,
        read_sentences_to_reduce(data, language, parser),
        read_sentences_to_reduce([dev] if dev else [], language, parser),
        cache=DeletionCache(cache, key),
        seed=seed,
        log=log,
    )
    replaced = msgspec.structs.replace(description, trigger_floor=taught.floor)
    written = Checkpoint(checkpoint.model, replaced, checkpoint.tokenizer_json, taught.effects)
    written.save(output, overwrite=overwrite)
    return taught


def read_sentences_to_reduce(data: Sequence[Path], language: str, parser: str | None) -> list[ParsedSentence]:
    """Read the sentences to leave words out of.

    Args:
        data: Files in any format of the data readers.
        language: Language whose rules split running text.
        parser: spaCy pipeline that parses sentences without a parse; None if the model parses by itself.

    Returns:
        The sentences.
    """
    splitting = DocumentSplitting(language)
    sentences = [sentence for path in data for sentence in read_sentences(path, splitting=splitting)]
    if parser is not None:
        sentences = add_missing_parses(sentences, parser)
    return [ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []) for sentence in sentences]


def hash_data(data: Sequence[Path], dev: Path | None) -> str:
    """Return the hashes of all files that a sensor learns from, in one line."""
    return " ".join(hash_file(path) for path in (*data, *([dev] if dev else [])))


def describe_sensor(taught: TaughtSensor) -> str:
    """Return a line on a sensor that was taught."""
    share = f"{taught.agreement:.0%} of {taught.judged}" if taught.judged else "none of 0"
    return (
        f"trigger sensor: taught with {taught.relations} relations; names the right first word of {share} held-out "
        f"relations that rest on a word; shows words from {100 * taught.floor:.0f} points"
    )
