"""Write sentences of a data set with a certain number of relation types, to measure what many labels cost.

Run ``python docs/tools/select_relation_types.py IN.json OUT.json --types 42``. Reads and writes SpERT JSON. The most
frequent relation types of ``--frequencies`` (default: the input) are kept; where there are fewer than ``--types``, each
type is divided by the types of its two entities first, so that 96 types of Re-DocRED make 346.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any


def divide_types(sentences: list[dict[str, Any]]) -> None:
    """Add the entity types of a relation to its type, in place."""
    for sentence in sentences:
        for relation in sentence["relations"]:
            head, tail = (sentence["entities"][relation[end]]["type"] for end in ("head", "tail"))
            relation["type"] = f"{relation['type']}: {head} {tail}"


def count_types(sentences: list[dict[str, Any]]) -> Counter[str]:
    """Return how often each relation type occurs."""
    return Counter(relation["type"] for sentence in sentences for relation in sentence["relations"])


def select(
    sentences: list[dict[str, Any]], reference: list[dict[str, Any]], types: int, limit: int
) -> list[dict[str, Any]]:
    """Keep the most frequent relation types and the sentences that have one of them.

    Args:
        sentences: SpERT sentences; changed in place.
        reference: SpERT sentences whose frequencies decide; changed in place. May be ``sentences`` itself.
        types: number of relation types to keep.
        limit: number of sentences to keep, counted from the first.

    Returns:
        The sentences kept.

    Raises:
        ValueError: the reference has fewer relation types.
    """
    if len(count_types(reference)) < types:
        divide_types(reference)
        if sentences is not reference:
            divide_types(sentences)
    frequencies = count_types(reference)
    if len(frequencies) < types:
        raise ValueError(f"{types} relation types were asked for, there are {len(frequencies)}")
    kept = {name for name, _ in frequencies.most_common(types)}
    for sentence in sentences:
        sentence["relations"] = [relation for relation in sentence["relations"] if relation["type"] in kept]
    return [sentence for sentence in sentences if sentence["relations"]][:limit]


def main() -> None:
    """Read the arguments, write the selected sentences and print how many there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--types", type=int, required=True)
    parser.add_argument("--frequencies", type=Path)
    parser.add_argument("--limit", type=int, default=1_000_000)
    options = parser.parse_args()
    sentences = json.loads(options.input.read_text(encoding="utf-8"))
    reference = json.loads(options.frequencies.read_text(encoding="utf-8")) if options.frequencies else sentences
    kept = select(sentences, reference, options.types, options.limit)
    options.output.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    print(f"{options.output}: {len(kept)} sentences, {len(count_types(kept))} relation types")


if __name__ == "__main__":
    main()
