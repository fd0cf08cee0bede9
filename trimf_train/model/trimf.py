"""The whole model: four levels of encoding and two memory-aware classifiers (paper 3.1, 3.6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trimf.runtime.labels import Labels
from trimf_train.config import ModelConfig
from trimf_train.model.biaffine import BiaffineParser
from trimf_train.model.flow import MemoryFlow
from trimf_train.model.graph import GraphFusion
from trimf_train.model.memory import Memory, bilinear
from trimf_train.model.pooling import RangeMaximum, pool_words, span_grid
from trimf_train.model.trigger import TriggerSensor


class Inputs(NamedTuple):
    """What one forward pass needs: the arrays of ``runtime.features.Batch`` and, for training, what to classify.

    ``spans`` ``[S,3]`` are (sentence, first, last) of the spans to type; ``entities`` ``[M,3]`` likewise those that
    form pairs; ``pairs`` ``[P,2]`` index ``entities`` as (head, tail).
    """

    input_ids: Tensor
    attention_mask: Tensor
    pieces: Tensor
    word_mask: Tensor
    heads: Tensor
    labels: Tensor
    spans: Tensor
    entities: Tensor
    pairs: Tensor


class Logits(NamedTuple):
    """What training compares with gold; None where a stage, or the model, does not make it.

    ``entities`` ``[S,n_e+1]`` of the spans and ``relations`` ``[P,n_r]`` of the pairs; ``arcs`` ``[B,N,N]`` and
    ``arc_labels`` ``[B,N,n_d]`` of the words, see :class:`BiaffineParser`.
    """

    entities: Tensor | None
    relations: Tensor | None
    arcs: Tensor | None = None
    arc_labels: Tensor | None = None


class TriMF(nn.Module):
    """TriMF on an encoder whose output has width H.

    Sizes at H = 768: h_s = 793 (pooled span and width embedding), h_r = 2354 (head, tail, one context), 3122 where
    local and trigger context are concatenated. ``stage`` 1 leaves flows and trigger sensor out (3.7), stage 0 all but
    the encoder and its parser.
    """

    def __init__(self, encoder: nn.Module, width: int, labels: Labels, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.width = config, width
        entities, relations = len(labels.entities), len(labels.relations)
        gradient = config.memory.gradient
        self.encoder = encoder
        self.memory = Memory(entities, relations, width)
        self.subword_flow = MemoryFlow(width, config.flow.subword, config.flow.residual, gradient.subword_flow)
        self.word_flow = MemoryFlow(width, config.flow.word, config.flow.residual, gradient.word_flow)
        scale = width**-0.5 if config.scaled else 1.0
        self.fusion = GraphFusion(
            len(labels.dependencies), width, config.fusion, config.syntax, config.semantic.keep, scale
        )
        self.parser = (
            BiaffineParser(len(labels.dependencies), width, config.syntax)
            if config.syntax.source == "encoder"
            else None
        )
        self.trigger = TriggerSensor(width, gradient.trigger, scale) if config.trigger else None
        self.span_width = nn.Embedding(config.span.max_width, config.span.width_dim)
        self.span_size = width + config.span.width_dim
        contexts = 2 if config.context == "concat" else 1
        self.pair_size = 2 * self.span_size + contexts * width
        self.entity_weight = bilinear(self.span_size + (width if config.span.context == "cls" else 0), width)
        self.relation_weight = bilinear(self.pair_size, width)
        self.dropout = nn.Dropout(config.dropout)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor, pieces: Tensor, stage: int = 2
    ) -> tuple[Tensor, Tensor]:
        """Subwords to words, both flows included (paper (11)-(13)): E_w ``[B,N,H]`` and e_cls ``[B,H]``."""
        return self.flow(self.states(input_ids, attention_mask)[0], attention_mask, pieces, stage)

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's states, and those of the layer that the parser reads, both ``[B,T,H]``."""
        layer = self.config.syntax.layer if self.parser is not None else None
        if layer is None:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return states, states
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return output.last_hidden_state, output.hidden_states[layer]

    def parse(self, states: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """The parser's heads and labels ``[B,N]`` from the second of :meth:`states`."""
        return self.parser.parse(pool_words(states, pieces), pieces[:, :, 0] > 0)

    def flow(self, states: Tensor, attention_mask: Tensor, pieces: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """States of subwords to words and e_cls, as :meth:`encode` gives them."""
        if stage == 2:
            states = self.subword_flow(states, attention_mask.bool(), self.memory)
        words = pool_words(states, pieces)
        if stage == 2:
            words = self.word_flow(words, pieces[:, :, 0] > 0, self.memory)
        return words, states[:, 0]

    def fuse(self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """Words to nodes E_g ``[B,N,H]`` (paper (15)-(21))."""
        return self.fusion(words, cls, word_mask, heads, labels)

    def span_logits(self, pooled: Tensor, width: Tensor, cls: Tensor) -> Tensor:
        """(26) before the softmax: pooled spans and ``cls`` ``[...,H]``, widths in words less one ``[...]``."""
        parts = [pooled, self.span_width(width)]
        if self.config.span.context == "cls":
            parts.insert(0, cls)
        return self.dropout(torch.cat(parts, -1)) @ self.entity_weight @ self.memory.entity.T

    def entity_logits(self, nodes: Tensor, cls: Tensor) -> Tensor:
        """Logits of every span of up to K words, ``[B,N,K,n_e+1]``; spans past a sentence's end are to be ignored."""
        grid = span_grid(nodes, self.config.span.max_width)
        width = torch.arange(grid.shape[2], device=nodes.device).expand(grid.shape[:3])
        return self.span_logits(grid, width, cls[:, None, None].expand_as(grid))

    def relation_logits(
        self, nodes: Tensor, word_mask: Tensor, spans: Tensor, pairs: Tensor, stage: int = 2
    ) -> tuple[Tensor, Tensor]:
        """(27) before the sigmoid: logits ``[P,n_r]`` and trigger weights t_ij ``[P,N]`` (zeros without a sensor).

        ``spans`` ``[M,3]`` (sentence, first, last), ``pairs`` ``[P,2]`` (head, tail), both of one sentence.
        """
        maximum = RangeMaximum(nodes)
        sentence, first, last = spans.unbind(-1)
        pooled = maximum(sentence, first, last)
        # An entity longer than K can be the end of a gold pair in training; it takes the widest embedding.
        width = self.span_width((last - first).clamp(max=self.config.span.max_width - 1))
        vectors = torch.cat([pooled, width.to(pooled.dtype)], -1)
        head, tail = pairs.unbind(-1)
        gap_first = torch.minimum(last[head], last[tail]) + 1
        gap_last = torch.maximum(first[head], first[tail]) - 1
        local = maximum(sentence[head], gap_first, gap_last)
        if self.trigger is not None and stage == 2:
            of_pair = sentence[head]
            sensed, weights = self.trigger(pooled[head], pooled[tail], nodes[of_pair], word_mask[of_pair], self.memory)
        else:
            sensed, weights = torch.zeros_like(local), nodes.new_zeros(len(pairs), nodes.shape[1])
        context = local + sensed if self.config.context == "sum" else torch.cat([local, sensed], -1)
        whole = self.dropout(torch.cat([vectors[head], vectors[tail], context], -1))
        return whole @ self.relation_weight @ self.memory.relation.T, weights

    def word_logits(self, nodes: Tensor, stage: int = 2) -> Tensor:
        """What each word ``[...,H]`` would add to the logits as the whole trigger context of a pair, ``[...,n_r]``.

        It adds that times the pair's t_ij (24)(27). Zeros without a sensor.
        """
        if self.trigger is None or stage != 2:
            return nodes.new_zeros(*nodes.shape[:-1], len(self.memory.relation))
        start = self.pair_size - self.width
        return nodes @ self.relation_weight[start:] @ self.memory.relation.T

    def forward(self, inputs: Inputs, stage: int) -> Logits:
        """Training: everything that has a loss. Stage 2 takes the arcs of its own parser, where it has one."""
        states, of_layer = self.states(inputs.input_ids, inputs.attention_mask)
        heads, labels = inputs.heads, inputs.labels
        arcs = arc_labels = None
        if self.parser is not None:
            of_layer = of_layer.detach() if self.config.syntax.detach else of_layer
            arcs, arc_labels = self.parser(pool_words(of_layer, inputs.pieces), inputs.word_mask, heads)
            if stage == 0:
                return Logits(None, None, arcs, arc_labels)
            if stage == 2:
                heads, labels = self.own_arcs(of_layer, inputs)
        words, cls = self.flow(states, inputs.attention_mask, inputs.pieces, stage)
        nodes = self.fuse(words, cls, inputs.word_mask, heads, labels)
        sentence, first, last = inputs.spans.unbind(-1)
        pooled = RangeMaximum(nodes, self.config.span.max_width)(sentence, first, last)
        entity = self.span_logits(pooled, last - first, cls[sentence])
        relation, _ = self.relation_logits(nodes, inputs.word_mask, inputs.entities, inputs.pairs, stage)
        return Logits(entity.float(), relation.float(), arcs, arc_labels)

    @torch.no_grad()
    def own_arcs(self, states: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """What the parser finds at inference, without its dropout."""
        training = self.parser.training
        self.parser.eval()
        found = self.parse(states, inputs.pieces)
        self.parser.train(training)
        return found
