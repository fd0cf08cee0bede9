"""Where a model errs on what it learns: spans that it takes for entities, and that are none."""

from __future__ import annotations

import numpy as np

from trimf.runtime import decode
from trimf_train.loading import Mixture
from trimf_train.model.trimf import TriMF
from trimf_train.reading import read


def mined(model: TriMF, stage: int, mixture: Mixture, overlap: bool) -> Mixture:
    """The same examples with the places of such spans among their negatives, as the model is after ``stage``.

    Without ``overlap`` they are what the model would give as entities, none of which overlap.
    """
    found = list(mixture.examples)
    annotated = found[: mixture.annotated]
    for places, arrays in read(model, stage, [one.item for one in annotated]):
        lengths = [annotated[place].item.length for place in places]
        spans = decode.entity_spans(arrays["entity_logits"], lengths, overlap)
        for place, entities in zip(places, spans, strict=True):
            one = annotated[place]
            numbers = {(first, last): number for number, (first, last) in enumerate(one.negatives.tolist())}
            wrong = {(entity.start, entity.end - 1) for entity in entities} & numbers.keys()
            found[place] = one._replace(mined=np.array(sorted(numbers[span] for span in wrong), np.int64))
    return Mixture(found, mixture.annotated)
