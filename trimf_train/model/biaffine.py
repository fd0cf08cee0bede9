"""In-model dependency parser: deep biaffine attention on the words of the shared encoder.

Source: Dozat and Manning, "Deep Biaffine Attention for Neural Dependency Parsing", ICLR 2017, equations (3)-(9).

A root is its own head. The diagonal of the arc scores, which has no other use, therefore holds the scores of words as
roots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimf_train.config import SyntaxConfig
from trimf_train.model.memory import new_bilinear_weight

#: Score of an arc from padding; finite, so that it is safe in half precision.
PADDING_SCORE = -1e4

#: Negative slope of the LeakyReLU after the projection.
LEAKY_RELU_SLOPE = 0.1


class BiaffineParser(nn.Module):
    """Biaffine classifiers for dependency arcs and for their labels.

    Args:
        labels: Number of dependency labels n_d, without a label for roots.
        width: Hidden size H of the encoder.
        config: Sizes and dropout of the parser.
    """

    def __init__(self, labels: int, width: int, config: SyntaxConfig) -> None:
        super().__init__()
        self.labels, self.sizes = labels, [config.arc_dim, config.arc_dim, config.label_dim, config.label_dim]
        self.project = nn.Linear(width, sum(self.sizes))
        self.arc = new_bilinear_weight(config.arc_dim, config.arc_dim)
        self.arc_head = nn.Parameter(torch.zeros(config.arc_dim))
        self.root = nn.Parameter(torch.empty(config.arc_dim).normal_(0.0, 0.02))
        size = config.label_dim + 1
        self.label = nn.Parameter(nn.init.xavier_uniform_(torch.empty(size, labels * size)))
        self.dropout = nn.Dropout(config.dropout)

    def project_views(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Project words to their four roles in the classifiers.

        The roles are slices of a single matrix product.

        Args:
            words: Word states ``[B, N, H]``.

        Returns:
            Words as dependents and as heads of arcs, each ``[B, N, arc_dim]``, then words as dependents and as heads
            for label classification, each ``[B, N, label_dim]``.
        """
        dependent, head, label_dependent, label_head = self.dropout(
            functional.leaky_relu(self.project(words), LEAKY_RELU_SLOPE)
        ).split(self.sizes, -1)
        return dependent, head, label_dependent, label_head

    def arc_scores(self, dependent: Tensor, head: Tensor, word_mask: Tensor) -> Tensor:
        """Score every word as the head of every other word.

        Args:
            dependent: Words as dependents ``[B, N, arc_dim]``.
            head: Words as heads ``[B, N, arc_dim]``.
            word_mask: True for words, False for padding ``[B, N]``.

        Returns:
            Scores ``[B, N, N]`` in float32. Entry ``[b, i, j]`` is the score of word j as the head of word i; entry
            ``[b, i, i]`` is the score of word i as a root.
        """
        queries = dependent @ self.arc + self.arc_head
        positions = torch.arange(word_mask.shape[1], device=word_mask.device)
        diagonal = positions.unsqueeze(1) == positions
        scores = torch.where(diagonal, (queries @ self.root).unsqueeze(-1), queries @ head.transpose(1, 2)).float()
        return torch.where(word_mask.unsqueeze(1), scores, PADDING_SCORE)

    def label_scores(self, dependent: Tensor, heads: Tensor) -> Tensor:
        """Score the dependency labels of arcs.

        Args:
            dependent: The dependent of each arc ``[..., label_dim]``.
            heads: The head of each arc ``[..., label_dim]``.

        Returns:
            Label scores ``[..., n_d]``.
        """
        # A constant feature of 1 on both sides adds the linear terms and the bias to the bilinear form.
        dependent, heads = (functional.pad(states, (0, 1), value=1.0) for states in (dependent, heads))
        by_label: Tensor = (dependent @ self.label).unflatten(-1, (self.labels, -1))
        return (by_label @ heads.unsqueeze(-1)).squeeze(-1)

    def parse(self, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the head and the dependency label of every word.

        Heads are the best per word; they need not form a tree.

        Args:
            words: Word states ``[B, N, H]``.
            word_mask: True for words, False for padding ``[B, N]``.

        Returns:
            Index of the head of each word (a root and padding are their own heads) and label ID (0 for roots and
            padding, 1 to n_d otherwise), both ``[B, N]``.
        """
        dependent, head, label_dependent, label_head = self.project_views(words)
        positions = torch.arange(word_mask.shape[1], device=word_mask.device)
        heads = torch.where(word_mask, self.arc_scores(dependent, head, word_mask).argmax(-1), positions)
        index = heads.unsqueeze(-1).expand(-1, -1, label_head.shape[-1])
        labels = self.label_scores(label_dependent, label_head.gather(1, index)).argmax(-1) + 1
        return heads, torch.where(heads == positions, 0, labels)

    def score_best_arcs(self, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores that ``parse`` decides by.

        Args:
            words: Word states ``[B, N, H]``.
            word_mask: True for words, False for padding ``[B, N]``.

        Returns:
            Arc scores ``[B, N, N]``, and the scores of the labels of each word's best arc ``[B, N, n_d]``.
        """
        return self.forward(words, word_mask, self.parse(words, word_mask)[0])

    def forward(self, words: Tensor, word_mask: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the scores for the training loss; labels are scored for the gold arcs.

        Args:
            words: Word states ``[B, N, H]``.
            word_mask: True for words, False for padding ``[B, N]``.
            heads: Index of the gold head of each word ``[B, N]``.

        Returns:
            Arc scores ``[B, N, N]`` and label scores ``[B, N, n_d]``, both in float32.
        """
        dependent, head, label_dependent, label_head = self.project_views(words)
        index = heads.unsqueeze(-1).expand(-1, -1, label_head.shape[-1])
        scores = self.label_scores(label_dependent, label_head.gather(1, index))
        return self.arc_scores(dependent, head, word_mask), scores.float()
