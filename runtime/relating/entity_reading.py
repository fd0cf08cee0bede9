"""Read the entities of a caller: ``Entity`` objects, spans of spaCy, dictionaries, or tuples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import InputError, check_integer, check_probability, describe_value
from ..results import Entity
from ..text.plain_text import read_text


class SpanInput(NamedTuple):
    """Entity of a caller, before its place is checked.

    Attributes:
        start: Index of the first character or word.
        end: Index after the last one.
        label: The entity type.
        score: Probability of the type.
        text: The characters of the entity as the caller has them; None if they are not known.
        counts_words: Whether ``start`` and ``end`` count words instead of characters.
    """

    start: int
    end: int
    label: str
    score: float = 1.0
    text: str | None = None
    counts_words: bool = False


def read_entities(entities: object, name: str, *, words: bool) -> Iterator[tuple[str, SpanInput]]:
    """Read the entities of a text.

    Args:
        entities: The entities; each is an ``Entity``, a spaCy ``Span``, a dictionary with ``start``, ``end`` and
            ``label``, and perhaps ``score`` and ``text``, or a tuple ``(start, end, label)`` or
            ``(start, end, label, score)``.
        name: What they belong to, for error messages.
        words: Whether their indices count words. Those of an ``Entity`` count characters even so.

    Yields:
        The name of each in error messages, and its values.

    Raises:
        InputError: There is no iterable of entities, or one of them cannot be read.
    """
    if isinstance(entities, str | bytes | Mapping) or not isinstance(entities, Iterable):
        raise InputError(
            f"{name}: entities must be a list of tuples (start, end, label), of dictionaries or of Entity objects, got "
            f"{describe_value(entities)}"
        )
    for index, entity in enumerate(entities):
        where = f"{name}, entities[{index}]"
        if isinstance(entity, SpanInput):  # from the process that read it
            yield where, entity
            continue
        start, end, label, *rest = _list_values(entity, where, words=words)
        score, text = (*rest, None)[:2] if rest else (1.0, None)
        yield (
            where,
            SpanInput(
                check_integer(f"{where}: start", start, 0),
                check_integer(f"{where}: end", end, 0),
                read_text(label, f"{where}: label"),
                1.0 if score is None else check_probability(f"{where}: score", score),
                None if text is None else read_text(text, f"{where}: text"),
                words and not isinstance(entity, Entity),
            ),
        )


def _list_values(entity: Any, where: str, *, words: bool) -> tuple[Any, ...]:
    """Return start, end and label of an entity, and perhaps its score and its text."""
    if isinstance(entity, Entity):
        return entity.start, entity.end, entity.label, entity.score, entity.text
    if isinstance(entity, Mapping):
        if missing := [key for key in ("start", "end", "label") if key not in entity]:
            fields = ", ".join(map(repr, list(entity)[:5])) or "none"
            raise InputError(f"{where}: the field {missing[0]!r} is missing; its fields: {fields}")
        return tuple(entity.get(key) for key in ("start", "end", "label", "score", "text"))
    if hasattr(entity, "start_char") and hasattr(entity, "label_"):  # a span of spaCy
        ends = (entity.start, entity.end) if words else (entity.start_char, entity.end_char)
        return *ends, entity.label_
    if isinstance(entity, tuple | list) and len(entity) in (3, 4):
        return tuple(entity)
    raise InputError(
        f"{where}: an entity is a tuple (start, end, label), a dictionary with these fields or an Entity, got "
        f"{describe_value(entity)}"
    )
