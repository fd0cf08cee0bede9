"""Trees of one root against every tree that there is, and against a library on larger ones."""

from itertools import product

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.runtime.decoding.dependency_trees import find_best_tree, repair_tree


def is_tree(heads: list[int]) -> bool:
    """One root, and every word leads to it."""
    roots = [place for place, head in enumerate(heads) if head == place]
    if len(roots) != 1:
        return False
    for place in range(len(heads)):
        seen = set()
        while place not in seen:
            seen.add(place)
            place = heads[place]
        if place != roots[0]:
            return False
    return True


def total(scores: np.ndarray, heads: list[int]) -> float:
    return float(scores[np.arange(len(heads)), heads].sum())


@settings(max_examples=150, deadline=None)
@given(words=st.integers(1, 5), seed=st.integers(0, 10_000), spread=st.sampled_from([0.01, 1, 100]))
def test_no_tree_scores_more(words: int, seed: int, spread: float) -> None:
    scores = np.random.default_rng(seed).normal(size=(words, words)) * spread
    found = find_best_tree(scores).tolist()
    assert is_tree(found)
    best = max(total(scores, list(heads)) for heads in product(range(words), repeat=words) if is_tree(list(heads)))
    assert total(scores, found) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
def test_as_good_as_a_library_s(seed: int) -> None:
    words = 25
    scores = np.random.default_rng(seed).normal(size=(words, words))
    found = find_best_tree(scores).tolist()
    assert is_tree(found)
    graph = networkx.DiGraph()
    for place in range(words):
        graph.add_edge(-1, place, weight=scores[place, place] - 1000)
        graph.add_weighted_edges_from((head, place, scores[place, head]) for head in range(words) if head != place)
    tree = networkx.maximum_spanning_arborescence(graph)
    best = sum(scores[place, place if head < 0 else head] for head, place in tree.edges)
    assert total(scores, found) == pytest.approx(best)


def test_a_long_sentence_of_cycles() -> None:
    """Every word's best head is its neighbour's, in pairs, and there is no good root."""
    words = 400
    scores = np.zeros((words, words), np.float32)
    scores[np.arange(words), np.arange(words) ^ 1] = 10
    assert is_tree(find_best_tree(scores).tolist())


def test_best_heads_that_are_a_tree_stay() -> None:
    scores = np.eye(3)[[1, 1, 0]]
    assert find_best_tree(scores).tolist() == [1, 1, 0]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=7))
def test_arcs_of_several_windows_become_one_tree(heads: list[int]) -> None:
    heads = [min(head, len(heads) - 1) for head in heads]
    labels = ["ROOT" if head == place else "x" for place, head in enumerate(heads)]
    found, names = repair_tree(np.array(heads), labels, "ROOT", "dep")
    assert is_tree(found.tolist())
    for place, head in enumerate(found.tolist()):
        assert (names[place] == "ROOT") == (head == place)
        assert head == heads[place] or names[place] in ("dep", "ROOT")
    if is_tree(heads):
        assert (found.tolist(), names) == (heads, labels)
