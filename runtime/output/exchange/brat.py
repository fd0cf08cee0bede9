"""Write a folder that brat opens: a text and its annotation for each extraction, and the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...files.atomic import atomic_folder
from ...results import Entity, Extraction
from ..plain_text import make_visible
from .brat_names import FileNames, LabelNames
from .settings import Losses, SeenLabels, ToolSettings, number_entities

#: Runs of characters that brat takes within one line: what Python calls a line end, and the tab, end them.
_PIECE = re.compile("[^\t\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")


def write_brat(extractions: Iterable[Extraction], folder: Path, settings: ToolSettings, losses: Losses) -> None:
    """Write a folder of ``.txt`` and ``.ann`` files, one pair a text, with ``annotation.conf``.

    Texts are written exactly as they are. An entity with a line end or a tab becomes one of several pieces. Scores and
    trigger words have no place in the format.

    Args:
        extractions: Extractions to write; each is consumed once.
        folder: Folder to write; it appears only when it is complete, and must not exist or be empty: annotation that
            was corrected in brat is never replaced.
        settings: The labels of the model, for ``annotation.conf``.
        losses: Counts labels that brat does not take and that are therefore changed, and entities of white space.

    Raises:
        InputError: The folder cannot be written, or is not empty.
    """
    labels = SeenLabels(settings)
    names, label_names = FileNames(), LabelNames(settings)
    with atomic_folder(folder) as new:
        for number, extraction in enumerate(labels.watch(extractions), 1):
            name = names.choose(extraction, number)
            lines = "".join(_list_lines(extraction, label_names, losses))
            (new / f"{name}.txt").write_bytes(extraction.text.encode())
            (new / f"{name}.ann").write_bytes(lines.encode())
        config = "".join(_list_configuration(labels, label_names))
        (new / "annotation.conf").write_bytes(config.encode())
    for (_, label), name in label_names.names.items():
        if label != name:
            losses.add("labels were changed to names that brat takes", f"{label!r} to {name!r}")


def _list_lines(extraction: Extraction, names: LabelNames, losses: Losses) -> Iterator[str]:
    """Yield the lines of an annotation file."""
    written: dict[int, str] = {}
    for index, entity in enumerate(extraction.entities):
        pieces = _split_at_line_ends(entity)
        if not pieces:
            losses.add("entities of white space alone were left out", repr(entity.text))
            continue
        written[index] = f"T{len(written) + 1}"
        places = ";".join(f"{entity.start + start} {entity.start + end}" for start, end in pieces)
        covered = " ".join(entity.text[start:end] for start, end in pieces)
        yield f"{written[index]}\t{names.choose('entity', entity.label)} {places}\t{covered}\n"
    index_of = number_entities(extraction)
    count = 0
    for relation in extraction.relations:
        head, tail = written.get(index_of[relation.head]), written.get(index_of[relation.tail])
        if head and tail:
            count += 1
            yield f"R{count}\t{names.choose('relation', relation.label)} Arg1:{head} Arg2:{tail}\n"


def _split_at_line_ends(entity: Entity) -> list[tuple[int, int]]:
    """Return the pieces of an entity that lie on one line each, as characters of its text."""
    return [match.span() for match in _PIECE.finditer(entity.text) if not match[0].isspace()]


def _list_configuration(labels: SeenLabels, names: LabelNames) -> Iterator[str]:
    """Yield the lines of ``annotation.conf``, which needs all four sections; changed labels are told in comments."""
    yield "[entities]\n"
    yield from _list_types("entity", labels.entity_types, names, "")
    yield "\n[relations]\n"
    yield from _list_types("relation", labels.relation_types, names, "\tArg1:<ENTITY>, Arg2:<ENTITY>")
    yield "<OVERLAP>\tArg1:<ENTITY>, Arg2:<ENTITY>, <OVL-TYPE>:<ANY>\n"
    yield "\n[events]\n\n[attributes]\n"


def _list_types(kind: str, labels: Iterable[str], names: LabelNames, arguments: str) -> Iterator[str]:
    for label in labels:
        name = names.choose(kind, label)
        if name != label:
            yield f"# {name} stands for {make_visible(label)}\n"
        yield f"{name}{arguments}\n"
