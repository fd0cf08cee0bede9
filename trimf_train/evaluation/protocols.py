"""Evaluation protocols of the data sets (paper, section 4.3) and the paper's results on them (Table 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from trimf_train.evaluation.results import Evaluation, PrecisionRecallF1

#: Precision, recall and F1 in per cent.
PrecisionRecallF1Values = tuple[float, float, float]


class EvaluationProtocol(NamedTuple):
    """Settings for evaluation on one data set, and the paper's results on it.

    Attributes:
        name: Name of the data set.
        entity_types: Entity types of the data set, by which it is recognised.
        relation_matching: Evaluation of relations: ``strict`` requires correct entity types, ``boundary`` ignores them.
        average: Average that is reported, over all items (``micro``) or over types (``macro``).
        paper: Precision, recall and F1 of the paper for entities and for relations; None if it reports none.
        paper_encoder: Encoder behind the paper's results.
        recipe: File name of the packaged configuration; None if there is none.
        folds: Number of cross-validation folds; above 1 only for data sets without a test set.
    """

    name: str
    entity_types: frozenset[str] = frozenset()
    relation_matching: Literal["strict", "boundary"] = "strict"
    average: Literal["micro", "macro"] = "micro"
    paper: tuple[PrecisionRecallF1Values, PrecisionRecallF1Values] | None = None
    paper_encoder: str = ""
    recipe: str | None = None
    folds: int = 1

    def entity_scores(self, scores: Evaluation) -> PrecisionRecallF1:
        """Return the reported entity scores."""
        return scores["entities"][self.average]

    def relation_scores(self, scores: Evaluation) -> PrecisionRecallF1:
        """Return the reported relation scores."""
        return scores["relations"][self.relation_matching][self.average]

    def format_headline(self, scores: Evaluation) -> str:
        """Format the protocol and its two F1 values as one line."""
        entity, relation = self.entity_scores(scores)["f1"], self.relation_scores(scores)["f1"]
        return f"{self}: entity F1 {entity:.2f}, relation F1 {relation:.2f}"

    def __str__(self) -> str:
        folds = f", {self.folds} folds" if self.folds > 1 else ""
        return f"{self.name}: entities exact, relations {self.relation_matching}, {self.average} average{folds}"


#: Protocols of the data sets in the paper.
_ALL = (
    EvaluationProtocol(
        "CoNLL04",
        frozenset({"Loc", "Org", "Other", "Peop"}),
        paper=((90.26, 90.34, 90.30), (73.01, 71.63, 72.35)),
        paper_encoder="BERT-base, train+dev",
        recipe="conll04.toml",
    ),
    EvaluationProtocol(
        "SciERC",
        frozenset({"Generic", "Material", "Method", "Metric", "OtherScientificTerm", "Task"}),
        relation_matching="boundary",
        paper=((70.18, 70.17, 70.17), (52.63, 52.32, 52.44)),
        paper_encoder="SciBERT",
        recipe="scierc.toml",
    ),
    EvaluationProtocol(
        "ADE",
        frozenset({"Adverse-Effect", "Drug"}),
        average="macro",
        paper=((89.50, 91.29, 90.38), (74.22, 83.43, 80.66)),
        paper_encoder="BERT-base",
        recipe="ade.toml",
        folds=10,
    ),
    EvaluationProtocol(
        "ACE05",
        frozenset({"FAC", "GPE", "LOC", "ORG", "PER", "VEH", "WEA"}),
        paper=((87.67, 87.54, 87.61), (62.19, 63.37, 62.77)),
        paper_encoder="BERT-base",
    ),
)


def protocol_for(entity_types: Iterable[str]) -> EvaluationProtocol:
    """Return the protocol of the data set that has the given entity types.

    Args:
        entity_types: Entity types that occur in the data or in the model's labels.

    Returns:
        The first known protocol whose types include all of them; otherwise a protocol named ``custom labels`` with
        strict evaluation, micro average and no results of the paper.
    """
    types = frozenset(entity_types)
    for protocol in _ALL:
        if types and types <= protocol.entity_types:
            return protocol
    return EvaluationProtocol("custom labels")
