"""Say what limits a report: little data, labels that the model or the data lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from trimf_train.evaluation.reachability import describe_unreachable

from .model_run import ModelRun, ResampledUnits

#: Fewer gold items of a label, or fewer sentences or documents, make an interval rough.
LITTLE_SUPPORT = 10
FEW_UNITS = 30

#: Labels that a warning names.
_NAMED_LABELS = 10


def list_warnings(run: ModelRun, units: ResampledUnits, data: str) -> list[str]:
    """List what limits a report.

    Args:
        run: What the model says of the data.
        units: What is resampled.
        data: Name of the data.

    Returns:
        Sentences without full stop.
    """
    return list(_find_warnings(run, units, data))


def _find_warnings(run: ModelRun, units: ResampledUnits, data: str) -> Iterator[str]:
    count = max(units.numbers) + 1
    if count == 1:
        yield f"{data} has 1 {units.kind[:-1]}: scores are rough and have no intervals"
    elif count < FEW_UNITS:
        yield f"{data} has {count} {units.kind}: scores and intervals are rough"
    entities = Counter(key[2] for text in run.texts for key in text.gold_entities)
    relations = Counter(key[2] for text in run.texts for key in text.gold_relations)
    for kind, gold, known in (
        ("entity", entities, run.labels.entity_types),
        ("relation", relations, run.labels.relation_types),
    ):
        if not gold:
            if known:
                yield f"{data} has no gold {'entities' if kind == 'entity' else 'relations'}"
            continue
        unknown = {label: gold[label] for label in sorted(gold) if label not in known}
        if len(unknown) == len(gold) and known:
            yield f"{data} and the model have no {kind} type in common; the model has {_name(known)}"
        elif unknown and run.unreachable is None:
            yield (
                f"the model cannot find {sum(unknown.values())} gold items of {kind} types that it does not have: "
                f"{_name(list(unknown))}"
            )
        if absent := [label for label in known if label not in gold]:
            yield f"{data} does not say how good the model is for {kind} types without gold items: {_name(absent)}"

    if run.unreachable is not None:
        lines = describe_unreachable(run.unreachable, entities.total(), relations.total())
        for reasons, line in zip((run.unreachable["entities"], run.unreachable["relations"]), lines, strict=True):
            if reasons:
                yield line


def _name(labels: list[str] | tuple[str, ...]) -> str:
    """List labels, shortened."""
    more = f" and {len(labels) - _NAMED_LABELS} more" if len(labels) > _NAMED_LABELS else ""
    return ", ".join(labels[:_NAMED_LABELS]) + more
