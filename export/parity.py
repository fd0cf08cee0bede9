"""How far one pipeline is from another: subgraph by subgraph, and in whole extractions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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

#: Outputs that are numbers of words and labels, which are the same or not.
ARCS = ("heads", "labels")


class Limits(msgspec.Struct, frozen=True):
    """What a precision may differ by.

    ``error``: 99th percentile of the relative error of any output, ``largest`` the absolute error of any number in it
    (None: not limited). The rest in per cent: least share of sentences with identical extractions, least F1 of the
    entities and relations against the reference's own, least share of words with the same arc where the model parses by
    itself, and most F1 lost on gold.
    """

    error: float
    identical: float
    entity_agreement: float
    relation_agreement: float
    arcs: float
    f1_loss: float
    largest: float | None = None


#: One row a precision; what is beyond its row fails, except that a single sentence, annotation or word may always
#: differ where a precision may differ at all.
LIMITS = {
    "fp32": Limits(
        error=1e-3,
        identical=100.0,
        entity_agreement=100.0,
        relation_agreement=100.0,
        arcs=100.0,
        f1_loss=0.0,
        largest=1e-3,
    ),
    "fp16": Limits(error=0.02, identical=99.0, entity_agreement=99.0, relation_agreement=99.0, arcs=99.9, f1_loss=0.1),
    "bf16": Limits(error=0.15, identical=95.0, entity_agreement=98.0, relation_agreement=96.0, arcs=99.0, f1_loss=0.3),
    "int8": Limits(error=0.25, identical=85.0, entity_agreement=96.0, relation_agreement=93.0, arcs=95.0, f1_loss=0.3),
    "int8-qdq": Limits(
        error=0.25, identical=85.0, entity_agreement=96.0, relation_agreement=93.0, arcs=95.0, f1_loss=0.3
    ),
}


class Tap:
    """A subgraph that remembers what it was given, also what it does not take but another one may, and its outputs."""

    def __init__(self, graph: Subgraph, calls: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        self.inputs, self.outputs, self.types = graph.inputs, graph.outputs, graph.types
        self._graph, self._calls = graph, calls

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Run the subgraph and remember."""
        outputs = self._graph.run(arrays)
        given = {name: np.asarray(value) for name, value in arrays.items()}
        self._calls.append((given, {name: np.asarray(value) for name, value in outputs.items()}))
        return outputs

    def close(self) -> None:
        """Close the subgraph."""
        self._graph.close()


Calls = dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]


def tap(pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 8) -> Calls:
    """What every subgraph is given and puts out while the pipeline reads ``sentences``."""
    calls: Calls = {name: [] for name in SUBGRAPHS}
    graphs = {name: Tap(graph, calls[name]) for name, graph in pipeline.graphs.items()}
    predict(Pipeline(graphs, pipeline.tokenizer, pipeline.settings), labels, sentences, batch_size)
    return calls


def given(pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence]) -> dict[str, list[dict[str, Any]]]:
    """The arrays that every subgraph gets while the pipeline reads ``sentences`` one by one."""
    return {
        name: [inputs for inputs, _ in calls] for name, calls in tap(pipeline, labels, sentences, batch_size=1).items()
    }


