"""Entity and relation memory and its two ways of being read (paper 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """Category representations: entity slots ``[n_e+1, H]`` (slot 0 is None) and relation slots ``[n_r, H]``.

    Drawn from N(0, 0.02) (4.4). Writing (5)-(8) is a gradient step on these parameters, see ``trimf_train.optimizer``.
    """

    def __init__(self, entities: int, relations: int, width: int) -> None:
        super().__init__()
        self.entity = nn.Parameter(torch.empty(entities + 1, width).normal_(0.0, 0.02))
        self.relation = nn.Parameter(torch.empty(relations, width).normal_(0.0, 0.02))

    def flow_slots(self, kind: str, gradient: bool) -> Tensor:
        """The slots that flow into attention, without None; detached where their gradient is cut (Table 6)."""
        slots = self.relation if kind == "relation" else self.entity[1:]
        return slots if gradient else slots.detach()


def bilinear(width_in: int, width_out: int) -> nn.Parameter:
    """A bilinear weight ``[width_in, width_out]``, Xavier-uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(width_in, width_out)))


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax in float32 over the places where ``mask`` holds; a row without any gives zeros, not NaN."""
    scores = torch.where(mask, scores.float(), -1e4)
    return torch.softmax(scores, dim) * mask


def normal_read(states: Tensor, weight: Tensor, slots: Tensor) -> Tensor:
    """(1)(2): ``softmax(E W M^T) M``; ``states`` ``[..., H]``, ``slots`` ``[n, H]`` to ``[..., H]``."""
    return torch.softmax((states @ weight @ slots.T).float(), -1) @ slots


def inverse_weights(states: Tensor, weight: Tensor, slots: Tensor, mask: Tensor) -> Tensor:
    """(3): ``sum_slots softmax_tokens(M W E^T)``; ``states`` ``[B,T,H]``, ``mask`` ``[B,T]`` to ``[B,T]``.

    The weights of a sentence sum to the number of slots; padding gets 0.
    """
    scores = states @ (slots @ weight).T
    return masked_softmax(scores, mask.unsqueeze(-1), dim=1).sum(-1)
