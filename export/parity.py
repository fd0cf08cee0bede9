"""Parity checks: compare an exported pipeline with a reference, per subgraph and by whole extractions."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType

from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.prediction import predict_annotations

from ..runtime.bundle.labels import Labels
from ..runtime.bundle.parity_report import ArcParity, ErrorFigures, OutputErrors, ParityReport
from ..runtime.engine.contract import JOINED, JOINED_PARTS, SUBGRAPHS, list_subgraphs
from ..runtime.errors import BundleError
from ..runtime.pipeline import Pipeline, SubgraphCall
from .arc_parity import PARSER_OUTPUTS, ArcDifferences, compare_arcs, find_affected_words
from .extraction_parity import compare_extractions
from .near_ties import MAX_TIE_MARGINS

#: Maximum number of sentences on which subgraph outputs are compared; whole extractions are compared on all sentences.
MAX_COMPARED_SENTENCES = 64

#: Maximum number of entity pairs of a sentence that are compared. More than 25 entities are rare in a sentence, but a
#: model that was hardly trained takes every span for an entity, and with many relation types fills the memory.
MAX_COMPARED_PAIRS = 600

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
    precision: str = "fp32",
    extracting: Pipeline | None = None,
    against: str = "PyTorch",
    data: str = "data not stated",
) -> ParityReport:
    """Compare a pipeline with a reference on prepared sentences.

    Excluded from the errors of the outputs are padding, spans beyond the end of their sentence, and, in a joined graph,
    nodes and spans whose words have another arc or a neighbour with another arc: arcs are compared by themselves.

    Args:
        reference: Pipeline whose results are expected, with the separate subgraphs.
        candidate: Pipeline to check, such as an exported bundle on a backend.
        labels: Labels of both.
        sentences: Prepared sentences, with or without gold annotations.
        batch_size: Number of sentences per call.
        precision: Precision of ``candidate``, which bounds the margins of near ties.
        extracting: Pipeline whose whole extractions are compared, if it is another one than ``candidate``.
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
    first = "encoder" if "encoder" in outputs else JOINED
    arcs = None
    if first in outputs:
        arcs = compare_arcs(outputs[first], reference.graphs["encoder"], candidate.graphs[first], precision)
    return ParityReport(
        subgraphs=_measure_errors(outputs),
        skipped=skipped,
        arcs=_describe_arcs(arcs),
        extractions=compare_extractions(
            _limit_pairs(reference),
            _limit_pairs(extracting or candidate),
            labels,
            sentences,
            batch_size,
            precision=precision,
            arc_margin=MAX_TIE_MARGINS[precision] if arcs is None else arcs.limit,
            data=data,
        ),
        against=against,
    )


def _limit_pairs(pipeline: Pipeline) -> Pipeline:
    """Return the same pipeline with a bound on the pairs of a sentence."""
    limited = copy.copy(pipeline)
    limited.max_pairs = min(pipeline.max_pairs, MAX_COMPARED_PAIRS)
    return limited


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
            actual = graph.run({key: np.asarray(inputs[key], graph.types[key]) for key in graph.inputs})
            wanted = {key: np.asarray(value) for key, value in expected.items() if name != JOINED or key in actual}
            collected[name].append((inputs, wanted, {key: np.asarray(value) for key, value in actual.items()}))
    return collected


def _select_compared(
    outputs: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], affected: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Select the values to compare: states of words, ``[words, H]``, and logits of spans, ``[spans, n_e + 1]``.

    Other states and logits contain padding, and a backend may pad a batch further than the reference does. The words
    ``affected``, ``[B, N]``, are left out, too.
    """
    arrays = dict(outputs)
    mask = np.asarray(inputs["word_mask"]) if "word_mask" in inputs else np.asarray(inputs["pieces"])[:, :, 0] > 0
    if affected is None:
        affected = np.zeros_like(mask)
    for name in ("words", "nodes"):
        if name in arrays:
            arrays[name] = arrays[name][mask & ~affected]
    if (logits := arrays.get("entity_logits")) is not None:
        last = np.add.outer(np.arange(logits.shape[1]), np.arange(logits.shape[2]))
        before = np.pad(affected.cumsum(1), ((0, 0), (1, 0)))
        end = np.minimum(last + 1, logits.shape[1])
        clear = before[:, end] == before[:, np.arange(logits.shape[1])][:, :, None]
        arrays["entity_logits"] = logits[(last < mask.sum(1)[:, None, None]) & clear]
    return arrays


def _describe_arcs(arcs: ArcDifferences | None) -> ArcParity | UnsetType:
    """Return the ``arcs`` section of the report, or UNSET for a model without an in-model parser."""
    if arcs is None or not arcs.words:
        return UNSET
    identical = round(100 * (arcs.words - arcs.differing) / arcs.words, 3)
    if not arcs.differing:
        return ArcParity(words=arcs.words, identical=identical)
    return ArcParity(
        words=arcs.words,
        identical=identical,
        differing=arcs.differing,
        near_ties=arcs.ties,
        tie_margin=arcs.limit,
    )


def _measure_errors(outputs: ComparedOutputs) -> dict[str, OutputErrors]:
    """Return the ``subgraphs`` section of the report; outputs that are not finite raise an error."""
    report: dict[str, OutputErrors] = {}
    for name, calls in outputs.items():
        errors: dict[str, list[Any]] = {}
        squares: dict[str, list[float]] = {}
        for inputs, expected, actual in calls:
            affected = find_affected_words(expected, actual) if name == JOINED else None
            inside = _select_compared(actual, inputs, None)
            _require_finite(name, inside if name in (JOINED, "entities") else actual)
            compared = _select_compared(actual, inputs, affected)
            for key, value in _select_compared(expected, inputs, affected).items():
                if key in PARSER_OUTPUTS:
                    continue
                array, value = compared[key].astype(np.float64), value.astype(np.float64)
                errors.setdefault(key, []).append(np.abs(array - value).ravel())
                squares.setdefault(key, []).append(float(np.square(value).sum()))
        for key, parts in errors.items():
            error = np.concatenate(parts)
            scale = max(np.sqrt(sum(squares[key]) / max(1, error.size)), np.finfo(np.float32).tiny)
            report[f"{name}.{key}"] = OutputErrors(
                **_summarize_error(error), relative=ErrorFigures(**_summarize_error(error / scale))
            )
    return report


def _summarize_error(error: np.ndarray) -> dict[str, float]:
    if not error.size:
        return {"max": 0.0, "mean": 0.0, "p99": 0.0}
    return {"max": float(error.max()), "mean": float(error.mean()), "p99": float(np.percentile(error, 99))}


def _require_finite(name: str, outputs: Mapping[str, np.ndarray]) -> None:
    for key, values in outputs.items():
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinity"
            raise BundleError(f"parity: {name}.{key} contains {kind}; all outputs must be finite")
