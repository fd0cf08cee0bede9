"""Trigger sensor: attention of entity pairs to the words that indicate a relation (paper, section 3.5)."""

from __future__ import annotations

from torch import Tensor, nn

from trimf_train.model.memory import Memory, masked_softmax, new_bilinear_weight, read_memory


class TriggerSensor(nn.Module):
    """Attend from pairs of spans, through the relation memory, to the words of the sentence, equations (23) and (24).

    Args:
        width: Hidden size H.
        gradient: Whether the loss reaches the memory through this module (paper, Table 6).
    """

    def __init__(self, width: int, gradient: bool) -> None:
        super().__init__()
        self.weight = new_bilinear_weight(width, width)
        self.gradient = gradient

    def forward(
        self, heads: Tensor, tails: Tensor, words: Tensor, word_mask: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor]:
        """Compute the trigger context of pairs of spans.

        Args:
            heads: Pooled head spans ``[P, H]``.
            tails: Pooled tail spans ``[P, H]``.
            words: The words of each pair's sentence ``[P, N, H]``.
            word_mask: True for words, False for padding ``[P, N]``.
            memory: The memories.

        Returns:
            The trigger context ``[P, H]`` and the trigger weights t_ij ``[P, N]``, which sum to 1 over the sentence.
        """
        slots = memory.flow_slots("relation", self.gradient)
        read = (read_memory(heads, self.weight, slots) + read_memory(tails, self.weight, slots)) / 2
        weights = masked_softmax((words @ read.to(words.dtype).unsqueeze(-1)).squeeze(-1), word_mask)
        return (weights.to(words.dtype).unsqueeze(1) @ words).squeeze(1), weights
