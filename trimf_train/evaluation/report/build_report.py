"""Compute the report on a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import trimf
from trimf.runtime.errors import check_integer
from trimf_train.evaluation.annotation import EntityKey, RelationKey, boundary_key
from trimf_train.evaluation.protocols import EvaluationProtocol, get_protocol, protocol_for

from .bootstrap import sum_resamples
from .entity_matching import match_entities
from .learning_curve import find_checkpoint, is_run_folder, read_learning_curve
from .model_comparison import compare_models
from .model_run import ModelRun, ResampledUnits, RunOptions, group_units, read_data, run_model
from .outcomes import ENTITY_OUTCOMES, RELATION_OUTCOMES, count_outcomes, count_type_confusions
from .relation_matching import match_relations
from .reliability import JudgedScore, measure_reliability
from .report_warnings import list_warnings
from .schema import SCHEMA_VERSION, Comparison, EntityReport, LearningCurve, RelationReport, Report
from .score_schema import ScoreTable
from .score_tables import ComparedItems, ItemCounts, align_labels, build_score_table, count_items
from .threshold_curve import ENTITY_THRESHOLDS, RELATION_THRESHOLDS, ScoredItems, build_threshold_curve
from .worst_errors import choose_entity_errors, choose_relation_errors

_Key = TypeVar("_Key", EntityKey, RelationKey)


class ReportOptions(NamedTuple):
    """What a report holds.

    Attributes:
        resamples: Number of bootstrap resamples.
        seed: Seed of the resamples.
        examples: Maximum number of errors of each kind.
        protocol: Name of the protocol; None finds it by the labels.
    """

    resamples: int = 1000
    seed: int = 0
    examples: int = 20
    protocol: str | None = None


class ReportNames(NamedTuple):
    """Names to show: of the model, of the data, and of the other model if there is one."""

    model: str
    data: str
    other: str | None = None


def build_report(
    model: str,
    data: str | Path,
    other: str | None = None,
    options: ReportOptions = ReportOptions(),  # noqa: B008  # immutable
    running: RunOptions = RunOptions(),  # noqa: B008  # immutable
) -> Report:
    """Compute the report on a model.

    Args:
        model: A run folder of ``trimf train``, a checkpoint folder, a bundle folder, or ``"default"``.
        data: A data file in any format of ``trimf_train.data.readers``.
        other: Another model to compare with.
        options: What the report holds.
        running: How the models are run.

    Returns:
        The report.

    Raises:
        InputError: An option cannot be used.
        BundleError: A model is neither a checkpoint nor a bundle, or is damaged.
        DataError: The data cannot be used.
        BackendError: PyTorch, the backend or a required parser is not available.
    """
    check_integer("resamples", options.resamples, 1)
    check_integer("seed", options.seed, 0)
    check_integer("examples", options.examples, 0)
    if options.protocol is not None:
        get_protocol(options.protocol)
    folders = [find_checkpoint(one) for one in (model, other) if one is not None]
    curve = read_learning_curve(model) if is_run_folder(model) else None
    annotated = read_data(data)
    runs = [run_model(folder, annotated, running) for folder in folders]
    return assemble_report(ReportNames(model, str(data), other), runs, options, curve)


def assemble_report(
    names: ReportNames,
    runs: Sequence[ModelRun],
    options: ReportOptions,
    curve: LearningCurve | None = None,
) -> Report:
    """Compute the report from what the models say of the data.

    Args:
        names: Names to show.
        runs: Run of the model and, to compare, of the other one on the same texts; at least one text.
        options: What the report holds.
        curve: Course of the training.

    Returns:
        The report.
    """
    run, units = runs[0], group_units(runs[0])
    counts = [_count_all(one, units) for one in runs]
    tables = _build_tables(counts[0], options)
    protocol = get_protocol(options.protocol) if options.protocol is not None else _find_protocol(run, counts[0])
    return Report(
        SCHEMA_VERSION,
        trimf.__version__,
        names.model,
        names.data,
        protocol=str(protocol._replace(folds=1)),
        average=protocol.average,
        relation_matching=protocol.relation_matching,
        sentences=sum(len(text.sentences) for text in run.texts),
        unit=units.kind,
        units=max(units.numbers) + 1,
        resamples=options.resamples,
        seed=options.seed,
        warnings=list_warnings(run, units, names.data),
        entities=_report_entities(run, units, tables["entities"], options),
        relations=_report_relations(run, units, (tables["strict"], tables["boundary"]), options),
        comparison=_compare(names.other or "", runs, counts, options) if len(runs) > 1 else None,
        learning_curve=curve,
        unreachable=run.unreachable,
    )


def _count_all(run: ModelRun, units: ResampledUnits) -> dict[str, ItemCounts]:
    """Count the items of a model as entities, strict relations and boundary relations."""
    symmetric = frozenset(run.labels.symmetric)
    compared: dict[str, list[ComparedItems]] = {"entities": [], "strict": [], "boundary": []}
    for text in run.texts:
        compared["entities"].append((text.gold_entities, text.predicted.entities))
        compared["strict"].append((text.gold_relations, text.predicted.relations))
        gold, predicted = (
            {boundary_key(relation, symmetric) for relation in relations}
            for relations in (text.gold_relations, text.predicted.relations)
        )
        compared["boundary"].append((gold, predicted))
    return {name: count_items(items, units.numbers) for name, items in compared.items()}


def _build_tables(counts: dict[str, ItemCounts], options: ReportOptions) -> dict[str, ScoreTable]:
    sums = sum_resamples([part.counts for part in counts.values()], options.resamples, options.seed)
    return {
        name: build_score_table(part.labels, part.counts.sum(0), resampled)
        for (name, part), resampled in zip(counts.items(), sums, strict=True)
    }


def _find_protocol(run: ModelRun, counts: dict[str, ItemCounts]) -> EvaluationProtocol:
    """Return the protocol of the published data set with exactly the labels of model and data."""
    return protocol_for(
        {*run.labels.entity_types, *counts["entities"].labels},
        {*run.labels.relation_types, *counts["strict"].labels},
    )


def _report_entities(run: ModelRun, units: ResampledUnits, scores: ScoreTable, options: ReportOptions) -> EntityReport:
    texts = run.texts
    matches = [match_entities(text.gold_entities, text.predicted.entities) for text in texts]
    judged = [_judge(text.gold_entities, text.predicted.entities, text.predicted.entity_candidates) for text in texts]
    items = [ScoredItems(text.gold_entities, text.predicted.entities, text.predicted.entities) for text in texts]
    return EntityReport(
        scores,
        count_outcomes(chain.from_iterable(matches), ENTITY_OUTCOMES),
        count_type_confusions(chain.from_iterable(matches)),
        choose_entity_errors(texts, matches, options.examples),
        measure_reliability(list(chain.from_iterable(judged))),
        build_threshold_curve(items, units.numbers, run.entity_thresholds, ENTITY_THRESHOLDS, options.seed),
    )


def _report_relations(
    run: ModelRun, units: ResampledUnits, scores: tuple[ScoreTable, ScoreTable], options: ReportOptions
) -> RelationReport:
    texts = run.texts
    matches = [
        match_relations(text.gold_relations, text.predicted.relations, text.gold_entities, text.predicted.entities)
        for text in texts
    ]
    judged = [
        _judge(text.gold_relations, text.predicted.relations, text.predicted.relation_candidates) for text in texts
    ]
    items = [
        ScoredItems(
            text.gold_relations,
            text.predicted.relations,
            text.predicted.relation_candidates | text.predicted.relations,
        )
        for text in texts
    ]
    return RelationReport(
        *scores,
        count_outcomes(chain.from_iterable(matches), RELATION_OUTCOMES),
        count_type_confusions(chain.from_iterable(matches)),
        choose_relation_errors(texts, matches, options.examples),
        measure_reliability(list(chain.from_iterable(judged))),
        build_threshold_curve(items, units.numbers, run.relation_thresholds, RELATION_THRESHOLDS, options.seed),
    )


def _judge(
    gold: Collection[_Key], predicted: Mapping[_Key, float], candidates: Mapping[_Key, float]
) -> Iterator[JudgedScore]:
    """Yield the scores of predictions and candidates."""
    for key, score in {**candidates, **predicted}.items():
        yield JudgedScore(score, key in gold, key in predicted)


def _compare(
    other: str, runs: Sequence[ModelRun], counts: Sequence[dict[str, ItemCounts]], options: ReportOptions
) -> Comparison:
    pairs = {name: align_labels(counts[0][name], counts[1][name]) for name in counts[0]}
    texts = (runs[0].texts, runs[1].texts)
    return compare_models(other, texts, pairs, options.resamples, options.seed, options.examples)
