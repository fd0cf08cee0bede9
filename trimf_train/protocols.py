"""How each data set is scored (model.md §8), and what the paper reports on it (Table 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from trimf_train.metrics import Evaluation, Leaf

Triple = tuple[float, float, float]
"""Precision, recall and F1 in per cent."""


class Protocol(NamedTuple):
    """One recorded way of scoring: which relations count as right, over what is averaged, and on what parts.

    ``paper`` holds the entity and the relation row of the paper, with its encoder; ``recipe`` the packaged
    configuration; ``folds`` is above 1 where the data set has no test part and is cross-validated.
    """

    name: str
    types: frozenset[str] = frozenset()
    relations: Literal["strict", "boundary"] = "strict"
    average: Literal["micro", "macro"] = "micro"
    paper: tuple[Triple, Triple] | None = None
    paper_encoder: str = ""
    recipe: str | None = None
    folds: int = 1

    def entity(self, scores: Evaluation) -> Leaf:
        """The headline of the entities."""
        return scores["entities"][self.average]

    def relation(self, scores: Evaluation) -> Leaf:
        """The headline of the relations."""
        return scores["relations"][self.relations][self.average]

    def headline(self, scores: Evaluation) -> str:
        """The protocol and its figures, a line."""
        entity, relation = self.entity(scores)["f1"], self.relation(scores)["f1"]
        return f"{self}: entity F1 {entity:.2f}, relation F1 {relation:.2f}"

    def __str__(self) -> str:
        folds = f", {self.folds} folds" if self.folds > 1 else ""
        return f"{self.name}: entities exact, relations {self.relations}, {self.average} average{folds}"


_ALL = (
    Protocol(
        "CoNLL04",
        frozenset({"Loc", "Org", "Other", "Peop"}),
        paper=((90.26, 90.34, 90.30), (73.01, 71.63, 72.35)),
        paper_encoder="BERT-base, train+dev",
        recipe="conll04.toml",
    ),
    Protocol(
        "SciERC",
        frozenset({"Generic", "Material", "Method", "Metric", "OtherScientificTerm", "Task"}),
        relations="boundary",
        paper=((70.18, 70.17, 70.17), (52.63, 52.32, 52.44)),
        paper_encoder="SciBERT",
        recipe="scierc.toml",
    ),
    Protocol(
        "ADE",
        frozenset({"Adverse-Effect", "Drug"}),
        average="macro",
        paper=((89.50, 91.29, 90.38), (74.22, 83.43, 80.66)),
        paper_encoder="BERT-base",
        recipe="ade.toml",
        folds=10,
    ),
    Protocol(
        "ACE05",
        frozenset({"FAC", "GPE", "LOC", "ORG", "PER", "VEH", "WEA"}),
        paper=((87.67, 87.54, 87.61), (62.19, 63.37, 62.77)),
        paper_encoder="BERT-base",
    ),
)


def of(entity_types: Iterable[str]) -> Protocol:
    """The protocol of the data set that has these entity types; of others strict, micro, with no paper beside it."""
    found = frozenset(entity_types)
    for protocol in _ALL:
        if found and found <= protocol.types:
            return protocol
    return Protocol("own labels")
