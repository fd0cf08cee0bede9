"""How far exported graphs are from PyTorch: subgraph by subgraph, and in whole extractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from trimf_train import metrics
from trimf_train.data.sentence import Sentence
from trimf_train.evaluate import predict

from ..runtime.backend import SUBGRAPHS, Subgraph
from ..runtime.errors import BundleError
from ..runtime.labels import Labels
from ..runtime.pipeline import Pipeline

#: Sentences whose hidden states are compared; whole extractions are compared on all.
TAPPED = 64


class Limits(msgspec.Struct, frozen=True):
    """What a precision may differ by: absolute error of any output, agreement in per cent, and F1 points lost.

    None: not limited. ``agreement`` is the F1 of the graphs' entities and relations against PyTorch's own.
    """

    error: float | None
    entity_agreement: float
    relation_agreement: float
    f1_loss: float


#: One row a precision; an export beyond its row fails.
LIMITS = {
    "fp32": Limits(error=1e-3, entity_agreement=100.0, relation_agreement=100.0, f1_loss=0.0),
    "int8": Limits(error=None, entity_agreement=95.0, relation_agreement=90.0, f1_loss=0.5),
}


class Tap:
    """A subgraph that remembers the arrays of its calls."""

    def __init__(self, graph: Subgraph, calls: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._graph, self._calls = graph, calls

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Run the subgraph and remember."""
        outputs = self._graph.run(arrays)
        inputs = {name: np.asarray(arrays[name]) for name in self.inputs}
        self._calls.append((inputs, {name: np.asarray(value) for name, value in outputs.items()}))
        return outputs

    def close(self) -> None:
        """Close the subgraph."""
        self._graph.close()


Calls = dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]


def tap(pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 8) -> Calls:
    """Inputs and outputs of every subgraph while the pipeline reads ``sentences``."""
    calls: Calls = {name: [] for name in SUBGRAPHS}
    graphs = {name: Tap(graph, calls[name]) for name, graph in pipeline.graphs.items()}
    predict(Pipeline(graphs, pipeline.tokenizer, pipeline.settings), labels, sentences, batch_size)
    return calls


def compare(reference: Pipeline, exported: Pipeline, labels: Labels, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """The parity report of ``exported`` against ``reference`` (PyTorch) on prepared sentences.

    ``subgraphs``: absolute error of every output (max, mean, p99) when given the reference's own inputs.
    ``extractions``: sentences, share of them with identical entities and relations, agreement F1, and, where the
    sentences have gold annotation, F1 of both.
    """
    calls = tap(reference, labels, sentences[:TAPPED])
    report: dict[str, Any] = {"subgraphs": {}, "extractions": {}}
    for name, graph in exported.graphs.items():
        errors: dict[str, list[Any]] = {}
        for inputs, expected in calls[name]:
            outputs = graph.run({key: inputs[key] for key in graph.inputs})
            for key, value in expected.items():
                errors.setdefault(key, []).append(np.abs(np.asarray(outputs[key], np.float64) - value).ravel())
        for key, parts in errors.items():
            error = np.concatenate(parts)
            report["subgraphs"][f"{name}.{key}"] = {
                "max": float(error.max(initial=0)),
                "mean": float(error.mean()) if error.size else 0.0,
                "p99": float(np.percentile(error, 99)) if error.size else 0.0,
            }
    expected_all = predict(reference, labels, sentences)
    actual = predict(exported, labels, sentences)
    same = sum(
        set(one.entities) == set(other.entities) and set(one.relations) == set(other.relations)
        for one, other in zip(expected_all, actual, strict=True)
    )
    agreement = _f1(metrics.evaluate(expected_all, actual, labels.symmetric))
    report["extractions"] = {
        "sentences": len(sentences),
        "identical": round(100 * same / max(1, len(sentences)), 3),
        "agreement": agreement,
    }
    if any(sentence.entities for sentence in sentences):
        gold = [metrics.annotation(sentence) for sentence in sentences]
        for key, annotations in (("pytorch", expected_all), ("exported", actual)):
            report["extractions"][key] = _f1(metrics.evaluate(gold, annotations, labels.symmetric))
    return report


def check(report: Mapping[str, Any], precision: str) -> None:
    """Hold a report against :data:`LIMITS`.

    Raises:
        BundleError: something differs by more; the message names it, the value and the limit.
    """
    limits = LIMITS[precision]
    for name, error in report["subgraphs"].items():
        if not np.isfinite(error["max"]) or (limits.error is not None and error["max"] > limits.error):
            raise BundleError(f"parity: {name} differs from PyTorch by {error['max']:.3g}, limit {limits.error}")
    extractions = report["extractions"]
    for kind, least in (("entities", limits.entity_agreement), ("relations", limits.relation_agreement)):
        agreed = extractions["agreement"][kind]
        if agreed < least and not _nothing(extractions, kind):
            raise BundleError(f"parity: {kind} agree with PyTorch's to F1 {agreed:.2f}, limit {least}")
        if "exported" in extractions:
            lost = extractions["pytorch"][kind] - extractions["exported"][kind]
            if lost > limits.f1_loss:
                raise BundleError(f"parity: F1 of {kind} is {lost:.2f} below PyTorch's, limit {limits.f1_loss}")


def _f1(result: metrics.Evaluation) -> dict[str, Any]:
    relations = result["relations"]["strict"]["micro"]
    return {
        "entities": result["entities"]["micro"]["f1"],
        "relations": relations["f1"],
        "support": [result["entities"]["micro"]["support"], relations["support"]],
    }


def _nothing(extractions: Mapping[str, Any], kind: str) -> bool:
    """Whether PyTorch found none of a kind; then agreement is 0/0, and identity says whether the graphs found any."""
    support = extractions["agreement"]["support"][0 if kind == "entities" else 1]
    return support == 0 and extractions["identical"] == 100.0
