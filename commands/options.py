"""Define options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    AnyParamType = click.ParamType[Any]
else:  # older versions of click have no generic class
    AnyParamType = click.ParamType

#: Maximum number of digits of a number of trigger words.
_MAX_DIGITS = 9


class TriggersType(AnyParamType):
    """A number of trigger words, or ``exact``."""

    name = "N|exact"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an integer that is not negative, or ``"exact"``.

        Raises:
            BadParameter: The value is neither.
        """
        if isinstance(value, int) or value == "exact":
            return value
        if value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS:
            return int(value)
        return self.fail(f"{value!r:.60} is neither a number of words, such as 3, nor `exact`.", param, ctx)


TRIGGERS = click.option(
    "--triggers",
    type=TriggersType(),
    metavar="N|exact",
    default=3,
    show_default=True,
    help="Maximum number of trigger words per relation, as the model estimates them; or exact: every word and phrase "
    "that a relation rests on, by leaving them out, which takes several times as long.",
)
THREADS = click.option("--threads", type=int, help="Intra-op threads. Default: all cores.")
THRESHOLD = click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="[LABEL=]X",
    help="Score from 0 to 1 that a relation must exceed, for all types or for one. Repeatable. "
    "Default: that of the model.",
)
ENTITY_THRESHOLD = click.option(
    "--entity-threshold",
    "entity_thresholds",
    multiple=True,
    metavar="[LABEL=]X",
    help="Score that an entity must exceed; others are left out before relations are looked for. Repeatable.",
)
BACKEND_NAMES = "auto, cpu, cuda, tensorrt, tensorrt-ep or tensorrt-rtx-ep"
