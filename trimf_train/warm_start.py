"""Beginning from a trained checkpoint instead of a pretrained encoder alone, with labels of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trimf.runtime.errors import ConfigError
from trimf_train.checkpoint import Checkpoint, Description


def adopt(checkpoint: Checkpoint, trained: Checkpoint, name: str) -> list[str]:
    """Give a fresh checkpoint the weights of a ``trained`` one, in place; returns the names of those that stay fresh.

    The slots of both memories, and the matrices of the syntactic graph, go by the names of their labels, so that a
    type that is new stays fresh; every other weight is taken where its shape is the same. ``name`` is what errors call
    the trained one.

    Raises:
        ConfigError: the two have different encoders, so that nothing would fit.
    """
    mine, yours = checkpoint.model.state_dict(), trained.model.state_dict()
    if _encoder(mine) != _encoder(yours):
        raise ConfigError(
            f"train.init = {name!r} has the encoder {trained.description.model.encoder.name}, which is of another "
            f"shape than {checkpoint.description.model.encoder.name}"
        )
    new, old = checkpoint.description, trained.description
    fresh = []
    with torch.no_grad():
        for key, value in mine.items():
            if not _take(key, value, yours, new, old):
                fresh.append(key)
    return fresh


def _encoder(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shapes of the pretrained encoder's weights."""
    return {
        key: value.shape for key, value in weights.items() if key.startswith("encoder.") and not key.endswith(".casing")
    }


def _take(key: str, value: Tensor, yours: Mapping[str, Tensor], new: Description, old: Description) -> bool:
    """Copy into ``value`` what there is for it; whether that is all of it."""
    given = yours.get(key)
    if given is None:
        return False
    mine, its = _rows(key, new), _rows(key, old)
    if mine is not None and its is not None and value.shape[1:] == given.shape[1:]:
        places = {label: place for place, label in enumerate(its)}
        pairs = [(place, places[label]) for place, label in enumerate(mine) if label in places]
        for at, other in pairs:
            value[at] = given[other]
        return len(pairs) == len(mine)
    if (mine is None) != (its is None) or value.shape != given.shape:
        return False
    if key == "parser.label" and new.labels.dependencies != old.labels.dependencies:
        return False
    value.copy_(given)
    return True


def _rows(key: str, description: Description) -> Sequence[str] | None:
    """The labels of a weight's rows, where it has one for each."""
    labels = description.labels
    if key == "memory.entity":
        return ("", *labels.entities)
    if key == "memory.relation":
        return labels.relations
    by_label = ".mixture" if description.model.syntax.bases else ".weight"
    if key.startswith(("fusion.syntactic.down.", "fusion.syntactic.up.")) and key.endswith(by_label):
        return labels.dependencies
    return None