def compare(
    reference: Pipeline, other: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 32
) -> dict[str, Any]:
    """The parity report of ``other`` against ``reference`` on prepared sentences.

    ``skipped``: subgraphs that are not compared by themselves, with the reason.
    ``subgraphs``: error of every output (``max``, ``mean``, ``p99``) when given the reference's own inputs, absolute
    and ``relative`` to the root mean square of the reference's output; of spans, those inside of their
    sentence alone.
    ``arcs``, where the model parses by itself: how many ``words`` there were, and the per cent of them whose head and
    label were ``identical``, given the reference's own inputs.
    ``extractions``: ``sentences``, per cent of them with ``identical`` entities and relations, ``agreement`` F1, the
    ``worst`` sentence if any differs, and, where the sentences have gold annotation, F1 of both (``reference`` and
    ``exported``).

    Raises:
        BundleError: an output of ``other`` is not finite.
    """
    calls = tap(reference, labels, sentences[:TAPPED])
    skipped = {name: "no sentence gave it any input" for name in SUBGRAPHS if not calls[name]}
    skipped |= {
        name: "its bfloat16 stays on the device; whole extractions tell of it"
        for name, graph in other.graphs.items()
        if None in graph.types.values()
    }
    outputs = _outputs(calls, other, skipped)
    report: dict[str, Any] = {"subgraphs": _errors(outputs), "skipped": skipped}
    if arcs := _arcs(outputs):
        report["arcs"] = arcs
    expected = predict(reference, labels, sentences, batch_size)
    actual = predict(other, labels, sentences, batch_size)
    differences = [
        (set(one.entities) ^ set(two.entities)) | (set(one.relations) ^ set(two.relations))
        for one, two in zip(expected, actual, strict=True)
    ]
    same = sum(not difference for difference in differences)
    report["extractions"] = {
        "sentences": len(sentences),
        "identical": round(100 * same / max(1, len(sentences)), 3),
        "agreement": _f1(metrics.evaluate(expected, actual, labels.symmetric)),
    }
    if same < len(sentences):
        place = max(range(len(differences)), key=lambda place: len(differences[place]))
        report["extractions"]["worst"] = _difference(sentences[place], expected[place], actual[place])
    if any(sentence.entities for sentence in sentences):
        gold = [metrics.annotation(sentence) for sentence in sentences]
        for key, annotations in (("reference", expected), ("exported", actual)):
            report["extractions"][key] = _f1(metrics.evaluate(gold, annotations, labels.symmetric))
    return report


def check(report: Mapping[str, Any], precision: str) -> None:
    """Hold a report against :data:`LIMITS`.

    Raises:
        BundleError: something differs by more; the message names the subgraph, the value and the limit.
    """
    limits = LIMITS[precision]
    for name, error in report["subgraphs"].items():
        if not error["relative"]["p99"] <= limits.error:  # NaN too
            raise BundleError(
                f"parity: {name} has a relative error of {error['relative']['p99']:.3g} (99th percentile), "
                f"limit {limits.error} for {precision}"
            )
        if limits.largest is not None and not error["max"] <= limits.largest:
            raise BundleError(
                f"parity: {name} has an error of {error['max']:.3g}, limit {limits.largest} for {precision}"
            )
    arcs = report.get("arcs")
    differ = round(arcs["words"] * (1 - arcs["identical"] / 100)) if arcs else 0
    if arcs and arcs["identical"] < limits.arcs and (limits.arcs == 100 or differ > 1):
        raise BundleError(
            f"parity: {arcs['identical']:g} % of {arcs['words']} words have the same arc, limit {limits.arcs:g} % for "
            f"{precision}"
        )
    found = report["extractions"]
    differing = round(found["sentences"] * (1 - found["identical"] / 100))
    farthest = max(report["subgraphs"], key=lambda name: report["subgraphs"][name]["relative"]["p99"], default="none")
    exact = limits.identical == 100
    hint = f"the least exact output is {farthest}"
    if precision.startswith("int8"):
        hint += "; more and more typical --calibrate sentences may help"
    if found["identical"] < limits.identical and (exact or differing > 1):
        raise BundleError(
            f"parity: {found['identical']:g} % of {found['sentences']} sentences are identical, "
            f"limit {limits.identical:g} % for {precision}; {hint}"
        )
    for place, (kind, least) in enumerate(
        (("entities", limits.entity_agreement), ("relations", limits.relation_agreement))
    ):
        agreed, support = found["agreement"][kind], found["agreement"]["support"][place]
        if support and agreed < least and (exact or differing > 1):
            raise BundleError(f"parity: {kind} agree to F1 {agreed:.2f}, limit {least:g} for {precision}; {hint}")
        if "exported" in found:
            lost = found["reference"][kind] - found["exported"][kind]
            one = 0.0 if exact else 100 / max(1, found["exported"]["support"][place])
            if lost > max(limits.f1_loss, one):
                raise BundleError(
                    f"parity: F1 of {kind} is {lost:.2f} lower, limit {limits.f1_loss} for {precision}; {hint}"
                )


