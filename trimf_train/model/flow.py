"""Memory flow attention at subword or word level (paper, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from trimf_train.config import FlowConfig, FlowSwitches
from trimf_train.model.memory import Memory, inverse_read_weights, new_bilinear_weight


class MemoryFlow(nn.Module):
    """Scale every token by how much the memories attend to it, equations (9) and (10).

    Each memory has its own weight W ``[H, H]``.

    Args:
        width: Hidden size H.
        switches: Memories that flow into this level.
        config: Combination of a token with its scaled copies (``residual``) and of the slots of a memory (``slots``).
        gradient: Whether the loss reaches the memories through this module (paper, Table 6).
    """

    def __init__(self, width: int, switches: FlowSwitches, config: FlowConfig, gradient: bool) -> None:
        super().__init__()
        names = [name for name in ("relation", "entity") if getattr(switches, name)]
        self.weights = nn.ParameterDict({name: new_bilinear_weight(width, width) for name in names})
        self.residual, self.slots = config.residual, config.slots
        self.gradient = gradient

    def attention_weights(self, states: Tensor, mask: Tensor, memory: Memory) -> dict[str, Tensor]:
        """Compute the attention of each memory to every token.

        Args:
            states: Token states ``[B, T, H]``.
            mask: True for tokens, False for padding ``[B, T]``.
            memory: The memories.

        Returns:
            Weights ``[B, T]`` for each memory that flows into this level, by name (``relation``, ``entity``).
        """
        return {
            name: inverse_read_weights(
                states, weight, memory.flow_slots(name, self.gradient), mask, mean=self.slots == "mean"
            )
            for name, weight in self.weights.items()
        }

    def scale_factors(self, attention: dict[str, Tensor]) -> Tensor | float:
        """Combine the attention of the memories into one factor per token, according to ``residual``.

        Args:
            attention: The result of ``attention_weights``.

        Returns:
            Factors ``[B, T]``; the number 1 if no memory flows into this level.
        """
        if not attention:
            return 1.0
        total = sum(attention.values())
        if self.residual == "add":
            return 1.0 + total
        if self.residual == "mean":
            return (1.0 + total) / (1 + len(attention))
        return total / len(attention)

    def forward(self, states: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """Scale the token states.

        Args:
            states: Token states ``[B, T, H]``.
            mask: True for tokens, False for padding ``[B, T]``.
            memory: The memories.

        Returns:
            Scaled states ``[B, T, H]``.
        """
        factor = self.scale_factors(self.attention_weights(states, mask, memory))
        return states * factor.unsqueeze(-1).to(states.dtype) if isinstance(factor, Tensor) else states
