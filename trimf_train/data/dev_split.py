"""Set a part of annotated data aside for development, whole documents at a time."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from .sentence import Sentence

#: Share of the sentences to set aside, and the most that are.
DEV_SHARE = 0.2
MAX_DEV_SENTENCES = 1000

#: A document is left in training if it would raise the dev part to more than this multiple of what is wanted.
_OVERSHOOT = 1.5

#: Id of a sentence of a document: the document's id and a number.
_SENTENCE_ID = re.compile(r"(?P<document>.+):\d+", re.DOTALL)


class DevSplit(NamedTuple):
    """Training and development sentences, in the order of the data, and how many documents each part has."""

    train: list[Sentence]
    dev: list[Sentence]
    train_documents: int
    dev_documents: int


def split_off_dev(sentences: Sequence[Sentence]) -> DevSplit:
    """Set about a fifth of the sentences aside, so that no document is in both parts.

    Which documents are set aside depends on their text alone, so that equal data give equal parts, and a document stays
    in its part when others are added. Documents with equal text stay together. A label keeps at least one example in
    training, if any choice allows it.

    Args:
        sentences: Sentences of all documents. Those whose ids differ only in the number after the last colon are one
            document; a sentence with another id, or with none, is one of its own.

    Returns:
        Both parts; ``dev`` is empty if there is only one document.
    """
    by_hash = _group_by_document(sentences)
    ordered = [by_hash[key] for key in sorted(by_hash)]
    wanted = min(MAX_DEV_SENTENCES, max(1, round(DEV_SHARE * len(sentences))))
    left = sum((_count_labels(sentences, document) for document in ordered), Counter[tuple[str, str]]())
    chosen: set[int] = set()
    for document in ordered:
        own = _count_labels(sentences, document)
        if len(chosen) >= wanted:
            break
        if len(chosen) + len(document) <= max(1, _OVERSHOOT * wanted) and all(left[name] > own[name] for name in own):
            chosen.update(document)
            left -= own
    if not chosen and len(ordered) > 1:
        shortest = min(ordered, key=len)
        chosen.update(shortest)
    dev_documents = sum(document[0] in chosen for document in ordered)
    return DevSplit(
        [sentence for index, sentence in enumerate(sentences) if index not in chosen],
        [sentence for index, sentence in enumerate(sentences) if index in chosen],
        len(ordered) - dev_documents,
        dev_documents,
    )


def _group_by_document(sentences: Sequence[Sentence]) -> dict[bytes, list[int]]:
    """Return the indices of the sentences of each document by the hash of its text; equal texts are one document."""
    by_id: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for index, sentence in enumerate(sentences):
        found = _SENTENCE_ID.fullmatch(sentence.id)
        by_id[(found["document"], -1) if found else ("", index)].append(index)
    by_hash: defaultdict[bytes, list[int]] = defaultdict(list)
    for indices in by_id.values():
        by_hash[_hash_text(sentences, indices)] += indices
    return by_hash


def _hash_text(sentences: Sequence[Sentence], document: Sequence[int]) -> bytes:
    digest = hashlib.sha256()
    for index in document:
        digest.update("\0".join((*sentences[index].tokens, "\n")).encode("utf-8", "surrogatepass"))
    return digest.digest()


def _count_labels(sentences: Sequence[Sentence], document: Sequence[int]) -> Counter[tuple[str, str]]:
    """Count the labels of a document, with their kind."""
    counts: Counter[tuple[str, str]] = Counter()
    for index in document:
        counts.update(("entity", entity.type) for entity in sentences[index].entities)
        counts.update(("relation", relation.type) for relation in sentences[index].relations)
    return counts
