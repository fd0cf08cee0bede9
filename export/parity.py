"""Parity checks: compare an exported pipeline with a reference, per subgraph and by whole extractions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from trimf_train.data.sentence import Sentence
from trimf_train.evaluation import metrics
from trimf_train.evaluation.evaluate import predict_annotations

from ..runtime.bundle.labels import Labels
from ..runtime.engine.contract import SUBGRAPHS, Subgraph
from ..runtime.errors import BundleError
from ..runtime.pipeline import Pipeline

#: Maximum number of sentences on which subgraph outputs are compared; whole extractions are compared on all sentences.
MAX_COMPARED_SENTENCES = 64

#: Integer outputs of the in-model parser, which are compared for equality.
PARSER_OUTPUTS = ("heads", "labels")


class ParityLimits(msgspec.Struct, frozen=True):
    """Largest differences that a precision may have from the reference.

    Attributes:
        error: Maximum relative error of any output, at the 99th percentile.
        identical: Minimum percentage of sentences with identical extractions.
        entity_agreement: Minimum F1 of the entities against those of the reference, in per cent.
        relation_agreement: Minimum F1 of the relations against those of the reference, in per cent.
        arcs: Minimum percentage of words with the same arc, for a model with an in-model parser.
        f1_loss: Maximum loss of F1 on gold annotations, in percentage points.
        largest: Maximum absolute error of any value, or None for no limit.
    """

    error: float
    identical: float
    entity_agreement: float
    relation_agreement: float
    arcs: float
    f1_loss: float
    largest: float | None = None


#: Limits by precision. fp32 must be exact; otherwise a single differing sentence, annotation or word is tolerated.
LIMITS = {
    "fp32": ParityLimits(
        error=1e-3,
        identical=100.0,
        entity_agreement=100.0,
        relation_agreement=100.0,
        arcs=100.0,
        f1_loss=0.0,
        largest=1e-3,
    ),
    "fp16": ParityLimits(
        error=0.02, identical=99.0, entity_agreement=99.0, relation_agreement=99.0, arcs=99.9, f1_loss=0.1
    ),
    "bf16": ParityLimits(
        error=0.15, identical=95.0, entity_agreement=98.0, relation_agreement=96.0, arcs=99.0, f1_loss=0.3
    ),
    "int8": ParityLimits(
        error=0.25, identical=85.0, entity_agreement=96.0, relation_agreement=93.0, arcs=95.0, f1_loss=0.3
    ),
    "int8-qdq": ParityLimits(
        error=0.25, identical=85.0, entity_agreement=96.0, relation_agreement=93.0, arcs=95.0, f1_loss=0.3
    ),
}


class RecordingSubgraph:
    """Subgraph that records the arrays of every call: all inputs passed, even unused ones, and all outputs."""

    def __init__(self, graph: Subgraph, calls: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        self.inputs, self.outputs, self.types = graph.inputs, graph.outputs, graph.types
        self._graph, self._calls = graph, calls

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Run the subgraph and record the call.

        Args:
            arrays: Input arrays by name; more than the subgraph takes may be passed.

        Returns:
            The outputs by name.
        """
        outputs = self._graph.run(arrays)
        inputs = {name: np.asarray(value) for name, value in arrays.items()}
        self._calls.append((inputs, {name: np.asarray(value) for name, value in outputs.items()}))
        return outputs

    def close(self) -> None:
        """Close the subgraph."""
        self._graph.close()


#: Inputs and outputs of every call of each subgraph.
RecordedCalls = dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]


def record_calls(
    pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 8
) -> RecordedCalls:
    """Run a pipeline on sentences and record every call of its subgraphs.

    Args:
        pipeline: Pipeline to run.
        labels: Labels of the model.
        sentences: Sentences to run on.
        batch_size: Number of sentences per call.

    Returns:
        Inputs and outputs of every call, by subgraph.
    """
    calls: RecordedCalls = {name: [] for name in SUBGRAPHS}
    graphs = {name: RecordingSubgraph(graph, calls[name]) for name, graph in pipeline.graphs.items()}
    predict_annotations(Pipeline(graphs, pipeline.tokenizer, pipeline.settings), labels, sentences, batch_size)
    return calls


