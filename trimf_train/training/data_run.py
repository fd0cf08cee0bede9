"""Make a training run from annotated data alone: prepare the data, set a dev part aside, choose the settings.

The prepared files lie in the folder ``data`` inside the run's folder; a second call finds them there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from trimf.runtime.errors import ConfigError, DataError, InputError
from trimf.runtime.files.atomic import atomic_path
from trimf.runtime.output.plain_text import make_visible
from trimf.runtime.text.words import DEFAULT_LANGUAGE
from trimf_train.config import Config, build_config
from trimf_train.data.dev_split import split_off_dev
from trimf_train.data.jsonl import encode_line, read_prepared_file
from trimf_train.data.prepare import (
    PreparationSummary,
    SourceRecord,
    prepare_file,
    read_source_record,
    write_source_record,
)
from trimf_train.data.sentence import Sentence
from trimf_train.training.default_settings import choose_settings

if TYPE_CHECKING:
    from trimf.runtime.text.parser import Parser


class DataRun(NamedTuple):
    """Configuration of a run on prepared data, and lines that say where it comes from."""

    config: Config
    lines: list[str]


def plan_run(
    data: Path,
    dev: Path | None,
    output: Path,
    parser: Parser,
    overrides: Sequence[str] = (),
    *,
    language: str = DEFAULT_LANGUAGE,
    misaligned: Literal["error", "snap", "skip"] = "error",
    restart: bool = False,
) -> DataRun:
    """Prepare annotated data and choose the settings of a run on it.

    Args:
        data: Training data in any format that ``prepare_file`` reads.
        dev: Development data, likewise; None sets about a fifth of ``data`` aside, by document.
        output: Folder of the run.
        parser: Dependency parser that parses the sentences.
        overrides: ``key=value`` strings that replace settings; see ``load_config``.
        language: Language of the texts.
        misaligned: See ``prepare_file``.
        restart: Prepare again if the folder has other data.

    Returns:
        The configuration of the run, and lines about the data, the dev part and the settings.

    Raises:
        ConfigError: A setting is not accepted, the folder has the data of another run, or several processes were
            launched.
        DataError: The data cannot be used.
        InputError: The folder cannot be written.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "--data prepares the data in one process; write the configuration by `trimf train --data … --write-config` "
            "first, then launch `trimf.cli train` on that file"
        )
    folder = output / "data"
    lines: list[str] = []
    dev_path: Path | None

    def prepare(source: Path, name: str) -> Path:
        summary = _prepare_once(source, folder / name, parser, language, misaligned, restart)
        lines.extend(_describe_preparation(source, summary))
        return summary.output

    if dev is not None:
        train_path, dev_path = prepare(data, "train.jsonl"), prepare(dev, "dev.jsonl")
        train = list(read_prepared_file(train_path))
    else:
        whole = prepare(data, "all.jsonl")
        train_path, dev_path, train, line = _split(whole, folder)
        lines.append(line)
    names = [override.partition("=")[0].strip() for override in overrides]
    known_encoder = not any("model.encoder.name".startswith(name) for name in names if name.startswith("model."))
    settings = choose_settings(train, dev_path is not None, known_encoder)
    values: dict[str, Any] = {
        "output": str(output),
        "data": {"train": [str(train_path)], **({"dev": str(dev_path)} if dev_path is not None else {})},
        **settings.values,
    }
    if language != DEFAULT_LANGUAGE:
        values["model"]["language"] = language
    lines.append(
        f"settings from the data: {settings.summary}{', then --set' if overrides else ''}; --write-config prints all"
    )
    return DataRun(build_config(values, overrides, "--data"), lines)


def _prepare_once(
    source: Path,
    output: Path,
    parser: Parser,
    language: str,
    misaligned: Literal["error", "snap", "skip"],
    restart: bool,
) -> PreparationSummary:
    """Prepare a file unless it has been; with ``restart``, replace what was prepared from other data."""
    existed = output.exists()
    try:
        return prepare_file(source, output, parser, language=language, misaligned=misaligned)
    except InputError as error:
        if not existed or not output.is_file():
            raise
        if restart:
            return prepare_file(source, output, parser, language=language, misaligned=misaligned, force=True)
        raise ConfigError(
            f"{output}: was prepared from other data, or in another way, by an earlier run; use --restart to replace "
            "that run, or set another --output"
        ) from error


def _describe_preparation(source: Path, summary: PreparationSummary) -> list[str]:
    """Return what was read from a file, and what was left out or changed."""
    found = summary.statistics
    head = (
        f"{source}: {summary.source.format}; sentences {found.sentences}, entities {found.entities}, entity types "
        f"{len(found.entity_types)}, relations {found.relations}, relation types {len(found.relation_types)}; parsed "
        f"by {summary.source.parser}"
    )
    return [make_visible(head), *found.report.list_lines()]


def _split(whole: Path, folder: Path) -> tuple[Path, Path | None, list[Sentence], str]:
    """Write the training and the dev part of a prepared file beside it, and say how many sentences each has."""
    source = read_source_record(whole)
    if source is None:
        raise DataError(f"{whole}: its record {whole.name}.source.json is missing; use --restart to prepare it again")
    split = split_off_dev(list(read_prepared_file(whole)))
    if not split.dev:
        return (
            whole,
            None,
            split.train,
            (
                "no dev part, because the data is one document: the last epoch is kept, however good it is; pass "
                "--dev, or data of several documents"
            ),
        )
    train_path, dev_path = folder / "train-part.jsonl", folder / "dev-part.jsonl"
    for path, sentences in ((train_path, split.train), (dev_path, split.dev)):
        _write_part(path, sentences, source)
    total = split.train_documents + split.dev_documents
    line = (
        f"{len(split.dev)} of {len(split.train) + len(split.dev)} sentences ({split.dev_documents} of {total} "
        f"documents) are set aside as dev, in {make_visible(str(dev_path))}; pass --dev to use your own"
    )
    return train_path, dev_path, split.train, line


def _write_part(path: Path, sentences: Sequence[Sentence], source: SourceRecord) -> None:
    """Write prepared sentences with the record of their source, unless the same are there."""
    content = b"".join(map(encode_line, sentences))
    if not path.is_file() or path.read_bytes() != content:
        with atomic_path(path) as new:
            new.write_bytes(content)
    if read_source_record(path) != source:
        write_source_record(path, source)
