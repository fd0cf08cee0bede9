"""Syntactic graph, semantic graph and their weighted fusion per word (paper, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimf_train.config import SyntaxConfig
from trimf_train.model.memory import masked_softmax, new_bilinear_weight


class TypedLinear(nn.Module):
    """Linear map with a separate matrix ``[H, H]`` per dependency label; label 0 (roots, padding) gives zeros.

    Source: Schlichtkrull et al. 2018, section 2.2 (basis decomposition).

    Args:
        labels: Number of dependency labels n_d.
        width: Hidden size H.
        bases: Number of shared basis matrices, of which each label's matrix is a mixture; 0 for independent matrices.
    """

    def __init__(self, labels: int, width: int, bases: int) -> None:
        super().__init__()
        count = bases or labels
        self.weight = nn.Parameter(torch.stack([new_bilinear_weight(width, width).detach() for _ in range(count)]))
        self.mixture = nn.Parameter(nn.init.xavier_uniform_(torch.empty(labels, bases))) if bases else None

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        """Multiply every state by the matrix of its label.

        Args:
            states: Word states ``[B, N, H]``.
            labels: Label IDs ``[B, N]`` from 0 to n_d.

        Returns:
            The mapped states ``[B, N, H]``.
        """
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
    """R-GCN over the dependency tree, equation (15): ``ReLU(W_0 h_i + W_label(i) h_head(i))``.

    A word has exactly one head, so the normalisation c_{i,r} is 1 and a gather replaces the scatter of a general
    R-GCN. With ``config.inverse``, each word also receives the mean of its dependents' messages through separate
    matrices.

    Args:
        labels: Number of dependency labels n_d.
        width: Hidden size H.
        config: Options of the syntactic graph.
    """

    def __init__(self, labels: int, width: int, config: SyntaxConfig) -> None:
        super().__init__()
        self.own = new_bilinear_weight(width, width)
        self.down = TypedLinear(labels, width, config.bases)
        self.up = TypedLinear(labels, width, config.bases) if config.inverse else None

    def forward(self, words: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """Compute the syntactic node states.

        Args:
            words: Word states ``[B, N, H]``.
            heads: Index of the head of each word ``[B, N]``.
            labels: Dependency label IDs ``[B, N]``, 0 for roots and padding.

        Returns:
            Node states ``[B, N, H]``.
        """
        head_states = words.gather(1, heads.unsqueeze(-1).expand(-1, -1, words.shape[-1]))
        nodes = words @ self.own + self.down(head_states, labels)
        if self.up is not None:
            children = dependent_mean_matrix(heads, labels).to(words.dtype)
            nodes = nodes + children @ self.up(words, labels)
        return torch.relu(nodes)


def dependent_mean_matrix(heads: Tensor, labels: Tensor) -> Tensor:
    """Build the matrix that averages over the dependents of each word.

    Args:
        heads: Index of the head of each word ``[B, N]``.
        labels: Dependency label IDs ``[B, N]``, 0 for roots and padding.

    Returns:
        A matrix ``[B, N, N]``; entry ``[b, i, j]`` is 1 / (number of dependents of i) if j depends on i, otherwise 0.
    """
    positions = torch.arange(heads.shape[1], device=heads.device)
    depends = (heads.unsqueeze(1) == positions.view(1, -1, 1)) & (labels > 0).unsqueeze(1)
    return depends.float() / depends.sum(-1, keepdim=True).clamp(min=1)


class SemanticGraph(nn.Module):
    """Attention of every word over the words of its sentence, equations (16)-(18).

    The scores are inner products of projected words after LeakyReLU.

    Args:
        width: Hidden size H.
        keep: Share of edges that is kept at random during training.
    """

    def __init__(self, width: int, keep: float) -> None:
        super().__init__()
        self.weight = new_bilinear_weight(width, width)
        self.keep = keep

    def forward(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """Compute the semantic node states.

        Args:
            words: Word states ``[B, N, H]``.
            word_mask: True for words, False for padding ``[B, N]``.

        Returns:
            Node states ``[B, N, H]``.
        """
        projected = words @ self.weight
        active = functional.leaky_relu(projected)
        mask = word_mask.unsqueeze(1)
        if self.training and self.keep < 1:
            self_loops = torch.eye(words.shape[1], dtype=torch.bool, device=words.device)
            kept = torch.rand(mask.shape[0], *self_loops.shape, device=words.device) < self.keep
            mask = mask & (self_loops | kept)
        return masked_softmax(active @ active.transpose(1, 2), mask).to(projected.dtype) @ projected


class GraphFusion(nn.Module):
    """Fusion of both graphs per word, averaged with the word states, equations (19)-(21), or an option of Table 4.

    Args:
        labels: Number of dependency labels n_d.
        width: Hidden size H.
        fusion: Fusion method: ``weighted``, ``mean``, ``sum``, ``max``, ``syntactic``, ``semantic`` or ``none``.
        syntax: Options of the syntactic graph.
        keep: Share of edges of the semantic graph that is kept at random during training.
    """

    def __init__(self, labels: int, width: int, fusion: str, syntax: SyntaxConfig, keep: float) -> None:
        super().__init__()
        self.fusion = fusion
        self.syntactic = SyntacticGraph(labels, width, syntax) if fusion not in ("semantic", "none") else None
        self.semantic = SemanticGraph(width, keep) if fusion not in ("syntactic", "none") else None
        self.weight = new_bilinear_weight(width, width) if fusion == "weighted" else None

    def forward(self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """Compute the node states E_g.

        Args:
            words: Word states ``[B, N, H]``.
            cls: State of the CLS token ``[B, H]``.
            word_mask: True for words, False for padding ``[B, N]``.
            heads: Index of the head of each word ``[B, N]``.
            labels: Dependency label IDs ``[B, N]``, 0 for roots and padding.

        Returns:
            Node states E_g ``[B, N, H]``.
        """
        graphs = []
        if self.semantic is not None:
            graphs.append(self.semantic(words, word_mask))
        if self.syntactic is not None:
            graphs.append(self.syntactic(words, heads, labels))
        if not graphs:
            return words
        return (self.fuse_graphs(torch.stack(graphs), cls) + words) / 2

    def fuse_graphs(self, graphs: Tensor, cls: Tensor) -> Tensor:
        """Fuse the node states of the graphs, equations (19) and (20).

        Args:
            graphs: Node states of the graphs that are in use ``[1 or 2, B, N, H]``.
            cls: State of the CLS token ``[B, H]``.

        Returns:
            Fused node states ``[B, N, H]``.
        """
        if self.weight is not None:
            return (self.fusion_weights(graphs, cls).to(graphs.dtype) * graphs).sum(0)
        if self.fusion == "max":
            return graphs.amax(0)
        return graphs.sum(0) if self.fusion == "sum" else graphs.mean(0)

    def syntactic_weight(self, words: Tensor, cls: Tensor, word_mask: Tensor, heads: Tensor, labels: Tensor) -> Tensor:
        """Compute the fusion weight of the syntactic graph at every word.

        Args:
            words: Word states ``[B, N, H]``.
            cls: State of the CLS token ``[B, H]``.
            word_mask: True for words, False for padding ``[B, N]``.
            heads: Index of the head of each word ``[B, N]``.
            labels: Dependency label IDs ``[B, N]``, 0 for roots and padding.

        Returns:
            Weights ``[B, N]`` from 0 to 1; the weight of the semantic graph is the rest.
        """
        assert self.semantic is not None, "weighted fusion has both graphs"
        assert self.syntactic is not None, "weighted fusion has both graphs"
        graphs = [self.semantic(words, word_mask), self.syntactic(words, heads, labels)]
        return self.fusion_weights(torch.stack(graphs), cls)[1].squeeze(-1)

    def fusion_weights(self, graphs: Tensor, cls: Tensor) -> Tensor:
        """Compute the fusion weights of both graphs at every word, equation (19).

        Args:
            graphs: Node states of the semantic and of the syntactic graph ``[2, B, N, H]``.
            cls: State of the CLS token ``[B, H]``.

        Returns:
            Weights ``[2, B, N, 1]`` in float32, which sum to 1 over the graphs.
        """
        assert self.weight is not None, "only weighted fusion has weights"
        return torch.softmax((graphs @ (cls @ self.weight).unsqueeze(-1)).float(), 0)
