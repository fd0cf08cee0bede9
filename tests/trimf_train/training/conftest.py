"""A run that nothing disturbs, and tensors that behave as on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.training_runs import ROUGH

from trimf_train.config import Config
from trimf_train.training.train import train_model


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor becomes an array unless it is asked to: one on a GPU would not."""

    def refuse(*_: object) -> None:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)


@pytest.fixture(scope="session")
def whole(configure_in: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Any]:
    """A run that nothing disturbs, and the record it returns."""
    config = configure_in(tmp_path_factory.mktemp("whole"), **ROUGH)
    return config, train_model(config)
