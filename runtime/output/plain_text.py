"""Show text from outside as it is: never as console markup, terminal codes, HTML or Markdown.

Labels, words, file names and messages of other programs are untrusted. Whatever shows them passes them through this
module, or through a template of ``trimf.runtime.output.templates``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

#: Replacements of unsafe characters: control pictures for control characters; U+FFFD for those without a picture, for
#: the marks that reorder the text around them, and for surrogates, which no encoding can write. Each maps to one
#: character, so that offsets stay valid.
_VISIBLE = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421}
    | dict.fromkeys(
        [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)], 0xFFFD
    )
    | dict.fromkeys([*b"\t\n\r", 0x85, 0x2028, 0x2029], 0x20)
)

#: What Markdown reads as markup within a line: some characters everywhere, and "_" but between two letters or digits.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")


def make_visible(text: str) -> str:
    """Replace each control character by one visible or blank character, which keeps offsets and gives one line.

    Args:
        text: Any text; line breaks become spaces.
    """
    return text.translate(_VISIBLE)


def build_plain_text(value: str, style: str = "") -> Text:
    """Return text for the console in which nothing is markup or an emoji code, and only line breaks are kept.

    Args:
        value: Any text.
        style: Style of the whole text, in Rich's notation.
    """
    from rich.text import Text

    return Text("\n".join(map(make_visible, value.split("\n"))), style)


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, within a line or a cell of a table.

    Args:
        text: Any text; line breaks become spaces.
    """
    escaped = _MARKDOWN.sub(lambda match: "\\" + match[0], make_visible(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quote_code(text: str) -> str:
    """Return text as a span of code in Markdown, which shows it as it is; not for a table, where bars end a cell.

    Args:
        text: Any text; line breaks become spaces.
    """
    line = make_visible(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line[:1] in ("`", " ") or line[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""
