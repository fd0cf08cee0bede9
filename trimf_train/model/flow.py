"""Memory flow attention of one level (paper 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from trimf_train.config import FlowSwitches
from trimf_train.model.memory import Memory, bilinear, inverse_weights


class MemoryFlow(nn.Module):
    """(9)(10): every token scaled by how much the memories attend to it; each memory has its own W ``[H,H]``."""

    def __init__(self, width: int, switches: FlowSwitches, residual: str, gradient: bool) -> None:
        super().__init__()
        names = [name for name in ("relation", "entity") if getattr(switches, name)]
        self.weights = nn.ParameterDict({name: bilinear(width, width) for name in names})
        self.residual = residual
        self.gradient = gradient

    def attention(self, states: Tensor, mask: Tensor, memory: Memory) -> dict[str, Tensor]:
        """The weight of every token from each memory, ``{"relation": [B,T], "entity": [B,T]}``."""
        return {
            name: inverse_weights(states, weight, memory.flow_slots(name, self.gradient), mask)
            for name, weight in self.weights.items()
        }

    def scale(self, attention: dict[str, Tensor]) -> Tensor | float:
        """The factor ``[B,T]`` of every token, by ``residual``; 1 where no memory flows."""
        if not attention:
            return 1.0
        total = sum(attention.values())
        if self.residual == "add":
            return 1.0 + total
        if self.residual == "mean":
            return (1.0 + total) / (1 + len(attention))
        return total / len(attention)

    def forward(self, states: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """``states`` ``[B,T,H]``, ``mask`` ``[B,T]`` (bool) to ``[B,T,H]``."""
        factor = self.scale(self.attention(states, mask, memory))
        return states * factor.unsqueeze(-1).to(states.dtype) if isinstance(factor, Tensor) else states
