"""Relation figures over all thresholds from one pass: the threshold only leaves relations out (Figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec

from trimf_train import inference, metrics
from trimf_train.checkpoint import Checkpoint
from trimf_train.data.sentence import Sentence
from trimf_train.evaluate import annotated, run
from trimf_train.experiments.report import Sweep
from trimf_train.metrics import Leaf
from trimf_train.protocols import Protocol

#: 0 and 1 are as near as a threshold comes.
THRESHOLDS = (1e-6, *(step / 20 for step in range(1, 20)), 1 - 1e-6)


def by_threshold(checkpoint: Checkpoint, sentences: Sequence[Sentence], protocol: Protocol) -> list[Leaf]:
    """The headline of the relations at each of :data:`THRESHOLDS`."""
    description = checkpoint.description
    lowest = msgspec.structs.replace(description.decode, relation_threshold=THRESHOLDS[0])
    low = Checkpoint(checkpoint.model, msgspec.structs.replace(description, decode=lowest), checkpoint.tokenizer_json)
    results = run(inference.pipeline(low), sentences)
    gold = [metrics.annotation(one) for one in sentences]
    labels = description.labels
    found = []
    for threshold in THRESHOLDS:
        predicted = [annotated(result, labels, threshold) for result in results]
        found.append(protocol.relation(metrics.evaluate(gold, predicted, labels.symmetric)))
    return found


def aggregate(seeds: Sequence[Sequence[Leaf]]) -> Sweep:
    """Means over the seeds, and the deviation of F1."""
    columns = list(zip(*seeds, strict=True))
    f1 = [[leaf["f1"] for leaf in column] for column in columns]
    return Sweep(
        threshold=list(THRESHOLDS),
        precision=[fmean(leaf["precision"] for leaf in column) for column in columns],
        recall=[fmean(leaf["recall"] for leaf in column) for column in columns],
        f1=[fmean(values) for values in f1],
        deviation=[stdev(values) if len(values) > 1 else 0.0 for values in f1],
    )
