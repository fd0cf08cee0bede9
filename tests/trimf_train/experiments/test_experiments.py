"""Experiments: data in parts, runs that are shared and go on, aggregates, and how explanations are judged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimf.cli import main
from trimf.runtime.errors import BackendError, ConfigError, DataError
from trimf.runtime.pipeline import ParsedSentence
from trimf.runtime.text import batch_arrays as features
from trimf_train import config as configs
from trimf_train import configs as packages
from trimf_train.config import Config, DataConfig, DecodeConfig
from trimf_train.data.jsonl import encode_line, read_prepared_file
from trimf_train.data.sentence import EntityMention, Sentence
from trimf_train.evaluation import protocols
from trimf_train.evaluation.evaluate import evaluate_pipeline
from trimf_train.experiments import deletion, evidence, parts, pool, report, run, sweep, worker
from trimf_train.experiments.cells import RunResult, make_cell
from trimf_train.experiments.grids import DISTILLED, FULL_MODEL, EXPERIMENTS, build_grid
from trimf_train.experiments.run import ExperimentPlan
from trimf_train.experiments.worker import Job
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference

BASE = Config(data=DataConfig(train=[]), output="")


@pytest.fixture
def data(tmp_path: Path, sentences: list[Sentence]) -> Path:
    """The twelve sentences as a data set of three parts."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "dev", "test"):
        (folder / f"{name}.jsonl").write_bytes(b"".join(map(encode_line, sentences)))
    return folder


@pytest.fixture
def recipe(tmp_path: Path, encoders: dict[str, str]) -> Path:
    """A configuration whose runs take a second."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        'output = "unused"\n[data]\ntrain = ["unused"]\nsymmetric = ["Know"]\nparser = "by-hand"\n'
        f"[model]\nspan.max_width = 3\nencoder.name = {json.dumps(encoders['bert'])}\n"
        "[train]\nbatch_size = 4\nlr = 1e-2\nnegative_spans = 4\nstage1.epochs = 3\nstage2.epochs = 3\n"
    )
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs happen in this process; the folders of those that did."""
    done: list[str] = []

    def in_process(cells: Any, count: int, command: str, say: Callable[[Any], None]) -> None:
        for one in cells:
            if one.result is None:
                worker.run_job(Job(one.config, one.test, command))
                done.append(one.folder.name)
                say(one)

    monkeypatch.setattr(run.pool, "run", in_process)
    return done


def test_every_row_of_every_grid_is_a_configuration() -> None:
    for name in EXPERIMENTS:
        made = build_grid(name, BASE)
        for row, overrides in made.rows.items():
            assert configs.apply_overrides(BASE, overrides), row
        for paper in made.paper.values():
            assert set(paper) == set(made.rows)


def test_data_sets_have_one_recipe() -> None:
    recipes = [protocols.protocol_for([known]).recipe for known in ("Peop", "Generic", "Drug")]
    first, *others = (configs.load_config(str(files(packages) / str(name))) for name in recipes)
    assert all((one.model, one.train, one.decode.types) == (first.model, first.train, "seen") for one in others)
    assert [one.decode.overlap for one in (first, *others)] == [False, True, True]


def test_stages_divide_all_epochs() -> None:
    rows = build_grid("stages", BASE).rows
    assert list(rows) == ["0 + 30", "5 + 25", "10 + 20", "15 + 15", "20 + 10", "25 + 5", "30 + 0"]
    short = configs.apply_overrides(BASE, ["train.stage1.epochs=1", "train.stage2.epochs=1"])
    assert list(build_grid("stages", short).rows) == ["0 + 2", "1 + 1", "2 + 0"]


def test_every_step_of_a_recipe_is_one_that_it_does_not_have() -> None:
    for types, other in (("any", "seen"), ("seen", "any")):
        config = configs.apply_overrides(BASE, [f"decode.types={types}"])
        rows = build_grid("recipe", config).rows
        changed = [configs.apply_overrides(config, overrides) for overrides in rows.values()]
        assert [one.decode.types for one in changed].count(other) == 1
        assert changed.count(config) == 2  # the first row, and the students, whose teachers are not known yet


