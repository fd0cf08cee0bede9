"""Decode tags of words (BIO, IOB1, BIOES, BILOU, BMES) into entities, as the scorer conlleval does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .json_errors import field_error
from .sentence import EntityMention

_TAG = re.compile(r"(?P<position>[BIESLUM])-(?P<label>.+)", re.DOTALL)


def is_tag(text: str) -> bool:
    """Return True for ``O`` and for a position, a hyphen and a label."""
    return text == "O" or _TAG.fullmatch(text) is not None


def decode_tags(tags: Sequence[str], locations: Sequence[str], field: str) -> list[EntityMention]:
    """Decode the tags of a sentence.

    An entity begins at B, S and U, after O, after an end (E, L, S, U), and where the label changes: so an I without a B
    begins one.

    Args:
        tags: One tag a word.
        locations: Where each tag stands; an error message starts with it.
        field: Name of the field, for error messages.

    Returns:
        The entities, in order.

    Raises:
        DataError: A tag is none.
    """
    entities: list[EntityMention] = []
    label, start, open_ = "", 0, False
    for index, tag in enumerate(tags):
        match = _TAG.fullmatch(tag)
        if match is None and tag != "O":
            raise field_error(
                locations[index], field, tag, "O, or one of B I E S L U M, a hyphen and a label, as B-Person"
            )
        position, new = (match["position"], match["label"]) if match else ("O", "")
        if open_ and (position in "OBSU" or new != label):
            entities.append(EntityMention(label, start, index))
            open_ = False
        if position != "O" and not open_:
            label, start, open_ = new, index, True
        if open_ and position in "ESLU":
            entities.append(EntityMention(label, start, index + 1))
            open_ = False
    if open_:
        entities.append(EntityMention(label, start, len(tags)))
    return entities