Outputs = dict[str, list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]]


def _outputs(calls: Calls, other: Pipeline, skipped: Collection[str]) -> Outputs:
    """Of each subgraph that is compared, what it was given, what the reference made of it, and what ``other`` makes."""
    found: Outputs = {}
    for name, graph in other.graphs.items():
        if name in skipped:
            continue
        found[name] = []
        for inputs, expected in calls[name]:
            given = {key: np.asarray(inputs[key], graph.types[key]) for key in graph.inputs}
            actual = graph.run(given)
            found[name].append((given, _real(expected, inputs), _real(actual, inputs)))
    return found


def _real(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs on the host; logits of the spans inside of their sentences alone, ``[spans,n_e+1]``, for a backend that
    pads a batch further reads other padding in the rest.
    """
    found = {key: np.asarray(value) for key, value in outputs.items()}
    if (logits := found.get("entity_logits")) is not None:
        length = np.asarray(inputs["word_mask"]).sum(1)
        after = np.add.outer(np.arange(logits.shape[1]), np.arange(logits.shape[2]))
        found["entity_logits"] = logits[after < length[:, None, None]]
    return found


def _errors(outputs: Outputs) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for name, calls in outputs.items():
        errors: dict[str, list[Any]] = {}
        squares: dict[str, list[float]] = {}
        for _, expected, found in calls:
            for key, value in expected.items():
                if key in ARCS:
                    continue
                actual = found[key].astype(np.float64)
                if not np.isfinite(actual).all():
                    raise BundleError(f"parity: {name}.{key} holds {_strangest(actual)}, which no limit allows")
                value = value.astype(np.float64)
                errors.setdefault(key, []).append(np.abs(actual - value).ravel())
                squares.setdefault(key, []).append(float(np.square(value).sum()))
        for key, parts in errors.items():
            error = np.concatenate(parts)
            scale = max(np.sqrt(sum(squares[key]) / max(1, error.size)), np.finfo(np.float32).tiny)
            report[f"{name}.{key}"] = {**_summary(error), "relative": _summary(error / scale)}
    return report


def _arcs(outputs: Outputs) -> dict[str, Any] | None:
    words = same = 0
    for given, expected, found in outputs.get("encoder", ()):
        if not set(ARCS) <= expected.keys():
            return None
        inside = given["pieces"][:, :, 0] > 0
        agree = np.logical_and.reduce([expected[key] == found[key] for key in ARCS])
        words, same = words + int(inside.sum()), same + int(agree[inside].sum())
    return {"words": words, "identical": round(100 * same / words, 3)} if words else None


def _summary(error: np.ndarray) -> dict[str, float]:
    if not error.size:
        return {"max": 0.0, "mean": 0.0, "p99": 0.0}
    return {"max": float(error.max()), "mean": float(error.mean()), "p99": float(np.percentile(error, 99))}


def _strangest(values: np.ndarray) -> str:
    return "NaN" if np.isnan(values).any() else "infinity"


def _difference(sentence: Sentence, expected: metrics.Annotation, actual: metrics.Annotation) -> dict[str, Any]:
    return {
        "id": sentence.id,
        "text": " ".join(sentence.tokens),
        "missing": _named(sentence, expected, actual),
        "added": _named(sentence, actual, expected),
    }


def _named(sentence: Sentence, one: metrics.Annotation, other: metrics.Annotation) -> list[str]:
    """What ``one`` has and ``other`` lacks, in words."""

    def entity(item: Any) -> str:
        start, end, label = item
        return f"[{' '.join(sentence.tokens[start:end])}]{label}"

    entities = sorted(set(one.entities) - set(other.entities))
    relations = sorted(set(one.relations) - set(other.relations))
    return [entity(item) for item in entities] + [
        f"{entity(head)} {label} {entity(tail)}" for head, tail, label in relations
    ]


def _f1(result: metrics.Evaluation) -> dict[str, Any]:
    relations = result["relations"]["strict"]["micro"]
    return {
        "entities": result["entities"]["micro"]["f1"],
        "relations": relations["f1"],
        "support": [result["entities"]["micro"]["support"], relations["support"]],
    }
