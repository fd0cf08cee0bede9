"""What a training run begins with: its data as numbers, and a model to learn them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from trimf.runtime.errors import ConfigError
from trimf.runtime.labels import Labels
from trimf.runtime.manifest import ParserNote
from trimf_train import checkpoint as checkpoints
from trimf_train import distillation, labels
from trimf_train.checkpoint import Checkpoint
from trimf_train.config import Config
from trimf_train.data.prepare import source_of
from trimf_train.data.sentence import Sentence
from trimf_train.loading import Mixture, read_prepared, training_set
from trimf_train.sampling import Soft
from trimf_train.warm_start import adopt

#: The weights that know types of entities.
_ENTITIES = {"memory.entity", "entity_weight", "span_width.weight"}


class Beginning(NamedTuple):
    """The model as it is before training, what it learns from, what it is chosen by, and what there is to say of it.

    ``knows`` is the stage after which ``train.init`` finds these types of entities; 0 where nothing finds them yet.
    """

    checkpoint: Checkpoint
    mixture: Mixture
    dev: list[Sentence]
    about: list[str]
    knows: int


def begin(config: Config, device: torch.device, command: str = "") -> Beginning:
    """Read the data and build the model; ``command`` is recorded as what started the run, teachers run on ``device``.

    Raises:
        ConfigError: a value does not fit the data or the encoder.
        DataError: the data cannot be used.
        BundleError: there is no checkpoint where one is named.
    """
    train = [sentence for path in config.data.train for sentence in read_prepared(path)]
    dev = list(read_prepared(config.data.dev)) if config.data.dev else []
    extra = [sentence for path in config.train.extra_syntax for sentence in read_prepared(path)]
    names = labels.collect(train, config.data.symmetric, extra, config.decode.types == "seen")
    provenance: dict[str, Any] = {
        "command": command,
        "seed": config.seed,
        "train": _fingerprints([*config.data.train, *config.train.extra_syntax]),
        "config": msgspec.to_builtins(config),
    }
    trained = checkpoints.load(config.train.init) if config.train.init is not None else None
    if trained is not None:
        provenance["init"] = trained.description.provenance
    teachers = [checkpoints.load(folder) for folder in config.train.teachers]
    if teachers:
        provenance["teachers"] = [teacher.description.provenance for teacher in teachers]
    checkpoint = checkpoints.create(names, config.model, config.decode, _parser(config), provenance)
    fresh = adopt(checkpoint, trained, str(config.train.init)) if trained is not None else None
    soft = _taught(teachers, config, names, train, device) if teachers else None
    annotated = training_set(train, checkpoint, soft=soft)
    examples, skipped, unknown = annotated
    about = [
        f"{len(examples)} training sentences, {len(dev)} dev sentences, {len(names.entities)} entity types, "
        f"{len(names.relations)} relation types, {sum(p.numel() for p in checkpoint.model.parameters()):,} parameters"
    ]
    if extra:
        more = training_set(extra, checkpoint, annotated=False)
        examples, skipped, unknown = examples + more.examples, skipped + more.skipped, unknown + more.unknown
        about.append(f"{len(more.examples)} sentences more with a parse alone")
    if fresh is not None:
        about.append(f"begun from {config.train.init}; not from there: {', '.join(fresh) or 'nothing'}")
    if soft and (untaught := sum(one is None for one in soft)):
        about.append(f"{untaught} training sentences are longer than one window of a teacher, and are learnt from gold")
    if skipped:
        about.append(f"{skipped} training sentences are longer than one window of the encoder and are left out")
    if unknown:
        about.append(f"{unknown} training words have no subword, or too many, and are read as the unknown token")
    knows = trained.description.stage if trained is not None and not _ENTITIES & set(fresh or ()) else 0
    return Beginning(checkpoint, Mixture(examples, len(annotated.examples)), dev, about, knows)


def _taught(
    teachers: Sequence[Checkpoint], config: Config, names: Labels, train: Sequence[Sentence], device: torch.device
) -> list[Soft | None]:
    width = config.model.span.max_width
    for teacher, folder in zip(teachers, config.train.teachers, strict=True):
        distillation.check(teacher, folder, names, width)
    return distillation.soft_targets(teachers, train, width, device)


def _parser(config: Config) -> ParserNote:
    noted = source_of(config.data.train[0])
    if config.data.parser is None and noted is None:
        raise ConfigError(f"{config.data.train[0]}: nothing beside it says which parser made it; set data.parser")
    name = config.data.parser or (noted.parser if noted else "")
    version = noted.parser_version if noted and noted.parser == name else ""
    return ParserNote(name=name, version=version, source=config.model.syntax.source)


def _fingerprints(paths: Sequence[str]) -> dict[str, str]:
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}
