"""Translate the entity types of a caller to those of a model."""

from __future__ import annotations

from collections.abc import Mapping

from ..bundle.labels import Labels
from ..errors import InputError, describe_value, suggest_name
from ..text.plain_text import read_text

#: Number of entity types that an error message lists.
_LISTED = 20


class EntityTypes:
    """Entity types that a caller may use: those of the model, and names of the caller's own for some of them.

    Args:
        labels: Label sets of the model.
        names: For each name of the caller, the entity type of the model; None for no such names.

    Raises:
        InputError: The model has no relation types, or ``names`` is no mapping to its entity types.
    """

    def __init__(self, labels: Labels, names: Mapping[str, str] | None = None) -> None:
        if not labels.has_relations:
            raise InputError("the model has no relation types, so there are no relations to look for")
        self.names = {} if names is None else _copy_names(names)
        self._known = labels.entity_types
        self._indices = {name: index for index, name in enumerate(labels.entity_types)}
        for name, type_ in self.names.items():
            if type_ not in self._indices:
                raise InputError(f"types[{name!r}]: {self._describe_unknown(type_)}")
        self._indices |= {name: self._indices[type_] for name, type_ in self.names.items()}

    def find_index(self, label: str, where: str) -> int:
        """Return the index in ``Labels.entity_types`` of a type of the caller.

        Args:
            label: The type.
            where: What has it, for the error message.

        Raises:
            InputError: The model has no such type, and the caller has given none for it.
        """
        if label not in self._indices:
            raise InputError(
                f"{where}: {self._describe_unknown(label)}; for names of your own, pass types={{{label!r}: …}}"
            )
        return self._indices[label]

    def _describe_unknown(self, label: str) -> str:
        close = suggest_name(label, self._indices)
        hint = f"did you mean {close!r}? The model has" if close else "choose from"
        more = f" and {len(self._known) - _LISTED} more" if len(self._known) > _LISTED else ""
        return f"the model has no entity type {label!r:.60}; {hint} {', '.join(self._known[:_LISTED])}{more}"


def _copy_names(names: object) -> dict[str, str]:
    if not isinstance(names, Mapping):
        raise InputError(
            f"types must be a dictionary from your names to the model's entity types, got {describe_value(names)}"
        )
    return {read_text(name, "a name in types"): read_text(type_, f"types[{name!r}]") for name, type_ in names.items()}
