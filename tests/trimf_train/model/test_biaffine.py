"""The parser head against loops over words, and what padding may not change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf_train.config import ModelConfig, SyntaxConfig
from trimf_train.model.biaffine import BiaffineParser
from trimf_train.model.trimf import TrainingBatch, TriMF

WIDTH, LABELS = 5, 4
SYNTAX = SyntaxConfig(source="encoder", arc_dim=3, label_dim=2, dropout=0.5)


def parser_of(seed: int) -> BiaffineParser:
    torch.manual_seed(seed)
    parser = BiaffineParser(LABELS, WIDTH, SYNTAX)
    with torch.no_grad():
        for parameter in parser.parameters():
            parameter.normal_()
    return parser.double().eval()


@torch.no_grad()
def by_loops(parser: BiaffineParser, words: torch.Tensor) -> tuple[list[list[float]], list[int], list[int]]:
    """Arc scores, heads and labels of one sentence, a word at a time."""
    views = torch.nn.functional.leaky_relu(words @ parser.project.weight.T + parser.project.bias, 0.1)
    dependent, head, of_label, of_label_head = views.split(parser.sizes, -1)
    one = torch.ones(1, dtype=torch.float64)
    scores = []
    for i in range(len(words)):
        row = []
        for j in range(len(words)):
            candidate = parser.root if i == j else head[j]
            row.append(float(dependent[i] @ parser.arc @ candidate + parser.arc_head @ candidate))
        scores.append(row)
    heads = [max(range(len(row)), key=row.__getitem__) for row in scores]
    labels = []
    size = parser.sizes[2] + 1
    for i, j in enumerate(heads):
        left, right = torch.cat([of_label[i], one]), torch.cat([of_label_head[j], one])
        of_arc = [float(left @ parser.label[:, k * size : (k + 1) * size] @ right) for k in range(LABELS)]
        labels.append(0 if i == j else 1 + max(range(LABELS), key=of_arc.__getitem__))
    return scores, heads, labels


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3), more=st.integers(0, 3), seed=st.integers(0, 999))
def test_arcs_equal_loops_whatever_the_batch(lengths: list[int], more: int, seed: int) -> None:
    parser = parser_of(seed)
    longest = max(lengths) + more
    words = torch.randn(len(lengths), longest, WIDTH, dtype=torch.float64)
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    with torch.no_grad():
        heads, labels = parser.parse(words, mask)
        dependent, head, *_ = parser.project_views(words)
        arcs = parser.arc_scores(dependent, head, mask)
        for row, length in enumerate(lengths):
            scores, expected, names = by_loops(parser, words[row, :length])
            torch.testing.assert_close(arcs[row, :length, :length], torch.tensor(scores))
            assert (arcs[row, :, length:] == -1e4).all()
            assert heads[row].tolist() == [*expected, *range(length, longest)]
            assert labels[row].tolist() == [*names, *[0] * (longest - length)]


def test_training_scores_are_those_of_the_true_heads() -> None:
    parser = parser_of(3)
    words = torch.randn(1, 4, WIDTH, dtype=torch.float64)
    mask = torch.ones(1, 4, dtype=torch.bool)
    _, heads, labels = by_loops(parser, words[0])
    arcs, scores = parser(words, mask, torch.tensor([heads]))
    assert arcs.argmax(-1).tolist() == [heads]
    found = scores.argmax(-1) + 1
    assert [0 if head == place else int(found[0, place]) for place, head in enumerate(heads)] == labels


@pytest.fixture
def own(build_model: Callable[..., TriMF]) -> TriMF:
    return build_model(ModelConfig(syntax=SYNTAX))


def test_the_second_stage_takes_its_own_arcs(own: TriMF, build_inputs: Callable[..., TrainingBatch]) -> None:
    inputs = build_inputs([5, 3])
    wrong = inputs._replace(heads=inputs.heads * 0, labels=inputs.labels * 0 + 1)
    for stage, same in ((1, False), (2, True)):
        one, other = own(inputs, stage), own(wrong, stage)
        assert torch.equal(one.entity_logits, other.entity_logits) == same
        assert torch.equal(one.arc_scores, other.arc_scores)


def test_stage_0_has_no_more_than_arcs(own: TriMF, build_inputs: Callable[..., TrainingBatch]) -> None:
    inputs = build_inputs([5, 1])
    logits = own(inputs, 0)
    assert logits.entity_logits is None
    assert logits.relation_logits is None
    assert logits.arc_scores.shape == (2, 5, 5)
    assert logits.arc_label_scores.shape == (2, 5, 3)


@pytest.mark.parametrize("detach", [True, False])
def test_the_loss_of_arcs_reaches_the_encoder_unless_detached(
    build_model: Callable[..., TriMF], build_inputs: Callable[..., TrainingBatch], detach: bool
) -> None:
    model = build_model(ModelConfig(syntax=SyntaxConfig(source="encoder", detach=detach)))
    model.train()
    model(build_inputs([4, 2]), 0).arc_scores.sum().backward()
    gradient = model.encoder.table.weight.grad
    assert (gradient is None) == detach
    assert model.parser.project.weight.grad.abs().sum() > 0


def test_dropout_of_the_parser_does_not_reach_the_graph(own: TriMF, build_inputs: Callable[..., TrainingBatch]) -> None:
    own.parser.train()
    inputs = build_inputs([6])
    states, _ = own.encode_subwords(inputs.input_ids, inputs.attention_mask)
    assert all(
        torch.equal(*pair)
        for pair in zip(own.predict_arcs(states, inputs), own.predict_arcs(states, inputs), strict=True)
    )
    assert own.parser.training