def test_an_override_that_is_none_names_itself() -> None:
    with pytest.raises(ConfigError, match="fusoin"):
        configs.apply_overrides(BASE, ["model.fusoin=none"])


@pytest.mark.parametrize(
    ("types", "name", "relations", "average"),
    [
        ({"Peop", "Loc"}, "CoNLL04", "strict", "micro"),
        ({"Task", "Method"}, "SciERC", "boundary", "micro"),
        ({"Drug", "Adverse-Effect"}, "ADE", "strict", "macro"),
        ({"GPE"}, "ACE05", "strict", "micro"),
        ({"Peop", "Song"}, "custom labels", "strict", "micro"),
        (set(), "custom labels", "strict", "micro"),
    ],
)
def test_protocols(types: set[str], name: str, relations: str, average: str) -> None:
    found = protocols.protocol_for(types)
    assert (found.name, found.relations, found.average) == (name, relations, average)


def test_parts_as_they_are(data: Path, tmp_path: Path) -> None:
    found = parts.find_data_set(data, tmp_path / "out")
    assert (
        found.of(0)
        == found.of(7)
        == (str(data / "train.jsonl"), str(data / "dev.jsonl"), str(data / "test.jsonl"), "test")
    )
    assert found.protocol.name == "CoNLL04"


def test_dev_is_reported_on_where_there_is_no_test_part_and_then_chooses_no_epoch(
    data: Path, recipe: Path, tmp_path: Path
) -> None:
    (data / "test.jsonl").unlink()
    found = parts.find_data_set(data, tmp_path / "out")
    assert found.of(0).held == "dev"
    made = run._build_cell(run._Row(FULL_MODEL, found, ()), 0, configs.load_config(recipe), ExperimentPlan("main", data, tmp_path))
    assert (made.test, made.config.data.dev) == (str(data / "dev.jsonl"), None)


