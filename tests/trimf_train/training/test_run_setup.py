"""Data that a run is set up with, and data that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.training_runs import same_weights, steps

from trimf.runtime.errors import ConfigError, DataError
from trimf_train.config import Config
from trimf_train.data.jsonl import encode_line
from trimf_train.data.sentence import Sentence
from trimf_train.model import checkpoint as checkpoints
from trimf_train.training.train import train_model

pytestmark = pytest.mark.usefixtures("as_on_a_gpu")


def test_long_sentences_are_left_out(
    configure: Callable[..., Config], sentences: list[Sentence], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = 60
    long = Sentence(["in"] * words, [], [], [0] * words, ["dep"] * words, "long")
    path = tmp_path / "more.jsonl"
    path.write_bytes(b"".join(encode_line(one) for one in [*sentences[:4], long]))
    config = configure(data={"train": [str(path)]})
    train_model(config)
    assert len(steps(config)) == 4
    assert "1 training sentences exceed one window of the encoder" in capsys.readouterr().err

    path.write_bytes(
        encode_line(msgspec.structs.replace(long, entities=sentences[0].entities, relations=sentences[0].relations))
    )
    with pytest.raises(DataError, match="none of the 1 training sentences fits"):
        train_model(configure("other", data={"train": [str(path)], "symmetric": []}))


def test_several_files_are_one_training_set(
    configure: Callable[..., Config], sentences: list[Sentence], tmp_path: Path
) -> None:
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path, part in zip(paths, (sentences[:5], sentences[5:]), strict=True):
        path.write_bytes(b"".join(encode_line(one) for one in part))
    whole, parts = configure("whole"), configure("parts", data={"train": [str(path) for path in paths]})
    train_model(whole)
    train_model(parts)
    assert same_weights(whole, parts)


@pytest.mark.parametrize("which", ["train", "dev"])
def test_data_that_is_not_prepared(
    configure: Callable[..., Config], sentences: list[Sentence], tmp_path: Path, which: str
) -> None:
    path = tmp_path / "bare.jsonl"
    bare = [msgspec.structs.replace(one, heads=None, labels=None) for one in sentences]
    path.write_bytes(b"".join(encode_line(one) for one in bare))
    config = configure(data={which: [str(path)] if which == "train" else str(path)})
    with pytest.raises(DataError, match=r"bare\.jsonl: sentence 's0' has no dependency parse; run `trimf prepare`"):
        train_model(config)
    assert not Path(config.output).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ["/no/such/file.jsonl"]}, "/no/such/file.jsonl"),
        ({"dev": "/no/such/file.jsonl"}, "/no/such/file.jsonl"),
        ({"symmetric": ["Hate"]}, "Hate"),
    ],
)
def test_data_that_cannot_be_used(configure: Callable[..., Config], changes: dict[str, Any], message: str) -> None:
    config = configure(data=changes)
    with pytest.raises(DataError, match=message):
        train_model(config)
    assert not Path(config.output).exists()


def test_training_data_without_annotation(
    configure: Callable[..., Config], sentences: list[Sentence], tmp_path: Path
) -> None:
    path = tmp_path / "bare.jsonl"
    bare = [msgspec.structs.replace(one, entities=[], relations=[]) for one in sentences]
    path.write_bytes(b"".join(map(encode_line, bare)))
    config = configure(data={"train": [str(path)]})
    with pytest.raises(DataError, match="no training sentence has an entity"):
        train_model(config)
    assert not Path(config.output).exists()


def test_the_parser_must_be_known(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"set data\.parser"):
        train_model(configure(data={"parser": None}))


def test_labels_of_dev_that_training_has_not(
    configure: Callable[..., Config], sentences: list[Sentence], tmp_path: Path
) -> None:
    """They cannot be found, so they count as missed."""
    entities = [msgspec.structs.replace(one, type="New") for one in sentences[0].entities]
    relations = [msgspec.structs.replace(one, type="NewToo") for one in sentences[0].relations]
    path = tmp_path / "dev.jsonl"
    path.write_bytes(encode_line(msgspec.structs.replace(sentences[0], entities=entities, relations=relations)))
    best = train_model(configure(data={"dev": str(path)}))
    assert best["dev"]["entities"]["micro"]["f1"] == 0
    assert best["dev"]["entities"]["per_type"]["New"]["support"] == 2


def test_a_file_of_parses_counts_as_what_was_trained_on(configure: Callable[..., Config], tmp_path: Path) -> None:
    config = configure()
    more = str(Path(config.data.train[0]))
    config = configure(model={"syntax": {"source": "encoder"}}, train={"extra_syntax": [more], "stage1": {"epochs": 0}})
    train_model(config)
    assert more in checkpoints.load_checkpoint(Path(config.output) / "best").description.provenance["train"]
