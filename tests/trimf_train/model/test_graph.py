"""The two graphs and their fusion against their equations, word by word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf_train.config import SyntaxConfig
from trimf_train.model.graph import GraphFusion, SemanticGraph, SyntacticGraph, TypedLinear, dependent_mean_matrix

SEEDS = st.integers(0, 10_000)
LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=3)
KINDS = ["weighted", "mean", "sum", "max", "syntactic", "semantic", "none"]


def random_arcs(lengths: list[int], size: int, labels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Word mask, heads and labels ``[B,N]``; padding has head 0 and label 0, as batches have."""
    mask = torch.arange(size) < torch.tensor(lengths).unsqueeze(1)
    heads, types = torch.zeros(len(lengths), size, dtype=torch.long), torch.zeros(len(lengths), size, dtype=torch.long)
    for row, length in enumerate(lengths):
        heads[row, :length] = torch.randint(0, length, (length,))
        types[row, :length] = torch.randint(0, labels + 1, (length,))
        silent = (types[row, :length] == 0) | (heads[row, :length] == torch.arange(length))
        heads[row, :length] = torch.where(silent, torch.arange(length), heads[row, :length])
        types[row, :length] = torch.where(silent, 0, types[row, :length])
    return mask, heads, types


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, labels=st.integers(1, 5), bases=st.integers(0, 3), size=st.integers(1, 3), words=st.integers(1, 5))
def test_one_matrix_a_label(equations: Any, seed: int, labels: int, bases: int, size: int, words: int) -> None:
    torch.manual_seed(seed)
    linear = TypedLinear(labels, 4, bases)
    assert linear.weight.shape == (bases or labels, 4, 4)
    matrices = equations.label_matrices(linear)
    assert len(matrices) == labels
    states, types = torch.randn(size, words, 4), torch.randint(0, labels + 1, (size, words))
    result = linear(states, types)
    assert result.shape == states.shape
    for row in range(size):
        for word in range(words):
            kind = int(types[row, word])
            expected = states[row, word].double() @ matrices[kind - 1] if kind else torch.zeros(4).double()
            torch.testing.assert_close(result[row, word].detach().double(), expected, atol=1e-5, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, lengths=LENGTHS, inverse=st.booleans(), bases=st.integers(0, 2), pad=st.integers(0, 2))
