"""Label sets of a model and the numbering of their labels."""

from __future__ import annotations

import msgspec


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labels of a model.

    In JSON the fields are named ``entities``, ``relations``, ``dependencies``, ``symmetric`` and ``signatures``.

    Attributes:
        entity_types: Entity types. Class 0 is None, so the classes of these types count from 1.
        relation_types: Relation types, whose columns count from 0; none if the model finds entities alone.
        dependency_labels: Dependency labels, whose ids count from 1.
        symmetric: Relation types without direction.
        allowed_triples: The only allowed triples (head type, relation type, tail type); if empty, all are allowed. For
            a symmetric relation type, a triple holds in both directions.
    """

    entity_types: tuple[str, ...] = msgspec.field(name="entities")
    relation_types: tuple[str, ...] = msgspec.field(name="relations")
    dependency_labels: tuple[str, ...] = msgspec.field(name="dependencies")
    symmetric: tuple[str, ...] = ()
    allowed_triples: tuple[tuple[str, str, str], ...] = msgspec.field(default=(), name="signatures")

    @property
    def has_relations(self) -> bool:
        """Whether the model has relation types; one that finds entities alone has none."""
        return bool(self.relation_types)

    @property
    def entity_type_to_id(self) -> dict[str, int]:
        """Class index of each entity type; class 0 is None."""
        return {name: index for index, name in enumerate(self.entity_types, 1)}

    @property
    def relation_type_to_id(self) -> dict[str, int]:
        """Column index of each relation type."""
        return {name: index for index, name in enumerate(self.relation_types)}

    @property
    def dependency_label_to_id(self) -> dict[str, int]:
        """Id of each dependency label; id 0 is "no message"."""
        return {name: index for index, name in enumerate(self.dependency_labels, 1)}
