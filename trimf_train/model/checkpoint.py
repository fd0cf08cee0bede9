"""Save and load trained models as folders.

A checkpoint folder has ``trimf.json``, ``model.safetensors``, ``tokenizer.json`` and ``encoder/config.json``; and
``effects.npz`` if the trigger sensor has been taught.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import EFFECTS_FILE, ParserInfo
from trimf.runtime.errors import BundleError, ConfigError, ModelPathError
from trimf.runtime.files.atomic import atomic_folder
from trimf.runtime.files.folder_kinds import CHECKPOINT
from trimf.runtime.model_settings import ModelSettings
from trimf.runtime.triggers.effect_estimator import EffectEstimator
from trimf.runtime.triggers.trigger_scores import DEFAULT_TRIGGER_FLOOR
from trimf_train.config import DecodeConfig, ModelConfig
from trimf_train.former_defaults import fill_former_defaults
from trimf_train.model.encoder import build_encoder, load_encoder, load_tokenizer, max_subword_count
from trimf_train.model.trimf import TriMF
from trimf_train.removed_settings import EVIDENCE, drop_unused_settings

#: Schema version of ``trimf.json`` that this code writes and reads.
SCHEMA_VERSION = 1


class CheckpointDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Content of ``trimf.json``: everything about a model except its weights, tokenizer and encoder configuration.

    ``stage`` is the last training stage of the weights; ``provenance`` records data, seed and dev scores;
    ``trigger_floor`` is the probability that a relation must lose without a word for the sensor to show it.
    """

    schema_version: int
    labels: Labels
    model: ModelConfig
    decode: DecodeConfig
    stage: int
    parser: ParserInfo
    provenance: dict[str, Any]
    trigger_floor: float = DEFAULT_TRIGGER_FLOOR

    @property
    def pipeline_settings(self) -> ModelSettings:
        """Settings of the runtime's pipeline for this model."""
        encoder = self.model.encoder
        return ModelSettings.from_labels(
            self.labels,
            self.decode.relation_threshold,
            self.decode.overlap,
            encoder.max_subwords,
            encoder.max_words,
        )


class Checkpoint:
    """A model with its description and the text of its encoder's ``tokenizer.json``.

    Args:
        model: The model.
        description: What a user of its weights must know.
        tokenizer_json: Content of ``tokenizer.json``.
        effects: Estimator of the effects of words on relations, if the model has been taught one.
    """

    def __init__(
        self,
        model: TriMF,
        description: CheckpointDescription,
        tokenizer_json: str,
        effects: EffectEstimator | None = None,
    ) -> None:
        self.model, self.description, self.tokenizer_json = model, description, tokenizer_json
        self.effects = effects

    def save(self, folder: Path, *, overwrite: bool = True) -> None:
        """Write the checkpoint folder atomically.

        Args:
            folder: Folder to write.
            overwrite: Replace an existing checkpoint.

        Raises:
            InputError: The folder cannot be written, exists and ``overwrite`` is false, or is no checkpoint.
        """
        with atomic_folder(folder, CHECKPOINT, overwrite=overwrite) as new:
            (new / "trimf.json").write_bytes(msgspec.json.format(msgspec.json.encode(self.description), indent=2))
            (new / "tokenizer.json").write_text(self.tokenizer_json, encoding="utf-8")
            self.model.encoder.config.save_pretrained(new / "encoder")
            weights = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
            save_file(weights, str(new / "model.safetensors"), metadata={"format": "pt"})
            if self.effects is not None:
                (new / EFFECTS_FILE).write_bytes(self.effects.to_bytes())


