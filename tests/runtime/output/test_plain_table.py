"""Tables of plain text at any width: whole words where there is room, nothing lost, nothing beyond the border."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trimf.runtime.output.plain_table import build_plain_table


def shown(width: int, *columns: str, rows: list[list[str]], **options: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(build_plain_table("title", *columns, rows=rows, **options))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_a_table_that_fits() -> None:
    assert [
        line.rstrip()
        for line in shown(80, "type", "F1", rows=[["Loc", "9.5"], ["all", "10.5"]], figures=1, summary_rows=1)
    ] == [
        "title",
        "┏━━━━━━┳━━━━━━┓",
        "┃ type ┃   F1 ┃",
        "┡━━━━━━╇━━━━━━┩",
        "│ Loc  │  9.5 │",
        "├──────┼──────┤",
        "│ all  │ 10.5 │",
        "└──────┴──────┘",
    ]


def test_a_title_may_be_wider_than_its_table() -> None:
    console = Console(file=io.StringIO(), width=40)
    console.print(build_plain_table("thirty letters of a long title", "F1", rows=[["9.5"]]))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[:2] == ["thirty letters of a long title", "┏━━━━━┓"]


def test_one_wide_column_is_folded() -> None:
    lines = shown(40, "type", "precision", "recall", rows=[["x" * 60, "50.00", "60.00"]])
    assert any("precision" in line and "recall" in line for line in lines)
    assert sum(line.count("x") for line in lines) == 60


def test_several_wide_columns_are_shown_one_below_the_other() -> None:
    cells = ["one two three four", "five six seven eight", "nine ten eleven"]
    lines = shown(40, "first", "second", "third", rows=[cells, cells])
    assert [line.rstrip() for line in lines] == [
        "title",
        "┌────────┬──────────────────────┐",
        *[
            "│ first  │ one two three four   │",
            "│ second │ five six seven eight │",
            "│ third  │ nine ten eleven      │",
        ],
        "├────────┼──────────────────────┤",
        *[
            "│ first  │ one two three four   │",
            "│ second │ five six seven eight │",
            "│ third  │ nine ten eleven      │",
        ],
        "└────────┴──────────────────────┘",
    ]


@pytest.mark.parametrize("columns", [("a",), ("a", "b"), ("a", "b", "c")])
def test_no_rows(columns: tuple[str, ...]) -> None:
    assert len(shown(80, *columns, rows=[])) == 5


@given(
    st.integers(30, 120),
    st.integers(1, 4),
    st.lists(st.lists(st.text(st.characters(categories=["L", "Nd"]), max_size=50), min_size=4, max_size=4), max_size=4),
)
def test_nothing_is_lost_at_any_width(width: int, count: int, cells: list[list[str]]) -> None:
    rows = [row[:count] for row in cells]
    lines = shown(width, *["-"] * count, rows=rows)
    console = Console(width=1000)
    assert all(console.measure(line).maximum <= width for line in lines)
    found = sorted(letter for line in lines[1:] for letter in line if letter.isalnum())
    assert found == sorted(letter for row in rows for cell in row for letter in cell if letter.isalnum())
