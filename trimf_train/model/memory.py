"""Entity and relation memory with the normal and the inverse read operation (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """Category representations: entity slots ``[n_e + 1, H]`` (slot 0 is None) and relation slots ``[n_r, H]``.

    They are initialised from N(0, 0.02) (paper, section 4.4). A write, equations (5)-(8), is a gradient step on these
    parameters, see ``trimf_train.training.optimizer``.

    Args:
        entities: Number of entity types n_e, without None.
        relations: Number of relation types n_r.
        width: Hidden size H.
    """

    def __init__(self, entities: int, relations: int, width: int) -> None:
        super().__init__()
        self.entity = nn.Parameter(torch.empty(entities + 1, width).normal_(0.0, 0.02))
        self.relation = nn.Parameter(torch.empty(relations, width).normal_(0.0, 0.02))

    def flow_slots(self, kind: str, gradient: bool) -> Tensor:
        """Return the slots that take part in attention, without the None slot.

        Args:
            kind: ``relation`` or ``entity``.
            gradient: False detaches the slots, so that no gradient reaches the memory (paper, Table 6).

        Returns:
            Slots ``[n_r, H]`` or ``[n_e, H]``.
        """
        slots = self.relation if kind == "relation" else self.entity[1:]
        return slots if gradient else slots.detach()


def new_bilinear_weight(width_in: int, width_out: int) -> nn.Parameter:
    """Create a bilinear weight ``[width_in, width_out]`` with Xavier-uniform initialisation."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(width_in, width_out)))


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Compute a softmax in float32 over the positions where ``mask`` is True.

    Args:
        scores: Scores of any shape.
        mask: Boolean mask that broadcasts to ``scores``.
        dim: The dimension to normalise.

    Returns:
        Weights with 0 at masked positions; a row that is completely masked gives zeros, not NaN.
    """
    scores = torch.where(mask, scores.float(), -1e4)
    return torch.softmax(scores, dim) * mask


def read_memory(states: Tensor, weight: Tensor, slots: Tensor) -> Tensor:
    """Read the memory for every state: ``softmax(E W M^T) M``, equations (1) and (2).

    Args:
        states: Queries E ``[..., H]``.
        weight: Bilinear weight W ``[H, H]``.
        slots: Memory slots M ``[n, H]``.

    Returns:
        For each state, the mean of the slots weighted by attention ``[..., H]``.
    """
    return torch.softmax((states @ weight @ slots.T).float(), -1) @ slots


def inverse_read_weights(states: Tensor, weight: Tensor, slots: Tensor, mask: Tensor, mean: bool = False) -> Tensor:
    """Compute the token weights of the inverse read, equation (3): ``sum_slots softmax_tokens(M W E^T)``.

    Args:
        states: Token states E ``[B, T, H]``.
        weight: Bilinear weight W ``[H, H]``.
        slots: Memory slots M ``[n, H]``.
        mask: True for tokens, False for padding ``[B, T]``.
        mean: Take the mean over the slots instead of the sum.

    Returns:
        Weights ``[B, T]``. The weights of a sentence sum to the number of slots, or to 1 with ``mean``; padding has
        weight 0.
    """
    scores = states @ (slots @ weight).T
    total = masked_softmax(scores, mask.unsqueeze(-1), dim=1).sum(-1)
    return total / max(1, len(slots)) if mean else total
