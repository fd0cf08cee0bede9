"""The four subgraphs as modules with every constant folded (paper 3; identities of cheap inference).

Each computes the same function as ``trimf_train.model.trimf.TriMF`` up to rounding, without dropout, and with W M^T,
width embeddings and the split classifiers as constants, so that no term grows with spans x words x H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimf_train.model.biaffine import NO_WORD, SLOPE, BiaffineParser
from trimf_train.model.flow import MemoryFlow
from trimf_train.model.graph import TypedLinear, children_mean
from trimf_train.model.memory import Memory, masked_softmax
from trimf_train.model.trimf import TriMF

from ..runtime.backend import MEMORIES
from ..runtime.ranges import BLOCK


def take(states: Tensor, index: Tensor) -> Tensor:
    """Rows of ``states`` ``[B,N,H]`` at ``index`` ``[B,...]`` along the second axis, as one Gather of a flat table."""
    size, words, width = states.shape
    rows = torch.arange(size, device=states.device).view(-1, *[1] * (index.dim() - 1)) * words
    return functional.embedding(index + rows, states.reshape(-1, width))


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
        return self.scale(states, self.attention(states, mask))

    def attention(self, states: Tensor, mask: Tensor) -> Tensor:
        """The weight that every slot gives to each token, ``[B,slots,T]`` (3)."""
        return masked_softmax(self.slots @ states.transpose(1, 2), mask.unsqueeze(1))

    def of_memories(self, attention: Tensor) -> Tensor:
        """The same summed over the slots of each memory, in the order of MEMORIES, zeros for one that does not flow."""
        parts = dict(zip(self.names, attention.split(self.sizes, 1), strict=True))
        none = torch.zeros_like(attention[:, 0])
        return torch.stack([parts[name].sum(1) if name in parts else none for name in MEMORIES], 1)

    def scale(self, states: Tensor, attention: Tensor) -> Tensor:
        """Every token times what its weights make of it, by ``residual``."""
        total = attention.sum(1).unsqueeze(-1)
        if self.residual == "none":
            factor = total / len(self.names)
        else:
            factor = (1 + total) / (1 if self.residual == "add" else 1 + len(self.names))
        return states * factor.to(states.dtype)


class FoldedParser(nn.Module):
    """The best head of each word, the number of its label and all scores of arcs (Dozat and Manning 2017)."""

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
        """``words`` ``[B,N,H]`` to heads, labels ``[B,N]`` and scores ``[B,N,N]``; a root, or padding, is its own head,
        with label 0.
        """
        views = functional.leaky_relu(words @ self.views + self.views_bias, SLOPE)
        dependent, head, of_label, of_label_head = views.split(self.sizes, -1)
        sought = dependent @ self.arc + self.arc_head
        own = torch.arange(words.shape[1], device=words.device)
        scores = torch.where(own.unsqueeze(1) == own, sought @ self.root.unsqueeze(-1), sought @ head.transpose(1, 2))
        arc_scores = torch.where(word_mask.unsqueeze(1), scores.float(), NO_WORD)
        heads = torch.where(word_mask, arc_scores.argmax(-1), own)
        by_label = (of_label @ self.label + self.label_bias).unflatten(-1, (self.labels, -1))
        of_head, rest = by_label.split([self.sizes[3], 1], -1)
        scores = (of_head @ take(of_label_head, heads).unsqueeze(-1) + rest).squeeze(-1)
        return heads, torch.where(heads == own, 0, scores.float().argmax(-1) + 1), arc_scores


class EncoderGraph(nn.Module):
    """input_ids, attention_mask ``[B,T]``, pieces ``[B,N,S]`` to words ``[B,N,H]`` and cls ``[B,H]``; where the model
    parses by itself, to heads, labels ``[B,N]`` and arc_scores ``[B,N,N]`` too; and where it is to ``explain``, to the
    weights of what flows at each level, subword_flow ``[B,2,T]`` and word_flow ``[B,2,N]``.
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
        self.explained = frozenset(flows)
        self.outputs = ("words", "cls", *arcs, *flows)
        self.encoder = model.encoder
        self.parser = FoldedParser(model.parser) if model.parser is not None else None
        self.layer = model.config.syntax.layer if model.parser is not None else None
        self.subword_flow = FoldedFlow(model.subword_flow, model.memory) if stage == 2 else None
        self.word_flow = FoldedFlow(model.word_flow, model.memory) if stage == 2 else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pieces: Tensor) -> tuple[Tensor, ...]:
        """Encode, flow, pool, flow; parse what was not flowed through."""
        asked = {} if self.layer is None else {"output_hidden_states": True}
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **asked)
        states = output.last_hidden_state
        word_mask = pieces[:, :, 0] > 0
        arcs: tuple[Tensor, ...] = ()
        if self.parser is not None:
            of_layer = states if self.layer is None else output.hidden_states[self.layer]
            arcs = self.parser(take(of_layer, pieces).amax(2), word_mask)
        flows: list[Tensor] = []
        states = self.flowed("subword_flow", states, attention_mask.bool(), flows)
        words = self.flowed("word_flow", take(states, pieces).amax(2), word_mask, flows)
        return words, states[:, 0], *arcs, *flows

    def flowed(self, name: str, states: Tensor, mask: Tensor, flows: list[Tensor]) -> Tensor:
        """The states after the flow of that name, if there is one; its weights go to ``flows`` where they are asked."""
        flow = getattr(self, name)
        if flow is None or name not in self.explained:
            return states if flow is None else flow(states, mask)
        attention = flow.attention(states, mask)
        flows.append(flow.of_memories(attention).float())
        return flow.scale(states, attention)


