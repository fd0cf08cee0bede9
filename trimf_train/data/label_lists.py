"""Write lists of labels with their counts, for data sets of two labels or of hundreds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trimf.runtime.output.plain_text import make_visible

#: Labels of a list that are named; the others are counted.
MAX_NAMED_LABELS = 20

#: Characters of a line, and those that a further line of a list starts with.
_WIDTH = 110
_INDENT = " " * 10


def list_labels(
    head: str, counts: Mapping[str, int], of: Mapping[str, int] | None = None, unit: str = "labels"
) -> list[str]:
    """List labels by count, the most frequent first, in lines of limited length.

    Args:
        head: What is listed; the first line starts with it.
        counts: Number of items of each label.
        of: Number of items of each label before some were left out; it is shown where it is larger.
        unit: Plural noun for labels that are not named.

    Returns:
        The lines: one where the list is short.
    """
    whole = counts if of is None else of
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    named = [
        f"{make_visible(label)} {counts[label]}"
        + (f" of {whole[label]}" if whole.get(label, 0) > counts[label] else "")
        for label in ordered[:MAX_NAMED_LABELS]
    ]
    if rest := ordered[MAX_NAMED_LABELS:]:
        named.append(f"and {len(rest)} more {unit} with {sum(counts[label] for label in rest)} in all")
    return _wrap(f"{head}: " if named else head, named)


def _wrap(head: str, items: Iterable[str]) -> list[str]:
    """Join items with commas, and begin a new line before an item that does not fit."""
    lines, line, separator = [], head, ""
    for item in items:
        if separator and len(line) + len(separator) + len(item) > _WIDTH:
            lines.append(f"{line},")
            line, separator = _INDENT, ""
        line += separator + item
        separator = ", "
    return [*lines, line]
