"""Narrow regular expressions to what they match in ASCII text.

The patterns of word rules have classes with thousands of letters and symbols of all scripts, which take tens of
milliseconds to compile. Most text needs a few of them.
"""

from __future__ import annotations

import re

# An escape, or a class: its first character may be a bracket.
_PART = re.compile(r"\\.|\[(\^?)(\]?(?:\\.|[^\]\\])*)\]", re.DOTALL)
_CHARACTER = r"\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\x[0-9a-fA-F]{2}|\\[^uUx]|[^\\]"
_ITEM = re.compile(f"({_CHARACTER})(?:-({_CHARACTER}))?", re.DOTALL)

#: Flag that lets letters outside ASCII match those of ASCII.
_IGNORE_CASE = re.compile(r"\(\?[a-zA-Z]*i")

#: Characters with a meaning at some places of a class, or reserved for one.
_SPECIAL = frozenset("-[&|~^")


def narrow_pattern(pattern: str) -> str:
    """Return a shorter pattern with the same matches in every text of ASCII characters.

    Args:
        pattern: A regular expression for text.

    Returns:
        The pattern without the characters outside ASCII in its classes.
    """
    return pattern if _IGNORE_CASE.search(pattern) else _PART.sub(_narrow_part, pattern)


def _narrow_part(part: re.Match[str]) -> str:
    """Return an escape as it is, and a class without the characters outside ASCII."""
    if part.group()[0] == "\\":
        return part.group()
    negation, body = part.groups()
    items = []
    for item in _ITEM.finditer(body):
        first, last = item.groups()
        if not _is_ascii(first):  # nor is anything else of a range
            continue
        items.append("-".join(f"\\{end}" if end in _SPECIAL else end for end in (first, last) if end))
    if items:
        return f"[{negation}{''.join(items)}]"
    return r"[\s\S]" if negation else r"[^\s\S]"


def _is_ascii(character: str) -> bool:
    """Return True for a character, or an escape, that is ASCII or stands for a category."""
    return int(character[2:], 16) < 128 if character[:2] in (r"\u", r"\U", r"\x") else character.isascii()