def create_checkpoint(
    labels: Labels, config: ModelConfig, decode: DecodeConfig, parser: ParserInfo, provenance: dict[str, Any]
) -> Checkpoint:
    """Create an untrained model on its pretrained encoder.

    Args:
        labels: Entity types, relation types and dependency labels.
        config: The architecture. Its ``encoder.max_subwords`` is lowered to the number of positions of the encoder.
        decode: The rules for turning scores into results.
        parser: The parser that made the dependency parses of the data.
        provenance: Record of data, seed and configuration.

    Returns:
        The new checkpoint.

    Raises:
        ConfigError: The encoder cannot be loaded, or does not have the layer that the in-model parser is to read.
    """
    encoder = load_encoder(config.encoder.name, config.encoder.dropout, config.encoder.casing)
    layer, layers = config.syntax.layer, encoder.config.num_hidden_layers
    if config.syntax.source == "encoder" and layer is not None and layer > layers:
        raise ConfigError(
            f"model.syntax.layer must be <= {layers}, the number of layers of {config.encoder.name}, got {layer}"
        )
    tokenizer = load_tokenizer(config.encoder.name)
    highest, rows = max(tokenizer.get_vocab().values(), default=0), encoder.config.vocab_size
    if highest >= rows:
        raise ConfigError(
            f"encoder {config.encoder.name!r}: its tokenizer has the ID {highest}, but its embedding has {rows} rows; "
            "use the tokenizer that belongs to the encoder"
        )
    limit = min(config.encoder.max_subwords, max_subword_count(encoder))
    config = msgspec.structs.replace(config, encoder=msgspec.structs.replace(config.encoder, max_subwords=limit))
    model = TriMF(encoder, encoder.config.hidden_size, labels, config)
    description = CheckpointDescription(
        schema_version=SCHEMA_VERSION,
        labels=labels,
        model=config,
        decode=decode,
        stage=2,
        parser=parser,
        provenance=provenance,
    )
    return Checkpoint(model, description, tokenizer.backend_tokenizer.to_str())


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Load a checkpoint folder; nothing in it is executed.

    Args:
        folder: The checkpoint folder.

    Returns:
        The checkpoint, its model on the CPU and in eval mode.

    Raises:
        ModelPathError: The folder is missing, or is a bundle.
        BundleError: A file is missing or damaged, the schema version differs, or the weights do not fit the
            description.
    """
    folder = Path(folder)
    if not folder.is_dir():
        reason = "it is a file" if folder.exists() else "no such folder"
        raise ModelPathError(f"{folder}: not a complete TriMF checkpoint: {reason}; `trimf train` writes one")
    if (folder / "manifest.json").is_file() and not (folder / "trimf.json").exists():
        raise ModelPathError(
            f"{folder}: not a complete TriMF checkpoint: it is a bundle; pass the checkpoint that it was made of"
        )
    try:
        content = (folder / "trimf.json").read_bytes()
        version = msgspec.json.decode(content, type=_SchemaVersion).schema_version
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{folder}: unsupported checkpoint schema_version {version}; this TriMF reads {SCHEMA_VERSION}"
            )
        description = _decode_description(content, folder)
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        weights = load_file(str(folder / "model.safetensors"))
    except (OSError, msgspec.DecodeError, SafetensorError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder}: not a complete TriMF checkpoint: {error}") from error
    with torch.random.fork_rng(devices=[]):
        try:
            encoder = build_encoder(folder / "encoder", description.model.encoder.casing)
        except Exception as error:  # a wrong value fails wherever transformers first uses it, with any type of error
            raise BundleError(f"{folder}: encoder/config.json: {_one_line(error)}") from error
        model = TriMF(encoder, encoder.config.hidden_size, description.labels, description.model)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BundleError(f"{folder}: weights do not fit trimf.json: {_one_line(error)}") from error
    effects, width, types = None, encoder.config.hidden_size, len(description.labels.relation_types)
    if (folder / EFFECTS_FILE).exists():
        effects = EffectEstimator.from_bytes(
            (folder / EFFECTS_FILE).read_bytes(), f"{folder}/{EFFECTS_FILE}", width, types
        )
    return Checkpoint(model.eval(), description, tokenizer_json, effects)


def _decode_description(content: bytes, folder: Path) -> CheckpointDescription:
    """Decode ``trimf.json``.

    Removed settings that the model does not use are ignored; later settings have the value that earlier versions used.
    """
    values = msgspec.json.decode(content, type=dict[str, Any])
    if used := drop_unused_settings(values):
        raise BundleError(
            f"{folder}: the model was trained with {used}, which was removed because it did not help ({EVIDENCE}); "
            "train it again"
        )
    fill_former_defaults(values)
    return msgspec.convert(values, CheckpointDescription)


class _SchemaVersion(msgspec.Struct, frozen=True):
    """The only field that all schema versions share."""

    schema_version: int


def _one_line(error: Exception) -> str:
    """Return the first 300 characters of an error message on one line."""
    return " ".join(str(error).split())[:300]
