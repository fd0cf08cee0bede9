"""Label sets of a model and the numbering of their labels."""

from __future__ import annotations

import msgspec


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labels of a model.

    Attributes:
        entities: Entity types. Class 0 is None, so the classes of these types count from 1.
        relations: Relation types, whose columns count from 0.
        dependencies: Dependency labels, whose ids count from 1.
        symmetric: Relation types without direction.
        signatures: The only allowed triples (head type, relation type, tail type); if empty, all are allowed. For a
            symmetric relation type, a triple holds in both directions.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    dependencies: tuple[str, ...]
    symmetric: tuple[str, ...] = ()
    signatures: tuple[tuple[str, str, str], ...] = ()

    @property
    def entity_numbers(self) -> dict[str, int]:
        """Class index of each entity type; class 0 is None."""
        return {name: index for index, name in enumerate(self.entities, 1)}

    @property
    def relation_numbers(self) -> dict[str, int]:
        """Column index of each relation type."""
        return {name: index for index, name in enumerate(self.relations)}

    @property
    def dependency_numbers(self) -> dict[str, int]:
        """Id of each dependency label; id 0 is "no message"."""
        return {name: index for index, name in enumerate(self.dependencies, 1)}
