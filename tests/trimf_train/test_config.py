"""Defaults, overrides and refusals of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimf.runtime.errors import ConfigError
from trimf_train.config import Config, FirstStageConfig, SecondStageConfig, load_config
from trimf_train.removed_settings import EVIDENCE, REMOVED_SETTINGS

ROOT = Path(__file__).parents[2]
MINIMAL = 'output = "out"\n[data]\ntrain = ["a.jsonl"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(MINIMAL)
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def test_defaults_are_those_of_the_paper(file: Path) -> None:
    config = load_config(file)
    assert config.train.stage1 == FirstStageConfig(epochs=18, freeze_encoder=False)
    assert config.train.stage2 == SecondStageConfig(epochs=12, freeze_encoder=False)
    train = config.train
    assert (train.batch_size, train.lr, train.head_lr, train.warmup) == (8, 5e-5, None, 0.1)
    assert (train.weight_decay, train.clip) == (0.01, 1.0)
    assert (train.negative_spans, train.negative_pairs, train.relation_weight) == (100, 100, 1.0)
    assert (train.precision, train.gradient_accumulation) == ("fp32", 1)
    model = config.model
    assert (model.span.max_width, model.span.width_dim) == (10, 25)
    assert (model.context, model.fusion, model.trigger, model.dropout) == ("sum", "weighted", True, 0.5)
    assert (model.flow.residual, model.flow.slots) == ("mean", "mean")
    assert (model.memory.write, model.semantic.keep) == ("adam", 1.0)
    switches = [
        model.flow.subword.entity,
        model.flow.subword.relation,
        model.flow.word.entity,
        model.flow.word.relation,
    ]
    assert all(switches)
    gradient = model.memory.gradient
    assert gradient.subword_flow
    assert gradient.word_flow
    assert gradient.trigger
    assert (model.syntax.inverse, model.syntax.bases) == (False, 0)
    assert 0.35 <= config.decode.relation_threshold <= 0.4
    assert (config.seed, config.data.dev, config.data.symmetric) == (0, None, [])


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.lr=1e-4", "train.lr", 1e-4),
        ("train.lr = 1", "train.lr", 1.0),
        ("train.stage1.epochs=0", "train.stage1.epochs", 0),
        ("train.stage2.freeze_encoder=true", "train.stage2.freeze_encoder", True),
        ("model.fusion=mean", "model.fusion", "mean"),
        ('model.fusion="mean"', "model.fusion", "mean"),
        ("model.flow.word.entity=false", "model.flow.word.entity", False),
        ("model.encoder.name=bert-base-cased", "model.encoder.name", "bert-base-cased"),
        ("model.encoder.name=package:folder/of=it", "model.encoder.name", "package:folder/of=it"),
        ("model.encoder.dropout=0", "model.encoder.dropout", 0.0),
        ('data.train=["b", "c"]', "data.train", ["b", "c"]),
        ("data.dev=/some where/dev.jsonl", "data.dev", "/some where/dev.jsonl"),
        ("output=elsewhere", "output", "elsewhere"),
        ("seed=7", "seed", 7),
    ],
)
def test_an_override(file: Path, override: str, path: str, value: object) -> None:
    found: Any = load_config(file, [override])
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_the_last_override_wins_and_the_file_holds_the_rest(file: Path) -> None:
    file.write_text(MINIMAL + "[train.stage1]\nepochs = 3\nfreeze_encoder = true\n")
    config = load_config(file, ["train.stage1.epochs=4", "train.stage1.epochs=5"])
    assert config.train.stage1 == FirstStageConfig(epochs=5, freeze_encoder=True)


def test_a_configuration_survives_json(file: Path) -> None:
    config = load_config(file, ["model.encoder.dropout=0.2", "train.head_lr=1e-3", "model.context=concat"])
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config


def test_a_configuration_cannot_be_changed(file: Path) -> None:
    with pytest.raises(AttributeError):
        load_config(file).seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.lrr=1", ["lrr"]),
        ("trian.lr=1", ["trian"]),
        ("model.encoder.nmae=x", ["nmae", "model.encoder"]),
        ("train.lr=0", ["train.lr"]),
        ("train.lr=-1e-3", ["train.lr"]),
        ("train.lr=fast", ["train.lr", "str"]),
        ("train.batch_size=0", ["batch_size"]),
        ("train.batch_size=2.5", ["batch_size"]),
        ("train.batch_size=true", ["batch_size"]),
        ("train.warmup=1.5", ["warmup"]),
        ("train.precision=int8", ["precision", "int8"]),
        ("train.stage1.epochs=-1", ["stage1.epochs"]),
        ("model.dropout=1", ["dropout"]),
        ("model.fusion=both", ["fusion", "both"]),
        ("model.flow.residual=true", ["residual"]),
        ("model.context=add", ["context"]),
        ("model.span.max_width=0", ["max_width"]),
        ("model.semantic.keep=0", ["keep"]),
        ("model.memory.write=rmsprop", ["write"]),
        ("decode.relation_threshold=1", ["relation_threshold"]),
        ("data.train=a.jsonl", ["data.train"]),
        ("seed=-1", ["seed"]),
        ("seed", ["seed", "KEY=VALUE"]),
        ("=3", ["KEY=VALUE"]),
        ("train..lr=3", ["KEY=VALUE"]),
        ("output.folder=x", ["output", "not a table"]),
        ("train=3", ["train"]),
    ],
)
def test_what_is_refused(file: Path, override: str, words: list[str]) -> None:
    message = refusal(file, override)
    for word in words:
        assert word in message


@pytest.mark.parametrize("setting", REMOVED_SETTINGS)
def test_a_removed_setting_is_refused_with_the_reason(file: Path, setting: str) -> None:
    expected = f"the setting {setting} was removed because it did not help (docs/results/recipe-steps.json); delete it"
    message = refusal(file, f"{setting}=0.5")
    assert message.endswith(expected)
    table, _, key = setting.rpartition(".")
    file.write_text(MINIMAL + f"[{table}]\n{key} = 0.5\n")
    assert refusal(file) == f"{file}: {expected}"
    assert (ROOT / EVIDENCE).is_file()


def test_nothing_to_train(file: Path) -> None:
    assert "both 0" in refusal(file, "train.stage1.epochs=0", "train.stage2.epochs=0")


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    assert str(path) in refusal(path)
    assert str(tmp_path) in refusal(tmp_path)
    for content in (b"output = ", b"\xff\xfe", b"a = 1\na = 2\n"):
        path.write_bytes(content)
        assert str(path) in refusal(path)
    path.write_text('output = "out"\n')
    assert "data" in refusal(path)
    path.write_text(MINIMAL + "wrong = 1\n")
    assert "wrong" in refusal(path)


@pytest.mark.parametrize("override", ["train.syntax_stage.epochs=2", 'train.extra_syntax=["b.jsonl"]'])
def test_a_parser_to_train_is_needed_for_its_options(file: Path, override: str) -> None:
    key = override.partition("=")[0]
    assert f"{key} = " in refusal(file, override)
    assert "trains the in-model parser; set model.syntax.source = 'encoder'" in refusal(file, override)
    load_config(file, [override, "model.syntax.source=encoder"])
