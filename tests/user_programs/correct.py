"""A program of a user that type checkers must accept: it asserts that no type of the public API is Any."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

import trimf
from trimf import (
    Arc,
    Entity,
    Extraction,
    ExtractionStream,
    Extractor,
    Parse,
    Parser,
    Relation,
    Trigger,
    TrimfError,
    load,
    load_parser,
)


class ChainParser:
    """A parser of the user's own, which satisfies the protocol."""

    name = "chain"
    labels = ("dep",)

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        """Give each word its left neighbour as its head."""
        return [Parse([max(index - 1, 0) for index in range(len(words))], ["dep"] * len(words)) for words in sentences]


def check_extraction(doc: Extraction) -> None:
    """Assert the types of everything in an extraction."""
    assert_type(doc.text, str)
    assert_type(doc.entities, tuple[Entity, ...])
    assert_type(doc.relations, tuple[Relation, ...])
    assert_type(doc.sentences, tuple[tuple[int, int], ...])
    assert_type(doc.notices, tuple[str, ...])
    assert_type(doc.arcs, tuple[Arc, ...])
    assert_type(doc.to_json(), str)
    assert_type(doc.to_dict(), dict[str, Any])
    for entity in doc.entities:
        assert_type((entity.start, entity.end, entity.text), tuple[int, int, str])
        assert_type((entity.label, entity.score), tuple[str, float])
    for relation in doc.relations:
        assert_type((relation.head, relation.tail), tuple[Entity, Entity])
        assert_type((relation.label, relation.score), tuple[str, float])
        assert_type(relation.triggers, tuple[Trigger, ...])
        for trigger in relation.triggers:
            assert_type((trigger.start, trigger.end), tuple[int, int])
            assert_type((trigger.text, trigger.score), tuple[str, float])
    for arc in doc.arcs:
        assert_type((arc.start, arc.end, arc.head), tuple[int, int, int])
        assert_type((arc.text, arc.label), tuple[str, str])


def check_extractor(extract: Extractor) -> None:
    """Assert the types of an extractor's methods and attributes."""
    assert_type(extract("Jack Ruby shot Lee Harvey Oswald."), Extraction)
    assert_type(extract.stream(["One.", "Two."], batch_size=2, workers=2), ExtractionStream[Extraction])
    assert_type(extract.stream(["One.", "Two."], processes=2), ExtractionStream[Extraction])
    assert_type(extract.words([["Jack", "Ruby"], ("shot",)]), ExtractionStream[Extraction])
    pairs: list[tuple[str, int]] = [("One.", 1)]
    assert_type(extract.stream(pairs, as_tuples=True), ExtractionStream[tuple[Extraction, int]])
    given = [
        (0, 9, "person"),
        Entity(15, 32, "Lee Harvey Oswald", "Peop", 0.9),
        {"start": 0, "end": 4, "label": "Peop"},
    ]
    related = extract.relate("Jack Ruby shot Lee Harvey Oswald.", given, types={"person": "Peop"}, misaligned="snap")
    assert_type(related, Extraction)
    assert_type(extract.relate_words(["Jack", "shot"], [(0, 1, "Peop")]), Extraction)
    assert_type(extract.relate_stream([("Jack", given)], on_error="skip"), ExtractionStream[Extraction])
    with_ids = [((["Jack"], [(0, 1, "Peop")]), 7)]
    related_words = extract.relate_stream(with_ids, words=True, as_tuples=True)
    assert_type(related_words, ExtractionStream[tuple[Extraction, int]])
    assert_type((extract.backend, extract.backend_reason), tuple[str, str])
    assert_type(extract.parser, Parser | None)
    assert_type(extract.parser_note, str)
    assert_type(extract.bundle.path, Path)
    assert_type(extract.bundle.manifest.schema_version, int)
    assert_type(extract.bundle.manifest.decoding.relation_threshold, float)
    assert_type(extract.bundle.manifest.labels.entity_types, tuple[str, ...])
    extract.close()


def check_parsers() -> None:
    """Assert the types of parsers, and pass each kind of parser."""
    installed = load_parser("en_core_web_sm")
    assert_type(installed.name, str)
    assert_type(installed.labels, tuple[str, ...])
    parses = installed.parse([["Jack", "ran"]])
    assert_type(parses, list[Parse])
    assert_type(parses[0].labels, Sequence[str])
    words: list[int] = [int(head) for head in parses[0].heads]
    assert words
    own: Parser = ChainParser()
    with trimf.load("default", backend="cpu", threads=1, parser=own, triggers=2, syntax="tree") as extract:
        assert_type(extract, Extractor)
    load(Path("bundle"), parser=installed).close()


def check_errors() -> str:
    """Catch each error of the package."""
    try:
        assert_type(trimf.load(), Extractor)
    except (trimf.InputError, trimf.DataError, trimf.ConfigError) as error:
        base: TrimfError = error
        return str(base)
    except (trimf.BundleError, trimf.BackendError) as error:
        base = error
        return str(base)
    return assert_type(trimf.__version__, str)
