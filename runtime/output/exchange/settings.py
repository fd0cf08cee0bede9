"""What the writers of other tools' formats know besides the extractions, and what they report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ...bundle.manifest import encode_manifest
from ...bundle.reader import Bundle
from ...results import Entity, Extraction

#: Examples of each kind of loss that are kept and shown.
_MAX_EXAMPLES = 5


class Losses:
    """What an output does not hold or holds in another form, counted by kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, what: str, example: str) -> None:
        """Count one loss.

        Args:
            what: What happened, as a plural, such as "entities of white space alone were left out".
            example: What it happened to.
        """
        self._counts[what] = self._counts.get(what, 0) + 1
        examples = self._examples.setdefault(what, [])
        if len(examples) < _MAX_EXAMPLES:
            examples.append(example)

    def describe(self) -> list[str]:
        """Return one line for each kind, with its count and the first examples."""
        lines = []
        for what, count in self._counts.items():
            examples = self._examples[what]
            more = f" and {count - len(examples)} more" if count > len(examples) else ""
            lines.append(f"{what} ({count}): {', '.join(examples)}{more}")
        return lines


class ToolSettings(NamedTuple):
    """What a writer knows besides the extractions.

    Attributes:
        entity_types: Entity types of the model, in its order.
        relation_types: Relation types of the model, in its order.
        model_version: Name and version of the model.
        language: Code of the language whose rules split text into words.
        from_name: Name of the tag ``Labels`` in the labelling configuration of Label Studio.
        to_name: Name of its tag ``Text``.
    """

    entity_types: tuple[str, ...] = ()
    relation_types: tuple[str, ...] = ()
    model_version: str = "trimf"
    language: str = "en"
    from_name: str = "label"
    to_name: str = "text"


def describe_model(bundle: Bundle, from_name: str = "label", to_name: str = "text") -> ToolSettings:
    """Return the settings for the extractions of a bundle.

    The version of the model is the name of the bundle's folder and the start of the hash of its manifest, so that
    another export into the same folder has another version.

    Args:
        bundle: The bundle.
        from_name: See ``ToolSettings``.
        to_name: See ``ToolSettings``.
    """
    manifest = bundle.manifest
    digest = hashlib.sha256(encode_manifest(manifest)).hexdigest()[:8]
    return ToolSettings(
        tuple(manifest.labels.entity_types),
        tuple(manifest.labels.relation_types),
        f"{bundle.path.resolve().name}-{digest}",
        manifest.language,
        from_name,
        to_name,
    )


class SeenLabels:
    """The labels of a model and of the extractions that have passed, each once, in order.

    Args:
        settings: Gives the labels of the model.
    """

    def __init__(self, settings: ToolSettings) -> None:
        self._entity_types = dict.fromkeys(settings.entity_types)
        self._relation_types = dict.fromkeys(settings.relation_types)

    @property
    def entity_types(self) -> list[str]:
        """Entity types seen so far."""
        return list(self._entity_types)

    @property
    def relation_types(self) -> list[str]:
        """Relation types seen so far."""
        return list(self._relation_types)

    def watch(self, extractions: Iterable[Extraction]) -> Iterator[Extraction]:
        """Yield extractions and remember their labels, which may be the caller's instead of the model's."""
        for extraction in extractions:
            self._entity_types.update(dict.fromkeys(entity.label for entity in extraction.entities))
            self._relation_types.update(dict.fromkeys(relation.label for relation in extraction.relations))
            yield extraction


def number_entities(extraction: Extraction) -> dict[Entity, int]:
    """Return the index of each entity; of equal ones, that of the first."""
    return {entity: index for index, entity in reversed([*enumerate(extraction.entities)])}
