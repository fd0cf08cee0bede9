"""Options of an extractor, with which it loads itself again in another process."""

from __future__ import annotations

import pickle
import sys
from typing import Literal, NamedTuple

from .errors import InputError, check_integer, describe_value, one_line
from .model_settings import Threshold
from .pipeline import Syntax
from .text.line_ends import Newlines
from .text.parser import Parser
from .text.tokenization import Sentences

#: Maximum number of trigger words reported with a relation, or ``EXACT_TRIGGERS``.
Triggers = int | Literal["exact"]

#: Find the triggers of a relation by leaving words out of the sentence.
EXACT_TRIGGERS: Literal["exact"] = "exact"

#: Default maximum number of trigger words reported with a relation.
DEFAULT_TRIGGERS = 3


class LoadOptions(NamedTuple):
    """Arguments of ``load``."""

    backend: str = "auto"
    threads: int | None = None
    parser: Parser | str | None = None
    triggers: Triggers = DEFAULT_TRIGGERS
    syntax: Syntax | None = None
    sentences: Sentences = "auto"
    newlines: Newlines = "auto"
    threshold: Threshold | None = None
    entity_threshold: Threshold | None = None
    candidates: bool = False
    warm: bool = False

    def check_picklable(self) -> None:
        """Check that objects of the caller, such as a parser or a function, can be pickled.

        Raises:
            InputError: One of them cannot be pickled.
        """
        for name, value in self._asdict().items():
            try:
                pickle.dumps(value)
            except Exception as error:  # whatever the caller's class raises
                raise InputError(
                    f"the extractor cannot be pickled because its {name}, {describe_value(value)}, cannot be: "
                    f"{one_line(error)}"
                ) from error


def check_triggers(value: object) -> Triggers:
    """Check the argument ``triggers`` of ``load``.

    Args:
        value: Value to check. An integer of numpy is accepted.

    Returns:
        The value as a plain ``int`` or ``str``.

    Raises:
        InputError: The value is neither an integer that is not negative nor ``"exact"``.
    """
    if isinstance(value, str) and value == EXACT_TRIGGERS:
        return EXACT_TRIGGERS
    try:
        return check_integer("triggers", value, 0)
    except InputError:
        raise InputError(
            f"triggers must be an integer >= 0 or {EXACT_TRIGGERS!r}, got {describe_value(value)}"
        ) from None


def has_other_pickler() -> bool:
    """Return True if cloudpickle or dill is loaded, which joblib and Dask use and which can pickle more than pickle."""
    return any(name.rpartition(".")[2] in ("cloudpickle", "dill") for name in sys.modules)
