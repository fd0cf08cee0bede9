"""An experiment from data to report: its grid of runs, what they measured, and files of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch

import trimf
from trimf.runtime.errors import ConfigError
from trimf.runtime.explain import explain_words
from trimf.runtime.explain_page import to_html
from trimf.runtime.files import atomic_path
from trimf.runtime.pipeline import ParsedSentence
from trimf_train import checkpoint as checkpoints
from trimf_train import config as configs
from trimf_train import configs as packaged
from trimf_train import inference, metrics
from trimf_train.config import Config, DataConfig
from trimf_train.data.readers import read_sentences
from trimf_train.evaluate import predict
from trimf_train.experiments import deletion, evidence, parts, plots, pool, report, sweep
from trimf_train.experiments.cells import Cell, cell
from trimf_train.experiments.grids import DISTILLED, FULL, NAMES, RECIPE, Grid, grid, shares_start
from trimf_train.experiments.parts import DataSet
from trimf_train.experiments.report import Report, Run
from trimf_train.protocols import Protocol

#: What ``--quick`` changes: epochs few enough for ten minutes on two cores, learnt faster.
QUICK = (
    "train.stage1.epochs=6", "train.stage2.epochs=2", "train.lr=2e-4", "train.head_lr=1e-3", "train.precision=fp32",
)  # fmt: skip

#: Runs of each row, as in the paper.
SEEDS = 5

#: The first stage that the rows of a quick run share: it has none of what most of them leave out.
_START = "first stage"

#: Relations whose words are deleted, of all that were found: in full, and in a quick run.
RELATIONS, QUICK_RELATIONS = 200, 40

#: Relations shown with their triggers, and sentences shown with their heat maps.
EXAMPLES, PICTURES = 12, 6


class Plan(NamedTuple):
    """What is asked for. Without ``config`` the packaged recipe of the data set is taken, if it has one.

    Without ``seeds``, quick runs have one, cross-validation all folds, and others :data:`SEEDS`.
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
    """A row to be: where its data is, and what it overrides."""

    name: str
    data: DataSet
    overrides: Sequence[str]
    dev_too: bool = False


def run(plan: Plan, say: Callable[[str], None]) -> Report:
    """Do the runs that are not done yet, and write ``NAME.json``, ``NAME.md`` and ``NAME.svg`` into ``plan.output``,
    of attention also ``NAME.html``.

    The runs lie in ``output/runs``, each in a folder named by what it depends on, so that experiments share them and a
    killed one goes on where it was.

    Raises:
        ConfigError: the plan asks for what there is not.
        DataError: the data cannot be used.
        BackendError: a run failed.
    """
    if plan.name not in NAMES:
        raise ConfigError(f"experiment {plan.name!r}, but there are {', '.join(NAMES)}")
    data = parts.find(plan.data, plan.output, quick=plan.quick)
    if plan.name == RECIPE:
        data = parts.on_dev(data)
    plan = plan._replace(seeds=_seeds(plan, data))
    config = _base(plan, data)
    chosen = grid(plan.name, config, 3 if plan.quick else 6)
    rows = list(_rows(plan, data, chosen))
    starts = {}
    if shares_start(plan.name, plan.quick):
        alone = configs.override(config, ["train.stage2.epochs=0"])
        starts = {
            (id(row.data), seed): _cell(_Row(_START, row.data, ()), seed, alone, plan)
            for row in rows
            for seed in range(plan.seeds)
        }

    cells: dict[str, list[Cell]] = {}
    for place, row in enumerate(rows):
        teachers = cells[rows[0].name] if row.name == DISTILLED else []
        rows[place] = row = _distilled(row, teachers) if teachers else row
        cells[row.name] = [
            _cell(row, seed, config, plan, starts.get((id(row.data), seed)), teachers) for seed in range(plan.seeds)
        ]
    every = [*starts.values(), *(one for of_row in cells.values() for one in of_row)]
    folders = {one.folder: one for one in every}
    todo = [one for one in folders.values() if one.result is None]
    count = pool.jobs(config.model.encoder.name, plan.jobs)
    say(f"{data.protocol}; {len(folders)} runs, {len(todo)} to do, {min(count, len(todo))} at a time")

    def done(one: Cell) -> None:
        measured = one.result
        assert measured is not None
        scores = measured.scores
        say(
            f"{one.row}, seed {one.seed}: entity F1 {data.protocol.entity(scores)['f1']:.2f}, relation F1 "
            f"{data.protocol.relation(scores)['f1']:.2f} ({measured.seconds:.0f} s)"
        )

    pool.run(todo, count, plan.command, done)
    found = _report(plan, config, chosen, data, rows, cells)
    pages = {"html": _attention(cells[rows[0].name][0], plan)} if plan.name == "attention" else {}
    _write(found, plan.output, pages)
    return found


