"""Training runs of a tiny model: what they learn and refuse."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from accelerate import Accelerator
from support.training_runs import ROUGH, die, epochs, same_weights, steps, weights

from trimf.runtime.errors import BundleError, ConfigError
from trimf.runtime.pipeline import ParsedSentence
from trimf_train.config import Config, TrainConfig
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import Sentence
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference
from trimf_train.training import dataset as loading
from trimf_train.training import losses
from trimf_train.training import train as training
from trimf_train.training.train import train_model

pytestmark = pytest.mark.usefixtures("as_on_a_gpu")


def test_a_run_learns_and_writes(configure: Callable[..., Config], sentences: list[Sentence]) -> None:
    config = configure(
        train={"head_lr": 1e-2, "negative_spans": 100, "stage1": {"epochs": 15}, "stage2": {"epochs": 15}},
        model={"dropout": 0.1},
    )
    best = train_model(config, command="trimf train run.toml")
    folder = Path(config.output)
    assert sorted(path.name for path in folder.iterdir()) == ["best", "config.json", "metrics.jsonl"]
    assert msgspec.json.decode((folder / "config.json").read_bytes(), type=Config) == config

    records = epochs(config)
    assert [record["epoch"] for record in records] == list(range(1, 31))
    assert [record["stage"] for record in records] == [1] * 15 + [2] * 15
    assert records[-1]["entity_loss"] < 0.3 * records[0]["entity_loss"]
    assert records[-1]["relation_loss"] < 0.5 * records[0]["relation_loss"]
    each = steps(config)
    assert [line["epoch"] for line in each] == [epoch for epoch in range(1, 31) for _ in range(3)]
    assert all(math.isfinite(line["loss"]) for line in each)
    rates = [line["lr"] for line in each]
    assert max(rates) == pytest.approx(1e-2)
    assert rates.index(max(rates)) == 8
    for record in records:
        loss = sum(line["loss"] for line in each if line["epoch"] == record["epoch"]) / 3
        assert record["entity_loss"] + record["relation_loss"] == pytest.approx(loss, abs=1e-5)

    assert best["stage"] == 2
    assert best["dev"]["relations"]["strict"]["micro"]["f1"] > 90
    of_stage_two = [record["dev"]["relations"]["strict"]["micro"]["f1"] for record in records[15:]]
    assert best["dev"]["relations"]["strict"]["micro"]["f1"] == max(of_stage_two)

    model = checkpoints.load_checkpoint(folder / "best")
    description = model.description
    assert description.stage == 2
    assert description.parser.name == "by-hand"
    assert description.labels.symmetric == ("Know",)
    assert description.provenance["epoch"] == best["epoch"]
    assert description.provenance["dev"] == best["dev"]
    assert description.provenance["command"] == "trimf train run.toml"
    assert description.provenance["seed"] == 0
    assert msgspec.convert(description.provenance["config"], Config) == config
    found = inference.build_pipeline(model).run(
        [ParsedSentence(one.tokens, one.heads, one.labels) for one in sentences[:3]]
    )
    for sentence, result in zip(sentences, found, strict=False):
        names = model.description.labels.entity_types
        assert {(entity.start, entity.end, names[entity.type_index]) for entity in result.decoded.entities} == {
            (entity.start, entity.end, entity.type) for entity in sentence.entities
        }


def test_the_same_seed_gives_the_same_weights_and_another_others(
    configure: Callable[..., Config], whole: tuple[Config, Any]
) -> None:
    again, other = configure("again", **ROUGH), configure("other", **ROUGH, seed=6)
    train_model(again)
    train_model(other)
    assert same_weights(again, whole[0])
    assert steps(again) == steps(whole[0])
    assert not same_weights(other, whole[0])
    assert steps(other)[0] != steps(whole[0])[0]


def test_errors_are_mined_before_every_epoch_but_the_first(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, stages, given = training.mine_hard_negatives, [], []

    def listening(model: Any, stage: int, mixture: Any, overlap: bool) -> Any:
        stages.append(stage)
        found = original(model, stage, mixture, overlap)
        given.append(sum(len(one.hard_negatives) for one in found.examples))
        return found

    monkeypatch.setattr(training, "mine_hard_negatives", listening)
    config = configure(train={"mine": True})
    train_model(config)
    assert stages == [1, 1, 2]
    assert any(given)
    before = weights(config)
    train_model(configure("plain"))
    assert stages == [1, 1, 2]
    assert not all(before[name].equal(value) for name, value in weights(configure("plain")).items())


def test_errors_are_mined_from_the_beginning_where_it_knows_the_types(
    configure: Callable[..., Config], whole: tuple[Config, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = []
    monkeypatch.setattr(
        training, "mine_hard_negatives", lambda model, stage, mixture, overlap: stages.append(stage) or mixture
    )
    init = str(Path(whole[0].output) / "best")
    train_model(configure("begun", train={"mine": True, "init": init, "stage1": {"epochs": 0}}))
    assert stages == [2, 2]
    stages.clear()
    train_model(configure("others", train={"mine": True, "init": init}, model={"span": {"max_width": 4}}))
    assert stages == [1, 1, 2]


@pytest.mark.slow
def test_a_student_learns_from_teachers(
    configure: Callable[..., Config], whole: tuple[Config, Any], tmp_path: Path
) -> None:
    teacher = str(Path(whole[0].output) / "best")
    train_model(configure("teacher", train={"stage1": {"epochs": 12}, "stage2": {"epochs": 8}, "lr": 1e-2}))
    learnt = str(tmp_path / "teacher" / "best")
    options = {"teachers": [learnt, teacher], "distillation": 0.7}
    student, killed = configure("student", train=options), configure("killed", train=options)
    train_model(student)
    die(killed, "collate_batch", 5)
    train_model(killed)
    assert same_weights(student, killed)
    noted = checkpoints.load_checkpoint(Path(student.output) / "best").description.provenance
    assert [one["command"] for one in noted["teachers"]] == ["", ""]
    other = configure("other", train={"teachers": [teacher], "distillation": 0.7})
    train_model(other)
    assert not same_weights(student, other)
    with pytest.raises(BundleError, match="not a complete TriMF checkpoint"):
        train_model(configure("none", train={"teachers": [str(tmp_path / "nowhere")]}))
    with pytest.raises(ConfigError, match=r"supports only model\.span\.max_width <= 3, got 5"):
        train_model(configure("wide", model={"span": {"max_width": 5}}, train={"teachers": [teacher]}))


def test_every_sentence_draws_for_itself_anew_each_epoch(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, drawn = loading.collate_batch, []

    def listening(examples: Any, generators: Any, *counts: int) -> Any:
        drawn.extend(str(generator.bit_generator.state) for generator in generators)
        return original(examples, generators, *counts)

    monkeypatch.setattr(loading, "collate_batch", listening)
    train_model(configure())
    assert len(drawn) == len(set(drawn)) == 4 * 12


def test_accumulated_gradients_are_used_up_in_their_epoch(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three batches an epoch, two an update: the third is an update of its own, and the rate follows the updates."""
    updates: list[int] = []
    original = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *args: (updates.append(1), original(self, *args))[1], raising=True
    )
    config = configure(train={"gradient_accumulation": 2, "warmup": 0})
    train_model(config)
    assert len(updates) == 4 * 2
    assert [line["lr"] for line in steps(config)][:4] == pytest.approx([2e-3, 2e-3, 2e-3 * 7 / 7, 2e-3 * 6 / 7])


