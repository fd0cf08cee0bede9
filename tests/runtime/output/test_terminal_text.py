"""Extractions on a console: marked, in colour or without, and harmless."""

import re

import pytest

from trimf.runtime.output.writers import write_extractions
from trimf.runtime.results import Entity, Extraction, Relation

from .examples import ATTACK, KILL, OSWALD, OVERLAP, RUBY, SHOT, TEXT, shown


def test_text_without_a_terminal_is_marked_and_has_no_codes() -> None:
    lines = shown(SHOT).splitlines()
    assert lines[0] == "[Lee Harvey Oswald]Peop was *shot* by [Jack Ruby]Peop."
    assert lines[-1] == "He ran."
    assert lines[2].split() == ["Head", "Relation", "Tail", "Score", "Triggers"]
    assert " ".join(lines[4].split()) == "Jack Ruby (Peop) Kill Lee Harvey Oswald (Peop) 0.93 shot"
    assert "\x1b" not in shown(SHOT)


def test_text_on_a_terminal_is_the_same_in_colour() -> None:
    coloured = shown(SHOT, terminal=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == shown(SHOT)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("terminal", [False, True])
def test_no_line_ends_in_white_space(width: int, terminal: bool) -> None:
    name = "International Bank for Reconstruction"
    bank = Entity(0, len(name), name, "Org", 0.9)
    relations = (KILL, Relation(bank, "Based_In", RUBY, 0.5, ()), Relation(RUBY, "Live_In", bank, 0.5, KILL.triggers))
    text = shown(Extraction(TEXT, (OSWALD, RUBY), relations), terminal=terminal, width=width)
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert max(map(len, lines[1:])) <= width
    for word in ("Reconstruction", "(Org)", "Based_In", "Live_In", "0.93", "0.50", "shot"):
        assert width < 80 or word in text


def test_a_notice_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    write_extractions([Extraction("Word.", notices=("word 0 was cut",)), SHOT], "text", None)
    out, err = capsys.readouterr()
    assert out.count("word 0 was cut") == 1
    assert err == ""


def test_a_long_sentence_is_not_broken_up() -> None:
    text = "word " * 100
    assert shown(Extraction(text, sentences=((0, len(text)),)), width=40).splitlines()[0] == text


def test_overlapping_entities_in_text() -> None:
    first = shown(OVERLAP).splitlines()[0]
    assert first == "The [University of [California]Org at Berkeley]Loc *hired* [Ann]Peop."
    nested = Extraction("New York City", (Entity(0, 8, "New York", "Loc", 1), Entity(0, 13, "New York City", "Org", 1)))
    assert shown(nested).splitlines() == ["[[New York]Loc City]Org"]


def test_hostile_text_is_harmless_on_a_console() -> None:
    out = shown(ATTACK)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
    assert "[[bold]]<b>[red]␛x[/bold]" in out
    assert ":smile:" in out
    assert "<u>[link]␛" in out
    coloured = shown(ATTACK, terminal=True)
    assert not re.search(r"\x1b(?!\[[\d;]*m)", coloured)
