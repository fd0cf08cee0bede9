"""The four exported subgraphs as PyTorch modules with all constants folded (paper, section 3).

Together they compute the same function as ``trimf_train.model.trimf.TriMF`` up to rounding, without dropout. The
products ``W M^T``, the width embeddings and the classifiers, split by their inputs, are constants, so that no
intermediate tensor grows with spans x words x H.

Sizes: batch B, subwords T, subwords per word S, words N, hidden size H, spans M, pairs P, ranges R, longest span K,
entity types n_e, relation types n_r.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimf_train.model.biaffine import LEAKY_RELU_SLOPE, PADDING_SCORE, BiaffineParser
from trimf_train.model.flow import MemoryFlow
from trimf_train.model.graph import TypedLinear, dependent_mean_matrix
from trimf_train.model.memory import Memory, masked_softmax
from trimf_train.model.trimf import TriMF

from ..runtime.engine.contract import BLOCK_WORDS, MEMORIES


def gather_rows(states: Tensor, index: Tensor) -> Tensor:
    """Gather rows of each batch element by index, as a single Gather from a flattened table.

    Args:
        states: ``[B, N, H]``.
        index: Indices into the second axis of ``states``, ``[B, ...]``.

    Returns:
        The rows, ``[B, ..., H]``.
    """
    size, words, width = states.shape
    rows = torch.arange(size, device=states.device).view(-1, *[1] * (index.dim() - 1)) * words
    return functional.embedding(index + rows, states.reshape(-1, width))


class FoldedFlow(nn.Module):
    """Memory flow attention with ``M W`` folded to ``[slots, H]`` (paper, section 3.3, equations (3) and (10)).

    A single small matrix product scores the slots of all memories.
    """

    slots: Tensor | None
    shares: Tensor | None

    def __init__(self, flow: MemoryFlow, memory: Memory) -> None:
        super().__init__()
        self.residual = flow.residual
        self.names = list(flow.weights)
        self.sizes = [len(memory.flow_slots(name, True)) for name in self.names]
        folded = [memory.flow_slots(name, True) @ weight for name, weight in flow.weights.items()]
        self.register_buffer("slots", torch.cat(folded).detach() if folded else None)
        shares = [torch.full((size, 1), 1 / size) for size in self.sizes if size]
        self.register_buffer("shares", torch.cat(shares) if shares and flow.slots == "mean" else None)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Scale the states by their attention weights.

        Args:
            states: ``[B, T, H]``.
            mask: True at real tokens, ``[B, T]``.

        Returns:
            The scaled states, ``[B, T, H]``; unchanged if no memory flows.
        """
        if self.slots is None:
            return states
        return self.scale_states(states, self.compute_attention(states, mask))

    def compute_attention(self, states: Tensor, mask: Tensor) -> Tensor:
        """Compute the attention weights of each slot over the tokens, equation (3).

        Args:
            states: ``[B, T, H]``.
            mask: True at real tokens, ``[B, T]``.

        Returns:
            The weights, ``[B, slots, T]``. The weights of a slot sum to 1, or, if the flow takes the mean of the slots,
            to its share in the mean of its memory.
        """
        assert self.slots is not None, "no memory flows"
        attention = masked_softmax(self.slots @ states.transpose(1, 2), mask.unsqueeze(1))
        return attention if self.shares is None else attention * self.shares

    def sum_by_memory(self, attention: Tensor) -> Tensor:
        """Sum attention weights over the slots of each memory.

        Args:
            attention: Weights as ``compute_attention`` returns them, ``[B, slots, T]``.

        Returns:
            ``[B, 2, T]``, in the order of ``trimf.runtime.engine.contract.MEMORIES``; zeros for a memory that does not
            flow.
        """
        parts = dict(zip(self.names, attention.split(self.sizes, 1), strict=True))
        zeros = torch.zeros_like(attention[:, 0])
        return torch.stack([parts[name].sum(1) if name in parts else zeros for name in MEMORIES], 1)

    def scale_states(self, states: Tensor, attention: Tensor) -> Tensor:
        """Multiply each token by the factor that its attention weights give, depending on ``residual``.

        Args:
            states: ``[B, T, H]``.
            attention: Weights as ``compute_attention`` returns them, ``[B, slots, T]``.

        Returns:
            The scaled states, ``[B, T, H]``.
        """
        total = attention.sum(1).unsqueeze(-1)
        if self.residual == "none":
            factor = total / len(self.names)
        else:
            factor = (1 + total) / (1 if self.residual == "add" else 1 + len(self.names))
        scaled: Tensor = states * factor.to(states.dtype)
        return scaled


