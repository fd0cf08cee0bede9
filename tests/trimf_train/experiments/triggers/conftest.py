"""Sentences in which the tiny model finds relations beside several candidate words, and relations made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from trimf.runtime.pipeline import Pipeline
from trimf_train.data.sentence import Sentence
from trimf_train.experiments.triggers.effects import RelationEffects
from trimf_train.model import torch_backend as inference


@pytest.fixture
def tiny_pipeline(tiny_checkpoint: Any) -> Pipeline:
    return inference.build_pipeline(tiny_checkpoint)


@pytest.fixture(scope="session")
def longer_sentences(sentences: list[Sentence]) -> list[Sentence]:
    """The twelve sentences with more words around, and pairs of them joined, which have several relations."""
    joined = []
    for one, other in zip(sentences, [*sentences[1:], sentences[0]], strict=True):
        tokens, heads, labels = [], [], []
        for part, extra in ((one, ["knows", "well"]), (other, ["lives", "now", "rome"])):
            start = len(tokens)
            size = len(part.tokens) - 1
            root = start + 1
            tokens += [*part.tokens[:size], *extra]
            heads += [start + head for head in part.heads[:size]] + [root, *[start + size] * (len(extra) - 1)]
            labels += [*part.labels[:size], *["dobj"] * len(extra)]
        tokens.append(".")
        heads.append(1)
        labels.append("punct")
        joined.append(Sentence(tokens, [], [], heads, labels, one.id))
    return joined


@pytest.fixture(scope="session")
def make_relation() -> Callable[..., RelationEffects]:
    """A relation with effects in logits and weights by the method "m"."""

    def make(
        effects: Sequence[float], weights: Sequence[float], sentence: int = 0, type_index: int = 0
    ) -> RelationEffects:
        logits = np.array(effects, np.float64)
        places = np.arange(len(logits))
        given = {"m": np.array(weights, np.float64)}
        return RelationEffects(sentence, 0, type_index, 1.0, places, logits, logits / 10, given)

    return make