def record_inputs(pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence]) -> dict[str, list[dict[str, Any]]]:
    """Run a pipeline on single sentences and record the inputs of every call of its subgraphs.

    Args:
        pipeline: Pipeline to run.
        labels: Labels of the model.
        sentences: Sentences to run on.

    Returns:
        The input arrays of every call, by subgraph.
    """
    return {
        name: [inputs for inputs, _ in calls]
        for name, calls in record_calls(pipeline, labels, sentences, batch_size=1).items()
    }


def compare_pipelines(
    reference: Pipeline, candidate: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 32
) -> dict[str, Any]:
    """Compare a pipeline with a reference on prepared sentences.

    Args:
        reference: Pipeline whose results are expected.
        candidate: Pipeline to check, such as an exported bundle on a backend.
        labels: Labels of both.
        sentences: Prepared sentences, with or without gold annotations.
        batch_size: Number of sentences per call.

    Returns:
        The parity report:

        - ``skipped``: subgraphs whose outputs were not compared, with the reason;
        - ``subgraphs``: for every output (``encoder.words``) the ``max``, ``mean`` and ``p99`` of the absolute error,
          and under ``relative`` those of the error divided by the root mean square of the reference's output. Each
          subgraph gets the reference's inputs, so that errors do not accumulate. Spans beyond the end of their
          sentence are excluded;
        - ``arcs``, only for a model with an in-model parser: the number of ``words``, and the percentage of them whose
          head and label are ``identical``, with the reference's inputs;
        - ``extractions``: the number of ``sentences``, the percentage with ``identical`` entities and relations, the F1
          of the ``agreement``, the ``worst`` sentence if any differs, and with gold annotations the F1 of both
          pipelines (``reference`` and ``exported``).

    Raises:
        BundleError: An output of ``candidate`` contains NaN or infinity.
    """
    calls = record_calls(reference, labels, sentences[:MAX_COMPARED_SENTENCES])
    skipped = {name: "no sentence produced any input for it" for name in SUBGRAPHS if not calls[name]}
    skipped |= {
        name: "its bfloat16 outputs stay on the device; only whole extractions were compared"
        for name, graph in candidate.graphs.items()
        if None in graph.types.values()
    }
    outputs = _collect_outputs(calls, candidate, skipped)
    report: dict[str, Any] = {"subgraphs": _measure_errors(outputs), "skipped": skipped}
    if arcs := _compare_arcs(outputs):
        report["arcs"] = arcs
    expected = predict_annotations(reference, labels, sentences, batch_size)
    actual = predict_annotations(candidate, labels, sentences, batch_size)
    differences = [
        (set(left.entities) ^ set(right.entities)) | (set(left.relations) ^ set(right.relations))
        for left, right in zip(expected, actual, strict=True)
    ]
    same = sum(not difference for difference in differences)
    report["extractions"] = {
        "sentences": len(sentences),
        "identical": round(100 * same / max(1, len(sentences)), 3),
        "agreement": _select_f1(metrics.compute_scores(expected, actual, labels.symmetric)),
    }
    if same < len(sentences):
        index = max(range(len(differences)), key=lambda index: len(differences[index]))
        report["extractions"]["worst"] = _describe_difference(sentences[index], expected[index], actual[index])
    if any(sentence.entities for sentence in sentences):
        gold = [metrics.gold_annotation(sentence) for sentence in sentences]
        for key, annotations in (("reference", expected), ("exported", actual)):
            report["extractions"][key] = _select_f1(metrics.compute_scores(gold, annotations, labels.symmetric))
    return report


