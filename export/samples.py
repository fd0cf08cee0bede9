"""A few sentences to compare graphs on when the caller names no file: lengths from one word to many, any labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trimf_train.data.sentence import Sentence

_TEXTS = (
    "Yes",
    "Paris , France .",
    "Lee Harvey Oswald was shot by Jack Ruby in Dallas in 1963 .",
    "Marie Curie , who was born in Warsaw , worked for the University of Paris .",
    "The company , based in Zürich , said on Monday that its director , Anna Keller , will leave .",
    "We present a parser for spoken dialogue that uses prosodic features and improves recall on two corpora .",
    "A 54-year-old man developed severe hypotension after a single dose of amiodarone .",
)


def name_of(data: str | Path | None) -> str:
    """What reports call a data file: its last folder and itself, nothing of the machine; None is the sentences here."""
    return "built-in samples" if data is None else "/".join(Path(data).parts[-2:])


def samples(labels: Sequence[str]) -> list[Sentence]:
    """The sentences, alone and joined (to some 370 words), with arbitrary but fixed trees over the given arc labels."""
    generator = np.random.default_rng(0)
    texts = [text.split() for text in _TEXTS]
    texts += [[word for text in texts[:count] for word in text] for count in range(2, len(texts) + 1)]
    texts.append([word for text in 4 * texts[: len(_TEXTS)] for word in text])
    sentences = []
    for number, words in enumerate(texts):
        heads = [0] + [int(generator.integers(0, word)) for word in range(1, len(words))]
        arcs = [labels[int(generator.integers(len(labels)))] if labels else "dep" for _ in words]
        sentences.append(Sentence(tokens=words, heads=heads, labels=arcs, id=f"sample {number}"))
    return sentences