@pytest.mark.parametrize(("stage", "left_out"), [(1, "stage2"), (2, "stage1")])
def test_one_stage_alone(configure: Callable[..., Config], stage: int, left_out: str) -> None:
    config = configure(train={left_out: {"epochs": 0}})
    best = train_model(config)
    assert [record["stage"] for record in epochs(config)] == [stage, stage]
    assert best["stage"] == stage
    assert checkpoints.load_checkpoint(Path(config.output) / "best").description.stage == stage
    torch.manual_seed(config.seed)
    model = checkpoints.load_checkpoint(Path(config.output) / "best").model
    fresh = configure("fresh", train={"lr": 1e-30, left_out: {"epochs": 0}})
    train_model(fresh)
    start = weights(fresh)
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, start[name])}
    later = {"subword_flow", "word_flow", "trigger"}
    assert moved >= {"encoder", "memory", "fusion", "entity_weight", "relation_weight"}
    assert moved & later == (later if stage == 2 else set())


@pytest.mark.parametrize("frozen", [(True, False), (True, True), (False, True)])
def test_a_frozen_encoder_does_not_move(configure: Callable[..., Config], frozen: tuple[bool, bool]) -> None:
    both = {f"stage{number}": {"freeze_encoder": value} for number, value in enumerate(frozen, 1)}
    config = configure(train=both)
    train_model(config)
    start = checkpoints.create_checkpoint(
        checkpoints.load_checkpoint(Path(config.output) / "best").description.labels,
        config.model,
        config.decode,
        checkpoints.load_checkpoint(Path(config.output) / "best").description.parser,
        {},
    ).model.state_dict()
    moved = any(
        not torch.equal(value, start[name]) for name, value in weights(config).items() if name.startswith("encoder.")
    )
    assert moved == (not all(frozen))