def test_syntactic_graph(equations: Any, seed: int, lengths: list[int], inverse: bool, bases: int, pad: int) -> None:
    torch.manual_seed(seed)
    graph = SyntacticGraph(3, 4, SyntaxConfig(inverse=inverse, bases=bases))
    assert (graph.up is not None) == inverse
    size = max(lengths) + pad
    words = torch.randn(len(lengths), size, 4)
    _, heads, types = random_arcs(lengths, size, 3)
    result = graph(words, heads, types).detach()
    up = equations.label_matrices(graph.up) if inverse else None
    for row, length in enumerate(lengths):
        expected = equations.syntactic(
            list(words[row, :length].double()),
            heads[row, :length].tolist(),
            types[row, :length].tolist(),
            graph.own.detach().double(),
            equations.label_matrices(graph.down),
            up,
        )
        torch.testing.assert_close(result[row, :length].double(), torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_the_mean_over_children() -> None:
    heads, labels = torch.tensor([[1, 1, 1, 2, 0]]), torch.tensor([[2, 0, 1, 1, 0]])
    assert dependent_mean_matrix(heads, labels)[0].tolist() == [
        [0, 0, 0, 0, 0],
        [0.5, 0, 0.5, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, lengths=LENGTHS, pad=st.integers(0, 2))
def test_semantic_graph(equations: Any, seed: int, lengths: list[int], pad: int) -> None:
    torch.manual_seed(seed)
    graph = SemanticGraph(4, 1.0)
    size = max(lengths) + pad
    words = torch.randn(len(lengths), size, 4)
    mask, _, _ = random_arcs(lengths, size, 1)
    result = graph(words, mask).detach()
    weight = graph.weight.detach().double()
    for row, length in enumerate(lengths):
        expected = equations.semantic(list(words[row, :length].double()), weight)
        torch.testing.assert_close(result[row, :length].double(), torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_a_sentence_of_padding_attends_to_nothing() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[True, True], [False, False]])
    result = SemanticGraph(4, 1.0)(torch.randn(2, 2, 4), mask)
    assert result[1].tolist() == torch.zeros(2, 4).tolist()


def test_only_training_drops_edges_and_never_the_own_one() -> None:
    torch.manual_seed(0)
    graph, whole = SemanticGraph(4, 1e-9), SemanticGraph(4, 1.0)
    whole.load_state_dict(graph.state_dict())
    words, mask = torch.randn(2, 6, 4), torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    torch.testing.assert_close(graph(words, mask)[0], (words @ graph.weight)[0])
    torch.testing.assert_close(graph(words, mask)[1, :4], (words @ graph.weight)[1, :4])
    assert graph.eval()(words, mask).equal(whole.eval()(words, mask))
    assert whole.train()(words, mask).equal(whole.eval()(words, mask))


def test_the_share_of_edges_that_stay() -> None:
    torch.manual_seed(0)
    graph = SemanticGraph(20, 0.3)
    # Word i is the unit vector i, so column j of what it gathers is its attention to word j.
    graph.weight = torch.nn.Parameter(torch.eye(20))
    kept = graph(torch.eye(20).expand(50, -1, -1), torch.ones(50, 20, dtype=torch.bool)) > 0
    own = torch.eye(20, dtype=torch.bool).expand(50, -1, -1)
    assert kept[own].all()
    assert kept[~own].float().mean().item() == pytest.approx(0.3, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, lengths=LENGTHS, kind=st.sampled_from(KINDS), inverse=st.booleans(), bases=st.integers(0, 2))
def test_fusion(equations: Any, seed: int, lengths: list[int], kind: str, inverse: bool, bases: int) -> None:
    torch.manual_seed(seed)
    fusion = GraphFusion(3, 4, kind, SyntaxConfig(inverse=inverse, bases=bases), 1.0)
    size = max(lengths) + 1
    words, cls = torch.randn(len(lengths), size, 4), torch.randn(len(lengths), 4)
    mask, heads, types = random_arcs(lengths, size, 3)
    result = fusion(words, cls, mask, heads, types).detach()
    assert result.isfinite().all()
    for row, length in enumerate(lengths):
        vectors = list(words[row, :length].double())
        semantic = syntactic = vectors
        if fusion.semantic is not None:
            semantic = equations.semantic(vectors, fusion.semantic.weight.detach().double())
        if fusion.syntactic is not None:
            syntactic = equations.syntactic(
                vectors,
                heads[row, :length].tolist(),
                types[row, :length].tolist(),
                fusion.syntactic.own.detach().double(),
                equations.label_matrices(fusion.syntactic.down),
                equations.label_matrices(fusion.syntactic.up) if inverse else None,
            )
        weight = None if fusion.weight is None else fusion.weight.detach().double()
        for place, word in enumerate(vectors):
            expected = word
            if kind != "none":
                fused = equations.fuse(kind, semantic[place], syntactic[place], cls[row].double(), weight)
                expected = (fused + word) / 2
            torch.testing.assert_close(result[row, place].double(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fusion_holds_only_the_parameters_it_uses(kind: str) -> None:
    parts = {name.split(".")[0] for name, _ in GraphFusion(2, 4, kind, SyntaxConfig(), 1.0).named_parameters()}
    expected = {
        "weighted": {"weight", "semantic", "syntactic"},
        "syntactic": {"syntactic"},
        "semantic": {"semantic"},
        "none": set(),
    }
    assert parts == expected.get(kind, {"semantic", "syntactic"})
