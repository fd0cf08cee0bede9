"""A dependency parser on the words of a shared encoder: deep biaffine attention (Dozat and Manning 2017, eqs. 3-9).

The head of a root is the root itself, so the diagonal of the arc scores, which no other word needs, is the root's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimf_train.config import SyntaxConfig
from trimf_train.model.memory import bilinear

#: The score of an arc to padding.
NO_WORD = -1e4

#: What a view keeps of negative numbers.
SLOPE = 0.1


class BiaffineParser(nn.Module):
    """Arc scores of every pair of words, and label scores of given arcs; ``labels`` n_d counts no root."""

    def __init__(self, labels: int, width: int, config: SyntaxConfig) -> None:
        super().__init__()
        self.labels, self.sizes = labels, [config.arc_dim, config.arc_dim, config.label_dim, config.label_dim]
        self.project = nn.Linear(width, sum(self.sizes))
        self.arc = bilinear(config.arc_dim, config.arc_dim)
        self.arc_head = nn.Parameter(torch.zeros(config.arc_dim))
        self.root = nn.Parameter(torch.empty(config.arc_dim).normal_(0.0, 0.02))
        size = config.label_dim + 1
        self.label = nn.Parameter(nn.init.xavier_uniform_(torch.empty(size, labels * size)))
        self.dropout = nn.Dropout(config.dropout)

    def views(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a word is as a dependent and as a head of an arc ``[B,N,arc_dim]``, and of a label ``[B,N,label_dim]``.

        ``words`` ``[B,N,H]``; all four are slices of one product.
        """
        dependent, head, of_label, of_label_head = self.dropout(
            functional.leaky_relu(self.project(words), SLOPE)
        ).split(self.sizes, -1)
        return dependent, head, of_label, of_label_head

    def arcs(self, dependent: Tensor, head: Tensor, word_mask: Tensor) -> Tensor:
        """``[B,N,N]`` in float32: how much word j is the head of word i; at j = i, how much i is a root."""
        sought = dependent @ self.arc + self.arc_head
        places = torch.arange(word_mask.shape[1], device=word_mask.device)
        own = places.unsqueeze(1) == places
        scores = torch.where(own, (sought @ self.root).unsqueeze(-1), sought @ head.transpose(1, 2)).float()
        return torch.where(word_mask.unsqueeze(1), scores, NO_WORD)

    def label_scores(self, dependent: Tensor, heads: Tensor) -> Tensor:
        """``[...,n_d]``: scores of the labels of arcs to ``dependent`` from ``heads``, both ``[...,label_dim]``."""
        dependent, heads = (functional.pad(one, (0, 1), value=1.0) for one in (dependent, heads))
        by_label = (dependent @ self.label).unflatten(-1, (self.labels, -1))
        return (by_label @ heads.unsqueeze(-1)).squeeze(-1)

    def parse(self, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The best head of each word (a root's is itself) and the number of its label, 0 for roots: both ``[B,N]``."""
        dependent, head, of_label, of_label_head = self.views(words)
        own = torch.arange(word_mask.shape[1], device=word_mask.device)
        heads = torch.where(word_mask, self.arcs(dependent, head, word_mask).argmax(-1), own)
        index = heads.unsqueeze(-1).expand(-1, -1, of_label_head.shape[-1])
        labels = self.label_scores(of_label, of_label_head.gather(1, index)).argmax(-1) + 1
        return heads, torch.where(heads == own, 0, labels)

    def forward(self, words: Tensor, word_mask: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """Training: arc scores ``[B,N,N]``, and label scores ``[B,N,n_d]`` given the true ``heads`` ``[B,N]``."""
        dependent, head, of_label, of_label_head = self.views(words)
        index = heads.unsqueeze(-1).expand(-1, -1, of_label_head.shape[-1])
        scores = self.label_scores(of_label, of_label_head.gather(1, index))
        return self.arcs(dependent, head, word_mask), scores.float()
