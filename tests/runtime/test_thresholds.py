"""Thresholds and candidates: against what the model finds without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimf
from trimf.runtime.model_settings import parse_thresholds
from trimf.runtime.text.parser import Parser

from .tiny_rule import WORDS

TEXT = "Ann met Bob in Rome 7. " + "Jack visited Oslo and the " * 12 + "Ann."


@pytest.fixture(scope="module")
def considering(tiny_bundle: Path, chain_parser: Parser) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser, candidates=True) as extractor:
        yield extractor


@settings(deadline=None, max_examples=30)
@given(
    words=st.lists(st.sampled_from(WORDS), max_size=40),
    lowest=st.sampled_from([0.06, 0.5, 0.9]),
    entity=st.sampled_from([0.0, 0.7, 0.9]),
)
def test_thresholds_against_the_candidates(
    tiny_bundle: Path,
    chain_parser: Parser,
    considering: trimf.Extractor,
    words: list[str],
    lowest: float,
    entity: float,
) -> None:
    (wide,) = considering.words([words])
    assert wide.candidates is not None
    assert set(wide.entities) <= set(wide.candidates.entities)
    assert set(wide.relations) <= set(wide.candidates.relations)
    options: Any = {"threshold": {"lives_in": lowest}, "entity_threshold": entity}
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser, **options) as extract:
        (found,) = extract.words([words])
    assert found.candidates is None
    assert found.entities == tuple(one for one in wide.entities if one.score > entity)
    # A word of an entity that is left out may become a trigger word.
    assert [msgspec.structs.replace(one, triggers=()) for one in found.relations] == [
        msgspec.structs.replace(one, triggers=())
        for one in wide.candidates.relations
        if one.score > (lowest if one.label == "lives_in" else 0.5)
        and one.head.score > entity
        and one.tail.score > entity
    ]


def test_candidates_change_nothing_else_and_travel_as_json(
    tiny_bundle: Path, chain_parser: Parser, considering: trimf.Extractor
) -> None:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser) as extract:
        for text in ("", "Ann", TEXT):
            found = considering(text)
            assert msgspec.structs.replace(found, candidates=None) == extract(text)
            assert trimf.Extraction.from_json(found.to_json()) == found
            assert trimf.Extraction.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(("threshold", "count"), [(0, 4), (1, 0), (1.0, 0), ({"*": 1}, 0), (np.float32(0.5), 4)])
def test_the_ends_and_the_kinds_of_numbers(tiny_bundle: Path, chain_parser: Parser, threshold: Any, count: int) -> None:
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser, threshold=threshold) as extract:
        relations = extract("Ann met Bob in Rome.").relations
        assert (len(relations) == 0) == (count == 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "0.5"}, "threshold must be a number from 0 to 1, got '0.5' of type str"),
        ({"threshold": 1.5}, "threshold must be from 0 to 1, got 1.5"),
        ({"threshold": True}, "threshold must be a number from 0 to 1, got True"),
        ({"threshold": float("nan")}, "threshold must be a number from 0 to 1, got nan"),
        ({"threshold": {"live_in": 0.5}}, "no label 'live_in' of type str; did you mean 'lives_in'?"),
        ({"entity_threshold": {"Person": -1}}, r"entity_threshold\['Person'\] must be from 0 to 1, got -1"),
        (
            {"entity_threshold": {"lives_in": 0.5}},
            "no label 'lives_in' of type str; choose from Person, Place, Address",
        ),
        ({"threads": "2"}, "threads must be an integer >= 1, got '2' of type str"),
        ({"threads": True}, "threads must be an integer >= 1, got True"),
        ({"threads": 1.0}, "threads must be an integer >= 1, got 1.0 of type float"),
        ({"triggers": "x"}, "triggers must be an integer >= 0 or 'exact', got 'x' of type str"),
        ({"backend": 3}, "backend must be a name, such as 'auto', got 3 of type int"),
        ({"parser": 3}, "parser must be the name of a spaCy pipeline or an object .* got 3 of type int"),
        ({"candidates": 0.1}, "candidates must be True or False, got 0.1"),
    ],
)
def test_what_is_no_option_is_refused(
    tiny_bundle: Path, chain_parser: Parser, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(trimf.InputError, match=message) as caught:
        trimf.load(tiny_bundle, **{"parser": chain_parser, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["8", 1.5, True, None])
def test_what_is_no_batch_size(considering: trimf.Extractor, value: Any) -> None:
    with pytest.raises(trimf.InputError, match="batch_size must be an integer >= 1, got"):
        considering.stream([], value)


@pytest.mark.parametrize("path", [None, 3, b"bundle"])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(trimf.InputError, match="the path of a bundle must be a str or a path"):
        trimf.load(path)


def test_values_of_the_command_line() -> None:
    assert parse_thresholds("--threshold", []) is None
    assert parse_thresholds("--threshold", ["0.5", "a=b=0.7"]) == {"*": 0.5, "a=b": 0.7}
    for value in ("x", "a=", "a=x", "", "2", "nan"):
        with pytest.raises(trimf.InputError, match="--threshold"):
            parse_thresholds("--threshold", [value])
