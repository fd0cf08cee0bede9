"""Max pooling over subwords and over ranges of words (paper, section 3.1).

No function builds a tensor of size spans x words x hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pool_words(states: Tensor, pieces: Tensor) -> Tensor:
    """Pool subwords to words by maximum (f_w in the paper).

    Args:
        states: Subword states ``[B, T, H]``.
        pieces: Positions of the subwords of each word ``[B, N, S]``; shorter words repeat their last position.

    Returns:
        Word states ``[B, N, H]``.
    """
    size, words, widest = pieces.shape
    index = pieces.reshape(size, words * widest, 1).expand(-1, -1, states.shape[-1])
    return states.gather(1, index).view(size, words, widest, -1).amax(2)


def span_grid(words: Tensor, max_width: int) -> Tensor:
    """Pool all spans of up to K words by maximum (f_s in the paper), as a running maximum over K shifts.

    Args:
        words: Word states ``[B, N, H]``.
        max_width: Maximum span width K in words.

    Returns:
        Span states ``[B, N, K, H]``; entry ``[b, i, w]`` covers words i to i + w. A span that would extend past the
        end of the array has the value of the longest span that does not.
    """
    grid = [words]
    for width in range(1, max_width):
        shifted = torch.cat([words[:, width:], words[:, -1:].expand(-1, min(width, words.shape[1]), -1)], 1)
        grid.append(torch.maximum(grid[-1], shifted[:, : words.shape[1]]))
    return torch.stack(grid, 2)


class RangeMaximum:
    """Range-maximum queries over words with a sparse table.

    Level l of the table holds the maxima over 2^l words. Two gathers answer a query of any length.

    Args:
        words: Word states ``[B, N, H]``.
        longest: Maximum length of the queried ranges; None allows N.
    """

    def __init__(self, words: Tensor, longest: int | None = None) -> None:
        self.sentences, self.words, self.width = words.shape
        longest = self.words if longest is None else min(longest, self.words)
        levels = [words]
        step = 1
        while 2 * step <= longest:
            level = levels[-1]
            levels.append(torch.cat([torch.maximum(level[:, :-step], level[:, step:]), level[:, -step:]], 1))
            step *= 2
        self.levels = len(levels)
        self.table = torch.stack(levels).reshape(-1, self.width)

    def __call__(self, sentence: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Return the maximum over ranges of words.

        Args:
            sentence: Index of the sentence of each query ``[Q]``.
            first: First word of each range ``[Q]``.
            last: Last word (inclusive) of each range ``[Q]``.

        Returns:
            The maxima ``[Q, H]``; an empty range (``last < first``) gives zeros.
        """
        length = last - first + 1
        powers = 2 ** torch.arange(1, max(self.levels, 2), device=length.device)
        level = (length.unsqueeze(-1) >= powers).sum(-1).clamp(max=self.levels - 1)
        base = (level * self.sentences + sentence) * self.words
        left = self.table[base + first.clamp(0, self.words - 1)]
        right = self.table[base + (last + 1 - 2**level).clamp(0, self.words - 1)]
        return torch.where((length > 0).unsqueeze(-1), torch.maximum(left, right), 0.0)
