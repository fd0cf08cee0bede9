"""A wrong configuration: what the error names, where it says the value is, and that it comes before PyTorch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.cli import main
from trimf.runtime.errors import ConfigError, suggest_name
from trimf_train.config import Config, DataConfig, load_config
from trimf_train.config_checks import _split_hint, describe_type, is_table, list_settings
from trimf_train.config_reference import read_meanings, render_defaults
from trimf_train.configs import recipe_names

MINIMAL = 'output = "out"\n[data]\ntrain = ["a.jsonl"]\n'
SETTINGS = {key: hint for key, hint in list_settings(Config).items() if not is_table(hint)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(MINIMAL)
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.lr=0", "train.lr must be a number > 0 and <= 1, got 0"),
        ("train.lr=fast", "train.lr must be a number > 0 and <= 1, got 'fast' (str)"),
        ("train.lr=nan", "train.lr must be a number > 0 and <= 1, got nan"),
        ("train.clip=inf", "train.clip must be a number > 0 and <= 1000000, got inf"),
        ("train.batch_size=true", "train.batch_size must be an integer >= 1 and <= 1000000, got true"),
        ("train.batch_size=2.5", "train.batch_size must be an integer >= 1 and <= 1000000, got 2.5"),
        ("seed=4294967296", "seed must be an integer >= 0 and < 4294967296, got 4294967296"),
        ("decode.overlap=yes", "decode.overlap must be true or false, got 'yes' (str)"),
        ("output=", "output must be a text that is not empty, got '' (str)"),
        ("data.dev=3", "data.dev must be a text that is not empty, got 3"),
        ("data.train=[]", 'data.train must be a list of one or more texts, such as ["a", "b"], got []'),
        ("data.train=a", 'data.train must be a list of one or more texts, such as ["a", "b"], got \'a\' (str)'),
        ("data.train=[1]", 'data.train must be a list of one or more texts, such as ["a", "b"], got [1]'),
        ("train=3", "train must be a table of settings, such as train.batch_size, got 3"),
        ("train.lr={a=1}", "train.lr must be a number > 0 and <= 1, got {'a': 1}"),
        ("train.stage1={epochs=-1}", "train.stage1.epochs must be an integer >= 0 and <= 1000000, got -1"),
        ("model.context=add", "unknown model.context 'add'; choose from sum, concat"),
        (
            "model.fusion=meen",
            "unknown model.fusion 'meen'; choose from weighted, mean, sum, max, syntactic, semantic, none; "
            "did you mean mean?",
        ),
        ("model.flow.residual=3", "unknown model.flow.residual 3; choose from add, mean, none"),
        ("train.lrr=1", "unknown setting train.lrr; did you mean train.lr?"),
        ("train.LR=1", "unknown setting train.LR; did you mean train.lr?"),
        ("lr=1", "unknown setting lr; did you mean train.lr?"),
        ("dropout=0", "unknown setting dropout; did you mean model.encoder.dropout or model.syntax.dropout or "
         "model.dropout?"),
        ("trian.lr=1", "unknown setting trian; did you mean train?"),
        ("model.encoder.zzz=1", "unknown setting model.encoder.zzz; choose from name, dropout, casing, max_subwords, "
         "max_words"),
        ("zzz=1", "unknown setting zzz; choose from data, output, seed, model, decode, train"),
        ("output.folder=x", "output is a single value, not a table"),
        ("seed", "expected KEY=VALUE, such as --set train.lr=1e-4"),
        ("=3", "expected KEY=VALUE, such as --set train.lr=1e-4"),
    ],
)  # fmt: skip
def test_what_an_override_is_told(file: Path, override: str, said: str) -> None:
    assert refusal(file, "seed=3", override) == f"--set {override}: {said}"


def test_the_origin_is_the_file_or_the_last_override(file: Path) -> None:
    limits = "train.lr must be a number > 0 and <= 1, got"
    file.write_text(MINIMAL + "[train]\nlr = 2\n")
    assert refusal(file) == f"{file}: {limits} 2"
    assert refusal(file, "train.batch_size=4") == f"{file}: {limits} 2"
    assert refusal(file, "train.lr=3", "train.lr=4") == f"--set train.lr=4: {limits} 4"
    assert refusal(file, "train={lr=5}") == f"--set train={{lr=5}}: {limits} 5"
    assert load_config(file, ["train.lr=3", "train.lr=0.5"]).train.lr == 0.5
    file.write_text(MINIMAL + "[train]\nlrr = 2\n")
    assert refusal(file) == f"{file}: unknown setting train.lrr; did you mean train.lr?"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    for content, key in (
        ("", "data.train"),
        ('output = "x"\n[data]\n', "data.train"),
        ('data.train = ["a"]', "output"),
    ):
        path.write_text(content)
        assert refusal(path) == (f"{path}: missing required setting {key}; set it in the file or by --set {key}=VALUE")
    path.write_text("")
    assert load_config(path, ['data.train=["a"]', "output=x"]).output == "x"


def test_files_of_other_editors(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_config(path).output == "out"
    path.write_text(MINIMAL + 'train = ["b.jsonl"]\n')
    assert "not valid TOML: Cannot overwrite a value (at line 4" in refusal(path)


def outside(hint: Any) -> list[Any]:
    """Values just outside the limits of a setting, or of another type."""
    kind, _ = _split_hint(hint)
    wrong: list[Any] = [{}] if kind is not str else [3, {}]
    for part in [hint, *(get_args(hint) if type(None) in get_args(hint) else ())]:
        for meta in getattr(part, "__metadata__", ()):
            wrong += [meta.ge - (1 if kind is int else 1e-9)] if meta.ge is not None else []
            wrong += [meta.le + 1 if kind is int else meta.le * (1 + 1e-9)] if meta.le is not None else []
            wrong += [limit for limit in (meta.gt, meta.lt) if limit is not None]
            wrong += [[] if get_origin(kind) is list else ""] if meta.min_length is not None else []
    if kind in (int, float):
        wrong += ["3", True, float("nan"), float("inf"), -float("inf")]
    if get_origin(kind) is Literal:
        wrong += ["", get_args(kind)[0] + "x", 1]
    return wrong


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_checked_when_it_is_loaded(key: str, file: Path) -> None:
    for wrong in outside(SETTINGS[key]):
        # A bool and a text are written as in TOML; the other values are, in Python.
        written = repr(wrong) if isinstance(wrong, int | float | list | dict) else f'"{wrong}"'
        message = refusal(file, f"{key}={written.lower()}")
        assert message.startswith(f"--set {key}={written.lower()}: ")
        assert key in message
        assert describe_type(SETTINGS[key]).removeprefix("one of ") in message


def test_the_defaults_are_a_file_that_gives_the_defaults(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--defaults"]) == 0
    printed = capsys.readouterr().out
    assert printed == render_defaults()
    file.write_text(printed)
    loaded = load_config(file, ["output=out", 'data.train=["a"]'])
    assert loaded == Config(data=DataConfig(train=["a"]), output="out")
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 100
    for key in SETTINGS:
        name = key.rpartition(".")[2]
        assert any(line.removeprefix("# ").startswith(f"{name} = ") for line in lines)
    assert tomllib.loads(printed)["train"]["stage1"] == {"epochs": 18, "freeze_encoder": False}
    assert main(["train", "--defaults", "conll04"]) == 2
    assert main(["train", "--defaults", "--set", "seed=1"]) == 2


def test_every_setting_has_a_meaning() -> None:
    def walk(table: type[msgspec.Struct]) -> None:
        meanings = read_meanings(table)
        for name, hint in list_settings(table).items():
            if "." not in name:
                assert meanings[name].endswith("."), name
                if is_table(hint):
                    walk(hint)

    walk(Config)


def test_a_missing_configuration_names_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    assert capsys.readouterr().err.endswith(f"packaged recipe: {', '.join(recipe_names())}\n")
    assert main(["train", "scier"]) == 2
    assert capsys.readouterr().err.endswith("scierc; did you mean scierc?\n")
    assert main(["train", "zzz"]) == 2
    assert capsys.readouterr().err.endswith("conll04-syntax, scierc\n")


@pytest.mark.parametrize("arguments", [["--set", "train.lrr=1"], ["--set", "train.lr=0"], []])
def test_a_wrong_configuration_is_refused_before_pytorch_is_imported(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from trimf.cli import main; status = main(sys.argv[1:]); "
        "print([name for name in ('torch', 'transformers', 'accelerate', 'numpy') if name in sys.modules]); "
        "sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "train", *(["conll04", *arguments] if arguments else ["--defaults"])]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == (2 if arguments else 0), run.stderr
    assert run.stdout.splitlines()[-1] == "[]"
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=10), st.lists(st.text(max_size=10), max_size=5))
def test_a_suggestion_is_a_known_name(name: str, known: list[str]) -> None:
    found = suggest_name(name, known)
    assert found is None or found in known
    assert suggest_name(name, [*known, name.swapcase()]) is not None or not name