def _seeds(plan: Plan, data: DataSet) -> int:
    folds = len(data.parts)
    if plan.seeds is None:
        return 1 if plan.quick else folds if folds > 1 else SEEDS
    if plan.seeds < 1:
        raise ConfigError(f"--seeds {plan.seeds}, but at least 1 is needed")
    if plan.seeds > folds > 1:
        raise ConfigError(f"--seeds {plan.seeds}, but {plan.data} makes {folds} folds, one a seed")
    return plan.seeds


def _base(plan: Plan, data: DataSet) -> Config:
    """The configuration that rows change; its data are placeholders, which every cell replaces."""
    overrides = [*(QUICK if plan.quick else ()), *plan.overrides]
    if plan.encoder:
        overrides.append(f"model.encoder.name={msgspec.json.encode(plan.encoder).decode()}")
    if plan.config:
        return configs.load(plan.config, overrides)
    if data.protocol.recipe:
        with resources.as_file(resources.files(packaged) / data.protocol.recipe) as path:
            return configs.load(path, overrides)
    return configs.override(Config(data=DataConfig(train=[]), output=""), overrides)


def _rows(plan: Plan, data: DataSet, chosen: Grid) -> list[_Row]:
    rows = [_Row(name, data, overrides) for name, overrides in chosen.rows.items()]
    if plan.name != "main":
        return rows
    if data.protocol.folds > 1:
        flat = parts.find(plan.data, plan.output, overlap=False, quick=plan.quick)
        rows.append(_Row(f"{FULL}, without overlapping entities", flat, ("decode.overlap=false",)))
    elif data.parts[0].held == "test" and data.parts[0].dev:
        rows.append(_Row(f"{FULL}, train + dev", data, (), dev_too=True))
    return rows


def _distilled(row: _Row, teachers: Sequence[Cell]) -> _Row:
    """The row that learns from all of these runs."""
    folders = [str(one.folder / "best") for one in teachers]
    return row._replace(overrides=[*row.overrides, f"train.teachers={msgspec.json.encode(folders).decode()}"])


def _cell(
    row: _Row, seed: int, config: Config, plan: Plan, start: Cell | None = None, teachers: Sequence[Cell] = ()
) -> Cell:
    """A run of a row, from the beginning or from a first stage that other rows begin from, too."""
    chosen = row.data.of(seed)
    train = [chosen.train, chosen.dev] if row.dev_too and chosen.dev else [chosen.train]
    # Where dev is what is reported on, it cannot also choose the epoch.
    dev = None if row.dev_too or chosen.dev == chosen.test else chosen.dev
    config = configs.override(config, row.overrides)
    if start is not None:
        begun = ["train.stage1.epochs=0", f"train.init={start.folder / 'best'}"]
        config = configs.override(config, begun)
    config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, train=train, dev=dev))
    needs = (*((start,) if start else ()), *teachers)
    return cell(row.name, seed, config, chosen.test, plan.output / "runs", needs)


def _report(
    plan: Plan, config: Config, chosen: Grid, data: DataSet, rows: Sequence[_Row], cells: dict[str, list[Cell]]
) -> Report:
    runs = {row.name: [_run(one, row.data) for one in cells[row.name]] for row in rows}
    first = runs[rows[0].name]
    papers = chosen.paper if plan.name != "main" else _table1(data.protocol)
    made = [
        report.row(
            row.name,
            row.overrides,
            runs[row.name],
            first,
            {name: (of[row.name], of[rows[0].name]) for name, of in papers.items() if row.name in of},
            steps=plan.name == RECIPE,
        )
        for row in rows
    ]
    best = [checkpoints.load(one.folder / "best") for one in cells[rows[0].name]]
    held = [list(read_sentences(one.test)) for one in cells[rows[0].name]]
    parser = best[0].description.parser
    found = Report(
        experiment=plan.name,
        title=chosen.title,
        source=chosen.source,
        command=plan.command,
        protocol=str(data.protocol),
        data=str(plan.data),
        held="held-out" if data.protocol.folds > 1 else data.parts[0].held,
        encoder=config.model.encoder.name,
        parser=str(parser),
        seeds=plan.seeds,
        quick=plan.quick,
        config=msgspec.to_builtins(msgspec.structs.replace(config, output="")),
        environment=_environment(),
        rows=made,
    )
    if plan.name == "threshold":
        swept = [sweep.by_threshold(*one, data.protocol) for one in zip(best, held, strict=True)]
        return msgspec.structs.replace(found, sweep=sweep.aggregate(swept))
    if plan.name == "triggers":
        return _triggers(found, best[0], held[0], QUICK_RELATIONS if plan.quick else RELATIONS)
    return found


