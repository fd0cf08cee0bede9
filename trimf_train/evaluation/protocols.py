"""Evaluation protocols of the data sets (paper, section 4.3) and the paper's results on them (Table 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from trimf.runtime.errors import InputError
from trimf_train.evaluation.results import Evaluation, PrecisionRecallF1

#: Precision, recall and F1 in per cent.
PrecisionRecallF1Values = tuple[float, float, float]


class EvaluationProtocol(NamedTuple):
    """Settings for evaluation on one data set, and the paper's results on it.

    Attributes:
        name: Name of the data set.
        entity_types: Entity types of the data set, by which it is recognised together with its relation types.
        relation_types: Relation types of the data set.
        relation_matching: Evaluation of relations: ``strict`` requires correct entity types, ``boundary`` ignores them.
        average: Average that is reported, over all items (``micro``) or over types (``macro``).
        paper: Precision, recall and F1 of the paper for entities and for relations; None if it reports none.
        paper_encoder: Encoder behind the paper's results.
        recipe: File name of the packaged configuration; None if there is none.
        folds: Number of cross-validation folds; above 1 only for data sets without a test set.
    """

    name: str
    entity_types: frozenset[str] = frozenset()
    relation_types: frozenset[str] = frozenset()
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
        """Format the protocol and the two F1 values of one file, which is no cross-validation, as one line."""
        has_relations = bool(scores["relations"]["strict"]["per_type"])
        relation = f"relation F1 {self.relation_scores(scores)['f1']:.2f}" if has_relations else "no relations"
        given = scores.get("given_entities", False)
        entity = "entities given" if given else f"entity F1 {self.entity_scores(scores)['f1']:.2f}"
        return f"{self._replace(folds=1)}: {entity}, {relation}"

    def __str__(self) -> str:
        folds = f", {self.folds} folds" if self.folds > 1 else ""
        return f"{self.name}: entities exact, relations {self.relation_matching}, {self.average} average{folds}"


#: Name of the protocol for labels of no published data set.
OWN_LABELS = "own labels"

#: Protocols by the name that selects them on the command line.
PROTOCOLS: dict[str, EvaluationProtocol] = {
    "conll04": EvaluationProtocol(
        "CoNLL04",
        frozenset({"Loc", "Org", "Other", "Peop"}),
        frozenset({"Kill", "Live_In", "Located_In", "OrgBased_In", "Work_For"}),
        paper=((90.26, 90.34, 90.30), (73.01, 71.63, 72.35)),
        paper_encoder="BERT-base, train+dev",
        recipe="conll04.toml",
    ),
    "scierc": EvaluationProtocol(
        "SciERC",
        frozenset({"Generic", "Material", "Method", "Metric", "OtherScientificTerm", "Task"}),
        frozenset({"COMPARE", "CONJUNCTION", "EVALUATE-FOR", "FEATURE-OF", "HYPONYM-OF", "PART-OF", "USED-FOR"}),
        relation_matching="boundary",
        paper=((70.18, 70.17, 70.17), (52.63, 52.32, 52.44)),
        paper_encoder="SciBERT",
        recipe="scierc.toml",
    ),
    "ade": EvaluationProtocol(
        "ADE",
        frozenset({"Adverse-Effect", "Drug"}),
        frozenset({"Adverse-Effect"}),
        average="macro",
        paper=((89.50, 91.29, 90.38), (74.22, 83.43, 80.66)),
        paper_encoder="BERT-base",
        recipe="ade.toml",
        folds=10,
    ),
    "ace05": EvaluationProtocol(
        "ACE05",
        frozenset({"FAC", "GPE", "LOC", "ORG", "PER", "VEH", "WEA"}),
        frozenset({"ART", "GEN-AFF", "ORG-AFF", "PART-WHOLE", "PER-SOC", "PHYS"}),
        paper=((87.67, 87.54, 87.61), (62.19, 63.37, 62.77)),
        paper_encoder="BERT-base",
    ),
    "own": EvaluationProtocol(OWN_LABELS),
}


def protocol_for(entity_types: Iterable[str], relation_types: Iterable[str] = ()) -> EvaluationProtocol:
    """Return the protocol of the published data set that has exactly the given labels.

    Letter case is ignored, because published files of SciERC differ in it.

    Args:
        entity_types: All entity types of the model and of the data.
        relation_types: All relation types of the model and of the data.

    Returns:
        The protocol whose entity and relation types both equal the given ones; otherwise a protocol named
        ``own labels``, with strict evaluation, micro average and no results of the paper.
    """
    labels = _fold_case(entity_types), _fold_case(relation_types)
    for protocol in PROTOCOLS.values():
        if labels == (_fold_case(protocol.entity_types), _fold_case(protocol.relation_types)) and all(labels):
            return protocol
    return PROTOCOLS["own"]


def get_protocol(name: str) -> EvaluationProtocol:
    """Return the protocol with a name of ``PROTOCOLS``.

    Raises:
        InputError: There is no such protocol.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _fold_case(labels: Iterable[str]) -> frozenset[str]:
    return frozenset(map(str.casefold, labels))
