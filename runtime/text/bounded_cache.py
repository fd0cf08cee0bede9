"""A cache of values by string whose memory does not grow with the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Cache that keeps at least the last ``size`` strings that were used, and at most twice as many.

    Strings enter the recent half. When that is full, it becomes the older half, and the older half is dropped; a string
    that is used from the older half enters the recent one again. Strings of one call count in any order. Any number of
    threads may use a cache.

    Args:
        size: Number of strings in a half.
        max_chars: Maximum number of characters of a string that is kept.
    """

    def __init__(self, size: int, max_chars: int) -> None:
        self._size, self._max_chars = size, max_chars
        self._recent: dict[str, V] = {}
        self._older: dict[str, V] = {}

    def __len__(self) -> int:
        """Return the number of strings kept, counting one in both halves twice."""
        return len(self._recent) + len(self._older)

    def __contains__(self, key: str) -> bool:
        """Return True if a string is kept."""
        return key in self._recent or key in self._older

    def find(self, keys: Sequence[str]) -> list[V | None]:
        """Return the value of each string, None for a string that is not kept. No value may be None."""
        found: list[V | None] = list(map(self._recent.get, keys))
        if None in found and self._older:
            older = self._older
            reused = {key: older[key] for key, value in zip(keys, found, strict=True) if value is None and key in older}
            if reused:
                self.add(reused)
                found = [reused.get(key) if value is None else value for key, value in zip(keys, found, strict=True)]
        return found

    def add(self, values: Mapping[str, V]) -> None:
        """Keep values, or the last ``size`` of them; a string that is too long is left out."""
        for key, value in values.items():
            if len(key) <= self._max_chars:
                if len(self._recent) >= self._size:
                    self._recent, self._older = {}, self._recent
                self._recent[key] = value
