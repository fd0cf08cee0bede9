"""What a relation rests on, as a console, a page and a table show it."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trimf.runtime.output.display_sentences import Mark, format_points, split_sentences
from trimf.runtime.output.terminal_text import print_extraction
from trimf.runtime.results import Basis, Entity, Extraction, Relation, Trigger

from .examples import OSWALD, RUBY, TEXT, entity, extractions, page, read, shown

SHOT, WAS_SHOT = Trigger(22, 26, "shot", 0.12), Trigger(18, 26, "was shot", 0.314)


def rests(*triggers: Trigger, basis: Basis | None) -> Extraction:
    return Extraction(
        TEXT, (OSWALD, RUBY), (Relation(RUBY, "Kill", OSWALD, 0.9, triggers, basis),), ((0, 40), (41, 48))
    )


def last_cell(html: str) -> str:
    return re.findall(r"<td[^>]*>(.*?)</td>", html)[-1]


@pytest.mark.parametrize(("loss", "expected"), [
    (0.314, "−31 points"), (1.0, "−100 points"), (0.01, "−1 point"), (0.0144, "−1 point"), (0.0051, "−0.5 points"),
    (0.0096, "−1 point"), (0.0004, "0 points"), (0.0, "0 points"), (-0.0, "0 points"), (-0.25, "+25 points"),
    (-0.013, "+1 point"), (-0.004, "+0.4 points"),
])  # fmt: skip
def test_points(loss: float, expected: str) -> None:
    assert format_points(loss) == expected


def test_the_largest_loss_first() -> None:
    extraction = rests(SHOT, WAS_SHOT, basis="words")
    lines = shown(extraction).splitlines()
    cells = [line.split("0.90")[-1].strip() for line in lines[4:6]]
    assert cells == ["was shot: −31 points without it", "shot: −12 points without it"]
    assert last_cell(page(extraction)) == (
        '<span class="trigger">was shot</span> <small>−31 points without it</small><br>'
        '<span class="trigger">shot</span> <small>−12 points without it</small>'
    )


@pytest.mark.parametrize("width", range(53, 130))
def test_nothing_is_cut_at_any_width(width: int) -> None:
    phrase = Trigger(18, 29, "was shot by", 0.314)
    lines = shown(rests(phrase, SHOT, basis="words"), width=width).splitlines()
    place = lines[2].index("Triggers")
    cell = " ".join(" ".join(line[place:] for line in lines[4:-2]).split())
    assert cell == "was shot by: −31 points without it shot: −12 points without it"
    assert max(map(len, lines[2:])) <= width


def test_no_word_matters() -> None:
    extraction = rests(basis="names")
    assert shown(extraction).splitlines()[4].endswith("0.90   the two names and their order")
    assert last_cell(page(extraction)) == "<small>the two names and their order</small>"


def test_triggers_that_were_not_asked_for() -> None:
    extraction = rests(basis=None)
    for output in (shown(extraction), "".join(read(page(extraction)).words)):
        assert "0.90" in output
        assert not re.search("trigger|names|point|–", output.lower().replace("jack", ""))
    assert shown(extraction).splitlines()[2].split() == ["Head", "Relation", "Tail", "Score"]


def test_scores_that_are_no_losses() -> None:
    """A result of an earlier version, or of a bundle of manifest schema 4, says nothing about points."""
    extraction = rests(WAS_SHOT, SHOT, basis=None)
    assert shown(extraction).splitlines()[4].endswith("0.90   was shot, shot")
    assert last_cell(page(extraction)) == (
        '<span class="trigger">was shot</span> <small>0.31</small>, '
        '<span class="trigger">shot</span> <small>0.12</small>'
    )


def test_no_cell_is_empty() -> None:
    relations = (
        Relation(RUBY, "Kill", OSWALD, 0.9, (SHOT,), None),
        Relation(RUBY, "Met", OSWALD, 0.9, (), None),
        Relation(RUBY, "Knew", OSWALD, 0.9, (), "names"),
    )
    extraction = Extraction(TEXT, (OSWALD, RUBY), relations)
    assert [line.split()[-1] for line in shown(extraction).splitlines()[4:7]] == ["shot", "–", "order"]
    assert not re.search(r"<td[^>]*></td>", page(extraction))


@pytest.mark.parametrize(("encoding", "minus"), [("ascii", "-"), ("latin-1", "-"), ("utf-8", "−")])
def test_a_console_without_the_minus_sign(encoding: str, minus: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    print_extraction(rests(SHOT, basis="words"), Console(file=file, width=120))
    file.flush()
    assert f"shot: {minus}12 points without it" in raw.getvalue().decode(encoding)


def test_a_phrase_that_shares_words_with_another() -> None:
    extraction = rests(SHOT, WAS_SHOT, Trigger(22, 29, "shot by", 0.1), basis="words")
    (sentence, _) = split_sentences(extraction)
    assert sentence.triggers == [Mark(18, 29, "")]
    assert shown(extraction).splitlines()[0] == "[Lee Harvey Oswald]Peop *was shot by* [Jack Ruby]Peop."
    assert '>was shot by</mark> <mark class="entity"' in page(extraction)


def test_a_phrase_that_reaches_into_an_entity_breaks_no_box() -> None:
    extraction = rests(Trigger(11, 39, TEXT[11:39], 0.5), Trigger(4, 10, "Harvey", 0.2), basis="words")
    assert shown(extraction).splitlines()[0] == "[Lee Harvey Oswald]Peop *was shot by* [Jack Ruby]Peop."
    html = page(extraction)
    assert '<mark class="trigger" style="background:none" dir="auto">was shot by</mark>' in html
    assert html.count('<mark class="trigger"') == 1
    assert "Oswald was shot by Jack Ruby: −50 points without it" in shown(extraction, width=200)


def test_phrases_in_other_scripts() -> None:
    text = "שלום גר\nבתל אביב 🚀 met 田中."
    ends = entity(text, "שלום", "Peop"), entity(text, "田中", "Peop")
    relation = Relation(*(ends[0], "Live_In", ends[1]), 0.9, (Trigger(5, 11, text[5:11], 0.4),), "words")
    extraction = Extraction(text, ends, (relation,), ((0, len(text)),))
    assert "*גר בתל* אביב" in shown(extraction)
    assert "גר בתל: −40 points without it" in shown(extraction)
    assert '<span class="trigger">גר בתל</span> <small>−40 points without it</small>' in page(extraction)


@settings(deadline=None)
@given(extractions())
def test_marks_cover_triggers_outside_entities(extraction: Extraction) -> None:
    ranges = extraction.sentences
    for (start, end), sentence in zip(ranges, split_sentences(extraction), strict=True):
        text, marked = extraction.text[start:end], list[int]()
        for mark in sentence.triggers:
            assert text[mark.start : mark.end] == text[mark.start : mark.end].strip() != ""
            marked += range(mark.start, mark.end)
        boxes = {place for mark in sentence.entities for place in range(mark.start, mark.end)}
        triggers = {
            place - start
            for relation in sentence.relations
            for trigger in relation.triggers
            if start <= trigger.start < trigger.end <= end
            for place in range(trigger.start, trigger.end)
        }
        assert len(marked) == len(set(marked))
        assert set(marked) <= triggers - boxes
        assert not any(text[place].strip() for place in triggers - boxes - set(marked))


@settings(deadline=None)
@given(extractions())
def test_every_entity_keeps_its_box(extraction: Extraction) -> None:
    without = Extraction(extraction.text, extraction.entities, (), extraction.sentences)
    assert page(extraction).count('<mark class="entity"') >= page(without).count('<mark class="entity"')
    first = shown(extraction, width=10_000).splitlines()[0].replace("*", "")
    assert first == shown(without, width=10_000).splitlines()[0].replace("*", "")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.floats(0, 1))
def test_any_word_in_a_table_is_harmless(word: str, loss: float) -> None:
    text = f"A {word} B"
    ends = Entity(0, 1, "A", "X", 0.5), Entity(len(text) - 1, len(text), "B", "X", 0.5)
    relation = Relation(ends[0], "r", ends[1], 0.5, (Trigger(2, 2 + len(word), word, loss),), "words")
    extraction = Extraction(text, ends, (relation,), ((0, len(text)),))
    assert "without it" in " ".join(shown(extraction, width=200).split())
    read(page(extraction))
