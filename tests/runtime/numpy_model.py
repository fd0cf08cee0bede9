"""Subgraphs in numpy, made up, and sentences for them.

All states are small integers, so every sum is exact and results can be compared with ``==``. The subgraphs heed masks
as real ones must, and fill what lies outside them with loud numbers.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from tokenizers import Tokenizer

from trimf.runtime.model_settings import ModelSettings
from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf.runtime.text.subwords import SubwordTokenizer

SPAN = 3
LOUD = 1000
SETTINGS = ModelSettings({"up": 1, "down": 2}, frozenset({1}), 0.5, True, 40, 12)
DRAW = np.random.default_rng(7)
TABLE = DRAW.integers(0, 4, (300, 5)).astype(np.float64)
ENTITY = DRAW.integers(-2, 3, (5, 3)).astype(np.float64)
HEAD, TAIL, BETWEEN = (DRAW.integers(-2, 3, (5, 2)).astype(np.float64) for _ in range(3))
WORDS = ["Ann", "b", "C3", "x", ",", "9", "zebra", "Q", "met", "🎉", "", "\u200b", "Bob's", "y" * 70]


class Encoder:
    inputs = ("input_ids", "attention_mask", "pieces")
    outputs: ClassVar[dict[str, Any]] = {}

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        states = np.where(arrays["attention_mask"][..., None] > 0, TABLE[arrays["input_ids"]], LOUD)
        rows = np.arange(len(states))[:, None, None]
        return {"words": states[rows, arrays["pieces"]].max(2), "cls": states[:, 0]}

    def close(self) -> None:
        pass


class ParsingEncoder(Encoder):
    """A word hangs on one of the three before it, as its letters say."""

    outputs = dict.fromkeys(("heads", "labels", "arc_scores"))

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        found = super().run(arrays)
        total = found["words"].sum(2).astype(np.int64)
        places = np.arange(total.shape[1])
        heads = np.where(arrays["pieces"][..., 0] > 0, np.maximum(places - 1 - total % 3, 0), places)
        labels = np.where(heads == places, 0, 1 + total % 2)
        scores = {"arc_scores": -np.abs(places - heads[..., None] - 0.25)} if extra else {}
        return {**found, "heads": heads, "labels": labels, **scores}


class Fusion(Encoder):
    """Each word hears its head; with ``far`` also the whole sentence."""

    inputs = ("words", "word_mask", "heads", "labels")

    def __init__(self, far: bool) -> None:
        self.far = far

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        words, mask = arrays["words"], arrays["word_mask"][..., None]
        rows = np.arange(len(words))[:, None]
        nodes = words + words[rows, arrays["heads"]] * arrays["labels"][..., None]
        if self.far:
            nodes = 2 * nodes - np.where(mask, words, -LOUD).max(1, keepdims=True)
        return {"nodes": np.where(mask, nodes, LOUD)}


class Entities(Encoder):
    inputs = ("nodes",)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        nodes = arrays["nodes"]
        padded = np.pad(nodes, ((0, 0), (0, SPAN - 1), (0, 0)), constant_values=LOUD)
        shifted = [padded[:, width : width + nodes.shape[1]] for width in range(SPAN)]
        return {"entity_logits": np.maximum.accumulate(np.stack(shifted, 2), 2) @ ENTITY}


class Relations(Encoder):
    """With ``adds`` it says what each word adds to the logits, too."""

    inputs = ("nodes", "word_mask", "spans", "pairs")

    def __init__(self, adds: bool = False) -> None:
        self.blocks: list[int] = []
        self.adds = adds

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        nodes, mask, spans, pairs = (arrays[name] for name in self.inputs)
        self.blocks.append(len(pairs))
        logits, triggers = [], []
        for head, tail in pairs:
            row, first, last = spans[head]
            assert spans[tail][0] == row
            logits.append(pair_logits(nodes[row], (first, last + 1), (spans[tail][1], spans[tail][2] + 1)))
            triggers.append(np.where(mask[row], nodes[row] @ nodes[row, first], LOUD))
        added = {"word_logits": nodes @ HEAD - nodes @ TAIL} if self.adds else {}
        return {"relation_logits": np.array(logits), "triggers": np.array(triggers), **added}


def pair_logits(nodes: np.ndarray, head: tuple[int, int], tail: tuple[int, int]) -> np.ndarray:
    between = nodes[min(head[1], tail[1]) : max(head[0], tail[0])]
    context = between.max(0) if len(between) else np.zeros(5)
    # Small enough that no two of them have one sigmoid.
    return (nodes[slice(*head)].max(0) @ HEAD + nodes[slice(*tail)].max(0) @ TAIL + context @ BETWEEN) / 32


def make_pipeline(
    word_pieces: Tokenizer, far: bool = True, parsing: bool = False, adds: bool = False, **changes: Any
) -> Pipeline:
    encoder = ParsingEncoder() if parsing else Encoder()
    graphs = {"encoder": encoder, "fusion": Fusion(far), "entities": Entities(), "relations": Relations(adds)}
    return Pipeline(graphs, SubwordTokenizer(word_pieces, "x"), SETTINGS._replace(**changes))


def sentence(words: Sequence[str], draw: random.Random) -> ParsedSentence:
    heads = [draw.randrange(len(words)) for _ in words]
    return ParsedSentence(words, heads, draw.choices(["up", "down", "other"], k=len(words)))


def some_sentences(count: int, longest: int, seed: int = 0) -> list[ParsedSentence]:
    draw = random.Random(seed)
    return [sentence(draw.choices(WORDS, k=draw.randint(0, longest)), draw) for _ in range(count)]
