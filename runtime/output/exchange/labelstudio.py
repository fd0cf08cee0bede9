"""Write tasks with predictions for Label Studio, and the labelling configuration that shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TextIO
from xml.etree import ElementTree

import msgspec

from ...errors import InputError
from ...results import Extraction, RecordExtraction
from .settings import Losses, ToolSettings, number_entities

#: Backgrounds of the labels; without one, Label Studio shows all labels in the same colour.
_COLOURS = ("#4C78A8", "#F58518", "#54A24B", "#E45756", "#72B7B2", "#B279A2", "#9D755D", "#EECA3B")

#: Characters that XML 1.0 cannot hold, however they are written.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_labelstudio(
    extractions: Iterable[Extraction], stream: TextIO, settings: ToolSettings, losses: Losses
) -> None:
    """Write one JSON list of tasks with predictions; nothing is ever lost.

    Args:
        extractions: Extractions to write; each is consumed once.
        stream: Where to write.
        settings: Names of the tags, and the version of the model.
        losses: Not used.
    """
    separator = "[\n"
    for extraction in extractions:
        stream.write(separator + msgspec.json.encode(build_task(extraction, settings)).decode())
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def build_task(extraction: Extraction, settings: ToolSettings) -> dict[str, Any]:
    """Build a task with one prediction.

    Label Studio counts offsets in code points, as Python does, and a line end as each of its characters. It keeps one
    relation for an ordered pair of regions, so the types of a pair are the labels of one relation.

    Args:
        extraction: The extraction; the other fields of its record go into ``data``.
        settings: Names of the tags, and the version of the model.

    Returns:
        The task. The score of the prediction is the lowest one of its entities and relations, so that sorting by it
        puts doubtful texts first; without entities there is none.
    """
    fields = extraction.fields if isinstance(extraction, RecordExtraction) else {}
    data = {**fields, "text": extraction.text}
    if extraction.error:
        data["error"] = extraction.error
    prediction: dict[str, Any] = {"model_version": settings.model_version}
    scores = [entity.score for entity in extraction.entities]
    scores += [relation.score for relation in extraction.relations]
    if scores:
        prediction["score"] = min(max(min(scores), 0.0), 1.0)
    prediction["result"] = [*_list_regions(extraction, settings), *_list_relations(extraction)]
    return {"data": data, "predictions": [prediction]}


def _list_regions(extraction: Extraction, settings: ToolSettings) -> list[dict[str, Any]]:
    return [
        {
            "id": f"e{index}",
            "from_name": settings.from_name,
            "to_name": settings.to_name,
            "type": "labels",
            "value": {"start": entity.start, "end": entity.end, "text": entity.text, "labels": [entity.label]},
            "score": entity.score,
        }
        for index, entity in enumerate(extraction.entities)
    ]


def _list_relations(extraction: Extraction) -> list[dict[str, Any]]:
    index = number_entities(extraction)
    labels: dict[tuple[int, int], dict[str, None]] = {}
    for relation in extraction.relations:
        labels.setdefault((index[relation.head], index[relation.tail]), {})[relation.label] = None
    return [
        {"type": "relation", "from_id": f"e{head}", "to_id": f"e{tail}", "direction": "right", "labels": list(names)}
        for (head, tail), names in labels.items()
    ]


def build_labelling_config(
    entity_types: Sequence[str], relation_types: Sequence[str], from_name: str = "label", to_name: str = "text"
) -> str:
    """Build the labelling configuration of a project that takes the predictions.

    Args:
        entity_types: Entity types, in the order in which they are shown.
        relation_types: Relation types; none leaves out the tag ``Relations``.
        from_name: Name of the tag ``Labels``.
        to_name: Name of the tag ``Text``.

    Returns:
        The configuration, as XML.

    Raises:
        InputError: A label or a name has a character that XML cannot hold.
    """
    for text in (*entity_types, *relation_types, from_name, to_name):
        if found := _NOT_IN_XML.search(text):
            raise InputError(
                f"{text!r} cannot be written into the labelling configuration: XML has no character {found[0]!r}; "
                "rename the label, or leave out --labelstudio-config"
            )
    view = ElementTree.Element("View")
    if relation_types:
        relations = ElementTree.SubElement(view, "Relations")
        for label in relation_types:
            ElementTree.SubElement(relations, "Relation", value=label)
    labels = ElementTree.SubElement(view, "Labels", name=from_name, toName=to_name)
    for index, label in enumerate(entity_types):
        ElementTree.SubElement(labels, "Label", value=label, background=_COLOURS[index % len(_COLOURS)])
    ElementTree.SubElement(view, "Text", name=to_name, value="$text")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
