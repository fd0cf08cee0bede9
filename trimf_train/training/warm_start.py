"""Initialise a new model from a trained checkpoint, whose labels may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trimf.runtime.errors import ConfigError
from trimf_train.model.checkpoint import Checkpoint, CheckpointDescription


def copy_trained_weights(checkpoint: Checkpoint, trained: Checkpoint, name: str) -> list[str]:
    """Copy the weights of a trained checkpoint into a new one, in place.

    The slots of both memories and the label matrices of the syntactic graph are matched by the names of their labels,
    so that those of new labels keep their initial values. All other weights are copied if their shapes are equal.

    Args:
        checkpoint: The new checkpoint; its weights change.
        trained: The trained checkpoint.
        name: Name of the trained checkpoint in error messages.

    Returns:
        Names of the weights that keep some or all of their initial values.

    Raises:
        ConfigError: The encoders have different shapes, so that no weights could be copied.
    """
    weights, trained_weights = checkpoint.model.state_dict(), trained.model.state_dict()
    new, old = checkpoint.description, trained.description
    if _encoder_shapes(weights) != _encoder_shapes(trained_weights):
        raise ConfigError(
            f"train.init = {name!r} has the encoder {old.model.encoder.name}, whose weights do not fit "
            f"{new.model.encoder.name}; set model.encoder.name to the encoder of the checkpoint"
        )
    fresh = []
    with torch.no_grad():
        for key, value in weights.items():
            if not _copy_weight(key, value, trained_weights, new, old):
                fresh.append(key)
    return fresh


def _encoder_shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shapes of the pretrained encoder's weights."""
    return {
        key: value.shape for key, value in weights.items() if key.startswith("encoder.") and not key.endswith(".casing")
    }


def _copy_weight(
    key: str,
    value: Tensor,
    trained_weights: Mapping[str, Tensor],
    new: CheckpointDescription,
    old: CheckpointDescription,
) -> bool:
    """Copy as much as possible of a trained weight into ``value``; return True if all of ``value`` was replaced."""
    source = trained_weights.get(key)
    if source is None:
        return False
    new_labels, old_labels = _row_labels(key, new), _row_labels(key, old)
    if new_labels is not None and old_labels is not None and value.shape[1:] == source.shape[1:]:
        old_rows = {label: row for row, label in enumerate(old_labels)}
        pairs = [(row, old_rows[label]) for row, label in enumerate(new_labels) if label in old_rows]
        for row, old_row in pairs:
            value[row] = source[old_row]
        return len(pairs) == len(new_labels)
    if (new_labels is None) != (old_labels is None) or value.shape != source.shape:
        return False
    if key == "parser.label" and new.labels.dependency_labels != old.labels.dependency_labels:
        return False
    value.copy_(source)
    return True


def _row_labels(key: str, description: CheckpointDescription) -> Sequence[str] | None:
    """Return the labels of a weight's rows, or None if its rows are not labels."""
    labels = description.labels
    if key == "memory.entity":
        return ("", *labels.entity_types)
    if key == "memory.relation":
        return labels.relation_types
    by_label = ".mixture" if description.model.syntax.bases else ".weight"
    if key.startswith(("fusion.syntactic.down.", "fusion.syntactic.up.")) and key.endswith(by_label):
        return labels.dependency_labels
    return None
