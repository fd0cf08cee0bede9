"""Print extractions on a console, as marked text and tables.

Text and labels are untrusted: nothing in them is interpreted as console markup or terminal codes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from ..results import Entity, Extraction, Relation
from .display_sentences import (
    NAMES_ALONE,
    RELATION_COLUMNS,
    UNKNOWN_BASIS,
    DisplaySentence,
    Mark,
    choose_colour,
    format_score,
    list_notes,
    list_triggers,
    shows_triggers,
    split_sentences,
)
from .plain_text import make_visible

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table
    from rich.text import Text

#: Console colours of entity types, by the number from ``choose_colour``.
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")

#: Width of the space between two columns of the table.
_SPACE = 3


def print_extraction(extraction: Extraction, console: Console) -> None:
    """Print each sentence of an extraction with its entities and triggers marked, and a table of its relations.

    Entities look like ``[Jack Ruby]Peop`` and triggers like ``*shot*``, in colour if the console supports it. The table
    says how many points of probability the relation loses without each trigger.

    Args:
        extraction: Extraction to print.
        console: Console to print to.
    """
    for sentence in split_sentences(extraction):
        console.print(_mark_sentence(sentence), soft_wrap=True)
        if sentence.relations:
            _print_table(_build_table(sentence.relations, console), console)
    for note in list_notes(extraction):
        console.print(note, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _mark_sentence(sentence: DisplaySentence) -> Text:
    """Insert markers into a sentence; of two marks that start together the longer one encloses the other."""
    from rich.text import Text

    marks = sorted(sentence.entities + sentence.triggers, key=lambda mark: (mark.start, -mark.end))
    opening: dict[int, list[Mark]] = {}
    closing: dict[int, list[Mark]] = {}
    for mark in marks:
        opening.setdefault(mark.start, []).append(mark)
        closing.setdefault(mark.end, []).insert(0, mark)
    result = Text()
    opened: dict[Mark, int] = {}
    for position, following in pairwise([*sorted({0, *opening, *closing}), len(sentence.text)]):
        for mark in closing.get(position, ()):
            result.append(f"]{make_visible(mark.label)}" if mark.label else "*")
            result.stylize(
                f"bold {_COLOURS[choose_colour(mark.label)]}" if mark.label else "bold underline", opened[mark]
            )
        for mark in opening.get(position, ()):
            opened[mark] = len(result)
            result.append("[" if mark.label else "*")
        result.append(sentence.text[position:following])
    return result


def _choose_minus(console: Console) -> str:
    """Return the minus sign, or a hyphen if the encoding of the console does not have it."""
    try:
        "−".encode(console.encoding)
    except UnicodeEncodeError:
        return "-"
    return "−"


def _build_table(relations: list[Relation], console: Console) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    has_triggers, minus = shows_triggers(relations), _choose_minus(console)
    names = RELATION_COLUMNS if has_triggers else RELATION_COLUMNS[:-1]
    rows: list[list[Text]] = [
        [
            _format_entity(relation.head),
            Text(make_visible(relation.label)),
            _format_entity(relation.tail),
            Text(format_score(relation.score)),
        ]
        for relation in relations
    ]
    fits = False
    if has_triggers:
        # On a narrow console the names of entities give way first, and then the line that a trigger has for itself.
        columns = zip(map(Text, names), *rows, strict=False)
        taken = sum(max(console.measure(cell).minimum for cell in column) + _SPACE for column in columns)
        room = console.width - 2 - taken
        for separator in (": ", ":\n  "):
            cells = [_format_triggers(relation, minus, separator) for relation in relations]
            fits = max(console.measure(cell).maximum for cell in cells) + _SPACE <= room
            if fits:
                break
        else:
            cells = [_format_triggers(relation, minus, ": ") for relation in relations]
        rows = [[*row, cell] for row, cell in zip(rows, cells, strict=True)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        justify: JustifyMethod = "right" if name == "Score" else "left"
        table.add_column(name, overflow="fold", justify=justify, no_wrap=fits and name == names[-1])
    for row in rows:
        table.add_row(*row)
    return table


def _format_triggers(relation: Relation, minus: str, separator: str) -> Text:
    """Format the triggers of a relation, those with a loss one a line; ``separator`` stands before the loss."""
    from rich.text import Text

    if not relation.triggers:
        return Text(NAMES_ALONE if relation.basis == "names" else UNKNOWN_BASIS)
    shown = list_triggers(relation)
    if not shown[0].effect:
        return Text(", ".join(trigger.text for trigger in shown))
    return Text("\n".join(f"{trigger.text}{separator}{trigger.effect.replace('−', minus)}" for trigger in shown))


def _print_table(table: Table, console: Console) -> None:
    """Print a table without the white space that fills its lines up."""
    from rich.segment import Segment, Segments

    shown = []
    for line in console.render_lines(table, pad=False):
        while line and not line[-1].text.strip():
            line.pop()
        if line:
            line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
        shown += [*line, Segment.line()]
    console.print(Segments(shown), end="")


def _format_entity(entity: Entity) -> Text:
    from rich.text import Text

    return Text.assemble(
        make_visible(entity.text), " ", (f"({make_visible(entity.label)})", _COLOURS[choose_colour(entity.label)])
    )
