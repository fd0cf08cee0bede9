"""Describe a model that is loaded for a measurement, whatever loaded it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...runtime.pipeline import Pipeline

#: Runs a plain encoder on the arrays of a batch and returns when it is done.
EncoderRunner = Callable[[Mapping[str, Any]], None]


class LoadedModel(NamedTuple):
    """A loaded model.

    Attributes:
        pipeline: The model's pipeline.
        backend: Name of the backend that runs it.
        reason: Why that backend was selected.
        device: Name of the accelerator; None on a CPU.
        has_plain_encoder: Whether the plain encoder is the transformer cut out of the bundle. A backend that runs only
            the bundle's own engines uses the whole encoder in its place.
        load_plain_encoder: Loads the plain encoder.
        wait_for_subgraph: Waits until the work that a subgraph has started is done.
        is_settled: Returns whether nothing was compiled since its last call.
    """

    pipeline: Pipeline
    backend: str
    reason: str
    device: str | None
    has_plain_encoder: bool
    load_plain_encoder: Callable[[], EncoderRunner]
    wait_for_subgraph: Callable[[Any], None]
    is_settled: Callable[[], bool]
