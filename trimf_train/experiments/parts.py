"""Find the training, development and test files of a data set; create folds and small samples."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trimf.runtime.errors import DataError
from trimf.runtime.files.atomic import atomic_path
from trimf_train.data import jsonl as prepared
from trimf_train.data.formats.ade import drop_overlapping_sentences, split_into_folds
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation import protocols
from trimf_train.evaluation.protocols import EvaluationProtocol
from trimf_train.training.dataset import check_words, read_prepared

#: Number of sentences in a sample.
SAMPLE_SIZE = 300


class DataFiles(NamedTuple):
    """Files of a run: the training set, the development set (or None), and the file to report on.

    ``held_out_name`` names the file to report on, such as ``test`` or ``fold 0 of 10``.
    """

    train: str
    dev: str | None
    test: str
    held_out_name: str


class DataSet(NamedTuple):
    """Data set with its evaluation protocol; ``parts`` has one entry per fold, or a single entry for all seeds."""

    protocol: EvaluationProtocol
    folder: Path
    parts: Sequence[DataFiles]

    def files_for_seed(self, seed: int) -> DataFiles:
        """Return the files for a seed."""
        return self.parts[seed % len(self.parts)]


def find_data_set(folder: Path, output: Path, *, overlap: bool = True, quick: bool = False) -> DataSet:
    """Find the prepared files of a data set.

    The folder contains ``train.jsonl`` with ``test.jsonl`` or ``dev.jsonl`` (or both), or a single file that is split
    into folds. Without test set, results are reported on dev. Files of folds and samples are written to
    ``output``/data.

    Args:
        folder: The folder with the prepared files.
        output: The folder for files that are created.
        overlap: False omits sentences with overlapping entities from the folds.
        quick: Use a sample of ``SAMPLE_SIZE`` training sentences, and no development set.

    Returns:
        The data set.

    Raises:
        DataError: The folder does not contain these files, or a sentence has no parse.
    """
    train, dev, test = (folder / f"{name}.jsonl" for name in ("train", "dev", "test"))
    if train.is_file():
        if not dev.is_file() and not test.is_file():
            raise DataError(
                f"{folder}: train.jsonl found, but neither dev.jsonl nor test.jsonl; add at least one of them"
            )
        held = test if test.is_file() else dev
        for path in (dev, test):
            if path.is_file():
                check_words(path)
        protocol = _select_protocol(list(read_prepared(str(train))))
        parts = DataFiles(str(train), str(dev) if dev.is_file() else None, str(held), held.stem)
        if quick:  # with so few epochs, the last epoch is as good as any other
            parts = parts._replace(train=str(_write_sample(train, output)), dev=None)
        return DataSet(protocol, folder, [parts])
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise DataError(
            f"{folder}: expected train.jsonl with test.jsonl or dev.jsonl, or a single .jsonl file for "
            f"cross-validation (create them with `trimf prepare`); found {names}"
        )
    sentences = list(read_prepared(str(files[0])))
    protocol = _select_protocol(sentences)._replace(folds=10)
    if not overlap:
        sentences = drop_overlapping_sentences(sentences)
    return DataSet(protocol, folder, _write_folds(sentences, protocol.folds, files[0], output, overlap, quick))


def report_on_dev(data: DataSet) -> DataSet:
    """Report on the development set, so that the test set does not influence decisions.

    Args:
        data: The data set.

    Returns:
        The data set with dev as the file to report on; no development set is left to select an epoch.

    Raises:
        DataError: There is no development set.
    """
    dev = data.folder / "dev.jsonl"
    if not dev.is_file():
        raise DataError(f"{data.folder}: no dev.jsonl, which the recipe experiment needs to compare its rows")
    return data._replace(parts=[parts._replace(dev=None, test=str(dev), held_out_name="dev") for parts in data.parts])


def _select_protocol(sentences: Sequence[Sentence]) -> EvaluationProtocol:
    return protocols.protocol_for(
        {entity.type for sentence in sentences for entity in sentence.entities},
        {relation.type for sentence in sentences for relation in sentence.relations},
    )


def _write_folds(
    sentences: Sequence[Sentence], count: int, source: Path, output: Path, overlap: bool, quick: bool
) -> list[DataFiles]:
    """Write the files of all folds; there is no development set, so training keeps the last epoch."""
    folds = []
    for fold, (train, test) in enumerate(split_into_folds(sentences, count)):
        stem = f"{source.stem}{'' if overlap else '-flat'}{'-quick' if quick else ''}-{fold}"
        train_file, test_file = (
            _write_prepared(part, source, output / "data" / f"{stem}-{name}.jsonl")
            for name, part in (("train", train[:SAMPLE_SIZE] if quick else train), ("test", test))
        )
        folds.append(DataFiles(str(train_file), None, str(test_file), f"fold {fold} of {count}"))
    return folds


def _write_sample(path: Path, output: Path) -> Path:
    """Write a fixed random sample of a prepared file, in the order of the file."""
    sentences = list(read_prepared(str(path)))
    sample = np.random.default_rng(0).permutation(len(sentences))[:SAMPLE_SIZE]
    return _write_prepared(
        [sentences[index] for index in sorted(sample.tolist())], path, output / "data" / f"quick-{path.stem}.jsonl"
    )


def _write_prepared(sentences: Sequence[Sentence], source: Path, path: Path) -> Path:
    """Write sentences as a prepared file and copy the source record, which names their parser."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, wait=60) as new:
        new.write_bytes(b"".join(map(prepared.encode_line, sentences)))
    record = source.with_name(f"{source.name}.source.json")
    if record.is_file():
        shutil.copyfile(record, path.with_name(f"{path.name}.source.json"))
    return path
