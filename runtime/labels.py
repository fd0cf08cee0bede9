"""The label sets of a model: what its numbers mean."""

from __future__ import annotations

import msgspec


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entity types (number 0 is None, so they count from 1), relation types, and dependency labels (from 1).

    ``symmetric`` is the set of relation types without direction. ``signatures`` are the only (head type, relation type,
    tail type) that are found, where there are some; a symmetric type's hold in both directions.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    dependencies: tuple[str, ...]
    symmetric: tuple[str, ...] = ()
    signatures: tuple[tuple[str, str, str], ...] = ()

    @property
    def entity_numbers(self) -> dict[str, int]:
        """Entity type to class number; None is 0."""
        return {name: number for number, name in enumerate(self.entities, 1)}

    @property
    def relation_numbers(self) -> dict[str, int]:
        """Relation type to column."""
        return {name: number for number, name in enumerate(self.relations)}

    @property
    def dependency_numbers(self) -> dict[str, int]:
        """Dependency label to number; 0 is no message."""
        return {name: number for number, name in enumerate(self.dependencies, 1)}
