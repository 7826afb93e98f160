"""A teacher of fifteen numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NAMES = ("red", "green", "blue", "dark", "bright")


class Colours(nn.Module):
    """Tells colours apart: logits that are linear in an image's mean colour."""

    def __init__(self) -> None:
        super().__init__()
        directions = [[2, -1, -1], [-1, 2, -1], [-1, -1, 2], [-1, -1, -1], [1, 1, 1]]
        self.weight = nn.Parameter(3 * torch.tensor(directions, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) @ self.weight.T