def test_without_dev_data_the_last_epoch_is_kept(configure: Callable[..., Config]) -> None:
    config = configure(data={"dev": None})
    best = train_model(config)
    assert best["epoch"] == 4
    assert "dev" not in best
    assert checkpoints.load_checkpoint(Path(config.output) / "best").description.provenance["epoch"] == 4


def test_bfloat16(configure: Callable[..., Config]) -> None:
    config = configure(train={"precision": "bf16", "stage1": {"epochs": 1}, "stage2": {"epochs": 6}})
    train_model(config)
    assert {value.dtype for value in weights(config).values() if value.is_floating_point()} == {torch.float32}
    records = epochs(config)
    assert records[-1]["entity_loss"] < records[0]["entity_loss"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_half_precision_needs_a_gpu(configure: Callable[..., Config]) -> None:
    config = configure(train={"precision": "fp16"})
    with pytest.raises(ConfigError, match="use bf16 or fp32"):
        train_model(config)
    assert not Path(config.output).exists()


def test_half_precision_has_one_optimiser(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"with model\.memory\.write = 'sgd' use bf16 or fp32"):
        train_model(configure(train={"precision": "fp16"}, model={"memory": {"write": "sgd"}}))


def test_a_loss_that_is_no_number_stops_the_run(configure: Callable[..., Config]) -> None:
    config = configure(train={"warmup": 0})
    # Beyond the limits of the settings, so that the loss overflows for sure.
    diverging = msgspec.structs.replace(config.train, lr=1e30, clip=1e30)
    config = msgspec.structs.replace(config, train=diverging)
    with pytest.raises(ConfigError, match=r"lower train\.lr"):
        train_model(config)


def test_a_parser_learns_before_the_model_and_beside_it(
    configure: Callable[..., Config], sentences: list[Sentence], tmp_path: Path
) -> None:
    more = tmp_path / "more.jsonl"
    others = [
        msgspec.structs.replace(one, entities=[], relations=[], labels=["odd"] * len(one.tokens)) for one in sentences
    ]
    more.write_bytes(b"".join(map(encode_line, others[:8])))
    syntax = {"source": "encoder", "arc_dim": 16, "label_dim": 8, "dropout": 0.0, "layer": 1}
    stages = {"syntax_stage": {"epochs": 12}, "stage1": {"epochs": 2}, "stage2": {"epochs": 6}}
    config = configure(
        model={"syntax": syntax},
        train={**stages, "lr": 1e-2, "extra_syntax": [str(more)], "extra_share": 0.25, "syntax_weight": 2.0},
    )
    best = train_model(config)
    found = epochs(config)
    assert [epoch["stage"] for epoch in found] == [0] * 12 + [1] * 2 + [2] * 6
    assert found[0].keys() == {"type", "epoch", "stage", "syntax_loss", "sentences"}
    assert {"entity_loss", "relation_loss", "syntax_loss", "dev"} <= found[-1].keys()
    assert found[-1]["syntax_loss"] < found[0]["syntax_loss"]
    counted = Counter(step["epoch"] for step in steps(config))
    assert (counted[1], counted[13], counted[20]) == (5, 4, 4)  # 20 sentences, then 12 and a quarter of that
    assert best["dev"]["syntax"]["uas"] > 60
    checkpoint = checkpoints.load_checkpoint(Path(config.output) / "best")
    assert "odd" in checkpoint.description.labels.dependency_labels
    assert checkpoint.description.parser.source == "encoder"


def test_batches_are_made_ahead_and_no_further(
    configure: Callable[..., Config], create: Callable[..., Any], sentences: list[Sentence]
) -> None:
    config = configure(train={"batch_size": 1})
    mixture = loading.TrainingExamples(loading.build_training_set(sentences, create()).examples, len(sentences))
    made: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        original = loading.collate_batch
        patch.setattr(loading, "collate_batch", lambda *args: (made.append(1), original(*args))[1])
        found = loading.iterate_batches(mixture, config, 1, 0, 1, 0)
        rest = [next(found)]
        assert len(made) <= 1 + loading.PREFETCH_BATCHES
        rest += found
    assert len(made) == len(rest) == 12
    order = [places[0] for places in loading.plan_global_batches(mixture, config, 1, 1, 0)]
    for (inputs, _), place in zip(rest, order, strict=True):
        assert inputs.input_ids[0].tolist() == mixture.examples[place].item.subwords.ids.tolist()


def test_the_parsers_loss(configure: Callable[..., Config], create: Callable[..., Any], sentences: Any) -> None:
    """Against a loop over words: the heads of all, and the labels of the arcs that have one."""
    checkpoint = create(syntax={"source": "encoder"})
    mixture = loading.TrainingExamples(loading.build_training_set(sentences, checkpoint).examples, len(sentences))
    for inputs, targets in loading.iterate_batches(mixture, configure(), 1, 0, 1, 0):
        with torch.no_grad():
            logits = checkpoint.model.eval()(inputs, 1)
        heads, labels = [], []
        for row, word in inputs.word_mask.nonzero().tolist():
            heads.append(-logits.arc_scores[row, word].log_softmax(-1)[inputs.heads[row, word]])
            if number := int(inputs.labels[row, word]):
                labels.append(-logits.arc_label_scores[row, word].log_softmax(-1)[number - 1])
        expected = torch.stack(heads).mean() + torch.stack(labels).mean()
        count = losses.count_loss_terms(inputs, targets)
        found = losses.compute_losses(logits, inputs, targets, count, Accelerator(), TrainConfig())
        torch.testing.assert_close(found["syntax"], expected)


@pytest.mark.slow
def test_a_compiled_encoder_learns_the_same(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the graphs that PyTorch finds, run one operation after the other: to compile those takes a minute."""
    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compile_(self, backend="eager", **how))
    monkeypatch.setattr(training, "find_compile_problem", lambda device: None)
    tables = {"train": {"stage1": {"epochs": 1}, "stage2": {"epochs": 0}}, "model": {"encoder": {"dropout": 0.0}}}
    one, other = (configure(name, **tables) for name in ("a", "b"))
    train_model(one)
    train_model(other, compile_encoder=True)
    for left, right in zip(steps(one), steps(other), strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-3)
    assert weights(one).keys() == weights(other).keys()


def test_compiling_without_a_compiler(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "find_compile_problem", lambda device: f"no {device} compiler")
    config = configure()
    with pytest.raises(ConfigError, match=r"--compile: torch.compile does not work on this machine: no cpu compiler"):
        train_model(config, compile_encoder=True)
    assert not Path(config.output).exists()
