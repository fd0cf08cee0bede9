"""Parity checks: compare an exported pipeline with a reference, per subgraph and by whole extractions."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.annotation import Annotation, gold_annotation
from trimf_train.evaluation.prediction import predict_annotations
from trimf_train.evaluation.results import Evaluation
from trimf_train.evaluation.scores import compute_scores

from ..runtime.bundle.labels import Labels
from ..runtime.bundle.parity_report import (
    ArcParity,
    ErrorFigures,
    ExtractionParity,
    F1Scores,
    OutputErrors,
    ParityReport,
    WorstSentence,
)
from ..runtime.engine.contract import JOINED, JOINED_PARTS, SUBGRAPHS, list_subgraphs
from ..runtime.errors import BundleError
from ..runtime.pipeline import Pipeline, SubgraphCall

#: Maximum number of sentences on which subgraph outputs are compared; whole extractions are compared on all sentences.
MAX_COMPARED_SENTENCES = 64

#: Maximum number of entity pairs of a sentence that are compared. More than 25 entities are rare in a sentence, but a
#: model that was hardly trained takes every span for an entity, and with many relation types fills the memory.
MAX_COMPARED_PAIRS = 600

#: Integer outputs of the in-model parser, which are compared for equality.
PARSER_OUTPUTS = ("heads", "labels")


class ParityLimits(msgspec.Struct, frozen=True):
    """Largest differences that a precision may have from the reference.

    Attributes:
        max_relative_error: Maximum relative error of any output, at the 99th percentile.
        min_identical: Minimum percentage of sentences with identical extractions.
        min_entity_agreement: Minimum F1 of the entities against those of the reference, in per cent.
        min_relation_agreement: Minimum F1 of the relations against those of the reference, in per cent.
        min_identical_arcs: Minimum percentage of words with the same arc, for a model with an in-model parser.
        max_f1_loss: Maximum loss of F1 on gold annotations, in percentage points.
        max_absolute_error: Maximum absolute error of any value, or None for no limit.
        max_relative_value_error: Maximum relative error of any value. A value fails only if it exceeds this and
            ``max_absolute_error``: the rounding errors of fp32 grow with the values.
    """

    max_relative_error: float
    min_identical: float
    min_entity_agreement: float
    min_relation_agreement: float
    min_identical_arcs: float
    max_f1_loss: float
    max_absolute_error: float | None = None
    max_relative_value_error: float = 0.0


#: Limits by precision. fp32 must be exact; otherwise a single differing sentence, annotation or word is tolerated.
LIMITS = {
    "fp32": ParityLimits(
        max_relative_error=1e-3,
        min_identical=100.0,
        min_entity_agreement=100.0,
        min_relation_agreement=100.0,
        min_identical_arcs=100.0,
        max_f1_loss=0.0,
        max_absolute_error=1e-3,
        max_relative_value_error=1e-4,
    ),
    "fp16": ParityLimits(
        max_relative_error=0.02,
        min_identical=99.0,
        min_entity_agreement=99.0,
        min_relation_agreement=99.0,
        min_identical_arcs=99.9,
        max_f1_loss=0.1,
    ),
    "bf16": ParityLimits(
        max_relative_error=0.15,
        min_identical=95.0,
        min_entity_agreement=98.0,
        min_relation_agreement=96.0,
        min_identical_arcs=99.0,
        max_f1_loss=0.3,
    ),
    "int8": ParityLimits(
        max_relative_error=0.25,
        min_identical=85.0,
        min_entity_agreement=96.0,
        min_relation_agreement=93.0,
        min_identical_arcs=95.0,
        max_f1_loss=0.3,
    ),
    "int8-qdq": ParityLimits(
        max_relative_error=0.25,
        min_identical=85.0,
        min_entity_agreement=96.0,
        min_relation_agreement=93.0,
        min_identical_arcs=95.0,
        max_f1_loss=0.3,
    ),
}


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

    def record(call: SubgraphCall) -> None:
        inputs = {name: np.asarray(value) for name, value in call.inputs.items()}
        calls[call.name].append((inputs, {name: np.asarray(value) for name, value in call.outputs.items()}))

    # Batches are not split to save padding, so that they do not depend on the backend.
    unsplit = Pipeline(pipeline.graphs, pipeline.tokenizer, pipeline.settings, max_pairs=MAX_COMPARED_PAIRS)
    with unsplit.observe(record):
        predict_annotations(unsplit, labels, sentences, batch_size)
    calls[JOINED] = [_join_calls(*parts) for parts in zip(*(calls[name] for name in JOINED_PARTS), strict=True)]
    return calls


def _join_calls(*parts: tuple[dict[str, Any], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the calls of the first three subgraphs on a batch as one of the joined graph."""
    outputs = {key: value for _, part in parts for key, value in part.items()}
    return parts[-1][0], outputs


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
    reference: Pipeline,
    candidate: Pipeline,
    labels: Labels,
    sentences: Sequence[Sentence],
    batch_size: int = 32,
    *,
    against: str = "PyTorch",
    data: str = "data not stated",
) -> ParityReport:
    """Compare a pipeline with a reference on prepared sentences.

    Spans beyond the end of their sentence are excluded from the errors of the outputs.

    Args:
        reference: Pipeline whose results are expected.
        candidate: Pipeline to check, such as an exported bundle on a backend.
        labels: Labels of both.
        sentences: Prepared sentences, with or without gold annotations.
        batch_size: Number of sentences per call.
        against: Name of the reference, for the report.
        data: Name of the sentences, for the report.

    Returns:
        The parity report.

    Raises:
        BundleError: An output of ``candidate`` contains NaN or infinity.
    """
    calls = record_calls(reference, labels, sentences[:MAX_COMPARED_SENTENCES])
    names = list_subgraphs(relations=labels.has_relations)
    skipped = {name: "no sentence produced any input for it" for name in names if not calls[name]}
    skipped |= {
        name: "its bfloat16 outputs stay on the device; only whole extractions were compared"
        for name, graph in candidate.graphs.items()
        if None in graph.types.values()
    }
    outputs = _collect_outputs(calls, candidate, skipped)
    return ParityReport(
        subgraphs=_measure_errors(outputs),
        skipped=skipped,
        arcs=_compare_arcs(outputs),
        extractions=_compare_extractions(
            sentences,
            predict_annotations(_limit_pairs(reference), labels, sentences, batch_size),
            predict_annotations(_limit_pairs(candidate), labels, sentences, batch_size),
            labels,
            data,
        ),
        against=against,
    )


