"""Which protocol gives the reported scores: that of a published data set for exactly its labels, or the named one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf import cli
from trimf.commands.evaluation import _PROTOCOLS
from trimf.runtime.errors import InputError
from trimf_train.data.readers import read_sentences
from trimf_train.evaluation.protocols import PROTOCOLS, get_protocol, protocol_for

PUBLISHED = {name: protocol for name, protocol in PROTOCOLS.items() if name != "own"}
DATA = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.mark.parametrize("name", PUBLISHED)
def test_exactly_the_published_labels_are_recognised(name: str) -> None:
    protocol = PUBLISHED[name]
    assert protocol_for(protocol.entity_types, protocol.relation_types) is protocol
    swapped = ({label.swapcase() for label in labels} for labels in (protocol.entity_types, protocol.relation_types))
    assert protocol_for(*swapped) is protocol


@given(st.sampled_from(sorted(PUBLISHED)), st.data())
def test_fewer_or_more_labels_are_own_labels(name: str, data: st.DataObject) -> None:
    protocol = PUBLISHED[name]
    entities, relations = set(protocol.entity_types), set(protocol.relation_types)
    if data.draw(st.booleans()):
        changed = data.draw(st.sampled_from([entities, relations]))
        changed.remove(data.draw(st.sampled_from(sorted(changed))))
    else:
        data.draw(st.sampled_from([entities, relations])).add("Mine")
    assert protocol_for(entities, relations).name == "own labels"


@pytest.mark.parametrize(
    "own", [[], ["PER", "ORG"], ["Drug"], ["Task", "Method"], ["Other"], ["Adverse-Effect", "Drug"]]
)
def test_entity_types_alone_are_own_labels(own: list[str]) -> None:
    assert protocol_for(own) is PROTOCOLS["own"]
    assert protocol_for(own, ["caused_by"]) is PROTOCOLS["own"]


def test_a_protocol_by_name() -> None:
    assert [get_protocol(name) for name in _PROTOCOLS] == list(PROTOCOLS.values())
    with pytest.raises(InputError, match="unknown protocol 'conll03'; choose from conll04, scierc, ade, ace05, own"):
        get_protocol("conll03")


def test_a_cross_validation_is_not_claimed_for_one_file() -> None:
    leaf: Any = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    scores: Any = {"micro": leaf, "macro": leaf, "per_type": {}}
    ade = PROTOCOLS["ade"]
    assert "10 folds" in str(ade)
    assert "folds" not in ade.format_headline(
        {"sentences": 1, "entities": scores, "relations": {"strict": scores, "boundary": scores}}
    )


@pytest.mark.parametrize("name", ["conll04", "scierc"])
def test_the_real_data_has_the_labels_of_its_protocol(name: str) -> None:
    path = DATA / name / "train.json"
    if not path.exists():
        pytest.skip(f"development data {name} is not here")
    sentences = list(read_sentences(path))
    entities = {entity.type for sentence in sentences for entity in sentence.entities}
    assert (
        protocol_for(entities, {one.type for sentence in sentences for one in sentence.relations}).name.lower() == name
    )


def headline(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["eval", "default", *arguments]) == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_the_headline_follows_the_labels_of_the_model_and_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"tokens": ["Dallas"], "entities": [{"type": "Loc", "start": 0, "end": 1}], "relations": []}
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps(record))  # most types of the model do not occur
    assert headline([str(data)], capsys).startswith("CoNLL04: entities exact, relations strict, micro average: ")
    assert headline([str(data), "--protocol", "scierc"], capsys).startswith(
        "SciERC: entities exact, relations boundary"
    )
    assert headline([str(data), "--protocol", "own"], capsys).startswith("own labels: entities exact, relations strict")
    assert '"protocol":"ADE: entities exact, relations strict, macro average"' in headline(
        [str(data), "--protocol", "ade", "--json"], capsys
    )
    record["entities"][0]["type"] = "City"  # type: ignore[index]
    data.write_text(json.dumps(record))
    assert headline([str(data)], capsys).startswith("own labels: ")
    assert cli.main(["eval", "default", str(data), "--protocol", "mine"]) == 2
    assert "conll04" in capsys.readouterr().err
