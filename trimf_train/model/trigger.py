"""The trigger sensor: which words made the model believe a relation (paper 3.5)."""

from __future__ import annotations

from torch import Tensor, nn

from trimf_train.model.memory import Memory, bilinear, masked_softmax, normal_read


class TriggerSensor(nn.Module):
    """(23)(24): a pair of spans reads the relation memory; what it reads attends to the words of the sentence.

    ``scale`` multiplies the scores of (24) before their softmax.
    """

    def __init__(self, width: int, gradient: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = bilinear(width, width)
        self.gradient, self.scale = gradient, scale

    def forward(
        self, heads: Tensor, tails: Tensor, words: Tensor, word_mask: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor]:
        """Pooled spans ``heads`` and ``tails`` ``[P,H]``, their sentences' ``words`` ``[P,N,H]`` and mask ``[P,N]``.

        Returns the trigger context ``[P,H]`` and the weights t_ij ``[P,N]``, which sum to 1 over the sentence.
        """
        slots = memory.flow_slots("relation", self.gradient)
        read = (normal_read(heads, self.weight, slots) + normal_read(tails, self.weight, slots)) * (self.scale / 2)
        weights = masked_softmax((words @ read.to(words.dtype).unsqueeze(-1)).squeeze(-1), word_mask)
        return (weights.to(words.dtype).unsqueeze(1) @ words).squeeze(1), weights
