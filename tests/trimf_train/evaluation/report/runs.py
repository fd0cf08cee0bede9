"""Makes of what models say of texts, for hypothesis and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from trimf.runtime.bundle.labels import Labels
from trimf_train.evaluation.report.model_run import ModelRun
from trimf_train.evaluation.report.scored_text import ScoredPrediction, ScoredText, sort_ends

TYPES = ("A", "B", "C")
LINKS = ("r", "s", "mutual")
LABELS = Labels(TYPES, LINKS, (), symmetric=("mutual",))
SYMMETRIC = frozenset(LABELS.symmetric)
TEXT = "one two three four five six seven"


def make_text(
    gold: Sequence[Any] = (),
    gold_relations: Sequence[Any] = (),
    predicted: dict[Any, float] | None = None,
    predicted_relations: dict[Any, float] | None = None,
    candidates: dict[Any, float] | None = None,
    relation_candidates: dict[Any, float] | None = None,
    text: str = TEXT,
    id: str = "",
) -> ScoredText:
    found, relations = predicted or {}, predicted_relations or {}
    scored = ScoredPrediction(found, relations, (candidates or {}) | found, (relation_candidates or {}) | relations)
    return ScoredText(id, text, [(0, len(text))], frozenset(gold), frozenset(gold_relations), scored)


def make_run(texts: Sequence[ScoredText], labels: Labels = LABELS, threshold: float = 0.4) -> ModelRun:
    return ModelRun(
        list(texts), labels, dict.fromkeys(labels.entity_types, 0.0), dict.fromkeys(labels.relation_types, threshold)
    )


def entities() -> st.SearchStrategy[Any]:
    parts = st.tuples(st.integers(0, 8), st.integers(1, 4), st.sampled_from(TYPES))
    return parts.map(lambda part: (part[0], part[0] + part[1], part[2]))


@st.composite
def scored_texts(draw: Any) -> ScoredText:
    """A text in which gold and predictions often share entities and relations."""
    pool = draw(st.lists(entities(), max_size=6, unique=True))
    gold = [one for one in pool if draw(st.booleans())]
    predicted = [one for one in pool if draw(st.booleans())]
    scores = st.floats(0, 1)

    def relations(ends: list[Any]) -> list[Any]:
        if not ends:
            return []
        made = st.tuples(st.sampled_from(ends), st.sampled_from(ends), st.sampled_from(LINKS))
        return [sort_ends(one, SYMMETRIC) for one in draw(st.lists(made, max_size=5))]

    found = {one: draw(scores) for one in predicted}
    links = {one: draw(scores) for one in relations(predicted)}
    more = {one: draw(scores) for one in relations(predicted)}
    candidates = {one: draw(scores) for one in draw(st.lists(entities(), max_size=3))}
    return make_text(gold, relations(gold), found, links, candidates, more)


def runs(least: int = 1, most: int = 6) -> st.SearchStrategy[ModelRun]:
    return st.lists(scored_texts(), min_size=least, max_size=most).map(make_run)