def _triggers(found: Report, checkpoint: checkpoints.Checkpoint, held: Sequence, most: int) -> Report:
    """Of seed 0's model: trigger words, and what deleting them does."""
    every = evidence.collect(checkpoint, held)
    drawn = sorted(np.random.default_rng(0).permutation(len(every))[:most].tolist())
    some = [every[place] for place in drawn]
    names = checkpoint.description.labels.relations
    examples = [
        report.Example(
            text=" ".join(one.sentence.words),
            head=" ".join(one.sentence.words[one.head.start : one.head.end]),
            label=names[one.relation.label],
            tail=" ".join(one.sentence.words[one.tail.start : one.tail.end]),
            triggers=words,
        )
        for one, words in deletion.top(some[:EXAMPLES], evidence.SENSOR)
    ]
    curves = deletion.curves(inference.pipeline(checkpoint), some) if some else []
    return msgspec.structs.replace(found, curves=curves, relations=len(some), examples=examples)


def _attention(one: Cell, plan: Plan) -> bytes:
    """Heat maps of held-out sentences with relations, first those in which seed 0's model finds just these."""
    checkpoint = checkpoints.load(one.folder / "best")
    pipeline, labels = inference.pipeline(checkpoint), checkpoint.description.labels
    held = list(read_sentences(one.test))
    related = [
        (set(found.relations) != set(metrics.annotation(sentence).relations), place)
        for place, (sentence, found) in enumerate(zip(held, predict(pipeline, labels, held), strict=True))
        if sentence.relations
    ]
    shown = [
        explain_words(pipeline, labels, each.tokens, ParsedSentence(each.tokens, each.heads or [], each.labels or []))
        for each in (held[place] for _, place in sorted(related)[:PICTURES])
    ]
    return "".join(to_html(shown, f"Memory flow attention: {plan.data}")).encode()


def _run(one: Cell, data: DataSet) -> Run:
    measured = one.result
    assert measured is not None
    return Run(
        seed=one.seed,
        held=data.of(one.seed).held,
        folder=one.folder.name,
        epoch=measured.epoch,
        seconds=measured.seconds,
        figures=_figures(measured.test, data.protocol),
        dev=_figures(measured.dev, data.protocol) if measured.dev else None,
    )


def _figures(scores: dict, protocol: Protocol) -> dict[str, float]:
    entity, relation = protocol.entity(scores), protocol.relation(scores)
    return {
        f"{kind} {part}": leaf[part]
        for kind, leaf in (("entity", entity), ("relation", relation))
        for part in ("precision", "recall", "f1")
    }


def _table1(protocol: Protocol) -> dict[str, dict[str, tuple[float, float]]]:
    if protocol.paper is None:
        return {}
    entity, relation = protocol.paper
    return {f"{protocol.name} ({protocol.paper_encoder})": {FULL: (entity[2], relation[2])}}


def _environment() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"TriMF": trimf.__version__, "PyTorch": torch.__version__.split("+")[0], "device": device}


def _write(found: Report, output: Path, pages: Mapping[str, bytes]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    plot = plots.draw(found)
    name = f"{found.experiment}.svg" if plot else None
    files = {
        "json": msgspec.json.format(msgspec.json.encode(found), indent=2),
        "md": report.markdown(found, name).encode(),
    }
    files |= pages
    if plot:
        files["svg"] = plot.encode()
    for kind, content in files.items():
        with atomic_path(output / f"{found.experiment}.{kind}") as new:
            new.write_bytes(content)
