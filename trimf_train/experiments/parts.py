"""The parts of a data set in a folder: as they are, in folds, or a small sample of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trimf.runtime.errors import DataError
from trimf.runtime.files import atomic_path
from trimf_train import protocols
from trimf_train.data import prepared
from trimf_train.data.sentence import Sentence
from trimf_train.loading import read_prepared
from trimf_train.protocols import Protocol

#: Sentences of a sample.
SAMPLE = 300


class Parts(NamedTuple):
    """Files to learn from, to choose by, and to report on; ``held`` names the last of them."""

    train: str
    dev: str | None
    test: str
    held: str


class DataSet(NamedTuple):
    """The parts by seed, one for all seeds unless folds are made of one file."""

    protocol: Protocol
    folder: Path
    parts: Sequence[Parts]

    def of(self, seed: int) -> Parts:
        """The parts that a seed has."""
        return self.parts[seed % len(self.parts)]


def find(folder: Path, output: Path, *, overlap: bool = True, quick: bool = False) -> DataSet:
    """The prepared files of a folder: ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl``, or one file to be folded.

    Without a test part, dev is reported on. Of folds, and of ``quick`` samples of the
    training part, files are written under ``output``. Without
    ``overlap``, folds leave out the sentences in which entities overlap.

    Raises:
        DataError: the folder holds neither, or a sentence has no parse.
    """
    train, dev, test = (folder / f"{name}.jsonl" for name in ("train", "dev", "test"))
    if train.is_file():
        if not dev.is_file() and not test.is_file():
            raise DataError(f"{folder}: train.jsonl has neither a dev.jsonl nor a test.jsonl beside it")
        held = test if test.is_file() else dev
        protocol = _protocol(list(read_prepared(str(train))))
        chosen = Parts(str(train), str(dev) if dev.is_file() else None, str(held), held.stem)
        if quick:  # a last epoch is as good as any of few
            chosen = chosen._replace(train=str(_sample(train, output)), dev=None)
        return DataSet(protocol, folder, [chosen])
    whole = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if len(whole) != 1:
        raise DataError(
            f"{folder}: expected train.jsonl and test.jsonl (or dev.jsonl), or one file to make folds of, as "
            f"`trimf prepare` writes them; found {', '.join(path.name for path in whole) or 'none'}"
        )
    sentences = list(read_prepared(str(whole[0])))
    protocol = _protocol(sentences)._replace(folds=10)
    if not overlap:
        sentences = [one for one in sentences if not _overlaps(one)]
    return DataSet(protocol, folder, _folds(sentences, protocol.folds, whole[0], output, overlap, quick))


def on_dev(data: DataSet) -> DataSet:
    """The same with dev as what is reported on, so that test has no part in a choice. No epoch is chosen by it.

    Raises:
        DataError: there is no dev part.
    """
    dev = data.folder / "dev.jsonl"
    if not dev.is_file():
        raise DataError(f"{data.folder}: no dev.jsonl, by which steps of a recipe are judged")
    return data._replace(parts=[part._replace(dev=None, test=str(dev), held="dev") for part in data.parts])


def _protocol(sentences: Sequence[Sentence]) -> Protocol:
    return protocols.of({entity.type for one in sentences for entity in one.entities})


def _overlaps(sentence: Sentence) -> bool:
    spans = sorted((entity.start, entity.end) for entity in sentence.entities)
    return any(after[0] < before[1] for before, after in pairwise(spans))


def _folds(
    sentences: Sequence[Sentence], count: int, source: Path, output: Path, overlap: bool, quick: bool
) -> list[Parts]:
    """Sentence i of a fixed shuffle is held out in fold i mod ``count``; no dev part: the last epoch is taken."""
    order = np.random.default_rng(0).permutation(len(sentences)).tolist()
    found = []
    for fold in range(count):
        held = [sentences[place] for place in sorted(order[fold::count])]
        rest = [sentences[place] for number, place in enumerate(order) if number % count != fold]
        rest = rest[:SAMPLE] if quick else rest
        stem = f"{source.stem}{'' if overlap else '-flat'}{'-quick' if quick else ''}-{fold}"
        files = [_write(part, source, output / "data" / f"{stem}-{name}.jsonl") for name, part in
                 (("train", rest), ("test", held))]  # fmt: skip
        found.append(Parts(str(files[0]), None, str(files[1]), f"fold {fold} of {count}"))
    return found


def _sample(path: Path, output: Path) -> Path:
    sentences = list(read_prepared(str(path)))
    chosen = np.random.default_rng(0).permutation(len(sentences))[:SAMPLE]
    return _write(
        [sentences[place] for place in sorted(chosen.tolist())], path, output / "data" / f"quick-{path.stem}.jsonl"
    )


def _write(sentences: Sequence[Sentence], source: Path, path: Path) -> Path:
    """The sentences as a prepared file, with the note of what parsed them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as new:
        new.write_bytes(b"".join(map(prepared.encode, sentences)))
    note = source.with_name(f"{source.name}.source.json")
    if note.is_file():
        shutil.copyfile(note, path.with_name(f"{path.name}.source.json"))
    return path
