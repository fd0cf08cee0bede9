"""Run a pipeline on annotated sentences and convert its results to annotation."""

from __future__ import annotations

from collections.abc import Sequence

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.decoding.span_decoding import EntitySpan
from trimf.runtime.errors import DataError
from trimf.runtime.pipeline import ParsedSentence, Pipeline, SentenceResult
from trimf.runtime.text.parser import Parser, load_parser
from trimf_train.data.sentence import Sentence, with_parse
from trimf_train.evaluation.annotation import Annotation


def predict_annotations(
    pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 32
) -> list[Annotation]:
    """Predict the entities and relations of prepared sentences.

    Args:
        pipeline: The model to run.
        labels: The label names of the model.
        sentences: Prepared sentences; their gold annotation is ignored.
        batch_size: Maximum number of sentences per batch.

    Returns:
        One annotation per sentence, in the order of ``sentences``.
    """
    return [annotation_from_result(result, labels) for result in run_pipeline(pipeline, sentences, batch_size)]


def run_pipeline(
    pipeline: Pipeline,
    sentences: Sequence[Sentence],
    batch_size: int = 32,
    *,
    entities: Sequence[Sequence[EntitySpan]] | None = None,
) -> list[SentenceResult]:
    """Run a pipeline on prepared sentences.

    Args:
        pipeline: The model to run.
        sentences: Prepared sentences; their parses are used unless the model has an in-model parser.
        batch_size: Maximum number of sentences per batch.
        entities: Entities of each sentence between which relations are predicted, see ``gold_entity_spans``; None
            predicts the entities too.

    Returns:
        One result per sentence, in order; with the predicted dependency arcs if the model has an in-model parser.
    """
    inputs = [ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []) for sentence in sentences]
    return pipeline.run(inputs, batch_size, syntax="arcs" if pipeline.has_parser else None, entities=entities)


def gold_entity_spans(sentences: Sequence[Sentence], labels: Labels) -> list[list[EntitySpan]]:
    """Return the gold entities of sentences as the pipeline takes them.

    Args:
        sentences: Annotated sentences.
        labels: The label names of the model.

    Returns:
        The entities of each sentence, in order of (start, end, type), equal ones once.

    Raises:
        DataError: An entity has a type that the model does not have.
    """
    indices = {name: index for index, name in enumerate(labels.entity_types)}
    for sentence in sentences:
        for entity in sentence.entities:
            if entity.type not in indices:
                raise DataError(
                    f"sentence {sentence.id!r}: the model has no entity type {entity.type!r}; it has "
                    f"{', '.join(labels.entity_types)}"
                )
    return [
        [EntitySpan(*place, 1.0) for place in sorted({(one.start, one.end, indices[one.type]) for one in found})]
        for found in (sentence.entities for sentence in sentences)
    ]


def annotation_from_result(result: SentenceResult, labels: Labels, threshold: float = 0.0) -> Annotation:
    """Convert a pipeline result to an annotation with label names.

    Args:
        result: The pipeline's result for one sentence.
        labels: The label names of the model.
        threshold: Only relations with a score above this value are kept.

    Returns:
        The predicted entities and relations of the sentence.
    """
    entities = [
        (entity.start, entity.end, labels.entity_types[entity.type_index]) for entity in result.decoded.entities
    ]
    relations = [
        (entities[relation.head], entities[relation.tail], labels.relation_types[relation.type_index])
        for relation in result.decoded.relations
        if relation.score > threshold
    ]
    return Annotation(entities, relations)


def add_missing_parses(sentences: Sequence[Sentence], parser: str | Parser) -> list[Sentence]:
    """Parse the sentences that have no dependency parse yet; keep existing parses.

    Args:
        sentences: Sentences with or without a parse.
        parser: A parser, or the name of a parser, which is loaded only if it is needed.

    Returns:
        All sentences with a parse, in the same order.

    Raises:
        BackendError: The parser is needed and not installed.
    """
    unparsed = [sentence for sentence in sentences if sentence.heads is None]
    if not unparsed:
        return list(sentences)
    loaded = load_parser(parser) if isinstance(parser, str) else parser
    parses = iter(loaded.parse([sentence.tokens for sentence in unparsed]))
    return [with_parse(sentence, next(parses)) if sentence.heads is None else sentence for sentence in sentences]
