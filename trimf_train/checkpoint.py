"""A trained model as a folder: ``trimf.json``, ``model.safetensors``, ``tokenizer.json``, ``encoder/config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trimf.runtime.errors import BundleError, ConfigError
from trimf.runtime.files import atomic_folder
from trimf.runtime.labels import Labels
from trimf.runtime.manifest import ParserNote
from trimf.runtime.pipeline import Settings
from trimf_train.config import DecodeConfig, ModelConfig
from trimf_train.model.encoder import build_encoder, load_encoder, load_tokenizer, max_positions
from trimf_train.model.trimf import TriMF

SCHEMA_VERSION = 1


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``trimf.json`` says: all that the weights do not.

    ``stage`` is the last training stage the weights went through; ``provenance`` records data, seed and dev scores.
    """

    schema_version: int
    labels: Labels
    model: ModelConfig
    decode: DecodeConfig
    stage: int
    parser: ParserNote
    provenance: dict[str, Any]

    @property
    def settings(self) -> Settings:
        """The same for the runtime's pipeline."""
        encoder = self.model.encoder
        return Settings.of(
            self.labels,
            self.decode.relation_threshold,
            self.decode.overlap,
            encoder.max_subwords,
            encoder.max_words,
        )


class Checkpoint:
    """A model with its description and the text of its encoder's ``tokenizer.json``."""

    def __init__(self, model: TriMF, description: Description, tokenizer_json: str) -> None:
        self.model, self.description, self.tokenizer_json = model, description, tokenizer_json

    def save(self, folder: Path, *, overwrite: bool = True) -> None:
        """Write the folder, all or nothing; with ``overwrite`` in the place of one that is there.

        Raises:
            InputError: the folder cannot be written, or is there and is not to be replaced.
        """
        with atomic_folder(folder, overwrite=overwrite) as new:
            (new / "trimf.json").write_bytes(msgspec.json.format(msgspec.json.encode(self.description), indent=2))
            (new / "tokenizer.json").write_text(self.tokenizer_json, encoding="utf-8")
            self.model.encoder.config.save_pretrained(new / "encoder")
            weights = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
            save_file(weights, str(new / "model.safetensors"), metadata={"format": "pt"})


def create(
    labels: Labels, config: ModelConfig, decode: DecodeConfig, parser: ParserNote, provenance: dict[str, Any]
) -> Checkpoint:
    """A fresh TriMF on its pretrained encoder. Limits of one window are lowered to what the encoder can place.

    Raises:
        ConfigError: the encoder cannot be loaded, or has no layer of that number for its parser to read.
    """
    encoder = load_encoder(config.encoder.name, config.encoder.dropout, config.encoder.casing)
    layer, layers = config.syntax.layer, encoder.config.num_hidden_layers
    if config.syntax.source == "encoder" and layer is not None and layer > layers:
        raise ConfigError(f"model.syntax.layer = {layer}, but {config.encoder.name} has {layers} layers")
    tokenizer = load_tokenizer(config.encoder.name)
    limit = min(config.encoder.max_subwords, max_positions(encoder))
    config = msgspec.structs.replace(config, encoder=msgspec.structs.replace(config.encoder, max_subwords=limit))
    model = TriMF(encoder, encoder.config.hidden_size, labels, config)
    description = Description(
        schema_version=SCHEMA_VERSION,
        labels=labels,
        model=config,
        decode=decode,
        stage=2,
        parser=parser,
        provenance=provenance,
    )
    return Checkpoint(model, description, tokenizer.backend_tokenizer.to_str())


def load(folder: str | Path) -> Checkpoint:
    """Read a checkpoint folder; nothing in it is executed.

    Raises:
        BundleError: a file is missing, damaged, of another schema version, or the weights do not fit the description.
    """
    folder = Path(folder)
    try:
        content = (folder / "trimf.json").read_bytes()
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            raise BundleError(f"{folder}: checkpoint schema {version}, but this TriMF reads {SCHEMA_VERSION}")
        description = msgspec.json.decode(content, type=Description)
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        weights = load_file(str(folder / "model.safetensors"))
    except (OSError, msgspec.DecodeError, SafetensorError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder}: not a complete TriMF checkpoint: {error}") from error
    with torch.random.fork_rng(devices=[]):
        try:
            encoder = build_encoder(folder / "encoder", description.model.encoder.casing)
        except Exception as error:  # a wrong value fails wherever transformers first uses it
            raise BundleError(f"{folder}: encoder/config.json: {_one_line(error)}") from error
        model = TriMF(encoder, encoder.config.hidden_size, description.labels, description.model)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BundleError(f"{folder}: weights do not fit trimf.json: {_one_line(error)}") from error
    return Checkpoint(model.eval(), description, tokenizer_json)


class _Version(msgspec.Struct):
    """The one field that every schema has."""

    schema_version: int


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
