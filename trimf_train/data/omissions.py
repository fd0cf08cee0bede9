"""Count what readers leave out of published data because no model can use it."""

from __future__ import annotations

from dataclasses import dataclass

#: Field of ``Omissions``, the items it counts, and which of them, as in "2 relations across sentences".
OMISSION_KINDS = (
    ("empty_sentences", "sentences", "without words"),
    ("relations_across_sentences", "relations", "across sentences"),
    ("relations_with_itself", "relations", "of an entity with itself"),
    ("relations_without_entities", "relations", "of documents without entities"),
)


@dataclass(slots=True)
class Omissions:
    """Numbers of sentences and relations that a reader left out, filled while the file is read."""

    empty_sentences: int = 0
    relations_across_sentences: int = 0
    relations_with_itself: int = 0
    relations_without_entities: int = 0

    def __str__(self) -> str:
        """Format the numbers that are not zero as one phrase; empty if nothing was left out."""
        counts = ((getattr(self, name), items, which) for name, items, which in OMISSION_KINDS)
        return ", ".join(
            f"{count:,} {items.removesuffix('s') if count == 1 else items} {which}"
            for count, items, which in counts
            if count
        )
