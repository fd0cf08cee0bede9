"""Syntactic graph, semantic graph and their node-wise fusion (paper 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimf_train.config import SyntaxConfig
from trimf_train.model.memory import bilinear, masked_softmax


class TypedLinear(nn.Module):
    """One matrix ``[H,H]`` per arc label, label 0 giving zeros; with ``bases`` > 0 each is a mixture of b shared ones.

    Source: Schlichtkrull et al. 2018, 2.2 (basis decomposition).
    """

    def __init__(self, labels: int, width: int, bases: int) -> None:
        super().__init__()
        count = bases or labels
        self.weight = nn.Parameter(torch.stack([bilinear(width, width).detach() for _ in range(count)]))
        self.mixture = nn.Parameter(nn.init.xavier_uniform_(torch.empty(labels, bases))) if bases else None

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        """``states`` ``[B,N,H]``, ``labels`` ``[B,N]`` in 0..n_d to ``[B,N,H]``."""
        if self.mixture is not None:
            share = functional.pad(self.mixture, (0, 0, 1, 0))[labels]
            mixed = (share.unsqueeze(-1) * states.unsqueeze(-2)).flatten(-2)
            return mixed @ self.weight.flatten(0, 1)
        flat, types = states.flatten(0, 1), labels.flatten()
        order = torch.argsort(types, stable=True)
        counts = torch.bincount(types, minlength=len(self.weight) + 1).tolist()
        groups = flat[order].split(counts)
        outputs = [torch.zeros_like(groups[0])]
        outputs += [group @ weight for group, weight in zip(groups[1:], self.weight, strict=True) if len(group)]
        return torch.cat([part.to(states.dtype) for part in outputs])[torch.argsort(order)].view_as(states)


class SyntacticGraph(nn.Module):
    """(15): ``ReLU(W_0 h_i + W_label(i) h_head(i))``; a word has one head, so c_{i,r} = 1 and nothing is scattered.

    With ``inverse`` each word also receives the mean of its dependents' messages through matrices of their own.
    """

    def __init__(self, labels: int, width: int, config: SyntaxConfig) -> None:
        super().__init__()
        self.own = bilinear(width, width)
        self.down = TypedLinear(labels, width, config.bases)
        self.up = TypedLinear(labels, width, config.bases) if config.inverse else None

    def forward(self, words: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """``words`` ``[B,N,H]``, ``heads`` and ``labels`` ``[B,N]`` to ``[B,N,H]``."""
        of_head = words.gather(1, heads.unsqueeze(-1).expand(-1, -1, words.shape[-1]))
        nodes = words @ self.own + self.down(of_head, labels)
        if self.up is not None:
            children = children_mean(heads, labels).to(words.dtype)
            nodes = nodes + children @ self.up(words, labels)
        return torch.relu(nodes)


def children_mean(heads: Tensor, labels: Tensor) -> Tensor:
    """``[B,N,N]``: entry ``[b,i,j]`` is 1 / (number of dependents of i) where j depends on i, else 0."""
    places = torch.arange(heads.shape[1], device=heads.device)
    depends = (heads.unsqueeze(1) == places.view(1, -1, 1)) & (labels > 0).unsqueeze(1)
    return depends.float() / depends.sum(-1, keepdim=True).clamp(min=1)


class SemanticGraph(nn.Module):
    """(16)-(18): attention of every word over the words of its sentence, by LeakyReLU-ed inner products.

    ``scale`` multiplies those before their softmax.
    """

    def __init__(self, width: int, keep: float, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = bilinear(width, width)
        self.keep, self.scale = keep, scale

    def forward(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """``words`` ``[B,N,H]``, ``word_mask`` ``[B,N]`` to ``[B,N,H]``; while training, a share of the edges."""
        projected = words @ self.weight
        # Half of the scale on either side keeps the products small in half precision.
        active = functional.leaky_relu(projected) * self.scale**0.5
        mask = word_mask.unsqueeze(1)
        if self.training and self.keep < 1:
            own = torch.eye(words.shape[1], dtype=torch.bool, device=words.device)
            mask = mask & (own | (torch.rand(mask.shape[0], *own.shape, device=words.device) < self.keep))
        return masked_softmax(active @ active.transpose(1, 2), mask).to(projected.dtype) @ projected


class GraphFusion(nn.Module):
    """(19)-(21) and the options of Table 4: both graphs fused word by word, then averaged with the words.

    ``scale`` multiplies the scores of (17) and (19) before their softmax.
    """

    def __init__(
        self, labels: int, width: int, fusion: str, syntax: SyntaxConfig, keep: float, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.fusion, self.scale = fusion, scale
        self.syntactic = SyntacticGraph(labels, width, syntax) if fusion not in ("semantic", "none") else None
        self.semantic = SemanticGraph(width, keep, scale) if fusion not in ("syntactic", "none") else None
        self.weight = bilinear(width, width) if fusion == "weighted" else None

    def forward(self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """``words`` ``[B,N,H]``, ``cls`` ``[B,H]``, masks and arcs ``[B,N]`` to E_g ``[B,N,H]``."""
        graphs = []
        if self.semantic is not None:
            graphs.append(self.semantic(words, word_mask))
        if self.syntactic is not None:
            graphs.append(self.syntactic(words, heads, labels))
        if not graphs:
            return words
        return (self.combine(torch.stack(graphs), cls) + words) / 2

    def combine(self, graphs: Tensor, cls: Tensor) -> Tensor:
        """(19)(20): ``graphs`` ``[1 or 2,B,N,H]`` to ``[B,N,H]``."""
        if self.weight is not None:
            return (self.shares(graphs, cls).to(graphs.dtype) * graphs).sum(0)
        if self.fusion == "max":
            return graphs.amax(0)
        return graphs.sum(0) if self.fusion == "sum" else graphs.mean(0)

    def syntactic_share(self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """The weight of the syntactic graph at every word ``[B,N]``, from what :meth:`forward` takes."""
        graphs = [self.semantic(words, word_mask), self.syntactic(words, heads, labels)]
        return self.shares(torch.stack(graphs), cls)[1].squeeze(-1)

    def shares(self, graphs: Tensor, cls: Tensor) -> Tensor:
        """(19): the weights of the semantic and the syntactic graph ``[2,B,N,H]`` at every word, ``[2,B,N,1]``."""
        return torch.softmax((graphs @ (cls @ self.weight * self.scale).unsqueeze(-1)).float(), 0)