def test_a_sample_is_of_the_training_part_alone(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SAMPLE_SIZE", 5)
    (data / "train.jsonl.source.json").write_text("{}")
    found = parts.find_data_set(data, tmp_path / "out", quick=True).of(0)
    assert (len(list(read_prepared_file(found.train))), found.dev, len(list(read_prepared_file(found.test)))) == (5, None, 12)
    assert Path(f"{found.train}.source.json").read_text() == "{}"


def test_folds_hold_every_sentence_out_once(tmp_path: Path, sentences: list[Sentence]) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    overlapping = msgspec.structs.replace(
        sentences[0], id="over", entities=[*sentences[0].entities, EntityMention("Loc", 0, 2)]
    )
    (folder / "all.jsonl").write_bytes(b"".join(map(encode_line, [*sentences, overlapping])))
    found = parts.find_data_set(folder, tmp_path / "out")
    assert len(found.parts) == 10
    held = [one.id for part in found.parts for one in read_prepared_file(part.test)]
    assert sorted(held) == sorted([*(one.id for one in sentences), "over"])
    for part in found.parts:
        mine = {one.id for one in read_prepared_file(part.test)}
        assert len(list(read_prepared_file(part.train))) == 13 - len(mine)
        assert not mine & {one.id for one in read_prepared_file(part.train)}
    flat = parts.find_data_set(folder, tmp_path / "out", overlap=False)
    assert sorted(one.id for part in flat.parts for one in read_prepared_file(part.test)) == sorted(one.id for one in sentences)


def test_data_that_is_none_is_said(tmp_path: Path, sentences: list[Sentence]) -> None:
    with pytest.raises(DataError, match="found none"):
        parts.find_data_set(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "train.jsonl").write_bytes(encode_line(sentences[0]))
    with pytest.raises(DataError, match=r"neither dev\.jsonl nor test\.jsonl"):
        parts.find_data_set(tmp_path, tmp_path / "out")


def test_a_run_is_named_by_what_it_depends_on(data: Path, recipe: Path, tmp_path: Path) -> None:
    config = configs.load_config(recipe)
    config = msgspec.structs.replace(config, data=DataConfig(train=[str(data / "train.jsonl")]))
    test, runs = str(data / "test.jsonl"), tmp_path / "runs"
    one = make_cell("a", 0, config, test, runs)
    assert make_cell("b", 0, config, test, runs).folder == one.folder
    others = [
        make_cell("a", 1, config, test, runs),
        make_cell("a", 0, configs.apply_overrides(config, ["model.trigger=false"]), test, runs),
    ]
    (data / "train.jsonl").write_bytes((data / "test.jsonl").read_bytes() * 2)
    others.append(make_cell("a", 0, config, test, runs))
    assert len({one.folder, *(other.folder for other in others)}) == 4


def test_experiments_share_runs_and_do_none_twice(
    data: Path, recipe: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(data), "--output", str(tmp_path / "out"), "--config", str(recipe), "--seeds", "2"]
    assert main(["experiment", "gradients", *options]) == 0
    printed = capsys.readouterr()
    assert "8 runs, 8 to do" in printed.err
    assert "w/o trigger sensor gradient" in printed.out
    assert len(set(here)) == 8
    found = json.loads((tmp_path / "out" / "gradients.json").read_text())
    assert found["rows"][0]["name"] == FULL_MODEL
    assert all(len(row["runs"]) == 2 for row in found["rows"])
    assert found["rows"][1]["relation"]["error"] is not None
    assert (tmp_path / "out" / "gradients.svg").read_text().startswith("<?xml")
    assert "![Effect of gradient flow to memory](gradients.svg)" in printed.out

    here.clear()
    assert main(["experiment", "gradients", *options]) == 0
    assert main(["experiment", "threshold", *options]) == 0
    assert not here
    assert "2 runs, 0 to do" in capsys.readouterr().err
    swept = json.loads((tmp_path / "out" / "threshold.json").read_text())["sweep"]
    assert swept["recall"] == sorted(swept["recall"], reverse=True)

    assert main(["experiment", "attention", *options]) == 0
    assert not here
    assert "relation memory" in (tmp_path / "out" / "attention.html").read_text()

    assert main(["experiment", "main", *options]) == 0
    assert len(here) == 2  # train + dev
    printed = capsys.readouterr().out
    assert "| TriMF, train + dev |" in printed
    assert "paper, CoNLL04 (BERT-base, train+dev): entity F1 | relation F1 |" in printed


def test_rows_of_a_quick_run_begin_from_one_first_stage(
    data: Path, recipe: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(data), "--output", str(tmp_path / "out"), "--config", str(recipe), "--quick"]
    assert main(["experiment", "interaction", *options]) == 0
    printed = capsys.readouterr()
    assert "5 runs, 5 to do" in printed.err
    assert "**Quick run" in printed.out
    first, *rows = (tmp_path / "out" / "runs" / name / "best" for name in here)
    assert checkpoints.load_checkpoint(first).description.stage == 1
    for row in rows:
        described = checkpoints.load_checkpoint(row).description
        assert described.stage == 2
        assert described.provenance["config"]["train"]["init"] == str(first)
        assert described.provenance["init"]["epoch"] == 6
    assert main(["experiment", "stages", *options]) == 0
    assert "4 runs, 4 to do" in capsys.readouterr().err


def test_steps_of_a_recipe_are_judged_on_dev(
    data: Path,
    recipe: Path,
    tmp_path: Path,
    here: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of the rows: the recipe, a step, and a student of both seeds; dev chooses no epoch, test is not read."""
    whole = build_grid("recipe", configs.load_config(recipe))
    kept = {name: whole.rows[name] for name in (FULL_MODEL, "R-Drop, weight 1", DISTILLED)}
    monkeypatch.setattr(run, "build_grid", lambda *_: whole._replace(rows=kept))
    options = ["--data", str(data), "--output", str(tmp_path / "out"), "--config", str(recipe), "--seeds", "2"]
    (data / "test.jsonl").write_text("not read")
    assert main(["experiment", "recipe", *options]) == 0
    printed = capsys.readouterr()
    assert "8 runs, 8 to do" in printed.err
    assert "All rows of a seed start from the same first stage" in printed.out
    assert "scores in per cent on the dev part" in printed.out
    folders = [tmp_path / "out" / "runs" / name / "best" for name in here]
    described = [checkpoints.load_checkpoint(one).description for one in folders]
    assert [one.stage for one in described] == [1, 1, 2, 2, 2, 2, 2, 2]
    assert all(one.provenance["config"]["data"]["dev"] is None for one in described)
    teachers = [str(one) for one in folders[2:4]]
    assert described[-1].provenance["config"]["train"]["teachers"] == teachers
    assert [one.provenance["config"]["train"]["init"] for one in described[2:]] == [str(one) for one in folders[:2]] * 3
    rows = json.loads((tmp_path / "out" / "recipe.json").read_text())["rows"]
    assert rows[1]["relation"]["verdict"] in {"helps", "hurts", "unclear"}
    assert configs.apply_overrides(BASE, rows[2]["overrides"]).train.teachers == teachers
    here.clear()
    assert main(["experiment", "recipe", *options]) == 0
    assert not here
    (data / "dev.jsonl").unlink()
    with pytest.raises(DataError, match=r"no dev\.jsonl"):
        parts.report_on_dev(parts.DataSet(protocols.protocol_for(set()), data, []))


def test_triggers(
    data: Path, recipe: Path, tmp_path: Path, here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(data), "--output", str(tmp_path), "--config", str(recipe), "--seeds", "1"]
    assert main(["experiment", "triggers", *options, "--set", "train.stage1.epochs=12", "--set", "train.lr=2e-2"]) == 0
    found = json.loads((tmp_path / "triggers.json").read_text())
    assert found["relations"] > 0
    methods = [curve["method"] for curve in found["curves"]]
    assert methods == [*evidence.METHODS, deletion.RANDOM_WORDS, deletion.RANDOM_CANDIDATES]
    assert "lives" in {word for one in found["examples"] for word in one["triggers"]}
    assert deletion.RANDOM_WORDS in capsys.readouterr().out


def test_what_cannot_be_done_is_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--data", str(data), "--output", str(tmp_path / "out")]
    for arguments, said in (
        (["tables"], "unknown experiment 'tables'; choose from main, modules"),
        (["main", "--seeds", "0"], "--seeds must be >= 1, got 0"),
        (["main", "--jobs", "0"], "--jobs must be >= 1, got 0"),
    ):
        assert main(["experiment", *arguments, *common]) in (1, 2)
        assert said in capsys.readouterr().err


def on(recipe: Path, data: Path) -> Config:
    """The recipe with the training part of the data."""
    config = configs.load_config(recipe)
    return msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, train=[str(data / "train.jsonl")]))


def test_a_run_in_a_process_of_its_own(data: Path, recipe: Path, tmp_path: Path) -> None:
    config = on(recipe, data)
    test, done = str(data / "test.jsonl"), []
    good = make_cell("good", 0, config, test, tmp_path / "runs")
    pool.run_cells([good, good], 2, "a command", done.append)
    assert done == [good]
    assert good.result is not None
    assert good.result.epoch == 6
    noted = checkpoints.load_checkpoint(good.folder / "best").description.provenance
    assert noted["command"] == "a command"

    bad = make_cell("bad", 3, configs.apply_overrides(config, ["model.encoder.name=/nowhere"]), test, tmp_path / "runs")
    with pytest.raises(BackendError, match=r"bad, seed 3, in .*nowhere"):
        pool.run_cells([bad], 1, "", done.append)


def test_a_run_waits_for_those_that_it_needs(
    data: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, test, done = on(recipe, data), str(data / "test.jsonl"), []
    first = make_cell("first", 0, config, test, tmp_path / "runs")
    second = make_cell("second", 1, config, test, tmp_path / "runs", (first,))
    third = make_cell("third", 2, config, test, tmp_path / "runs", (first, second))
    other = make_cell("other", 3, config, test, tmp_path / "runs")

    def process(one: Any, *_: Any) -> None:
        assert all(need.result for need in one.needs)
        time.sleep(0.1)
        result = RunResult(epoch=1, parameters=1, seconds=0.0, test={})
        one.folder.mkdir(parents=True)
        (one.folder / "result.json").write_bytes(msgspec.json.encode(result))

    monkeypatch.setattr(pool, "_run_process", process)
    pool.run_cells([third, second, other, first], 3, "", done.append)
    assert sorted(one.row for one in done) == ["first", "other", "second", "third"]
    assert done.index(first) < done.index(second) < done.index(third)


def test_what_is_ended_leaves_no_process_behind(
    data: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    request.addfinalizer(partial(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM)))
    monkeypatch.setattr(sys, "argv", ["trimf", "--version"])
    assert main() == 0
    original, started = subprocess.Popen, []

    def sleeping(*_: Any, **options: Any) -> Any:
        started.append(original([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(pool.subprocess, "Popen", sleeping)
    one = make_cell("row", 0, on(recipe, data), str(data / "test.jsonl"), tmp_path / "runs")
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        pool.run_cells([one], 1, "", lambda _: None)
    assert [process.wait(30) for process in started] == [-signal.SIGTERM]


def test_a_run_that_was_killed_before_it_was_scored_is_not_trained_again(
    data: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = on(recipe, data)
    one = make_cell("row", 0, config, str(data / "test.jsonl"), tmp_path / "runs")
    worker.run_job(Job(one.config, one.test, ""))
    first = one.result
    (one.folder / "result.json").unlink()
    monkeypatch.setattr(worker, "train_model", lambda *_, **__: pytest.fail("trained again"))
    worker.run_job(Job(one.config, one.test, ""))
    assert one.result == first


def _run(seed: int, entity: float, relation: float) -> report.RunSummary:
    figures = {name: entity if name.startswith("entity") else relation for name in report.SCORE_NAMES}
    return report.RunSummary(seed, "test", "f", 1, 1.0, figures)


@pytest.mark.parametrize(
    ("relations", "paper", "verdict"),
    [
        ((50.0, 52.0), {"SciERC": ((70, 51), (70, 52))}, "as in the paper"),
        ((56.0, 58.0), {"SciERC": ((70, 51), (70, 52))}, "against the paper"),
        ((51.0, 58.0), {"SciERC": ((70, 51), (70, 52))}, "unclear"),
        ((50.0, 52.0), {"SciERC": ((70, 51), (70, 52)), "ACE05": ((70, 53), (70, 52))}, "unclear"),
        ((50.0, 52.0), {}, None),
    ],
)
def test_a_difference_is_over_seeds_and_its_sign_against_the_papers(
    relations: tuple[float, ...], paper: Any, verdict: str | None
) -> None:
    first = [_run(0, 80, 53), _run(1, 80, 56)]
    made = report.build_row("w/o", (), [_run(k, 80, value) for k, value in enumerate(relations)], first, paper)
    assert made.relation is not None
    differences = [value - base for value, base in zip(relations, (53, 56), strict=True)]
    assert made.relation.mean == pytest.approx(np.mean(differences))
    assert made.relation.error == pytest.approx(np.std(differences, ddof=1) / np.sqrt(2))
    assert made.relation.verdict == verdict


def test_one_seed_has_no_error_and_proves_nothing() -> None:
    made = report.build_row("w/o", (), [_run(0, 80, 10)], [_run(0, 80, 50)], {"SciERC": ((70, 51), (70, 52))})
    assert made.relation == report.Difference(-40, None, "unclear")


@pytest.mark.parametrize(
    ("relations", "verdict"), [((54.0, 57.0), "helps"), ((52.0, 55.0), "hurts"), ((53.0, 57.0), "unclear")]
)
def test_a_step_helps_beyond_its_error(relations: tuple[float, ...], verdict: str) -> None:
    first = [_run(0, 80, 53), _run(1, 80, 56)]
    made = report.build_row("w", (), [_run(k, 80, value) for k, value in enumerate(relations)], first, {}, steps=True)
    assert made.relation is not None
    assert made.relation.verdict == verdict


@pytest.mark.parametrize("place", [1, 7, 12, 18])
def test_the_sweep_gives_what_evaluation_at_that_threshold_gives(
    tiny_checkpoint: Any, sentences: list[Sentence], place: int
) -> None:
    threshold = sweep.THRESHOLDS[place]
    protocol = protocols.protocol_for({"Peop"})
    swept = sweep.score_by_threshold(tiny_checkpoint, sentences, protocol)
    description = msgspec.structs.replace(
        tiny_checkpoint.description, decode=DecodeConfig(relation_threshold=threshold)
    )
    other = checkpoints.Checkpoint(tiny_checkpoint.model, description, tiny_checkpoint.tokenizer_json)
    scores = evaluate_pipeline(inference.build_pipeline(other), description.labels, sentences)
    assert swept[place] == scores["relations"]["strict"]["micro"]


@pytest.fixture
def found(tiny_checkpoint: Any, sentences: list[Sentence]) -> list[evidence.RelationEvidence]:
    every = evidence.collect_evidence(tiny_checkpoint, sentences)
    assert every
    return every


def test_evidence_is_of_the_relations_that_are_found(
    tiny_checkpoint: Any, sentences: list[Sentence], found: list[evidence.RelationEvidence]
) -> None:
    results = inference.build_pipeline(tiny_checkpoint).run(
        [ParsedSentence(one.tokens, one.heads or [], one.labels or []) for one in sentences]
    )
    relations = [relation for result in results for relation in result.found.relations]
    assert len(relations) == len(found)
    for one, relation in zip(found, relations, strict=True):
        assert one.relation.score == relation.score
        np.testing.assert_allclose(one.weights[evidence.CONTRIBUTION], relation.triggers, atol=1e-5)
        assert set(one.weights) == set(evidence.METHODS)
        assert not (one.shown & ~one.free).any()


def _forward(checkpoint: Any, one: evidence.RelationEvidence, stage: int = 2, shift: Any = None) -> torch.Tensor:
    """The relation's logits in one plain pass, the embedding of some subword shifted."""
    pipeline, model = inference.build_pipeline(checkpoint), checkpoint.model
    (subwords,) = pipeline.tokenizer.encode([one.sentence.words])
    arcs = features.encode_arcs(one.sentence.heads, one.sentence.labels, pipeline.settings.dependencies)
    ids, mask, pieces, word_mask, heads, labels = map(
        torch.from_numpy, (*features.pad_subwords([subwords]), *features.pad_arcs([arcs]))
    )
    table = model.encoder.get_input_embeddings()
    hook = table.register_forward_hook(lambda *given: given[2] + (0 if shift is None else shift))
    with torch.no_grad():
        words, cls = model.encode(ids, mask, pieces)
        nodes = model.fuse(words, cls, word_mask, heads, labels)
        spans = torch.tensor([(0, end.start, end.end - 1) for end in (one.head, one.tail)])
        logits, _ = model.relation_logits(nodes, word_mask, spans, torch.tensor([[0, 1]]), stage)
    hook.remove()
    return logits[0, one.relation.label]


def test_contributions_are_what_the_sensor_adds_to_the_logit(
    tiny_checkpoint: Any, found: list[evidence.RelationEvidence]
) -> None:
    for one in found[:4]:
        added = _forward(tiny_checkpoint, one) - _forward(tiny_checkpoint, one, stage=1)
        assert float(one.weights[evidence.CONTRIBUTION].sum()) == pytest.approx(float(added), abs=1e-4)


def test_gradients_are_differences_of_the_logit(tiny_checkpoint: Any, found: list[evidence.RelationEvidence]) -> None:
    one = found[0]
    (subwords,) = inference.build_pipeline(tiny_checkpoint).tokenizer.encode([one.sentence.words])
    table = tiny_checkpoint.model.encoder.get_input_embeddings().weight
    for word in range(len(one.sentence.words)):
        every = []
        for piece in range(subwords.first[word], subwords.last[word] + 1):
            step = torch.zeros(1, len(subwords.ids), table.shape[1])
            step[0, piece] = 1e-2 * table[subwords.ids[piece]].detach()
            up, down = (_forward(tiny_checkpoint, one, shift=sign * step) for sign in (1, -1))
            every.append(abs(float(up - down)) / 2e-2)
        assert one.weights[evidence.GRADIENT][word] == pytest.approx(max(every), rel=0.05, abs=1e-3)


def test_with_nothing_deleted_a_relation_keeps_its_probability(
    tiny_checkpoint: Any, found: list[evidence.RelationEvidence]
) -> None:
    pipeline = inference.build_pipeline(tiny_checkpoint)
    whole = [deletion._Request(one, np.ones(len(one.free), np.bool_)) for one in found]
    np.testing.assert_allclose(
        deletion._relation_probabilities(pipeline, whole), [one.relation.score for one in found], atol=1e-5
    )
    np.testing.assert_allclose(
        deletion._relation_probabilities(pipeline, whole, batch_size=1),
        deletion._relation_probabilities(pipeline, whole),
        atol=1e-6,
    )


def test_curves(tiny_checkpoint: Any, found: list[evidence.RelationEvidence]) -> None:
    pipeline = inference.build_pipeline(tiny_checkpoint)
    made = {curve.method: curve for curve in deletion.deletion_curves(pipeline, found, 2)}
    assert made[deletion.RANDOM_WORDS].ratio == pytest.approx([1, 1])
    assert made[deletion.RANDOM_WORDS].low == pytest.approx([1, 1])
    # "Alice lives in Paris.": of the words of no entity, "lives" alone may be shown.
    assert made[deletion.RANDOM_CANDIDATES].words == [1, 1]
    assert made[evidence.SENSOR].fall[0] == made[evidence.SENSOR].fall[1]
    for one, words in deletion.top_words(found, evidence.SENSOR):
        assert words == [one.sentence.words[1]]
    assert [curve.fall for curve in deletion.deletion_curves(pipeline, [], 2)] == [[0, 0], [0, 0]]


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], list[bool]]:
    """Heads of a tree (roots their own), and which words are kept."""
    size = draw(st.integers(1, 12))
    heads = [draw(st.integers(0, place)) for place in range(size)]
    return heads, [draw(st.booleans()) for _ in range(size)]


@given(trees())
def test_words_hang_on_the_next_head_above_that_is_kept(tree: tuple[list[int], list[bool]]) -> None:
    heads, kept = tree
    keep = np.array(kept)
    size = len(heads)
    sentence = ParsedSentence([str(k) for k in range(size)], heads, [f"d{k}" for k in range(size)])
    one: Any = evidence.RelationEvidence(sentence, *([None] * 6))  # type: ignore[arg-type]
    cut = deletion._reduce_sentence(deletion._Request(one, keep))
    assert list(cut.words) == [str(k) for k in range(size) if kept[k]]
    assert list(cut.labels) == [f"d{k}" for k in range(size) if kept[k]]
    for word, head in zip(cut.words, cut.heads, strict=True):
        above = list(_above(heads, int(word)))
        expected = next((place for place in above if kept[place]), int(word))
        assert cut.words[head] == str(expected)


def _above(heads: list[int], place: int) -> Iterator[int]:
    while heads[place] != place:
        place = heads[place]
        yield place
