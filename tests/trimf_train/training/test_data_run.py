"""``trimf train --data``: from annotated data alone to a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.parsers import ObedientParser

from trimf.runtime.errors import ConfigError, DataError
from trimf_train.config import Config, load_config
from trimf_train.config_reference import render_config
from trimf_train.data.jsonl import read_prepared_file
from trimf_train.training.data_run import DataRun, plan_run

PEOPLE = ["Ada", "Grace", "Alan", "Edsger", "Barbara"]
PLACES = ["London", "New York", "Rotterdam", "Los Angeles"]


def document(number: int) -> dict[str, object]:
    """Two sentences about one person, with offsets of characters."""
    person, place = PEOPLE[number % 5], PLACES[number % 4]
    text = f"{person} was born in {place}. {person} wrote {number} papers."
    end = text.index(place) + len(place)
    entities = [
        {"start": 0, "end": len(person), "label": "Person"},
        {"start": text.index(place), "end": end, "label": "Place"},
        {"start": text.index(person, end), "end": text.index(person, end) + len(person), "label": "Person"},
    ]
    relations = [{"head": 0, "tail": 1, "label": "born in"}, {"head": 2, "tail": 1, "label": "born in"}]
    return {"text": text, "entities": entities, "relations": relations, "id": f"doc{number}"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(document(number)) + "\n" for number in range(20)), encoding="utf-8")
    return path


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Callable[..., DataRun]:
    def build(*overrides: str, dev: Path | None = None, source: Path = data, **options: object) -> DataRun:
        return plan_run(source, dev, tmp_path / "run", ObedientParser(), overrides, **options)  # type: ignore[arg-type]

    return build


def read_documents(config: Config) -> list[set[str]]:
    assert config.data.dev is not None
    return [
        {sentence.id.rpartition(":")[0] for sentence in read_prepared_file(path)}
        for path in (config.data.train[0], config.data.dev)
    ]


def test_a_dev_part_is_set_aside_and_said_aloud(plan: Callable[..., DataRun]) -> None:
    run = plan()
    train, dev = read_documents(run.config)
    assert (len(train), len(dev), len(train & dev)) == (16, 4, 0)
    assert any("8 of 40 sentences (4 of 20 documents) are set aside as dev" in line for line in run.lines)


def test_what_the_reader_left_out_is_said(plan: Callable[..., DataRun]) -> None:
    assert any("20  relations across sentences left out: born in 20" in line for line in plan().lines)


def test_own_dev_data(plan: Callable[..., DataRun], tmp_path: Path) -> None:
    dev = tmp_path / "own.jsonl"
    dev.write_text(json.dumps(document(21)) + "\n", encoding="utf-8")
    train_ids, dev_ids = read_documents(plan(dev=dev).config)
    assert (len(train_ids), dev_ids) == (20, {"doc21"})


def test_one_document_has_no_dev_part_and_that_is_said(plan: Callable[..., DataRun], tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps(document(1)) + "\n", encoding="utf-8")
    run = plan(source=one)
    assert (run.config.data.dev, run.config.train.patience) == (None, None)
    assert any("no dev part, because the data is one document" in line for line in run.lines)


def test_the_printed_configuration_is_the_one_that_runs(plan: Callable[..., DataRun], tmp_path: Path) -> None:
    config = plan("train.lr=3e-4", "model.span.max_width=12", "seed=7", "decode.types=any").config
    assert (config.train.lr, config.model.span.max_width, config.seed, config.decode.types) == (3e-4, 12, 7, "any")
    printed = tmp_path / "printed.toml"
    printed.write_text(render_config(config), encoding="utf-8")
    assert load_config(printed) == config


def test_data_are_prepared_once(plan: Callable[..., DataRun], tmp_path: Path) -> None:
    first = plan().config
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "run" / "data").iterdir()}
    assert plan().config == first
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == files


def test_other_data_are_refused_until_restart(plan: Callable[..., DataRun], data: Path) -> None:
    plan()
    with data.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(document(30)) + "\n")
    with pytest.raises(ConfigError, match=r"prepared from other data.*use --restart.*or set another --output"):
        plan()
    train, dev = read_documents(plan(restart=True).config)
    assert len(train | dev) == 21


def test_a_file_of_another_kind_is_not_replaced(plan: Callable[..., DataRun], tmp_path: Path) -> None:
    (tmp_path / "run" / "data").mkdir(parents=True)
    other = tmp_path / "run" / "data" / "all.jsonl"
    other.write_text("mine\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"all\.jsonl"):
        plan(restart=True)
    assert other.read_text(encoding="utf-8") == "mine\n"


def test_a_prepared_file_is_data_too(plan: Callable[..., DataRun], tmp_path: Path) -> None:
    config = plan().config
    again = plan_run(Path(config.data.train[0]), None, tmp_path / "again", ObedientParser())
    assert again.config.data.dev is not None


def test_misaligned_entities(plan: Callable[..., DataRun], data: Path) -> None:
    wrong = document(1)
    wrong["entities"][0]["end"] -= 1  # type: ignore[index]
    data.write_text("".join(json.dumps(each) + "\n" for each in [wrong, document(2), document(3)]), encoding="utf-8")
    with pytest.raises(DataError, match="choose --misaligned snap"):
        plan()
    assert any("extended to whole words" in line for line in plan(misaligned="snap").lines)


def test_another_encoder_is_not_taken_for_an_uncased_one(plan: Callable[..., DataRun]) -> None:
    assert plan().config.model.encoder.casing
    assert not plan("model.encoder.name=bert-base-cased").config.model.encoder.casing
    assert plan("model.encoder.name=bert-base-uncased", "model.encoder.casing=true").config.model.encoder.casing


def test_another_language(plan: Callable[..., DataRun]) -> None:
    assert plan(language="de").config.model.language == "de"


def test_several_processes_are_sent_to_a_configuration(
    plan: Callable[..., DataRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--write-config"):
        plan()
