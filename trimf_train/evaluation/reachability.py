"""List the gold entities and relations of running text that no prediction of a model can equal, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.output.plain_text import make_visible
from trimf_train.data.document import describe_entity, describe_pair
from trimf_train.data.document_splitting import SplitDocument
from trimf_train.data.reading_report import KINDS, MAX_EXAMPLES, ReadingReport
from trimf_train.evaluation.results import UnreachableItems, UnreachableReason

_OF_LOST_ENTITIES = KINDS["relations_of_lost_entities"].which


@dataclass(slots=True)
class _Reason:
    """Items that cannot be predicted for one reason."""

    labels: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, label: str, example: str) -> None:
        """Count an item by its label, and keep the first few as examples."""
        self.labels[label] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(make_visible(example))


def find_unreachable(
    documents: Iterable[SplitDocument], report: ReadingReport, labels: Labels, max_span: int | None
) -> UnreachableItems:
    """List the gold items that a model cannot predict, by reason.

    The splitting of the text, the labels of the model, its limit of span lengths and the pairs of types that it
    connects make items impossible. What competes with another item, such as a nested entity, counts as possible.

    Args:
        documents: The documents, split by the rules of the model.
        report: What the splitting left out.
        labels: The labels of the model.
        max_span: Maximum number of words of an entity that the model predicts; None is no limit.

    Returns:
        The reasons with the number of items of each, the most frequent first.
    """
    found = {"entities": _take_losses(report, "entities"), "relations": _take_losses(report, "relations")}
    connected = _find_connected_types(labels)
    for document in documents:
        _find_in_document(document, labels, connected, max_span, found)
    return {"entities": _list_reasons(found["entities"]), "relations": _list_reasons(found["relations"])}


def describe_unreachable(unreachable: UnreachableItems, gold_entities: int, gold_relations: int) -> Iterator[str]:
    """Describe the gold items that no prediction can equal, in a line each for entities and relations.

    Args:
        unreachable: The items.
        gold_entities: Number of gold entities.
        gold_relations: Number of gold relations.
    """
    for name, gold, reasons in (
        ("entities", gold_entities, unreachable["entities"]),
        ("relations", gold_relations, unreachable["relations"]),
    ):
        count = sum(reason["count"] for reason in reasons)
        described = "; ".join(
            f"{reason['count']} {reason['reason']}, such as {reason['examples'][0]}" for reason in reasons
        )
        of_all = f"{count} of the {gold} {name}"
        yield f"no prediction can equal {of_all}: {described}" if count else f"predictions can equal all {gold} {name}"


def _take_losses(report: ReadingReport, items: str) -> dict[str, _Reason]:
    """Return what the splitting of the text left out."""
    return {
        kind.which: _Reason(Counter(report.labels[name]), list(report.examples[name]))
        for name, kind in KINDS.items()
        if kind.items == items and report.counts[name] and not kind.done
    }


def _find_in_document(
    split: SplitDocument,
    labels: Labels,
    connected: set[tuple[str, str, str]] | None,
    max_span: int | None,
    found: dict[str, dict[str, _Reason]],
) -> None:
    """Add the items that the splitting keeps and the model cannot predict."""
    document, lost = split.document, set()
    for index, place in enumerate(split.places):
        if place is None:
            continue
        entity = document.entities[index]
        reason = ""
        if entity.label not in labels.entity_type_to_id:
            reason = "with a label that the model does not have"
        elif max_span is not None and place.end - place.first > max_span:
            reason = f"longer than the {max_span} words of the model's span limit"
        if reason:
            lost.add(index)
            found["entities"].setdefault(reason, _Reason()).add(entity.label, describe_entity(document, entity))
    for relation in split.relations:
        head, tail = document.entities[relation.head], document.entities[relation.tail]
        if relation.label not in labels.relation_type_to_id:
            reason = "with a label that the model does not have"
        elif {relation.head, relation.tail} & lost:
            reason = _OF_LOST_ENTITIES
        elif connected is not None and (head.label, relation.label, tail.label) not in connected:
            reason = "between entity types that the model does not connect so"
        else:
            continue
        found["relations"].setdefault(reason, _Reason()).add(relation.label, describe_pair(document, relation))


def _find_connected_types(labels: Labels) -> set[tuple[str, str, str]] | None:
    """Return the triples (head type, relation type, tail type) that the model allows; None if it allows all."""
    if not labels.allowed_triples:
        return None
    turned = {(tail, name, head) for head, name, tail in labels.allowed_triples if name in labels.symmetric}
    return {*labels.allowed_triples, *turned}


def _list_reasons(reasons: dict[str, _Reason]) -> list[UnreachableReason]:
    """Return the reasons for a report, the most frequent first and what follows from others last."""
    listed: list[UnreachableReason] = [
        {
            "reason": name,
            "count": reason.labels.total(),
            "labels": dict(sorted(reason.labels.items())),
            "examples": reason.examples,
        }
        for name, reason in reasons.items()
    ]
    return sorted(listed, key=lambda reason: (reason["reason"] == _OF_LOST_ENTITIES, -reason["count"]))
