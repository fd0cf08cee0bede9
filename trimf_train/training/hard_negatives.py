"""Mine hard negatives: spans of the training sentences that the model wrongly predicts as entities."""

from __future__ import annotations

import numpy as np

from trimf.runtime.decoding import span_decoding as decode
from trimf_train.model.trimf import TriMF
from trimf_train.training.batched_inference import run_in_batches
from trimf_train.training.dataset import TrainingExamples


def mine_hard_negatives(model: TriMF, stage: int, mixture: TrainingExamples, overlap: bool) -> TrainingExamples:
    """Predict the entities of the annotated examples and record which negative spans are among them.

    Args:
        model: The model; it is set to eval mode.
        stage: Training stage that the model has gone through.
        mixture: The training examples; only the annotated ones are mined.
        overlap: Let the predicted entities of a sentence overlap, as at inference.

    Returns:
        The examples with their ``mine_hard_negatives`` negatives replaced.
    """
    examples = list(mixture.examples)
    annotated = examples[: mixture.annotated]
    for indices, arrays in run_in_batches(model, stage, [example.item for example in annotated]):
        lengths = [annotated[index].item.word_count for index in indices]
        spans = decode.decode_entities(arrays["entity_logits"], lengths, overlap)
        for index, entities in zip(indices, spans, strict=True):
            example = annotated[index]
            negatives = {(first, last): position for position, (first, last) in enumerate(example.negatives.tolist())}
            wrong = {(entity.start, entity.end - 1) for entity in entities} & negatives.keys()
            examples[index] = example._replace(
                hard_negatives=np.array(sorted(negatives[span] for span in wrong), np.int64)
            )
    return TrainingExamples(examples, mixture.annotated)
