"""Every equation of the model written out as loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from trimf_train.config import FlowConfig
from trimf_train.model.trimf import TrainingBatch, TriMF


class Equations:
    """The equations of the paper on vectors of float64, one token, slot, span and pair at a time."""

    @staticmethod
    def softmax(values: Sequence[float]) -> list[float]:
        if not values:
            return []
        highest = max(values)
        powers = [math.exp(value - highest) for value in values]
        return [power / sum(powers) for power in powers]

    @classmethod
    def read(cls, vector: Tensor, weight: Tensor, slots: Tensor) -> Tensor:
        """(1)(2)."""
        attention = cls.softmax([float(vector @ weight @ slot) for slot in slots])
        result = torch.zeros_like(slots[0])
        for share, slot in zip(attention, slots, strict=True):
            result = result + share * slot
        return result

    @classmethod
    def inverse(cls, tokens: Sequence[Tensor], weight: Tensor, slots: Tensor, combine: str) -> list[float]:
        """(3): one number a token; the sum over the slots, or their mean."""
        totals = [0.0] * len(tokens)
        for slot in slots:
            scores = [float(slot @ weight @ token) for token in tokens]
            for place, share in enumerate(cls.softmax(scores)):
                totals[place] += share / len(slots) if combine == "mean" else share
        return totals

    @classmethod
    def flow(
        cls, tokens: Sequence[Tensor], memories: Sequence[tuple[Tensor, Tensor]], config: FlowConfig
    ) -> list[Tensor]:
        """(9)(10): ``memories`` are (W, slots) of each memory that flows."""
        if not memories:
            return list(tokens)
        weights = [cls.inverse(tokens, weight, slots, config.slots) for weight, slots in memories]
        results = []
        for place, token in enumerate(tokens):
            terms = [weight[place] * token for weight in weights]
            total = torch.zeros_like(token)
            for term in terms:
                total = total + term
            if config.residual == "none":
                results.append(total / len(terms))
            elif config.residual == "add":
                results.append(token + total)
            else:
                results.append((token + total) / (len(terms) + 1))
        return results

    @staticmethod
    def highest(vectors: Sequence[Tensor], width: int) -> Tensor:
        """The maximum in every dimension; zeros of nothing."""
        if not vectors:
            return torch.zeros(width, dtype=torch.float64)
        return torch.tensor([max(float(v[k]) for v in vectors) for k in range(width)], dtype=torch.float64)

    @staticmethod
    def syntactic(
        words: Sequence[Tensor],
        heads: Sequence[int],
        labels: Sequence[int],
        own: Tensor,
        down: Sequence[Tensor],
        up: Sequence[Tensor] | None,
    ) -> list[Tensor]:
        """(15): one matrix a label, label 0 carries nothing; ``up`` adds the mean over the dependents."""
        results = []
        for place, word in enumerate(words):
            state = word @ own
            if labels[place]:
                state = state + words[heads[place]] @ down[labels[place] - 1]
            if up is not None:
                children = [c for c in range(len(words)) if labels[c] and heads[c] == place]
                for child in children:
                    state = state + words[child] @ up[labels[child] - 1] / len(children)
            results.append(torch.where(state > 0, state, 0.0))
        return results

    @classmethod
    def semantic(cls, words: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
        """(16)-(18)."""
        projected = [word @ weight for word in words]
        active = [torch.where(vector > 0, vector, 0.01 * vector) for vector in projected]
        results = []
        for one in active:
            attention = cls.softmax([float(one @ other) for other in active])
            state = torch.zeros_like(one)
            for share, vector in zip(attention, projected, strict=True):
                state = state + share * vector
            results.append(state)
        return results

    @classmethod
    def fuse(cls, kind: str, semantic: Tensor, syntactic: Tensor, cls_vector: Tensor, weight: Any) -> Tensor:
        """(19)(20) and the other rows of Table 4, for one word."""
        if kind == "weighted":
            one, two = cls.softmax([float(cls_vector @ weight @ graph) for graph in (semantic, syntactic)])
            return one * semantic + two * syntactic
        if kind == "mean":
            return (semantic + syntactic) / 2
        if kind == "sum":
            return semantic + syntactic
        if kind == "max":
            return torch.maximum(semantic, syntactic)
        return {"semantic": semantic, "syntactic": syntactic}[kind]

    @classmethod
    def trigger(
        cls, head: Tensor, tail: Tensor, words: Sequence[Tensor], weight: Tensor, slots: Tensor
    ) -> tuple[Tensor, list[float]]:
        """(23)(24)."""
        read = (cls.read(head, weight, slots) + cls.read(tail, weight, slots)) / 2
        weights = cls.softmax([float(read @ word) for word in words])
        result = torch.zeros_like(head)
        for share, word in zip(weights, words, strict=True):
            result = result + share * word
        return result, weights

    @staticmethod
    def label_matrices(linear: Any) -> list[Tensor]:
        """The matrix of every label of a typed linear map, mixed from its bases where it has some."""
        weight = linear.weight.detach().double()
        if linear.mixture is None:
            return list(weight)
        mixture = linear.mixture.detach().double()
        return [sum(share * basis for share, basis in zip(row, weight, strict=True)) for row in mixture]

    @classmethod
    def model(
        cls, model: TriMF, inputs: TrainingBatch, stage: int
    ) -> tuple[list[list[float]], list[list[float]], list[Any]]:
        """Entity logits of ``inputs.spans``, relation logits and trigger weights of ``inputs.pairs``."""
        config, width = model.config, model.width
        value = {name: parameter.detach().double() for name, parameter in model.state_dict().items()}
        entity_memory, relation_memory = value["memory.entity"], value["memory.relation"]
        slots = {"relation": relation_memory, "entity": entity_memory[1:]}
        states = model.encoder(inputs.input_ids, inputs.attention_mask).last_hidden_state.detach().double()
        nodes_of: list[list[Tensor]] = []
        for row in range(len(states)):
            count = int(inputs.attention_mask[row].sum())
            length = int(inputs.word_mask[row].sum())
            tokens = list(states[row, :count])
            levels = {"subword": config.flow.subword, "word": config.flow.word}
            flows = {
                level: [
                    (value[f"{level}_flow.weights.{name}"], slots[name])
                    for name in ("relation", "entity")
                    if stage == 2 and getattr(switches, name)
                ]
                for level, switches in levels.items()
            }
            tokens = cls.flow(tokens, flows["subword"], config.flow)
            words = [
                cls.highest([tokens[place] for place in sorted(set(inputs.pieces[row, word].tolist()))], width)
                for word in range(length)
            ]
            words = cls.flow(words, flows["word"], config.flow)
            nodes_of.append(cls.nodes(model, value, words, tokens[0], inputs.heads[row], inputs.labels[row]))

        entity_rows = []
        for sentence, first, last in inputs.spans.tolist():
            parts = [cls.highest(nodes_of[sentence][first : last + 1], width), value["span_width.weight"][last - first]]
            vector = torch.cat(parts)
            entity_rows.append([float(vector @ value["entity_weight"] @ slot) for slot in entity_memory])

        relation_rows, trigger_rows = [], []
        spans = inputs.entities.tolist()
        for head, tail in inputs.pairs.tolist():
            (sentence, first, last), (_, other_first, other_last) = spans[head], spans[tail]
            nodes = nodes_of[sentence]
            between = [w for w in range(len(nodes)) if last < w < other_first or other_last < w < first]
            local = cls.highest([nodes[word] for word in between], width)
            ends = []
            for begin, end in ((first, last), (other_first, other_last)):
                wide = min(end - begin + 1, config.span.max_width)
                ends.append((cls.highest(nodes[begin : end + 1], width), value["span_width.weight"][wide - 1]))
            sensed, weights = torch.zeros(width, dtype=torch.float64), [0.0] * len(nodes)
            if config.trigger and stage == 2:
                sensed, weights = cls.trigger(ends[0][0], ends[1][0], nodes, value["trigger.weight"], relation_memory)
            context = [local + sensed] if config.context == "sum" else [local, sensed]
            vector = torch.cat([*ends[0], *ends[1], *context])
            relation_rows.append([float(vector @ value["relation_weight"] @ slot) for slot in relation_memory])
            trigger_rows.append(weights)
        return entity_rows, relation_rows, trigger_rows

    @classmethod
    def nodes(
        cls,
        model: TriMF,
        value: dict[str, Tensor],
        words: list[Tensor],
        cls_vector: Tensor,
        heads: Tensor,
        labels: Tensor,
    ) -> list[Tensor]:
        """(15)-(21)."""
        kind, fusion = model.config.fusion, model.fusion
        if kind == "none":
            return words
        semantic = syntactic = words
        if kind != "syntactic":
            semantic = cls.semantic(words, value["fusion.semantic.weight"])
        if kind != "semantic":
            graph: Any = fusion.syntactic
            up = None if graph.up is None else cls.label_matrices(graph.up)
            own = value["fusion.syntactic.own"]
            syntactic = cls.syntactic(words, heads.tolist(), labels.tolist(), own, cls.label_matrices(graph.down), up)
        weight = value.get("fusion.weight")
        return [
            (cls.fuse(kind, one, two, cls_vector, weight) + word) / 2
            for one, two, word in zip(semantic, syntactic, words, strict=True)
        ]


@pytest.fixture(scope="session")
def equations() -> type[Equations]:
    return Equations
