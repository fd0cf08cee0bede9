"""Sentences to leave words out of, and examples with an effect that is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimf.runtime.decoding.span_decoding import DecodedSentence, EntitySpan, RelationSpan
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.triggers.effect_estimator import EffectWeights
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import Sentence
from trimf_train.model import torch_backend as inference
from trimf_train.triggers.deletion_examples import DeletionExample, RelationEffects
from trimf_train.triggers.estimator_module import EffectModule

WIDTH, TYPES = 6, 2


@pytest.fixture
def tiny_pipeline(tiny_checkpoint: Any) -> Pipeline:
    return inference.build_pipeline(tiny_checkpoint)


@pytest.fixture(scope="session")
def parsed(sentences: list[Sentence]) -> list[ParsedSentence]:
    return [ParsedSentence(one.tokens, one.heads or [], one.labels or []) for one in sentences]


@pytest.fixture(scope="session")
def many(sentences: list[Sentence], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twelve sentences eight times: enough relations to learn from."""
    path = tmp_path_factory.mktemp("many") / "many.jsonl"
    copies = [msgspec.structs.replace(one, id=f"{one.id}-{copy}") for copy in range(8) for one in sentences]
    path.write_bytes(b"".join(map(encode_line, copies)))
    return path


@pytest.fixture(scope="session")
def checkpoint_folder(tiny_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "best"
    tiny_checkpoint.save(folder)
    return folder


@pytest.fixture(scope="session")
def make_example() -> Callable[..., DeletionExample]:
    """A sentence "w0 w1 … " with a relation between its first and its last word, and measured effects of the others."""

    def make(
        nodes: np.ndarray, effects: Sequence[float], *, score: float = 0.8, found: bool = True, number: int = 0
    ) -> DeletionExample:
        length = len(nodes)
        falls = np.array([np.nan, *effects, np.nan], np.float32)
        assert len(falls) == length
        spans = [EntitySpan(0, 1, 0, 0.9), EntitySpan(length - 1, length, 1, 0.9)]
        relation = RelationSpan(0, 1, 1, score, np.zeros(length, np.float32))
        candidates = np.isfinite(falls)
        return DeletionExample(
            number,
            [f"w{index}" for index in range(length)],
            DecodedSentence(spans, [relation] if found else []),
            candidates,
            nodes.astype(np.float32),
            [RelationEffects(relation, float(np.log(score / (1 - score))), found, falls, falls)],
        )

    return make


@pytest.fixture(scope="session")
def planted(make_example: Callable[..., DeletionExample]) -> Callable[..., list[DeletionExample]]:
    """Sentences in which a word whose first dimension is high costs the relation three logits, in half of them."""

    def make(count: int, seed: int) -> list[DeletionExample]:
        random = np.random.default_rng(seed)
        examples = []
        for number in range(count):
            nodes = random.standard_normal((int(random.integers(4, 10)), WIDTH)) / 2
            effects = np.zeros(len(nodes) - 2)
            if number % 2:
                word = int(random.integers(len(effects)))
                nodes[word + 1, 0] += 4
                effects[word] = 3
            examples.append(make_example(nodes, effects.tolist(), number=number))
        return examples

    return make


@pytest.fixture
def random_weights() -> EffectWeights:
    random = np.random.default_rng(5)
    module = EffectModule(WIDTH, TYPES, features=7)
    return EffectWeights(*(random.standard_normal(value.shape).astype(np.float32) for value in module.to_weights()))
