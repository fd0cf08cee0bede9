"""Extractions as a page: complete, streamed, harmless and well-formed."""

import re
from collections.abc import Iterator

import pytest

from trimf.runtime.output.html_page import render_html
from trimf.runtime.results import Arc, Entity, Extraction

from .examples import ATTACK, HOSTILE, OVERLAP, SHOT, page, read


def test_hostile_text_is_harmless_in_a_page() -> None:
    crossing = Extraction(HOSTILE, (*ATTACK.entities, Entity(16, 30, HOSTILE[16:30], "<b>", 0.5)), ATTACK.relations)
    html = page(ATTACK, crossing)
    reader = read(html)
    assert not reader.tags & {"script", "b", "i", "u"}
    assert not any(name.startswith("on") for name in reader.attributes)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", html)
    assert "alert('1')" in "".join(reader.words)


def test_a_page_stands_alone() -> None:
    html = page(SHOT, OVERLAP)
    reader = read(html)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert '<meta charset="utf-8">' in html
    assert "<title>Entities and relations</title>" in html
    assert "prefers-color-scheme: dark" in html
    assert not reader.attributes & {"src", "href"}
    assert "url(" not in html
    assert "@import" not in html


def test_a_page_shows_the_text_its_entities_relations_and_triggers() -> None:
    html = page(SHOT)
    # At the border of an element within the mark a line could end, and leave the padding of the mark behind.
    assert 'dir="auto">Lee Harvey Oswald&nbsp;<small>Peop</small></mark> was <mark class="trigger"' in html
    assert "<td>Kill</td>" in html
    assert '<span class="trigger">shot</span> <small>0.41</small>' in html
    words = "".join(read(html).words)
    assert "was shot by Jack Ruby\N{NO-BREAK SPACE}Peop." in words


def test_overlapping_entities_in_a_page_are_all_shown() -> None:
    words = " ".join("".join(read(page(OVERLAP)).words).split())
    for part in ("University", "Berkeley", "Org", "Loc", "Peop", "trigger"):
        assert part in words


def test_right_to_left_text_says_so() -> None:
    assert "direction: rtl" in page(Extraction("123 שלום"))
    assert "direction: ltr" in page(Extraction("123 abc שלום"))


def test_a_page_is_streamed() -> None:
    taken = []

    def source() -> Iterator[Extraction]:
        for i in range(3):
            taken.append(i)
            yield SHOT

    pieces = render_html(source())
    next(pieces)
    assert taken == []
    next(pieces)
    assert taken == [0]
    assert len(list(pieces)) == 3


def test_a_page_of_nothing() -> None:
    assert read(page()).tags >= {"html", "head", "title", "body"}
    assert "<title>a&lt;b</title>" in "".join(render_html([], title="a<b"))


def test_arcs_are_drawn_and_harmless() -> None:
    words = [("He", 1, "nsubj"), ("<b>ran</b>", 1, "ROOT"), ("&", 1, "<i>"), ("Up", 3, "ROOT"), (".", 3, "punct")]
    text = " ".join(word for word, _, _ in words)
    starts = [text.index(word) for word, _, _ in words]
    arcs = tuple(
        Arc(at, at + len(word), word, head, label) for at, (word, head, label) in zip(starts, words, strict=True)
    )
    drawn = page(Extraction(text, (), (), ((0, starts[3] - 1), (starts[3], len(text))), (), arcs))
    assert drawn.count("<svg") == 2
    assert drawn.count('class="displacy-arrow"') == 3
    assert "&lt;b&gt;ran&lt;/b&gt;" in drawn
    assert "&lt;i&gt;" in drawn
    assert "<b>" not in drawn
    assert "<i>" not in drawn
    assert "://" not in drawn
    assert sorted(set(re.findall(r'id="(arcs-\d+)"', drawn))) == ["arcs-0", "arcs-1"]
    assert drawn == page(Extraction(text, (), (), ((0, starts[3] - 1), (starts[3], len(text))), (), arcs))


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("gesellschaft", "gesellschaft"),
        ("x" * 18, "x" * 18),
        ("Donaudampfschifffahrtsgesellschaft", "Donaudamp…llschaft"),
        ("国" * 9, "国" * 9),
        ("国" * 30, "国国国国…国国国国"),
    ],
)
def test_words_of_a_dependency_graph_do_not_overlap(word: str, shown: str) -> None:
    text = f"a {word} b"
    starts = [0, 2, 3 + len(word)]
    arcs = tuple(
        Arc(start, start + len(part), part, 1, "dep") for start, part in zip(starts, text.split(), strict=True)
    )
    drawn = page(Extraction(text, (), (), ((0, len(text)),), (), arcs))
    places = re.findall(r'class="displacy-word" fill="currentColor" x="([\d.]+)">([^<]*)<', drawn)
    assert [part for _, part in places] == ["a", shown, "b"]
    columns = sum(2 if letter == "国" else 1 for letter in shown)
    xs = [float(x) for x, _ in places]
    assert xs[1] - xs[0] == xs[2] - xs[1] > 7 * columns
    assert xs[0] >= 7 * columns / 2


def test_without_arcs_nothing_is_drawn() -> None:
    assert "<svg" not in page(SHOT)
