"""Set up a training run: read and encode its data, and build its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.errors import ConfigError
from trimf.runtime.text.tokenization import load_tokenizer_rules
from trimf_train.config import Config
from trimf_train.data import label_collection as labels
from trimf_train.data.data_questions import DataProfile, ask_about_data, ask_about_split
from trimf_train.data.file_hashes import hash_while_reading
from trimf_train.data.prepare import read_source_record
from trimf_train.data.sentence import Sentence
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.training import distillation
from trimf_train.training.dataset import TrainingExamples, build_training_set, read_prepared
from trimf_train.training.sampling import SoftTargets
from trimf_train.training.warm_start import copy_trained_weights

#: Weights that predict entity types; a model with all of them from ``train.init`` can predict entities at once.
_ENTITY_WEIGHTS = {"memory.entity", "entity_weight", "span_width.weight"}


class TrainingSetup(NamedTuple):
    """Untrained model, training data and development data of a run, and lines to log about them.

    ``init_stage`` is the training stage of the ``train.init`` model if that predicts the same entity types, otherwise
    0. ``inputs`` are the SHA-256 hashes of the files that the run learns from.
    """

    checkpoint: Checkpoint
    mixture: TrainingExamples
    dev: list[Sentence]
    log_lines: list[str]
    init_stage: int
    inputs: dict[str, str]


def set_up_run(config: Config, device: torch.device, command: str = "") -> TrainingSetup:
    """Read the data, build the model and compute teacher probabilities.

    Args:
        config: The run's configuration.
        device: Device that runs the teachers.
        command: Command line that started the run, recorded in the checkpoint.

    Returns:
        The model and the data, ready to train.

    Raises:
        ConfigError: A value does not fit the data or the encoder.
        DataError: The data cannot be used.
        BundleError: ``train.init`` or one of ``train.teachers`` is not a checkpoint.
    """
    learnt_from = [*config.data.train, *config.train.extra_syntax]
    read = [*learnt_from, *([config.data.dev] if config.data.dev else [])]
    weights = [Path(folder, "model.safetensors") for folder in config.train.teachers]
    read += [str(path) for path in weights if path.is_file()]
    with hash_while_reading(dict.fromkeys(read)) as hashes:
        provenance: dict[str, Any] = {
            "command": command,
            "seed": config.seed,
            "train": {path: hashes[path] for path in learnt_from},
            "config": msgspec.to_builtins(config),
        }
        return _set_up_run(config, device, provenance, hashes)


def _set_up_run(
    config: Config, device: torch.device, provenance: dict[str, Any], hashes: dict[str, str]
) -> TrainingSetup:
    """Read the data, build the model and compute teacher probabilities; see ``set_up_run``."""
    train = [sentence for path in config.data.train for sentence in read_prepared(path)]
    dev = list(read_prepared(config.data.dev)) if config.data.dev else []
    extra = [sentence for path in config.train.extra_syntax for sentence in read_prepared(path)]
    names = labels.collect_labels(train, config.data.symmetric, extra, config.decode.types == "seen")
    trained = checkpoints.load_checkpoint(config.train.init) if config.train.init is not None else None
    if trained is not None:
        provenance["init"] = trained.description.provenance
    teachers = [checkpoints.load_checkpoint(folder) for folder in config.train.teachers]
    if teachers:
        provenance["teachers"] = [teacher.description.provenance for teacher in teachers]
    load_tokenizer_rules(config.model.language)  # an unknown language fails now rather than at inference
    checkpoint = checkpoints.create_checkpoint(names, config.model, config.decode, _parser_note(config), provenance)
    fresh = copy_trained_weights(checkpoint, trained, str(config.train.init)) if trained is not None else None
    soft = _compute_soft_targets(teachers, config, names, train, device) if teachers else None
    annotated = build_training_set(train, checkpoint, soft_targets=soft)
    examples, skipped, unknown = annotated
    log_lines = [
        f"{len(examples)} training sentences, {len(dev)} dev sentences, {len(names.entity_types)} entity types, "
        f"{len(names.relation_types)} relation types, "
        f"{sum(weight.numel() for weight in checkpoint.model.parameters()):,} parameters"
    ]
    log_lines += _ask_about(train, dev, config.model.span.max_width)
    if note := _compare_languages(checkpoint.description.parser.name, config.model.language):
        log_lines.append(note)
    log_lines += _compare_splitting([*config.data.train, *([config.data.dev] if config.data.dev else [])], config)
    if extra:
        parse_only = build_training_set(extra, checkpoint, annotated=False)
        examples = [*examples, *parse_only.examples]
        skipped += parse_only.skipped
        unknown += parse_only.unknown_words
        log_lines.append(f"{len(parse_only.examples)} parse-only sentences")
    if fresh is not None:
        log_lines.append(
            f"weights initialised from {config.train.init}, except {', '.join(fresh)}"
            if fresh
            else f"all weights initialised from {config.train.init}"
        )
    if soft and (without_teacher := sum(targets is None for targets in soft)):
        log_lines.append(
            f"{without_teacher} training sentences exceed one window of a teacher and use gold targets only"
        )
    if skipped:
        log_lines.append(f"{skipped} training sentences exceed one window of the encoder and are left out")
    if unknown:
        log_lines.append(f"{unknown} training words have no subwords, or too many, and are read as the unknown token")
    init_stage = trained.description.stage if trained is not None and not _ENTITY_WEIGHTS & set(fresh or ()) else 0
    mixture = TrainingExamples(examples, len(annotated.examples))
    return TrainingSetup(checkpoint, mixture, dev, log_lines, init_stage, hashes)


def _compute_soft_targets(
    teachers: Sequence[Checkpoint], config: Config, names: Labels, train: Sequence[Sentence], device: torch.device
) -> list[SoftTargets | None]:
    """Check all teachers, then compute their probabilities for the training sentences."""
    width = config.model.span.max_width
    for teacher, folder in zip(teachers, config.train.teachers, strict=True):
        distillation.check_teacher(teacher, folder, names, width)
    return distillation.compute_soft_targets(teachers, train, width, device)


def _ask_about(train: Sequence[Sentence], dev: Sequence[Sentence], max_span: int) -> list[str]:
    """Return the questions about the data of a run, one line each."""
    profile = DataProfile.of(train)
    lines = [f"check train: {line}" for line in ask_about_data(profile, max_span)]
    return lines + [f"check: {line}" for line in (ask_about_split(profile, DataProfile.of(dev)) if dev else [])]


def _compare_languages(parser: str, language: str) -> str:
    """Return a line if the name of a spaCy pipeline, such as ``de_core_news_sm``, begins with another language."""
    named = Path(parser).name.partition("_")[0]
    if "_" not in Path(parser).name or not 2 <= len(named) <= 3 or "xx" in (named, language) or named == language:
        return ""
    return (
        f"the training data was parsed by {parser}, but model.language is {language}: prepare the data with a pipeline"
        " of the language of the texts, and set model.language to that language"
    )


def _compare_splitting(paths: Sequence[str], config: Config) -> list[str]:
    """Return a line for each file whose running text was split by the rules of another language than the model's."""
    language = config.model.language
    records = {path: read_source_record(path) for path in paths}
    return [
        f"{path} was split into words by the rules of {record.language!r}, but model.language is {language!r}: prepare "
        f"the data with --language {language}, or set model.language"
        for path, record in records.items()
        if record is not None and record.language not in ("", language)
    ]


def _parser_note(config: Config) -> ParserInfo:
    """Return the parser of the training data, from ``data.parser`` or from the record of ``trimf prepare``."""
    noted = read_source_record(config.data.train[0])
    if config.data.parser is None and noted is None:
        raise ConfigError(
            f"{config.data.train[0]}: the parser of this file is not recorded; set data.parser to its spaCy pipeline"
        )
    name = config.data.parser or (noted.parser if noted else "")
    version = noted.parser_version if noted and noted.parser == name else ""
    return ParserInfo(name=name, version=version, source=config.model.syntax.source)