class FoldedParser(nn.Module):
    """In-model biaffine parser (Dozat and Manning 2017): heads, dependency labels and arc scores of the words."""

    views: Tensor
    views_bias: Tensor
    arc: Tensor
    arc_head: Tensor
    root: Tensor
    label: Tensor
    label_bias: Tensor

    def __init__(self, parser: BiaffineParser) -> None:
        super().__init__()
        self.sizes, self.labels = parser.sizes, parser.labels
        self.register_buffer("views", parser.project.weight.detach().T.contiguous())
        self.register_buffer("views_bias", parser.project.bias.detach())
        for name in ("arc", "arc_head", "root"):
            self.register_buffer(name, getattr(parser, name).detach())
        *of_label, bias = parser.label.detach().split([parser.sizes[2], 1])
        self.register_buffer("label", of_label[0])
        self.register_buffer("label_bias", bias.squeeze(0))

    def forward(self, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Parse the words of each sentence.

        Args:
            words: Pooled word vectors, ``[B, N, H]``.
            word_mask: True at real words, ``[B, N]``.

        Returns:
            Heads ``[B, N]`` (a root or padding is its own head), indices of dependency labels ``[B, N]`` (0 for a root
            or padding) and arc scores ``[B, N, N]``.
        """
        views = functional.leaky_relu(words @ self.views + self.views_bias, LEAKY_RELU_SLOPE)
        dependent, head, of_label, of_label_head = views.split(self.sizes, -1)
        queries = dependent @ self.arc + self.arc_head
        positions = torch.arange(words.shape[1], device=words.device)
        # The diagonal has the scores of roots: the head of a root is the root itself.
        scores = torch.where(
            positions.unsqueeze(1) == positions, queries @ self.root.unsqueeze(-1), queries @ head.transpose(1, 2)
        )
        arc_scores = torch.where(word_mask.unsqueeze(1), scores.float(), PADDING_SCORE)
        heads = torch.where(word_mask, arc_scores.argmax(-1), positions)
        by_label = (of_label @ self.label + self.label_bias).unflatten(-1, (self.labels, -1))
        of_head, rest = by_label.split([self.sizes[3], 1], -1)
        scores = (of_head @ gather_rows(of_label_head, heads).unsqueeze(-1) + rest).squeeze(-1)
        return heads, torch.where(heads == positions, 0, scores.float().argmax(-1) + 1), arc_scores


class SubgraphModule(nn.Module):
    """A subgraph with the names of its input and output tensors, in the order of ``forward``."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class EncoderGraph(SubgraphModule):
    """Encoder subgraph: subwords to word vectors, with the in-model parser if the model has one.

    Inputs: input_ids and attention_mask ``[B, T]``, pieces (subword positions of each word) ``[B, N, S]``.

    Outputs: words ``[B, N, H]`` and cls ``[B, H]``; with an in-model parser also heads and labels ``[B, N]`` and
    arc_scores ``[B, N, N]``; with ``explain`` also the memory attention at each level, subword_flow ``[B, 2, T]`` and
    word_flow ``[B, 2, N]``.
    """

    inputs = ("input_ids", "attention_mask", "pieces")

    def __init__(self, model: TriMF, stage: int, explain: bool = False) -> None:
        super().__init__()
        arcs = ("heads", "labels", "arc_scores") if model.parser is not None else ()
        flows = [
            name
            for name, flow in (("subword_flow", model.subword_flow), ("word_flow", model.word_flow))
            if explain and stage == 2 and len(flow.weights)
        ]
        self.explained_flows = frozenset(flows)
        self.outputs = ("words", "cls", *arcs, *flows)
        self.encoder = model.encoder
        self.parser = FoldedParser(model.parser) if model.parser is not None else None
        self.layer = model.config.syntax.layer if model.parser is not None else None
        self.subword_flow = FoldedFlow(model.subword_flow, model.memory) if stage == 2 else None
        self.word_flow = FoldedFlow(model.word_flow, model.memory) if stage == 2 else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pieces: Tensor) -> tuple[Tensor, ...]:
        """Encode the subwords, apply memory flow, pool to words, and apply memory flow again.

        The parser reads the encoder's states before any memory flow.

        Args:
            input_ids: ``[B, T]``.
            attention_mask: ``[B, T]``.
            pieces: Subword positions of each word, ``[B, N, S]``.

        Returns:
            The tensors named by ``outputs``.
        """
        options = {} if self.layer is None else {"output_hidden_states": True}
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **options)
        states = output.last_hidden_state
        word_mask = pieces[:, :, 0] > 0
        arcs: tuple[Tensor, ...] = ()
        if self.parser is not None:
            parser_states = states if self.layer is None else output.hidden_states[self.layer]
            arcs = self.parser(gather_rows(parser_states, pieces).amax(2), word_mask)
        flows: list[Tensor] = []
        states = self.apply_flow("subword_flow", states, attention_mask.bool(), flows)
        words = self.apply_flow("word_flow", gather_rows(states, pieces).amax(2), word_mask, flows)
        return words, states[:, 0], *arcs, *flows

    def apply_flow(self, name: str, states: Tensor, mask: Tensor, flows: list[Tensor]) -> Tensor:
        """Apply the memory flow of one level, if the model has it.

        Args:
            name: Name of the flow, ``subword_flow`` or ``word_flow``.
            states: ``[B, T, H]``.
            mask: True at real tokens, ``[B, T]``.
            flows: List to which the attention of each memory ``[B, 2, T]`` is appended, if it is an output.

        Returns:
            The states after the flow, ``[B, T, H]``.
        """
        flow: FoldedFlow | None = getattr(self, name)
        if flow is None:
            return states
        if name not in self.explained_flows:
            scaled: Tensor = flow(states, mask)
            return scaled
        attention = flow.compute_attention(states, mask)
        flows.append(flow.sum_by_memory(attention).float())
        return flow.scale_states(states, attention)