def check_limits(report: Mapping[str, Any], precision: str) -> None:
    """Check a parity report against the limits of a precision.

    Args:
        report: Report as ``compare_pipelines`` returns it.
        precision: Precision of the bundle, a key of ``LIMITS``.

    Raises:
        BundleError: A limit is exceeded; the message gives the output, the value and the limit.
    """
    limits = LIMITS[precision]
    for name, error in report["subgraphs"].items():
        if not error["relative"]["p99"] <= limits.error:  # also true for NaN
            raise BundleError(
                f"parity: {name} has a relative error of {error['relative']['p99']:.3g} (99th percentile), "
                f"maximum {limits.error} for {precision}"
            )
        if limits.largest is not None and not error["max"] <= limits.largest:
            raise BundleError(
                f"parity: {name} has an absolute error of {error['max']:.3g}, maximum {limits.largest} for {precision}"
            )
    arcs = report.get("arcs")
    differ = round(arcs["words"] * (1 - arcs["identical"] / 100)) if arcs else 0
    if arcs and arcs["identical"] < limits.arcs and (limits.arcs == 100 or differ > 1):
        raise BundleError(
            f"parity: {arcs['identical']:g}% of {arcs['words']} words have the same arc, minimum {limits.arcs:g}% for "
            f"{precision}"
        )
    extractions = report["extractions"]
    differing = round(extractions["sentences"] * (1 - extractions["identical"] / 100))
    least_accurate = max(
        report["subgraphs"], key=lambda name: report["subgraphs"][name]["relative"]["p99"], default="none"
    )
    exact = limits.identical == 100
    hint = f"the least accurate output is {least_accurate}"
    if precision.startswith("int8"):
        hint += "; more, or more typical, sentences in --calibration-data may help"
    if extractions["identical"] < limits.identical and (exact or differing > 1):
        raise BundleError(
            f"parity: {extractions['identical']:g}% of {extractions['sentences']} sentences are identical, "
            f"minimum {limits.identical:g}% for {precision}; {hint}"
        )
    for index, (kind, minimum) in enumerate(
        (("entities", limits.entity_agreement), ("relations", limits.relation_agreement))
    ):
        agreement, support = extractions["agreement"][kind], extractions["agreement"]["support"][index]
        if support and agreement < minimum and (exact or differing > 1):
            raise BundleError(
                f"parity: {kind} agree with F1 {agreement:.2f}, minimum {minimum:g} for {precision}; {hint}"
            )
        if "exported" in extractions:
            lost = extractions["reference"][kind] - extractions["exported"][kind]
            single = 0.0 if exact else 100 / max(1, extractions["exported"]["support"][index])
            if lost > max(limits.f1_loss, single):
                raise BundleError(
                    f"parity: F1 of {kind} drops by {lost:.2f}, maximum {limits.f1_loss} for {precision}; {hint}"
                )


#: Inputs, expected outputs and actual outputs of every call of each compared subgraph.
ComparedOutputs = dict[str, list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]]


def _collect_outputs(calls: RecordedCalls, candidate: Pipeline, skipped: Collection[str]) -> ComparedOutputs:
    """Run the compared subgraphs of the candidate on the reference's inputs."""
    collected: ComparedOutputs = {}
    for name, graph in candidate.graphs.items():
        if name in skipped:
            continue
        collected[name] = []
        for inputs, expected in calls[name]:
            arrays = {key: np.asarray(inputs[key], graph.types[key]) for key in graph.inputs}
            actual = graph.run(arrays)
            collected[name].append((arrays, _exclude_padding(expected, inputs), _exclude_padding(actual, inputs)))
    return collected


