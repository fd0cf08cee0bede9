"""A dependency parser that other processes can load, and that does what the words of a sentence say."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Sequence

from trimf.runtime.text.parser import Parse


class StuckError(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class ObedientParser:
    """Every word hangs on the one before it.

    "bad" raises a ``ValueError``, "stuck" an exception that cannot be unpickled, "beware" warns, "slow" takes a moment,
    and "hang" very long. In a process of a stream, "exit" ends it with status 7, and "die" kills it.
    """

    name = "chain"
    labels = ("ROOT", "chain")

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        return [self._parse(words) for words in sentences]

    def _parse(self, words: Sequence[str]) -> Parse:
        if "bad" in words:
            raise ValueError(" ".join(words))
        if "stuck" in words:
            raise StuckError("it is", "stuck")
        if "beware" in words:
            warnings.warn("beware of the text", RuntimeWarning, stacklevel=1)
        time.sleep(0.002 * words.count("slow") + 600 * words.count("hang"))
        if multiprocessing.parent_process() is not None:
            if "exit" in words:
                os._exit(7)
            if "die" in words:
                os.kill(os.getpid(), signal.SIGKILL)
        return Parse([max(i - 1, 0) for i in range(len(words))], ["chain" if i else "ROOT" for i in range(len(words))])
