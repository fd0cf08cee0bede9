"""Predictions of a pipeline on annotated sentences, counted (paper 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

from trimf.runtime.pipeline import ParsedSentence, Pipeline
from trimf_train.data.sentence import Sentence
from trimf.runtime.labels import Labels
from trimf_train import metrics
from trimf_train.metrics import Annotation, Evaluation


def predict(
    pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 32
) -> list[Annotation]:
    """What the pipeline finds in prepared sentences, in their order."""
    parsed = [ParsedSentence(one.tokens, one.heads or [], one.labels or []) for one in sentences]
    annotations = []
    for found, *_ in pipeline.run(parsed, batch_size):
        entities = [(entity.start, entity.end, labels.entities[entity.label]) for entity in found.entities]
        relations = [
            (entities[relation.head], entities[relation.tail], labels.relations[relation.label])
            for relation in found.relations
        ]
        annotations.append(Annotation(entities, relations))
    return annotations


def evaluate(pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 32) -> Evaluation:
    """Precision, recall and F1 of the pipeline on prepared sentences, as ``trimf_train.metrics`` counts them."""
    predicted = predict(pipeline, labels, sentences, batch_size)
    return metrics.evaluate([metrics.annotation(one) for one in sentences], predicted, labels.symmetric)