class FoldedTypedLinear(nn.Module):
    """Linear layer with a matrix per dependency label; label 0 gives zeros.

    Without bases, the matrix of each word's label is gathered. With bases, all words are multiplied by all bases in a
    single matrix product, and the results are mixed by label.
    """

    matrices: Tensor
    mixture: Tensor

    def __init__(self, linear: TypedLinear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.bases = 0 if linear.mixture is None else len(weight)
        if linear.mixture is None:
            self.register_buffer("matrices", functional.pad(weight, (0, 0, 0, 0, 1, 0)))
        else:
            self.register_buffer("matrices", weight.transpose(0, 1).flatten(1))
            self.register_buffer("mixture", functional.pad(linear.mixture.detach(), (0, 0, 1, 0)))

    def multiply_bases(self, states: Tensor) -> Tensor:
        """Compute the part that does not depend on the labels.

        Args:
            states: ``[B, N, H]``.

        Returns:
            Without bases the states themselves; with b bases the states times each of them, ``[B, N, b * H]``.
        """
        return states @ self.matrices if self.bases else states

    def forward(self, products: Tensor, labels: Tensor) -> Tensor:
        """Apply the matrix of each word's label.

        Args:
            products: Rows of the result of ``multiply_bases``, ``[B, N, H]`` or ``[B, N, b * H]``.
            labels: Indices of dependency labels, ``[B, N]``.

        Returns:
            ``[B, N, H]``.
        """
        if not self.bases:
            return (products.unsqueeze(-2) @ self.matrices[labels]).squeeze(-2)
        share = functional.embedding(labels, self.mixture).unsqueeze(-2)
        by_base: Tensor = products.unflatten(-1, (self.bases, -1))
        return (share @ by_base).squeeze(-2)


class FusionGraph(SubgraphModule):
    """Fusion subgraph: word vectors to graph nodes, by the semantic and the syntactic graph.

    Inputs: words ``[B, N, H]``, cls ``[B, H]``, word_mask, heads and labels ``[B, N]``.

    Outputs: nodes ``[B, N, H]``; with ``explain`` and a weighted fusion also the weight of the syntactic graph at each
    word, syntactic_share ``[B, N]``.
    """

    inputs = ("words", "cls", "word_mask", "heads", "labels")

    semantic: Tensor | None
    own: Tensor | None
    query: Tensor | None

    def __init__(self, model: TriMF, stage: int, explain: bool = False) -> None:
        super().__init__()
        self.outputs_share = explain and model.fusion.weight is not None
        self.outputs = ("nodes", "syntactic_share") if self.outputs_share else ("nodes",)
        fusion = model.fusion
        syntactic = fusion.syntactic
        self.fusion_mode = fusion.fusion
        self.register_buffer("semantic", fusion.semantic.weight.detach() if fusion.semantic is not None else None)
        self.register_buffer("own", syntactic.own.detach() if syntactic is not None else None)
        self.down = FoldedTypedLinear(syntactic.down) if syntactic is not None else None
        self.up = FoldedTypedLinear(syntactic.up) if syntactic is not None and syntactic.up is not None else None
        self.register_buffer("query", fusion.weight.detach() if fusion.weight is not None else None)

    def forward(
        self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Compute both graphs and fuse them (paper, section 3.4, equations (15)-(21)).

        Args:
            words: ``[B, N, H]``.
            cls: ``[B, H]``.
            word_mask: True at real words, ``[B, N]``.
            heads: Head of each word, ``[B, N]``.
            labels: Indices of dependency labels, ``[B, N]``.

        Returns:
            The tensors named by ``outputs``.
        """
        graphs = []
        if self.semantic is not None:
            projected = words @ self.semantic
            active = functional.leaky_relu(projected)
            weights = masked_softmax(active @ active.transpose(1, 2), word_mask.unsqueeze(1))
            graphs.append(weights.to(words.dtype) @ projected)
        if self.down is not None and self.own is not None:
            nodes = words @ self.own + self.down(gather_rows(self.down.multiply_bases(words), heads), labels)
            if self.up is not None:
                above = self.up(self.up.multiply_bases(words), labels)
                nodes = nodes + dependent_mean_matrix(heads, labels).to(words.dtype) @ above
            graphs.append(torch.relu(nodes))
        if not graphs:
            return words.clone()
        if self.query is None:
            return (self.fuse_unweighted(graphs) + words) / 2
        semantic, syntactic = graphs
        difference = semantic - syntactic
        share = torch.sigmoid((difference @ (cls @ self.query).unsqueeze(-1)).float())
        nodes = (syntactic + share.to(words.dtype) * difference + words) / 2
        return (nodes, (1 - share).squeeze(-1)) if self.outputs_share else nodes

    def fuse_unweighted(self, graphs: list[Tensor]) -> Tensor:
        """Fuse the graphs without weights, by maximum, sum or mean.

        Weighted fusion, equations (19) and (20), is computed in ``forward``, where the softmax over two graphs is
        the sigmoid of their difference.

        Args:
            graphs: One or two tensors ``[B, N, H]``.

        Returns:
            ``[B, N, H]``.
        """
        if len(graphs) == 1:
            return graphs[0]
        first, second = graphs
        if self.fusion_mode == "max":
            return torch.maximum(first, second)
        return first + second if self.fusion_mode == "sum" else (first + second) / 2


class EntitiesGraph(SubgraphModule):
    """Entity subgraph: logits of the entity types for all spans (paper, section 3.6, equation (26)).

    Input: nodes ``[B, N, H]``.

    Output: entity_logits ``[B, N, K, n_e + 1]``, of each first word and each width.
    """

    inputs = ("nodes",)
    outputs = ("entity_logits",)

    of_span: Tensor
    of_width: Tensor

    def __init__(self, model: TriMF, stage: int) -> None:
        super().__init__()
        span = model.config.span
        folded = (model.entity_weight @ model.memory.entity.T).detach()
        of_span, of_width = folded.split([model.width, span.width_dim])
        self.max_width = span.max_width
        self.register_buffer("of_span", of_span)
        self.register_buffer("of_width", model.span_width.weight.detach() @ of_width)

    def forward(self, nodes: Tensor) -> Tensor:
        """Compute the logits of all spans: span maxima, one small matrix product and a constant per width.

        Args:
            nodes: ``[B, N, H]``.

        Returns:
            The logits, ``[B, N, K, n_e + 1]``.
        """
        return self.pool_spans(nodes) @ self.of_span + self.of_width

    def pool_spans(self, nodes: Tensor) -> Tensor:
        """Pool all spans of up to K words by maximum.

        Same result as ``trimf_train.model.pooling.span_grid``; slices are relative to the end, so that the graph does
        not compute any indices.

        Args:
            nodes: ``[B, N, H]``.

        Returns:
            ``[B, N, K, H]``.
        """
        rest = self.max_width - 1
        padded = functional.pad(nodes, (0, 0, 0, rest), value=-1e4)
        grid = [nodes]
        for width in range(1, self.max_width):
            grid.append(torch.maximum(grid[-1], padded[:, width : (width - rest) or None]))
        pooled: Tensor = torch.cat(grid, -1).unflatten(-1, (self.max_width, -1))
        return pooled


class RelationsGraph(SubgraphModule):
    """Relation subgraph: logits of the relation types and trigger weights for pairs of spans.

    Inputs: nodes ``[B, N, H]``; word_mask ``[B, N]``; spans ``[M, 3]`` (sentence, first word, last word); pairs
    ``[P, 2]`` (indices of the head and tail span); ranges ``[R, 2 + G]``, the ranges of words to pool as
    ``range_pooling`` encodes them, first the spans and then the gaps between spans; gaps ``[P]``, the index in
    ranges of each pair's gap.

    Outputs: relation_logits ``[P, n_r]``; triggers ``[P, N]``, the trigger weights; word_logits ``[B, N, n_r]``, what a
    word adds to the logits of a pair if all of the trigger weight is on that word.
    """

    inputs = ("nodes", "word_mask", "spans", "pairs", "ranges", "gaps")
    outputs = ("relation_logits", "triggers", "word_logits")

    of_words: Tensor
    of_ranges: Tensor
    of_widths: Tensor

    def __init__(self, model: TriMF, stage: int) -> None:
        super().__init__()
        config = model.config
        folded = (model.relation_weight @ model.memory.relation.T).detach()
        width, span = model.width, config.span.width_dim
        contexts = [width] * (2 if config.context == "concat" else 1)
        head, head_width, tail, tail_width, *context = folded.split([width, span, width, span, *contexts])
        trigger = model.trigger if stage == 2 else None
        self.relation_count = folded.shape[1]
        self.has_trigger_sensor = trigger is not None
        of_ranges = [head, tail, context[0]]
        if trigger is not None:
            slots = model.memory.relation.detach()
            of_ranges.append((trigger.weight @ slots.T).detach())
            # The factor 1/2 gives the mean over head and tail.
            self.register_buffer("of_words", torch.cat([slots.T / 2, context[-1]], 1))
        self.register_buffer("of_ranges", torch.cat(of_ranges, 1))
        table = model.span_width.weight.detach()
        of_widths = torch.cat([table @ head_width, table @ tail_width], 1)
        # Width 0 marks gaps, which have no width embedding.
        rest = self.of_ranges.shape[1] - of_widths.shape[1]
        self.register_buffer("of_widths", functional.pad(of_widths, (0, rest, 1, 0)))

    def forward(
        self, nodes: Tensor, word_mask: Tensor, spans: Tensor, pairs: Tensor, ranges: Tensor, gaps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum the scores of head, tail, local context and trigger context (paper, equations (22)-(25) and (27)).

        Args:
            nodes: ``[B, N, H]``.
            word_mask: True at real words, ``[B, N]``.
            spans: Sentence, first word and last word of each span, ``[M, 3]``.
            pairs: Indices of the head and tail span of each pair, ``[P, 2]``.
            ranges: Encoded ranges of words to pool, ``[R, 2 + G]``.
            gaps: Index in ``ranges`` of the gap between head and tail, ``[P]``.

        Returns:
            The relation logits ``[P, n_r]``, trigger weights ``[P, N]`` and word logits ``[B, N, n_r]``; the last two
            are zeros without a trigger sensor.
        """
        width = ranges[:, 1].clamp(max=len(self.of_widths) - 1)
        scores = self.pool_ranges(nodes, ranges) @ self.of_ranges + functional.embedding(width, self.of_widths)
        of_head, of_tail, of_gap, *sensor_scores = scores.split(self.relation_count, 1)
        sentence, head, tail = spans[:, 0], pairs[:, 0], pairs[:, 1]
        logits = functional.embedding(head, of_head) + functional.embedding(tail, of_tail)
        logits = logits + functional.embedding(gaps, of_gap)
        of_pair = sentence.index_select(0, head)
        mask = word_mask.index_select(0, of_pair)
        if not self.has_trigger_sensor:
            zeros = torch.zeros_like(nodes[..., :1]).expand(-1, -1, self.relation_count)
            return logits, torch.zeros_like(mask, dtype=nodes.dtype), zeros
        sensed = torch.softmax(sensor_scores[0][: spans.shape[0]].float(), -1).to(nodes.dtype)
        slots, contexts = (nodes @ self.of_words).split(self.relation_count, -1)
        similar = (slots.index_select(0, sentence) @ sensed.unsqueeze(-1)).squeeze(-1)
        weights = masked_softmax(functional.embedding(head, similar) + functional.embedding(tail, similar), mask)
        return logits + self.weight_contexts(weights.to(nodes.dtype), contexts, of_pair), weights, contexts

    def weight_contexts(self, weights: Tensor, contexts: Tensor, sentence: Tensor) -> Tensor:
        """Multiply the trigger weights of each pair by the contexts of the pair's sentence.

        Each pair is a small product of its own. One product of all weights with the contexts of all sentences needs a
        transpose that reads ``contexts`` while nothing else does; with half precision, ONNX Runtime 1.31 loses it on
        CUDA.

        Args:
            weights: Trigger weights, ``[P, N]``.
            contexts: Contribution of each word to the logits, ``[B, N, n_r]``.
            sentence: Index of each pair's sentence, ``[P]``.

        Returns:
            ``[P, n_r]``.
        """
        return (weights.unsqueeze(1) @ contexts.index_select(0, sentence)).squeeze(1)

    def pool_ranges(self, nodes: Tensor, ranges: Tensor) -> Tensor:
        """Pool each range of words by maximum.

        Args:
            nodes: ``[B, N, H]``.
            ranges: Encoded ranges, ``[R, 2 + G]``: sentence, width, and G rows of the sentence's table. The table has
                the words, a row of zeros, and a row for each block of ``range_pooling.BLOCK`` words.

        Returns:
            ``[R, H]``.
        """
        blocks = functional.max_pool2d(nodes.unsqueeze(1), (BLOCK_WORDS, 1), ceil_mode=True).squeeze(1)
        table = torch.cat([nodes, nodes[:, :1] * 0, blocks], 1)
        rows = ranges[:, 2:]
        rows = torch.where(rows < 0, nodes.shape[1] - 1 - rows, rows)
        return functional.embedding(rows + ranges[:, :1] * table.shape[1], table.reshape(-1, table.shape[-1])).amax(1)


def build_subgraphs(model: TriMF, stage: int, explain: bool = False) -> dict[str, SubgraphModule]:
    """Build the subgraphs of a trained model, in eval mode; one without relation types has no ``relations``.

    Args:
        model: The trained model.
        stage: Training stage of the checkpoint; stage 1 has no memory flow and no trigger sensor.
        explain: Add those outputs of ``trimf.runtime.engine.contract.EXPLAINING`` that the model has.

    Returns:
        The modules by name, in the order of ``trimf.runtime.engine.contract.list_subgraphs``.
    """
    with torch.no_grad():
        graphs: dict[str, SubgraphModule] = {
            "encoder": EncoderGraph(model, stage, explain).eval(),
            "fusion": FusionGraph(model, stage, explain).eval(),
            "entities": EntitiesGraph(model, stage).eval(),
        }
        if len(model.memory.relation):
            graphs["relations"] = RelationsGraph(model, stage).eval()
    return graphs
