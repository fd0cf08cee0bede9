"""The four subgraphs as modules with every constant folded (paper 3; identities of cheap inference).

Each computes the same function as ``trimf_train.model.trimf.TriMF`` up to rounding, without dropout, and with W M^T,
width embeddings and the split classifiers as constants, so that no term grows with spans x words x H.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimf_train.model.flow import MemoryFlow
from trimf_train.model.graph import TypedLinear, children_mean
from trimf_train.model.memory import Memory, masked_softmax
from trimf_train.model.trimf import TriMF


def take(states: Tensor, index: Tensor) -> Tensor:
    """Rows of ``states`` ``[B,N,H]`` at ``index`` ``[B,...]`` along the second axis, as one Gather of a flat table."""
    size, words, width = states.shape
    rows = torch.arange(size, device=states.device) * words
    flat = (index.flatten(1) + rows.unsqueeze(1)).flatten()
    return states.reshape(-1, width).index_select(0, flat).view(*index.shape, width)


class FoldedFlow(nn.Module):
    """Memory flow attention with ``M W`` folded to ``[slots,H]``, all memories in one thin product (paper (3)(10))."""

    def __init__(self, flow: MemoryFlow, memory: Memory) -> None:
        super().__init__()
        self.residual = flow.residual
        self.names = list(flow.weights)
        self.sizes = [len(memory.flow_slots(name, True)) for name in self.names]
        folded = [memory.flow_slots(name, True) @ weight for name, weight in flow.weights.items()]
        self.register_buffer("slots", torch.cat(folded).detach() if folded else None)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """``states`` ``[B,T,H]``, ``mask`` ``[B,T]`` to ``[B,T,H]``."""
        if self.slots is None:
            return states
        total = masked_softmax(states @ self.slots.T, mask.unsqueeze(-1), dim=1).sum(-1, keepdim=True)
        if self.residual == "none":
            factor = total / len(self.names)
        else:
            factor = (1 + total) / (1 if self.residual == "add" else 1 + len(self.names))
        return states * factor.to(states.dtype)


class EncoderGraph(nn.Module):
    """input_ids, attention_mask ``[B,T]``, pieces ``[B,N,S]`` to words ``[B,N,H]`` and cls ``[B,H]``."""

    inputs = ("input_ids", "attention_mask", "pieces")
    outputs = ("words", "cls")

    def __init__(self, model: TriMF, stage: int) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.subword_flow = FoldedFlow(model.subword_flow, model.memory) if stage == 2 else None
        self.word_flow = FoldedFlow(model.word_flow, model.memory) if stage == 2 else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Encode, flow, pool, flow."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.subword_flow is not None:
            states = self.subword_flow(states, attention_mask.bool())
        words = take(states, pieces).amax(2)
        if self.word_flow is not None:
            words = self.word_flow(words, pieces[:, :, 0] > 0)
        return words, states[:, 0]


class FoldedTypedLinear(nn.Module):
    """A matrix per arc label by gathering it, or, with bases, one product with the mixed states."""

    def __init__(self, linear: TypedLinear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        if linear.mixture is None:
            self.register_buffer("weight", functional.pad(weight, (0, 0, 0, 0, 1, 0)))
            self.register_buffer("mixture", None)
        else:
            self.register_buffer("weight", weight.flatten(0, 1))
            self.register_buffer("mixture", functional.pad(linear.mixture.detach(), (0, 0, 1, 0)))

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        """``states`` ``[B,N,H]``, ``labels`` ``[B,N]`` to ``[B,N,H]``."""
        if self.mixture is None:
            return (states.unsqueeze(-2) @ self.weight[labels]).squeeze(-2)
        share = functional.embedding(labels, self.mixture)
        return (share.unsqueeze(-1) * states.unsqueeze(-2)).flatten(-2) @ self.weight


class FusionGraph(nn.Module):
    """words ``[B,N,H]``, cls ``[B,H]``, word_mask, heads, labels ``[B,N]`` to nodes ``[B,N,H]``."""

    inputs = ("words", "cls", "word_mask", "heads", "labels")
    outputs = ("nodes",)

    def __init__(self, model: TriMF, stage: int) -> None:
        super().__init__()
        self.fusion = model.fusion
        syntactic = model.fusion.syntactic
        self.down = FoldedTypedLinear(syntactic.down) if syntactic is not None else None
        self.up = FoldedTypedLinear(syntactic.up) if syntactic is not None and syntactic.up is not None else None

    def forward(self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """Both graphs, fused (paper (15)-(21))."""
        graphs = []
        if self.fusion.semantic is not None:
            graphs.append(self.fusion.semantic(words, word_mask))
        if self.down is not None:
            nodes = words @ self.fusion.syntactic.own + self.down(take(words, heads), labels)
            if self.up is not None:
                nodes = nodes + children_mean(heads, labels).to(words.dtype) @ self.up(words, labels)
            graphs.append(torch.relu(nodes))
        if not graphs:
            return words.clone()
        return (self.fusion.combine(torch.stack(graphs), cls) + words) / 2


class EntitiesGraph(nn.Module):
    """nodes ``[B,N,H]`` (and cls with ``span.context = "cls"``) to entity_logits ``[B,N,K,n_e+1]`` (paper (26))."""

    outputs = ("entity_logits",)

    def __init__(self, model: TriMF, stage: int) -> None:
        super().__init__()
        span = model.config.span
        folded = (model.entity_weight @ model.memory.entity.T).detach()
        sizes = [model.width] * (span.context == "cls") + [model.width, span.width_dim]
        *of_cls, of_span, of_width = folded.split(sizes)
        self.inputs = ("nodes", "cls") if of_cls else ("nodes",)
        self.max_width = span.max_width
        self.register_buffer("of_cls", of_cls[0] if of_cls else None)
        self.register_buffer("of_span", of_span)
        self.register_buffer("of_width", model.span_width.weight.detach() @ of_width)

    def forward(self, nodes: Tensor, cls: Tensor | None = None) -> Tensor:
        """Running maxima, one thin product and a constant per width."""
        logits = self.grid(nodes) @ self.of_span + self.of_width
        return logits if self.of_cls is None else logits + (cls @ self.of_cls)[:, None, None]

    def grid(self, nodes: Tensor) -> Tensor:
        """``span_grid`` without slices of a length that may pass the sentence: ``[B,N,K,H]``."""
        padded = functional.pad(nodes, (0, 0, 0, self.max_width - 1), value=-1e4)
        count = nodes.shape[1]
        grid = [nodes]
        for width in range(1, self.max_width):
            grid.append(torch.maximum(grid[-1], padded[:, width : width + count]))
        return torch.stack(grid, 2)


class RelationsGraph(nn.Module):
    """Nodes ``[B,N,H]``, word_mask ``[B,N]``, spans ``[M,3]`` and pairs ``[P,2]`` to what is believed of each pair.

    Outputs: relation_logits ``[P,n_r]`` and triggers ``[P,N]``.
    """

    inputs = ("nodes", "word_mask", "spans", "pairs")
    outputs = ("relation_logits", "triggers")

    def __init__(self, model: TriMF, stage: int) -> None:
        super().__init__()
        config = model.config
        self.levels = int(math.log2(config.encoder.max_words))
        self.last_width = config.span.max_width - 1
        folded = (model.relation_weight @ model.memory.relation.T).detach()
        width, span = model.width, config.span.width_dim
        contexts = [width] * (2 if config.context == "concat" else 1)
        head, head_width, tail, tail_width, *context = folded.split([width, span, width, span, *contexts])
        table = model.span_width.weight.detach()
        self.register_buffer("of_spans", torch.cat([head, tail], 1))
        self.register_buffer("of_widths", torch.cat([table @ head_width, table @ tail_width], 1))
        self.register_buffer("of_local", context[0])
        self.register_buffer("of_trigger", context[-1])
        self.sensing = model.trigger is not None and stage == 2
        if self.sensing:
            slots = model.memory.relation.detach()
            self.register_buffer("read", (model.trigger.weight @ slots.T).detach())
            self.register_buffer("slots", slots.T.contiguous())

    def forward(self, nodes: Tensor, word_mask: Tensor, spans: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Head score, tail score, local context and sensed context of each pair, summed (paper (22)-(25), (27))."""
        table = self.table(nodes)
        sentence, first, last = spans[:, 0], spans[:, 1], spans[:, 2]
        pooled = self.maximum(table, nodes, sentence, first, last)
        scores = pooled @ self.of_spans + self.of_widths[(last - first).clamp(max=self.last_width)]
        of_head, of_tail = scores.chunk(2, 1)
        head, tail = pairs[:, 0], pairs[:, 1]
        of_pair = sentence[head]
        gap_first = torch.minimum(last[head], last[tail]) + 1
        gap_last = torch.maximum(first[head], first[tail]) - 1
        local = self.maximum(table, nodes, of_pair, gap_first, gap_last)
        logits = of_head[head] + of_tail[tail] + local @ self.of_local
        mask = word_mask[of_pair]
        if not self.sensing:
            return logits, torch.zeros_like(mask, dtype=nodes.dtype)
        sensed = torch.softmax((pooled @ self.read).float(), -1).to(nodes.dtype)
        similar = ((nodes @ self.slots)[sentence] @ sensed.unsqueeze(-1)).squeeze(-1)
        weights = masked_softmax((similar[head] + similar[tail]) / 2, mask)
        sensed_scores = (weights.to(nodes.dtype).unsqueeze(1) @ (nodes @ self.of_trigger)[of_pair]).squeeze(1)
        return logits + sensed_scores, weights

    def table(self, nodes: Tensor) -> Tensor:
        """Sparse table of maxima, ``[levels+1,B,N,H]`` flattened to rows; level l covers 2**l words."""
        places = torch.arange(nodes.shape[1], device=nodes.device)
        levels = [nodes]
        for level in range(self.levels):
            later = (places + 2**level).clamp(max=nodes.shape[1] - 1)
            levels.append(torch.maximum(levels[-1], levels[-1].index_select(1, later)))
        return torch.stack(levels).reshape(-1, nodes.shape[-1])

    def maximum(self, table: Tensor, nodes: Tensor, sentence: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Maxima over words ``first`` to ``last`` of each ``sentence`` ``[Q]``, zeros where empty, ``[Q,H]``."""
        size, words = nodes.shape[0], nodes.shape[1]
        length = last - first + 1
        powers = torch.tensor([2**level for level in range(1, self.levels + 1)], device=nodes.device)
        level = (length.unsqueeze(-1) >= powers).sum(-1)
        base = (level * size + sentence) * words
        left = table.index_select(0, base + first.clamp(0, words - 1))
        right = table.index_select(0, base + (last + 1 - 2**level).clamp(0, words - 1))
        return torch.where((length > 0).unsqueeze(-1), torch.maximum(left, right), 0.0)


GRAPHS = {"encoder": EncoderGraph, "fusion": FusionGraph, "entities": EntitiesGraph, "relations": RelationsGraph}


def build(model: TriMF, stage: int) -> dict[str, nn.Module]:
    """The four subgraphs of a trained model, in eval mode; ``stage`` as in the checkpoint."""
    with torch.no_grad():
        return {name: graph(model, stage).eval() for name, graph in GRAPHS.items()}
