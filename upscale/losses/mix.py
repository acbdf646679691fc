"""Several losses as one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Mix(nn.Module):
    """A weighted sum of losses: `losses` by name, and a weight for each name."""

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if set(losses) != set(weights):
            raise ValueError(f"losses {sorted(losses)} and weights {sorted(weights)} must have the same names")
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        terms = [self.weights[name] * loss(restored, clean, degraded) for name, loss in self.losses.items()]
        return torch.stack(terms).sum()