class FoldedTypedLinear(nn.Module):
    """A matrix per arc label: gathered for each word, or mixed after one product with all bases."""

    def __init__(self, linear: TypedLinear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.bases = 0 if linear.mixture is None else len(weight)
        if linear.mixture is None:
            self.register_buffer("matrices", functional.pad(weight, (0, 0, 0, 0, 1, 0)))
        else:
            self.register_buffer("matrices", weight.transpose(0, 1).flatten(1))
            self.register_buffer("mixture", functional.pad(linear.mixture.detach(), (0, 0, 1, 0)))

    def product(self, states: Tensor) -> Tensor:
        """What does not depend on labels: ``states`` ``[B,N,H]``, with bases their products ``[B,N,bH]``."""
        return states @ self.matrices if self.bases else states

    def forward(self, products: Tensor, labels: Tensor) -> Tensor:
        """Some words' :meth:`product`, and ``labels`` ``[B,N]``, to ``[B,N,H]``."""
        if not self.bases:
            return (products.unsqueeze(-2) @ self.matrices[labels]).squeeze(-2)
        share = functional.embedding(labels, self.mixture).unsqueeze(-2)
        return (share @ products.unflatten(-1, (self.bases, -1))).squeeze(-2)


class FusionGraph(nn.Module):
    """words ``[B,N,H]``, cls ``[B,H]``, word_mask, heads, labels ``[B,N]`` to nodes ``[B,N,H]``; where a weighted
    fusion is to ``explain``, the weight of the syntactic graph at each word too, syntactic_share ``[B,N]``.
    """

    inputs = ("words", "cls", "word_mask", "heads", "labels")

    def __init__(self, model: TriMF, stage: int, explain: bool = False) -> None:
        super().__init__()
        self.explains = explain and model.fusion.weight is not None
        self.outputs = ("nodes", "syntactic_share") if self.explains else ("nodes",)
        fusion = model.fusion
        syntactic = fusion.syntactic
        self.how = fusion.fusion
        self.half_scale = fusion.scale**0.5
        self.register_buffer("semantic", fusion.semantic.weight.detach() if fusion.semantic is not None else None)
        self.register_buffer("own", syntactic.own.detach() if syntactic is not None else None)
        self.down = FoldedTypedLinear(syntactic.down) if syntactic is not None else None
        self.up = FoldedTypedLinear(syntactic.up) if syntactic is not None and syntactic.up is not None else None
        self.register_buffer("query", fusion.weight.detach() * fusion.scale if fusion.weight is not None else None)

    def forward(
        self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Both graphs, fused (paper (15)-(21))."""
        graphs = []
        if self.semantic is not None:
            projected = words @ self.semantic
            active = functional.leaky_relu(projected)
            if self.half_scale != 1:
                active = active * self.half_scale
            weights = masked_softmax(active @ active.transpose(1, 2), word_mask.unsqueeze(1))
            graphs.append(weights.to(words.dtype) @ projected)
        if self.down is not None:
            nodes = words @ self.own + self.down(take(self.down.product(words), heads), labels)
            if self.up is not None:
                above = self.up(self.up.product(words), labels)
                nodes = nodes + children_mean(heads, labels).to(words.dtype) @ above
            graphs.append(torch.relu(nodes))
        if not graphs:
            return words.clone()
        if self.query is None:
            return (self.combine(graphs) + words) / 2
        semantic, syntactic = graphs
        difference = semantic - syntactic
        share = torch.sigmoid((difference @ (cls @ self.query).unsqueeze(-1)).float())
        nodes = (syntactic + share.to(words.dtype) * difference + words) / 2
        return (nodes, (1 - share).squeeze(-1)) if self.explains else nodes

    def combine(self, graphs: list[Tensor]) -> Tensor:
        """The unweighted fusions; the weighted one is (19)(20), its softmax over two a sigmoid of their difference."""
        if len(graphs) == 1:
            return graphs[0]
        one, other = graphs
        if self.how == "max":
            return torch.maximum(one, other)
        return one + other if self.how == "sum" else (one + other) / 2


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
        """``span_grid`` with slices that are cut from the end, so that no graph computes where: ``[B,N,K,H]``."""
        rest = self.max_width - 1
        padded = functional.pad(nodes, (0, 0, 0, rest), value=-1e4)
        grid = [nodes]
        for width in range(1, self.max_width):
            grid.append(torch.maximum(grid[-1], padded[:, width : (width - rest) or None]))
        return torch.cat(grid, -1).unflatten(-1, (self.max_width, -1))


class RelationsGraph(nn.Module):
    """What is believed of each pair of spans.

    Inputs: nodes ``[B,N,H]``, word_mask ``[B,N]``, spans ``[M,3]``, pairs ``[P,2]``; for maxima ``ranges``
    ``[R,2+G]`` as ``trimf.runtime.ranges`` gives them, of the spans first, then of the gaps between them; and ``gaps``
    ``[P]``, which of them is each pair's. Outputs: relation_logits ``[P,n_r]``, triggers ``[P,N]`` and word_logits
    ``[B,N,n_r]``, what a word adds to the logits of a pair whose triggers are that word alone.
    """

    inputs = ("nodes", "word_mask", "spans", "pairs", "ranges", "gaps")
    outputs = ("relation_logits", "triggers", "word_logits")

    def __init__(self, model: TriMF, stage: int) -> None:
        super().__init__()
        config = model.config
        folded = (model.relation_weight @ model.memory.relation.T).detach()
        width, span = model.width, config.span.width_dim
        contexts = [width] * (2 if config.context == "concat" else 1)
        head, head_width, tail, tail_width, *context = folded.split([width, span, width, span, *contexts])
        self.types = folded.shape[1]
        self.sensing = model.trigger is not None and stage == 2
        of_ranges = [head, tail, context[0]]
        if self.sensing:
            slots = model.memory.relation.detach()
            of_ranges.append((model.trigger.weight @ slots.T).detach())
            # Half, for the mean over head and tail.
            self.register_buffer("of_words", torch.cat([slots.T * (model.trigger.scale / 2), context[-1]], 1))
        self.register_buffer("of_ranges", torch.cat(of_ranges, 1))
        table = model.span_width.weight.detach()
        of_widths = torch.cat([table @ head_width, table @ tail_width], 1)
        # Ranges that are no spans have width 0.
        rest = self.of_ranges.shape[1] - of_widths.shape[1]
        self.register_buffer("of_widths", functional.pad(of_widths, (0, rest, 1, 0)))

    def forward(
        self, nodes: Tensor, word_mask: Tensor, spans: Tensor, pairs: Tensor, ranges: Tensor, gaps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Head score, tail score, local context and sensed context of each pair, summed (paper (22)-(25), (27))."""
        width = ranges[:, 1].clamp(max=len(self.of_widths) - 1)
        scores = self.maxima(nodes, ranges) @ self.of_ranges + functional.embedding(width, self.of_widths)
        of_head, of_tail, of_gap, *read = scores.split(self.types, 1)
        sentence, head, tail = spans[:, 0], pairs[:, 0], pairs[:, 1]
        logits = functional.embedding(head, of_head) + functional.embedding(tail, of_tail)
        logits = logits + functional.embedding(gaps, of_gap)
        of_pair = sentence.index_select(0, head)
        mask = word_mask.index_select(0, of_pair)
        if not self.sensing:
            none = torch.zeros_like(nodes[..., :1]).expand(-1, -1, self.types)
            return logits, torch.zeros_like(mask, dtype=nodes.dtype), none
        sensed = torch.softmax(read[0][: spans.shape[0]].float(), -1).to(nodes.dtype)
        slots, contexts = (nodes @ self.of_words).split(self.types, -1)
        similar = (slots.index_select(0, sentence) @ sensed.unsqueeze(-1)).squeeze(-1)
        weights = masked_softmax(functional.embedding(head, similar) + functional.embedding(tail, similar), mask)
        return logits + self.own_sentence(weights.to(nodes.dtype), contexts, of_pair), weights, contexts

    def own_sentence(self, weights: Tensor, contexts: Tensor, sentence: Tensor) -> Tensor:
        """``weights`` ``[P,N]`` times the ``contexts`` ``[B,N,n_r]`` of each pair's ``sentence`` ``[P]``, ``[P,n_r]``.

        One product with the contexts of all sentences, of which all but the own are dropped. To gather ``[P,N,n_r]``
        and multiply row by row would take longer, and more memory.
        """
        size = contexts.shape[0]
        products = weights @ contexts.transpose(0, 1).flatten(1)
        rows = torch.arange(sentence.shape[0], device=sentence.device) * size + sentence
        return functional.embedding(rows, products.reshape(-1, self.types))

    def maxima(self, nodes: Tensor, ranges: Tensor) -> Tensor:
        """The maximum over each range of words, ``[R,H]``."""
        blocks = functional.max_pool2d(nodes.unsqueeze(1), (BLOCK, 1), ceil_mode=True).squeeze(1)
        table = torch.cat([nodes, nodes[:, :1] * 0, blocks], 1)
        place = ranges[:, 2:]
        place = torch.where(place < 0, nodes.shape[1] - 1 - place, place)
        return functional.embedding(place + ranges[:, :1] * table.shape[1], table.reshape(-1, table.shape[-1])).amax(1)


def build(model: TriMF, stage: int, explain: bool = False) -> dict[str, nn.Module]:
    """The four subgraphs of a trained model, in eval mode; ``stage`` as in the checkpoint.

    To ``explain``, the first two have the outputs of EXPLAINING that the model has.
    """
    with torch.no_grad():
        return {
            "encoder": EncoderGraph(model, stage, explain).eval(),
            "fusion": FusionGraph(model, stage, explain).eval(),
            "entities": EntitiesGraph(model, stage).eval(),
            "relations": RelationsGraph(model, stage).eval(),
        }
