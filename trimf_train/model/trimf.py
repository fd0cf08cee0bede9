"""TriMF model: four levels of encoding and two memory-aware classifiers (paper, sections 3.1 and 3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from trimf.runtime.bundle.labels import Labels
from trimf_train.config import ModelConfig
from trimf_train.model.biaffine import BiaffineParser
from trimf_train.model.flow import MemoryFlow
from trimf_train.model.graph import GraphFusion
from trimf_train.model.memory import Memory, new_bilinear_weight
from trimf_train.model.pooling import RangeMaximum, pool_words, span_grid
from trimf_train.model.trigger import TriggerSensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainingBatch(NamedTuple):
    """Inputs of a training step: the arrays of ``trimf.runtime.text.batch_arrays.Batch`` and the samples to classify.

    Attributes:
        input_ids: Subword IDs ``[B, T]``.
        attention_mask: 1 for subwords, 0 for padding ``[B, T]``.
        pieces: Positions of the subwords of each word ``[B, N, S]``; 0 for padding.
        word_mask: True for words, False for padding ``[B, N]``.
        heads: Index of the head of each word ``[B, N]``.
        labels: Dependency label IDs ``[B, N]``, 0 for roots and padding.
        spans: Spans for entity classification ``[S, 3]``, as (sentence, first word, last word).
        entities: Spans that form pairs ``[M, 3]``, as (sentence, first word, last word).
        pairs: Pairs for relation classification ``[P, 2]``, as (head, tail) indices into ``entities``.
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


class TrainingOutputs(NamedTuple):
    """Outputs of a training step; None for outputs that the training stage or the model does not produce.

    Attributes:
        entity_logits: Entity type logits of the spans ``[S, n_e + 1]``.
        relation_logits: Relation type logits of the pairs ``[P, n_r]``.
        arc_scores: Arc scores of the in-model parser ``[B, N, N]``, see ``BiaffineParser``.
        arc_label_scores: Dependency label scores of the in-model parser ``[B, N, n_d]``.
    """

    entity_logits: Tensor | None
    relation_logits: Tensor | None
    arc_scores: Tensor | None = None
    arc_label_scores: Tensor | None = None


