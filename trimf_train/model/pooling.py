"""Max pooling over subwords and over ranges of words without ever building spans x words x hidden (paper 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor


def pool_words(states: Tensor, pieces: Tensor) -> Tensor:
    """f_w: the maximum over the subwords of each word.

    ``states`` ``[B,T,H]``, ``pieces`` ``[B,N,S]`` (positions, the last one repeated) to ``[B,N,H]``.
    """
    size, words, widest = pieces.shape
    index = pieces.reshape(size, words * widest, 1).expand(-1, -1, states.shape[-1])
    return states.gather(1, index).view(size, words, widest, -1).amax(2)


def span_grid(words: Tensor, max_width: int) -> Tensor:
    """f_s: the maximum over every span of up to K words, as a running maximum over K shifts.

    ``words`` ``[B,N,H]`` to ``[B,N,K,H]``, entry ``[b,i,w]`` covering words i to i+w; where a span would pass the end
    of the array, its value is that of the longest span that does not.
    """
    grid = [words]
    for width in range(1, max_width):
        shifted = torch.cat([words[:, width:], words[:, -1:].expand(-1, min(width, words.shape[1]), -1)], 1)
        grid.append(torch.maximum(grid[-1], shifted[:, : words.shape[1]]))
    return torch.stack(grid, 2)


class RangeMaximum:
    """Maxima of any range of words from a sparse table: levels of doubling width, two gathers an answer.

    Built once for ``words`` ``[B,N,H]``; ``longest`` bounds the ranges that will be asked for (default N).
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
        """The maximum over words ``first`` to ``last`` (inclusive) of each ``sentence``, all ``[Q]``, to ``[Q,H]``.

        An empty range (``last < first``) gives zeros.
        """
        length = last - first + 1
        powers = 2 ** torch.arange(1, max(self.levels, 2), device=length.device)
        level = (length.unsqueeze(-1) >= powers).sum(-1).clamp(max=self.levels - 1)
        base = (level * self.sentences + sentence) * self.words
        left = self.table[base + first.clamp(0, self.words - 1)]
        right = self.table[base + (last + 1 - 2**level).clamp(0, self.words - 1)]
        return torch.where((length > 0).unsqueeze(-1), torch.maximum(left, right), 0.0)
