"""The bare training step that loops are compared with: forward pass, backward pass and update."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from decaf.backbone.network import AlexNet
from decaf.backbone.spec import ArchSpec

__all__ = ["BareStep"]


class BareStep:
    """A network, its optimizer and a batch that is there already; nothing around them.

    Parameters
    ----------
    spec : ArchSpec
    batch_size : int
    device : torch.device
    optimizer : {"sgd", "adamw"}
    state : dict of str to Tensor
        Parameters of the network.
    dtype : torch.dtype
        Type of the arithmetic.
    """

    def __init__(
        self,
        spec: ArchSpec,
        batch_size: int,
        device: torch.device,
        *,
        optimizer: str = "sgd",
        state: dict[str, Tensor],
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        network = AlexNet(spec)
        network.load_state_dict(state)
        self.network = network.to(device).to(memory_format=torch.channels_last).train()
        self.forward: Any = torch.compile(self.network) if device.type == "cuda" else self.network
        self.optimizer: torch.optim.Optimizer
        if optimizer == "sgd":
            self.optimizer = torch.optim.SGD(
                self.network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True
            )
        else:
            self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=True)
        self.device, self.dtype = device, dtype
        self.loss = torch.zeros(())
        side = spec.input_size
        source = torch.Generator().manual_seed(0)
        pixels = 60 * torch.randn(batch_size, 3, side, side, generator=source)
        self.images = pixels.to(dtype).to(device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(spec.classes, (batch_size,), generator=source).to(device)

    def take(self) -> None:
        """Take one step."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss = functional.cross_entropy(self.forward(self.images).float(), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()