class TriMF(nn.Module):
    """TriMF model on top of a pretrained encoder.

    Sizes for H = 768: spans have h_s = 793 features (pooled span and width embedding); pairs have h_r = 2354 (head,
    tail and one context), or 3122 if local and trigger context are concatenated.

    Without relation types, there is no pair classifier, no trigger sensor and no flow from the relation memory, and the
    weights of pairs are empty.

    Training stages: stage 2 is the full model; stage 1 has no memory flow attention and no trigger sensor (paper,
    section 3.7); stage 0 trains only the encoder and the in-model parser.

    Args:
        encoder: A Hugging Face encoder.
        width: Hidden size H of the encoder.
        labels: The label names.
        config: The architecture.
    """

    def __init__(self, encoder: PreTrainedModel, width: int, labels: Labels, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.width = config, width
        entities, relations = len(labels.entity_types), len(labels.relation_types)
        gradient = config.memory.gradient
        self.encoder: PreTrainedModel = encoder
        self.memory = Memory(entities, relations, width)
        subword, word = (
            replace(switches, relation=switches.relation and relations > 0)
            for switches in (config.flow.subword, config.flow.word)
        )
        self.subword_flow = MemoryFlow(width, subword, config.flow, gradient.subword_flow)
        self.word_flow = MemoryFlow(width, word, config.flow, gradient.word_flow)
        self.fusion = GraphFusion(
            len(labels.dependency_labels), width, config.fusion, config.syntax, config.semantic.keep
        )
        self.parser = (
            BiaffineParser(len(labels.dependency_labels), width, config.syntax)
            if config.syntax.source == "encoder"
            else None
        )
        self.trigger = TriggerSensor(width, gradient.trigger) if config.trigger and relations else None
        self.span_width = nn.Embedding(config.span.max_width, config.span.width_dim)
        self.span_size = width + config.span.width_dim
        contexts = 2 if config.context == "concat" else 1
        self.pair_size = 2 * self.span_size + contexts * width if relations else 0
        self.entity_weight = new_bilinear_weight(self.span_size, width)
        self.relation_weight = new_bilinear_weight(self.pair_size, width)
        self.dropout = nn.Dropout(config.dropout)

    def encode_subwords(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Run the encoder.

        Args:
            input_ids: Subword IDs ``[B, T]``.
            attention_mask: 1 for subwords, 0 for padding ``[B, T]``.

        Returns:
            States of the last layer, and states of the layer that the in-model parser reads (the last layer if there
            is no in-model parser), both ``[B, T, H]``.
        """
        layer = self.config.syntax.layer if self.parser is not None else None
        if layer is None:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return states, states
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return output.last_hidden_state, output.hidden_states[layer]

    def parse(self, states: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Predict dependency heads and labels with the in-model parser.

        Args:
            states: States of the layer that the parser reads ``[B, T, H]``, the second result of ``encode_subwords``.
            pieces: Positions of the subwords of each word ``[B, N, S]``; 0 for padding.

        Returns:
            Index of the head and label ID of each word, both ``[B, N]``, see ``BiaffineParser.parse``.
        """
        assert self.parser is not None, "the model has no in-model parser"
        return self.parser.parse(pool_words(states, pieces), pieces[:, :, 0] > 0)

    def score_arcs(self, states: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores that ``parse`` decides by; the arguments are the same.

        Args:
            states: States of the layer that the parser reads ``[B, T, H]``, the second result of ``encode_subwords``.
            pieces: Positions of the subwords of each word ``[B, N, S]``; 0 for padding.

        Returns:
            Scores of the arcs and of the labels, see ``BiaffineParser.score_best_arcs``.
        """
        assert self.parser is not None, "the model has no in-model parser"
        return self.parser.score_best_arcs(pool_words(states, pieces), pieces[:, :, 0] > 0)

    def pool_to_words(
        self, states: Tensor, attention_mask: Tensor, pieces: Tensor, stage: int
    ) -> tuple[Tensor, Tensor]:
        """Pool subword states to words, with flow attention at both levels in stage 2, equations (11)-(13).

        Args:
            states: Subword states of the encoder ``[B, T, H]``.
            attention_mask: 1 for subwords, 0 for padding ``[B, T]``.
            pieces: Positions of the subwords of each word ``[B, N, S]``; 0 for padding.
            stage: Training stage.

        Returns:
            Word states E_w ``[B, N, H]`` and the state of the CLS token e_cls ``[B, H]``.
        """
        if stage == 2:
            states = self.subword_flow(states, attention_mask.bool(), self.memory)
        words = pool_words(states, pieces)
        if stage == 2:
            words = self.word_flow(words, pieces[:, :, 0] > 0, self.memory)
        return words, states[:, 0]

    def fuse_graphs(self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """Compute the node states of the graph fusion, equations (15)-(21).

        Args:
            words: Word states E_w ``[B, N, H]``.
            cls: State of the CLS token ``[B, H]``.
            word_mask: True for words, False for padding ``[B, N]``.
            heads: Index of the head of each word ``[B, N]``.
            labels: Dependency label IDs ``[B, N]``, 0 for roots and padding.

        Returns:
            Node states E_g ``[B, N, H]``.
        """
        nodes: Tensor = self.fusion(words, cls, word_mask, heads, labels)
        return nodes

    def span_logits(self, pooled: Tensor, width: Tensor) -> Tensor:
        """Compute the entity type logits of spans, equation (26) before the softmax.

        Args:
            pooled: Pooled spans ``[..., H]``.
            width: Width of each span in words, minus one ``[...]``.

        Returns:
            Logits ``[..., n_e + 1]``; index 0 is None.
        """
        features: Tensor = self.dropout(torch.cat([pooled, self.span_width(width)], -1))
        return features @ self.entity_weight @ self.memory.entity.T

    def entity_logits(self, nodes: Tensor) -> Tensor:
        """Compute the entity type logits of every span of up to K words.

        Args:
            nodes: Node states E_g ``[B, N, H]``.

        Returns:
            Logits ``[B, N, K, n_e + 1]``; entry ``[b, i, w]`` belongs to the span of words i to i + w. The caller must
            ignore spans that extend past the end of their sentence.
        """
        grid = span_grid(nodes, self.config.span.max_width)
        width = torch.arange(grid.shape[2], device=nodes.device).expand(grid.shape[:3])
        return self.span_logits(grid, width)

    def relation_logits(
        self, nodes: Tensor, word_mask: Tensor, spans: Tensor, pairs: Tensor, stage: int = 2
    ) -> tuple[Tensor, Tensor]:
        """Compute the relation type logits of pairs of spans, equation (27) before the sigmoid.

        Args:
            nodes: Node states E_g ``[B, N, H]``.
            word_mask: True for words, False for padding ``[B, N]``.
            spans: Entity spans ``[M, 3]``, as (sentence, first word, last word).
            pairs: Pairs ``[P, 2]``, as (head, tail) indices into ``spans``; both spans are in the same sentence.
            stage: Training stage; the trigger sensor is used only in stage 2.

        Returns:
            Logits ``[P, n_r]`` and trigger weights t_ij ``[P, N]`` (zeros without trigger sensor).
        """
        maximum = RangeMaximum(nodes)
        sentence, first, last = spans.unbind(-1)
        pooled = maximum(sentence, first, last)
        # A gold pair in training may contain an entity longer than K words; it uses the embedding of width K.
        width = self.span_width((last - first).clamp(max=self.config.span.max_width - 1))
        vectors = torch.cat([pooled, width.to(pooled.dtype)], -1)
        head, tail = pairs.unbind(-1)
        gap_first = torch.minimum(last[head], last[tail]) + 1
        gap_last = torch.maximum(first[head], first[tail]) - 1
        local = maximum(sentence[head], gap_first, gap_last)
        if self.trigger is not None and stage == 2:
            pair_sentence = sentence[head]
            trigger, weights = self.trigger(
                pooled[head], pooled[tail], nodes[pair_sentence], word_mask[pair_sentence], self.memory
            )
        else:
            trigger, weights = torch.zeros_like(local), nodes.new_zeros(len(pairs), nodes.shape[1])
        context = local + trigger if self.config.context == "sum" else torch.cat([local, trigger], -1)
        features = self.dropout(torch.cat([vectors[head], vectors[tail], context], -1))
        return features @ self.relation_weight @ self.memory.relation.T, weights

    def trigger_word_logits(self, nodes: Tensor, stage: int = 2) -> Tensor:
        """Compute the relation type logits that each word contributes as trigger context, equations (24) and (27).

        The contribution of a word to the logits of a pair is its row of the result times its trigger weight t_ij.

        Args:
            nodes: Node states E_g ``[..., H]``.
            stage: Training stage; the trigger sensor is used only in stage 2.

        Returns:
            Logits ``[..., n_r]``; zeros without trigger sensor.
        """
        if self.trigger is None or stage != 2:
            return nodes.new_zeros(*nodes.shape[:-1], len(self.memory.relation))
        start = self.pair_size - self.width
        return nodes @ self.relation_weight[start:] @ self.memory.relation.T

    def forward(self, inputs: TrainingBatch, stage: int) -> TrainingOutputs:
        """Compute all outputs that have a training loss.

        In stage 2, the graph uses the arcs that the in-model parser predicts, if there is one; earlier stages
        use gold arcs.

        Args:
            inputs: The batch and its samples.
            stage: Training stage (0, 1 or 2).

        Returns:
            The logits and scores.
        """
        states, parser_states = self.encode_subwords(inputs.input_ids, inputs.attention_mask)
        heads, labels = inputs.heads, inputs.labels
        arcs = arc_labels = None
        if self.parser is not None:
            parser_states = parser_states.detach() if self.config.syntax.detach else parser_states
            arcs, arc_labels = self.parser(pool_words(parser_states, inputs.pieces), inputs.word_mask, heads)
            if stage == 0:
                return TrainingOutputs(None, None, arcs, arc_labels)
            if stage == 2:
                heads, labels = self.predict_arcs(parser_states, inputs)
        words, cls = self.pool_to_words(states, inputs.attention_mask, inputs.pieces, stage)
        nodes = self.fuse_graphs(words, cls, inputs.word_mask, heads, labels)
        sentence, first, last = inputs.spans.unbind(-1)
        pooled = RangeMaximum(nodes, self.config.span.max_width)(sentence, first, last)
        entity = self.span_logits(pooled, last - first)
        if not self.pair_size:
            return TrainingOutputs(entity.float(), None, arcs, arc_labels)
        relation, _ = self.relation_logits(nodes, inputs.word_mask, inputs.entities, inputs.pairs, stage)
        return TrainingOutputs(entity.float(), relation.float(), arcs, arc_labels)

    @torch.no_grad()
    def predict_arcs(self, states: Tensor, inputs: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Predict arcs during training as at inference, without dropout and without gradient.

        Args:
            states: States of the layer that the parser reads ``[B, T, H]``.
            inputs: The batch.

        Returns:
            Index of the head and label ID of each word, both ``[B, N]``.
        """
        assert self.parser is not None, "the model has no in-model parser"
        training = self.parser.training
        self.parser.eval()
        arcs = self.parse(states, inputs.pieces)
        self.parser.train(training)
        return arcs
