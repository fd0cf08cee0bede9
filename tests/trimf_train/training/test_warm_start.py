"""Beginning from a trained checkpoint: what is taken, by what name, and what stays fresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.errors import ConfigError
from trimf_train.config import Config, DecodeConfig, ModelConfig
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.training.train import train_model
from trimf_train.training.warm_start import copy_trained_weights


def fresh(name: str, labels: Labels, casing: bool = False, **changes: Any) -> Checkpoint:
    torch.manual_seed(9)
    encoder = {"name": name, "casing": casing}
    config = msgspec.convert({"encoder": encoder, "span": {"max_width": 3}, **changes}, ModelConfig)
    return checkpoints.create_checkpoint(labels, config, DecodeConfig(), ParserInfo(name="none", version=""), {})


def test_the_same_model_is_taken_whole(tiny_checkpoint: Any, encoders: dict[str, str]) -> None:
    made = fresh(encoders["bert"], tiny_checkpoint.description.labels)
    assert copy_trained_weights(made, tiny_checkpoint, "x") == []
    for name, value in tiny_checkpoint.model.state_dict().items():
        assert torch.equal(made.model.state_dict()[name], value), name


@pytest.mark.parametrize("bases", [0, 2, 6])  # six is the number of dependency labels, too
def test_labels_go_by_their_names(tiny_checkpoint: Any, encoders: dict[str, str], bases: int) -> None:
    old = tiny_checkpoint.description.labels
    trained = fresh(encoders["bert"], old, syntax={"bases": bases})
    new = Labels(("Peop", "Song"), ("Hates", "Live_In"), ("prep", "amod", "nsubj"))
    made = fresh(encoders["bert"], new, syntax={"bases": bases})
    with torch.no_grad():
        for value in trained.model.parameters():
            value.normal_()
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    of_labels = "fusion.syntactic.down." + ("mixture" if bases else "weight")
    assert set(copy_trained_weights(made, trained, "x")) == {"memory.entity", "memory.relation", of_labels}
    mine, its = made.model.state_dict(), trained.model.state_dict()
    for name, pairs, rest in (
        ("memory.entity", {0: 0, 1: 1 + old.entity_types.index("Peop")}, [2]),
        ("memory.relation", {1: old.relation_types.index("Live_In")}, [0]),
        (of_labels, {0: old.dependency_labels.index("prep"), 2: old.dependency_labels.index("nsubj")}, [1]),
    ):
        for place, other in pairs.items():
            assert torch.equal(mine[name][place], its[name][other])
        for place in rest:
            assert torch.equal(mine[name][place], before[name][place])
    assert torch.equal(mine["entity_weight"], its["entity_weight"])


def test_letter_case_may_be_learnt_later(tiny_checkpoint: Any, encoders: dict[str, str]) -> None:
    labels = tiny_checkpoint.description.labels
    made = fresh(encoders["bert"], labels, casing=True)
    assert copy_trained_weights(made, tiny_checkpoint, "x") == ["encoder.embeddings.word_embeddings.casing"]
    assert copy_trained_weights(fresh(encoders["bert"], labels), made, "x") == []


def test_what_the_trained_one_lacks_stays_fresh(tiny_checkpoint: Any, encoders: dict[str, str]) -> None:
    labels = tiny_checkpoint.description.labels
    made = fresh(encoders["bert"], labels, context="concat", syntax={"source": "encoder"})
    names = copy_trained_weights(made, tiny_checkpoint, "x")
    assert "relation_weight" in names
    assert {name for name in names if name != "relation_weight"} == {
        name for name in made.model.state_dict() if name.startswith("parser.")
    }


def test_a_parser_of_other_labels_keeps_its_own(encoders: dict[str, str], names: Labels) -> None:
    trained = fresh(encoders["bert"], names, syntax={"source": "encoder"})
    other = msgspec.structs.replace(names, dependency_labels=(*names.dependency_labels[:-1], "x"))
    made = fresh(encoders["bert"], other, syntax={"source": "encoder"})
    assert set(copy_trained_weights(made, trained, "x")) == {"fusion.syntactic.down.weight", "parser.label"}


def test_another_encoder_is_refused(tiny_checkpoint: Any, encoders: dict[str, str]) -> None:
    made = fresh(encoders["roberta"], tiny_checkpoint.description.labels)
    with pytest.raises(ConfigError, match=r"train\.init = 'x' has the encoder"):
        copy_trained_weights(made, tiny_checkpoint, "x")


def test_a_run_goes_on_from_a_finished_one(configure: Callable[..., Config]) -> None:
    first = configure("first", train={"stage2": {"epochs": 0}})
    train_model(first)
    start = f"{first.output}/best"
    still = {"init": start, "stage1": {"epochs": 0}, "stage2": {"epochs": 1}, "lr": 1e-12}
    second = configure("second", train=still)
    train_model(second)
    one, other = checkpoints.load_checkpoint(start), checkpoints.load_checkpoint(f"{second.output}/best")
    assert other.description.stage == 2
    assert other.description.provenance["init"]["seed"] == 0
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, atol=1e-6, rtol=1e-5)
