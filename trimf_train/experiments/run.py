"""Run an experiment: find the data, train and evaluate the runs of its grid, and write the report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch

import trimf
from trimf.runtime.errors import ConfigError
from trimf.runtime.explain import explain_words
from trimf.runtime.files.atomic import atomic_path
from trimf.runtime.load_options import DEFAULT_TRIGGERS
from trimf.runtime.output.explain_page import render_explanations
from trimf.runtime.pipeline import ParsedSentence
from trimf_train import config as configs
from trimf_train import configs as packaged
from trimf_train.config import Config, DataConfig
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import Sentence
from trimf_train.evaluation.annotation import gold_annotation
from trimf_train.evaluation.prediction import predict_annotations
from trimf_train.evaluation.protocols import EvaluationProtocol
from trimf_train.evaluation.results import Evaluation
from trimf_train.experiments import parts, plots, pool, report, sweep
from trimf_train.experiments.cells import GridCell, make_cell
from trimf_train.experiments.grids import (
    DISTILLED,
    EXPERIMENTS,
    FULL_MODEL,
    RECIPE,
    Grid,
    build_grid,
    shares_first_stage,
)
from trimf_train.experiments.parts import DataSet
from trimf_train.experiments.report import ExperimentReport, RunSummary
from trimf_train.experiments.triggers.gradients import weigh_by_gradient
from trimf_train.experiments.triggers.study import StudyOptions, TriggerStudy, study_triggers
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference

#: Overrides of ``--quick``: few epochs with high learning rates, to finish in about ten minutes on two cores.
QUICK_OVERRIDES = (
    "train.stage1.epochs=6", "train.stage2.epochs=2", "train.lr=2e-4", "train.head_lr=1e-3", "train.precision=fp32",
)  # fmt: skip

#: Default number of seeds per row, as in the paper.
DEFAULT_SEEDS = 5

#: Row name of the first stage that rows share. Flow attention and trigger sensor, which most rows vary, are not part
#: of the first stage.
_START = "first stage"

#: Number of held-out sentences on which a quick run studies triggers.
QUICK_STUDIED_SENTENCES = 60

#: Number of sentences shown with heat maps.
MAX_HEAT_MAPS = 6


class ExperimentPlan(NamedTuple):
    """Settings of an experiment.

    Attributes:
        name: Name of the experiment, see ``trimf_train.experiments.grids.NAMES``.
        data: Folder with the prepared files of the data set.
        output: Folder for runs and reports.
        seeds: Number of seeds per row. None means 1 for quick runs, all folds for cross-validation, otherwise
            ``DEFAULT_SEEDS``.
        encoder: Name of the encoder; None keeps the encoder of the configuration.
        config: Configuration file to vary. None means the packaged recipe of the data set, or the default settings if
            there is none.
        overrides: Overrides of the configuration, as ``KEY=VALUE``.
        jobs: Number of parallel runs; None chooses by GPUs, cores and memory.
        quick: Use a small sample and few epochs.
        command: The command line, recorded in checkpoints and in the report.
    """

    name: str
    data: Path
    output: Path
    seeds: int | None = None
    encoder: str | None = None
    config: Path | None = None
    overrides: Sequence[str] = ()
    jobs: int | None = None
    quick: bool = False
    command: str = ""


class _Row(NamedTuple):
    """Row of the experiment: its data and its overrides; ``dev_too`` adds the development set to the training set."""

    name: str
    data: DataSet
    overrides: Sequence[str]
    dev_too: bool = False


def run_experiment(plan: ExperimentPlan, log: Callable[[str], None]) -> ExperimentReport:
    """Execute the unfinished runs of an experiment and write its report.

    The files ``NAME.json``, ``NAME.md`` and ``NAME.svg``, and ``NAME.html`` for ``attention``, are written to
    ``plan.output``. The runs are in ``plan.output``/runs, each in a folder named by a hash of everything it depends
    on. Experiments therefore share runs, and an interrupted experiment continues where it stopped.

    Args:
        plan: The settings.
        log: Called with each line of progress.

    Returns:
        The report.

    Raises:
        ConfigError: The plan is invalid.
        DataError: The data cannot be used.
        BackendError: A run failed.
    """
    if plan.name not in EXPERIMENTS:
        raise ConfigError(f"unknown experiment {plan.name!r}; choose from {', '.join(EXPERIMENTS)}")
    data = parts.find_data_set(plan.data, plan.output, quick=plan.quick)
    if plan.name == RECIPE:
        data = parts.report_on_dev(data)
    seeds = _count_seeds(plan, data)
    config = _base_config(plan, data)
    row_grid = build_grid(plan.name, config, 3 if plan.quick else 6)
    rows = list(_build_rows(plan, data, row_grid))
    starts = {}
    if shares_first_stage(plan.name, plan.quick):
        stage1_only = configs.apply_overrides(config, ["train.stage2.epochs=0"])
        starts = {
            (id(row.data), seed): _build_cell(_Row(_START, row.data, ()), seed, stage1_only, plan)
            for row in rows
            for seed in range(seeds)
        }

    cells: dict[str, list[GridCell]] = {}
    for index, row in enumerate(rows):
        teachers = cells[rows[0].name] if row.name == DISTILLED else []
        rows[index] = row = _add_teachers(row, teachers) if teachers else row
        cells[row.name] = [
            _build_cell(row, seed, config, plan, starts.get((id(row.data), seed)), teachers) for seed in range(seeds)
        ]
    all_cells = [*starts.values(), *(cell for row_cells in cells.values() for cell in row_cells)]
    by_folder = {cell.folder: cell for cell in all_cells}
    todo = [cell for cell in by_folder.values() if cell.result is None]
    count = pool.count_parallel_runs(config.model.encoder.name, plan.jobs)
    log(f"{data.protocol}; {len(by_folder)} runs, {len(todo)} to do, {min(count, len(todo))} in parallel")

    def log_result(finished: GridCell) -> None:
        result = finished.result
        assert result is not None
        entity_f1 = data.protocol.entity_scores(result.test)["f1"]
        relation_f1 = data.protocol.relation_scores(result.test)["f1"]
        log(
            f"{finished.row}, seed {finished.seed}: entity F1 {entity_f1:.2f}, relation F1 {relation_f1:.2f} "
            f"({result.seconds:.0f} s)"
        )

    pool.run_cells(todo, count, plan.command, log_result)
    results = _build_report(plan, config, row_grid, data, rows, cells)
    pages = {"html": _attention_page(cells[rows[0].name][0], plan)} if plan.name == "attention" else {}
    _write_files(results, plan.output, pages)
    return results


def _count_seeds(plan: ExperimentPlan, data: DataSet) -> int:
    """Return the number of seeds per row.

    Raises:
        ConfigError: The requested number is less than 1, or more than the number of folds.
    """
    folds = len(data.parts)
    if plan.seeds is None:
        return 1 if plan.quick else folds if folds > 1 else DEFAULT_SEEDS
    if plan.seeds < 1:
        raise ConfigError(f"--seeds must be >= 1, got {plan.seeds}")
    if plan.seeds > folds > 1:
        raise ConfigError(f"--seeds must be <= {folds}, the number of folds of {plan.data}, got {plan.seeds}")
    return plan.seeds


def _base_config(plan: ExperimentPlan, data: DataSet) -> Config:
    """Load the configuration that the rows vary; every run replaces its data files."""
    overrides = [*(QUICK_OVERRIDES if plan.quick else ()), *plan.overrides]
    if plan.encoder:
        overrides.append(f"model.encoder.name={msgspec.json.encode(plan.encoder).decode()}")
    if plan.config:
        return configs.load_config(plan.config, overrides)
    if data.protocol.recipe:
        with resources.as_file(resources.files(packaged) / data.protocol.recipe) as path:
            return configs.load_config(path, overrides)
    placeholder = Config(data=DataConfig(train=["train.jsonl"]), output="runs")
    return configs.apply_overrides(placeholder, overrides)


def _build_rows(plan: ExperimentPlan, data: DataSet, row_grid: Grid) -> list[_Row]:
    """Return the rows of the grid; the main experiment adds a row for a second setting of the data set."""
    rows = [_Row(name, data, overrides) for name, overrides in row_grid.rows.items()]
    if plan.name != "main":
        return rows
    if data.protocol.folds > 1:
        flat = parts.find_data_set(plan.data, plan.output, overlap=False, quick=plan.quick)
        rows.append(_Row(f"{FULL_MODEL}, without overlapping entities", flat, ("decode.overlap=false",)))
    elif data.parts[0].held_out_name == "test" and data.parts[0].dev:
        rows.append(_Row(f"{FULL_MODEL}, train + dev", data, (), dev_too=True))
    return rows


def _add_teachers(row: _Row, teachers: Sequence[GridCell]) -> _Row:
    """Add the best checkpoints of runs as teachers of a row."""
    folders = [str(teacher.folder / "best") for teacher in teachers]
    return row._replace(overrides=[*row.overrides, f"train.teachers={msgspec.json.encode(folders).decode()}"])


def _build_cell(
    row: _Row,
    seed: int,
    config: Config,
    plan: ExperimentPlan,
    start: GridCell | None = None,
    teachers: Sequence[GridCell] = (),
) -> GridCell:
    """Create a run of a row, from scratch or from the shared first stage ``start``."""
    files = row.data.files_for_seed(seed)
    train = [files.train, files.dev] if row.dev_too and files.dev else [files.train]
    # If results are reported on dev, dev must not select the epoch.
    dev = None if row.dev_too or files.dev == files.test else files.dev
    config = configs.apply_overrides(config, row.overrides)
    if start is not None:
        config = configs.apply_overrides(config, ["train.stage1.epochs=0", f"train.init={start.folder / 'best'}"])
    config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, train=train, dev=dev))
    needs = (*((start,) if start else ()), *teachers)
    return make_cell(row.name, seed, config, files.test, plan.output / "runs", needs)


def _build_report(
    plan: ExperimentPlan,
    config: Config,
    row_grid: Grid,
    data: DataSet,
    rows: Sequence[_Row],
    cells: dict[str, list[GridCell]],
) -> ExperimentReport:
    """Aggregate the results of all runs and add what the experiment measures with the models of the first row."""
    runs = {row.name: [_summarise_run(cell, row.data) for cell in cells[row.name]] for row in rows}
    first = runs[rows[0].name]
    papers = row_grid.paper if plan.name != "main" else _paper_main_results(data.protocol)
    report_rows = [
        report.build_row(
            row.name,
            row.overrides,
            runs[row.name],
            first,
            {name: (paper[row.name], paper[rows[0].name]) for name, paper in papers.items() if row.name in paper},
            steps=plan.name == RECIPE,
        )
        for row in rows
    ]
    best = [checkpoints.load_checkpoint(cell.folder / "best") for cell in cells[rows[0].name]]
    held = [list(read_sentences(cell.test)) for cell in cells[rows[0].name]]
    parser = best[0].description.parser
    results = ExperimentReport(
        experiment=plan.name,
        title=row_grid.title,
        source=row_grid.source,
        command=plan.command,
        protocol=str(data.protocol),
        data=str(plan.data),
        held="held-out" if data.protocol.folds > 1 else data.parts[0].held_out_name,
        encoder=config.model.encoder.name,
        parser=str(parser),
        seeds=len(first),
        quick=plan.quick,
        config=msgspec.to_builtins(msgspec.structs.replace(config, output="")),
        environment=_describe_environment(),
        rows=report_rows,
    )
    if plan.name == "threshold":
        swept = [
            sweep.score_by_threshold(checkpoint, sentences, data.protocol)
            for checkpoint, sentences in zip(best, held, strict=True)
        ]
        return msgspec.structs.replace(results, sweep=sweep.average_seeds(swept))
    if plan.name == "triggers":
        options = StudyOptions(sentences=QUICK_STUDIED_SENTENCES if plan.quick else None)
        return msgspec.structs.replace(results, triggers=_study_checkpoint(best[0], held[0], options))
    return results


def _study_checkpoint(
    checkpoint: checkpoints.Checkpoint, sentences: Sequence[Sentence], options: StudyOptions
) -> TriggerStudy:
    """Study the triggers of a checkpoint, by gradients too."""
    pipeline = inference.build_pipeline(checkpoint)
    gradients = partial(weigh_by_gradient, checkpoint, pipeline)
    return study_triggers(pipeline, checkpoint.description.labels.relation_types, sentences, gradients, options)


def _attention_page(first: GridCell, plan: ExperimentPlan) -> bytes:
    """Render heat maps of held-out sentences with relations; sentences with only correct predictions come first."""
    checkpoint = checkpoints.load_checkpoint(first.folder / "best")
    pipeline, labels = inference.build_pipeline(checkpoint), checkpoint.description.labels
    held = list(read_sentences(first.test))
    related = [
        (set(predicted.relations) != set(gold_annotation(sentence).relations), index)
        for index, (sentence, predicted) in enumerate(
            zip(held, predict_annotations(pipeline, labels, held), strict=True)
        )
        if sentence.relations
    ]
    sentences = [held[index] for _, index in sorted(related)[:MAX_HEAT_MAPS]]
    explanations = [
        explain_words(
            pipeline,
            labels,
            sentence.tokens,
            ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []),
            DEFAULT_TRIGGERS,
        )
        for sentence in sentences
    ]
    return "".join(render_explanations(explanations, f"Memory flow attention: {plan.data}")).encode()


def _summarise_run(finished: GridCell, data: DataSet) -> RunSummary:
    """Return the result of a finished run for the report."""
    result = finished.result
    assert result is not None
    return RunSummary(
        seed=finished.seed,
        held=data.files_for_seed(finished.seed).held_out_name,
        folder=finished.folder.name,
        epoch=result.epoch,
        seconds=result.seconds,
        figures=_select_figures(result.test, data.protocol),
        dev=_select_figures(result.dev, data.protocol) if result.dev else None,
    )


def _select_figures(scores: Evaluation, protocol: EvaluationProtocol) -> dict[str, float]:
    """Return the scores ``trimf_train.experiments.report.SCORE_NAMES`` of an evaluation."""
    entity, relation = protocol.entity_scores(scores), protocol.relation_scores(scores)
    return {
        f"{kind} {part}": leaf[part]
        for kind, leaf in (("entity", entity), ("relation", relation))
        for part in ("precision", "recall", "f1")
    }


def _paper_main_results(protocol: EvaluationProtocol) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the results of the paper's Table 1 in the form of ``Grid.paper``."""
    if protocol.paper is None:
        return {}
    entity, relation = protocol.paper
    return {f"{protocol.name} ({protocol.paper_encoder})": {FULL_MODEL: (entity[2], relation[2])}}


def _describe_environment() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"TriMF": trimf.__version__, "PyTorch": torch.__version__.split("+")[0], "device": device}


def _write_files(results: ExperimentReport, output: Path, pages: Mapping[str, bytes]) -> None:
    """Write the report and its figure; ``pages`` holds further files by extension."""
    output.mkdir(parents=True, exist_ok=True)
    plot = plots.draw_figure(results)
    name = f"{results.experiment}.svg" if plot else None
    files = {
        "json": msgspec.json.format(msgspec.json.encode(results), indent=2),
        "md": report.format_markdown(results, name).encode(),
    }
    files |= pages
    if plot:
        files["svg"] = plot.encode()
    for extension, content in files.items():
        with atomic_path(output / f"{results.experiment}.{extension}") as new:
            new.write_bytes(content)
