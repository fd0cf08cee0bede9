"""Join the relations of the sentences of a text to an extraction with the entities of the caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ..assembly import SentenceExtraction, join_sentences
from ..document_reader import GivenEntities
from ..results import Candidates, Entity, Extraction, Relation


def join_given_sentences(
    text: str,
    sentences: Sequence[SentenceExtraction],
    given: GivenEntities,
    language: str | None = None,
    *,
    candidates: bool = False,
) -> Extraction:
    """Join the extractions of all sentences of a text whose entities the caller gave.

    Args:
        text: The caller's text.
        sentences: Extraction of each sentence, in order.
        given: The caller's entities.
        language: Language whose rules split the text into words; None if the caller gave the words.
        candidates: Add the relation candidates of the sentences.

    Returns:
        The extraction of the text. Its entities are the caller's, in the same order.
    """
    joined = join_sentences(text, sentences, language, candidates=candidates)
    own = {
        found: given.entities[index]
        for sentence, indices in zip(sentences, given.indices, strict=True)
        for found, index in zip(sentence.entities, indices, strict=True)
    }
    considered = joined.candidates
    return msgspec.structs.replace(
        joined,
        entities=given.entities,
        relations=tuple(_rename_ends(joined.relations, own)),
        notices=(*given.notices, *joined.notices),
        candidates=None if considered is None else Candidates((), tuple(_rename_ends(considered.relations, own))),
    )


def _rename_ends(relations: Iterable[Relation], own: dict[Entity, Entity]) -> Iterator[Relation]:
    for relation in relations:
        yield msgspec.structs.replace(relation, head=own[relation.head], tail=own[relation.tail])
