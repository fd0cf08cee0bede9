"""Built-in sample sentences of very different lengths, for comparisons without a data file."""

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


def describe_data_file(data: str | Path | None) -> str:
    """Return the name of a data file for reports: its folder and file name, without the rest of the path.

    Args:
        data: The file, or None for the built-in samples.

    Returns:
        The name, such as ``conll04/dev.jsonl``.
    """
    return "built-in samples" if data is None else "/".join(Path(data).parts[-2:])


def built_in_samples(labels: Sequence[str]) -> list[Sentence]:
    """Return the built-in samples: each sentence by itself, and sentences joined to a length of up to about 370 words.

    Args:
        labels: Dependency labels of the model, from which each word gets an arbitrary but fixed label.

    Returns:
        The sentences, with arbitrary but fixed dependency trees.
    """
    generator = np.random.default_rng(0)
    texts = [text.split() for text in _TEXTS]
    texts += [[word for text in texts[:count] for word in text] for count in range(2, len(texts) + 1)]
    texts.append([word for text in 4 * texts[: len(_TEXTS)] for word in text])
    sentences = []
    for index, words in enumerate(texts):
        heads = [0] + [int(generator.integers(0, position)) for position in range(1, len(words))]
        arc_labels = [labels[int(generator.integers(len(labels)))] if labels else "dep" for _ in words]
        sentences.append(Sentence(tokens=words, heads=heads, labels=arc_labels, id=f"sample {index}"))
    return sentences