def _limit_pairs(pipeline: Pipeline) -> Pipeline:
    """Return the same pipeline with a bound on the pairs of a sentence."""
    limited = copy.copy(pipeline)
    limited.max_pairs = min(pipeline.max_pairs, MAX_COMPARED_PAIRS)
    return limited


def check_limits(report: ParityReport, precision: str) -> None:
    """Check a parity report against the limits of a precision.

    Args:
        report: Report as ``compare_pipelines`` returns it.
        precision: Precision of the bundle, a key of ``LIMITS``.

    Raises:
        BundleError: A limit is exceeded; the message gives the output, the value and the limit.
    """
    limits = LIMITS[precision]
    _check_errors(report, limits, precision)
    if report.arcs:
        _check_arcs(report.arcs, limits, precision)
    least_accurate = max(report.subgraphs, key=lambda name: report.subgraphs[name].relative.p99, default="none")
    hint = f"the least accurate output is {least_accurate}"
    if precision.startswith("int8"):
        hint += "; more, or more typical, sentences in --calibration-data may help"
    _check_extractions(report.extractions, limits, precision, hint)


def _check_errors(report: ParityReport, limits: ParityLimits, precision: str) -> None:
    for name, error in report.subgraphs.items():
        if not error.relative.p99 <= limits.max_relative_error:  # also true for NaN
            raise BundleError(
                f"parity: {name} has a relative error of {error.relative.p99:.3g} (99th percentile), "
                f"maximum {limits.max_relative_error} for {precision}"
            )
        if limits.max_absolute_error is None:
            continue
        # Comparisons with NaN are false, so NaN exceeds both limits.
        if not error.max <= limits.max_absolute_error and not error.relative.max <= limits.max_relative_value_error:
            raise BundleError(
                f"parity: {name} has an absolute error of {error.max:.3g}, maximum {limits.max_absolute_error} for "
                f"{precision}, and it is {error.relative.max:.3g} of the values' root mean square, maximum "
                f"{limits.max_relative_value_error}"
            )