def _exclude_padding(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Copy outputs to the host, with the entity logits of only those spans that lie inside their sentence.

    Other spans contain padding, and a backend may pad a batch further than the reference does. The remaining logits are
    ``[spans, n_e + 1]``.
    """
    arrays = {key: np.asarray(value) for key, value in outputs.items()}
    if (logits := arrays.get("entity_logits")) is not None:
        length = np.asarray(inputs["word_mask"]).sum(1)
        last = np.add.outer(np.arange(logits.shape[1]), np.arange(logits.shape[2]))
        arrays["entity_logits"] = logits[last < length[:, None, None]]
    return arrays


def _measure_errors(outputs: ComparedOutputs) -> dict[str, Any]:
    """Return the ``subgraphs`` section of the report; outputs that are not finite raise an error."""
    report: dict[str, Any] = {}
    for name, calls in outputs.items():
        errors: dict[str, list[Any]] = {}
        squares: dict[str, list[float]] = {}
        for _, expected, actual in calls:
            for key, value in expected.items():
                if key in PARSER_OUTPUTS:
                    continue
                array = actual[key].astype(np.float64)
                if not np.isfinite(array).all():
                    raise BundleError(
                        f"parity: {name}.{key} contains {_name_nonfinite(array)}; all outputs must be finite"
                    )
                value = value.astype(np.float64)
                errors.setdefault(key, []).append(np.abs(array - value).ravel())
                squares.setdefault(key, []).append(float(np.square(value).sum()))
        for key, parts in errors.items():
            error = np.concatenate(parts)
            scale = max(np.sqrt(sum(squares[key]) / max(1, error.size)), np.finfo(np.float32).tiny)
            report[f"{name}.{key}"] = {**_summarize_error(error), "relative": _summarize_error(error / scale)}
    return report


def _compare_arcs(outputs: ComparedOutputs) -> dict[str, Any] | None:
    """Return the ``arcs`` section of the report, or None for a model without an in-model parser."""
    words = same = 0
    for inputs, expected, actual in outputs.get("encoder", ()):
        if not set(PARSER_OUTPUTS) <= expected.keys():
            return None
        inside = inputs["pieces"][:, :, 0] > 0
        agree = np.logical_and.reduce([expected[key] == actual[key] for key in PARSER_OUTPUTS])
        words, same = words + int(inside.sum()), same + int(agree[inside].sum())
    return {"words": words, "identical": round(100 * same / words, 3)} if words else None


def _summarize_error(error: np.ndarray) -> dict[str, float]:
    if not error.size:
        return {"max": 0.0, "mean": 0.0, "p99": 0.0}
    return {"max": float(error.max()), "mean": float(error.mean()), "p99": float(np.percentile(error, 99))}


def _name_nonfinite(values: np.ndarray) -> str:
    return "NaN" if np.isnan(values).any() else "infinity"


def _describe_difference(
    sentence: Sentence, expected: metrics.Annotation, actual: metrics.Annotation
) -> dict[str, Any]:
    return {
        "id": sentence.id,
        "text": " ".join(sentence.tokens),
        "missing": _list_missing(sentence, expected, actual),
        "added": _list_missing(sentence, actual, expected),
    }


def _list_missing(sentence: Sentence, present: metrics.Annotation, absent: metrics.Annotation) -> list[str]:
    """Describe the entities and relations that are in ``present`` but not in ``absent``."""

    def format_entity(entity: Any) -> str:
        start, end, label = entity
        return f"[{' '.join(sentence.tokens[start:end])}]{label}"

    entities = sorted(set(present.entities) - set(absent.entities))
    relations = sorted(set(present.relations) - set(absent.relations))
    return [format_entity(entity) for entity in entities] + [
        f"{format_entity(head)} {label} {format_entity(tail)}" for head, tail, label in relations
    ]


def _select_f1(result: metrics.Evaluation) -> dict[str, Any]:
    """Select micro F1 and support of entities and strict relations from an evaluation."""
    relations = result["relations"]["strict"]["micro"]
    return {
        "entities": result["entities"]["micro"]["f1"],
        "relations": relations["f1"],
        "support": [result["entities"]["micro"]["support"], relations["support"]],
    }