def _check_arcs(arcs: ArcParity, limits: ParityLimits, precision: str) -> None:
    differing = round(arcs.words * (1 - arcs.identical / 100))
    minimum = limits.min_identical_arcs
    if arcs.identical < minimum and (minimum == 100 or differing > 1):
        raise BundleError(
            f"parity: {arcs.identical:g}% of {arcs.words} words have the same arc, minimum {minimum:g}% for {precision}"
        )


def _check_extractions(extractions: ExtractionParity, limits: ParityLimits, precision: str, hint: str) -> None:
    differing = round(extractions.sentences * (1 - extractions.identical / 100))
    exact = limits.min_identical == 100
    if extractions.identical < limits.min_identical and (exact or differing > 1):
        raise BundleError(
            f"parity: {extractions.identical:g}% of {extractions.sentences} sentences are identical, "
            f"minimum {limits.min_identical:g}% for {precision}; {hint}"
        )
    agreement, reference, exported = extractions.agreement, extractions.reference, extractions.exported
    for index, (kind, minimum) in enumerate(
        (("entities", limits.min_entity_agreement), ("relations", limits.min_relation_agreement))
    ):
        agreed = getattr(agreement, kind)
        if _get_support(agreement, index) and agreed < minimum and (exact or differing > 1):
            raise BundleError(f"parity: {kind} agree with F1 {agreed:.2f}, minimum {minimum:g} for {precision}; {hint}")
        if exported:
            lost = getattr(reference, kind) - getattr(exported, kind)
            single = 0.0 if exact else 100 / max(1, _get_support(exported, index))
            if lost > max(limits.max_f1_loss, single):
                raise BundleError(
                    f"parity: F1 of {kind} drops by {lost:.2f}, maximum {limits.max_f1_loss} for {precision}; {hint}"
                )


def _get_support(scores: F1Scores, index: int) -> int:
    return scores.support[index] if scores.support else 0


def _compare_extractions(
    sentences: Sequence[Sentence],
    expected: Sequence[Annotation],
    actual: Sequence[Annotation],
    labels: Labels,
    data: str,
) -> ExtractionParity:
    """Return the ``extractions`` section of the report."""
    differences = [
        (set(left.entities) ^ set(right.entities)) | (set(left.relations) ^ set(right.relations))
        for left, right in zip(expected, actual, strict=True)
    ]
    same = sum(not difference for difference in differences)
    worst: WorstSentence | UnsetType = UNSET
    if same < len(sentences):
        index = max(range(len(differences)), key=lambda index: len(differences[index]))
        worst = _describe_difference(sentences[index], expected[index], actual[index])
    reference: F1Scores | UnsetType = UNSET
    exported: F1Scores | UnsetType = UNSET
    if any(sentence.entities for sentence in sentences):
        gold = [gold_annotation(sentence) for sentence in sentences]
        reference = _select_f1(compute_scores(gold, expected, labels.symmetric))
        exported = _select_f1(compute_scores(gold, actual, labels.symmetric))
    return ExtractionParity(
        sentences=len(sentences),
        identical=round(100 * same / max(1, len(sentences)), 3),
        agreement=_select_f1(compute_scores(expected, actual, labels.symmetric)),
        worst=worst,
        reference=reference,
        exported=exported,
        data=data,
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
            wanted = {key: value for key, value in expected.items() if name != JOINED or key in actual}
            collected[name].append((arrays, _exclude_padding(wanted, inputs), _exclude_padding(actual, inputs)))
    return collected


def _exclude_padding(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Copy outputs to the host, with the entity logits of only those spans that lie inside their sentence.

    Other spans contain padding, and a backend may pad a batch further than the reference does. The remaining logits are
    ``[spans, n_e + 1]``. Of the nodes of a joined graph, which also has the arcs of padding, those of words remain,
    ``[words, H]``.
    """
    arrays = {key: np.asarray(value) for key, value in outputs.items()}
    if "nodes" in arrays and "heads" in arrays:
        arrays["nodes"] = arrays["nodes"][np.asarray(inputs["word_mask"])]
    if (logits := arrays.get("entity_logits")) is not None:
        length = np.asarray(inputs["word_mask"]).sum(1)
        last = np.add.outer(np.arange(logits.shape[1]), np.arange(logits.shape[2]))
        arrays["entity_logits"] = logits[last < length[:, None, None]]
    return arrays


def _measure_errors(outputs: ComparedOutputs) -> dict[str, OutputErrors]:
    """Return the ``subgraphs`` section of the report; outputs that are not finite raise an error."""
    report: dict[str, OutputErrors] = {}
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
            report[f"{name}.{key}"] = OutputErrors(
                **_summarize_error(error), relative=ErrorFigures(**_summarize_error(error / scale))
            )
    return report


def _compare_arcs(outputs: ComparedOutputs) -> ArcParity | UnsetType:
    """Return the ``arcs`` section of the report, or UNSET for a model without an in-model parser."""
    words = same = 0
    for inputs, expected, actual in outputs.get("encoder", outputs.get(JOINED, ())):
        if not set(PARSER_OUTPUTS) <= expected.keys():
            return UNSET
        inside = inputs["pieces"][:, :, 0] > 0
        agree = np.logical_and.reduce([expected[key] == actual[key] for key in PARSER_OUTPUTS])
        words, same = words + int(inside.sum()), same + int(agree[inside].sum())
    return ArcParity(words=words, identical=round(100 * same / words, 3)) if words else UNSET


def _summarize_error(error: np.ndarray) -> dict[str, float]:
    if not error.size:
        return {"max": 0.0, "mean": 0.0, "p99": 0.0}
    return {"max": float(error.max()), "mean": float(error.mean()), "p99": float(np.percentile(error, 99))}


def _name_nonfinite(values: np.ndarray) -> str:
    return "NaN" if np.isnan(values).any() else "infinity"


def _describe_difference(sentence: Sentence, expected: Annotation, actual: Annotation) -> WorstSentence:
    return WorstSentence(
        id=sentence.id,
        text=" ".join(sentence.tokens),
        missing=_list_missing(sentence, expected, actual),
        added=_list_missing(sentence, actual, expected),
    )


def _list_missing(sentence: Sentence, present: Annotation, absent: Annotation) -> list[str]:
    """Describe the entities and relations that are in ``present`` but not in ``absent``."""

    def format_entity(entity: Any) -> str:
        start, end, label = entity
        return f"[{' '.join(sentence.tokens[start:end])}]{label}"

    entities = sorted(set(present.entities) - set(absent.entities))
    relations = sorted(set(present.relations) - set(absent.relations))
    return [format_entity(entity) for entity in entities] + [
        f"{format_entity(head)} {label} {format_entity(tail)}" for head, tail, label in relations
    ]


def _select_f1(result: Evaluation) -> F1Scores:
    """Select micro F1 and support of entities and strict relations from an evaluation."""
    entities, relations = result["entities"]["micro"], result["relations"]["strict"]["micro"]
    return F1Scores(
        entities=entities["f1"], relations=relations["f1"], support=(entities["support"], relations["support"])
    )
