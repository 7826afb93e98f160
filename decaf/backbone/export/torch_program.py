"""A network as a program of `torch.export` (``.pt2``), normalisation included."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from decaf.backbone.export import INPUT
from decaf.backbone.network import AlexNet
from decaf.backbone.steps import needed_steps
from decaf.backbone.weights.state import Weights

__all__ = ["METADATA", "ExportedNetwork", "run_program", "write_program"]

METADATA = "decaf.json"
"""Name of the metadata among the extra files of a program."""


class ExportedNetwork(nn.Module):
    """A network from uint8 pixels (N, crop, crop, 3) to a dict of layers, in operators of torch.

    What can be traced cannot loop over the rows of a batch, as decaf's own normalisation of
    responses does: torch's is called instead.

    Parameters
    ----------
    weights : Weights
    layers : iterable of str
        The outputs, in forward order.
    normalisation : tuple of ndarray
        Factor and shift of the pixels, as `decaf.backbone.export.models.pixel_normalisation`
        returns them.
    """

    pixel_factor: Tensor
    pixel_shift: Tensor

    def __init__(
        self,
        weights: Weights,
        layers: Iterable[str],
        normalisation: tuple[np.ndarray, np.ndarray],
    ) -> None:
        super().__init__()
        self._layers = tuple(layers)
        self._spec = weights.spec
        self._steps = needed_steps(weights.spec, self._layers)
        self.network = AlexNet(weights.spec)
        self.network.load_state_dict(weights.state, assign=True)
        self.network.requires_grad_(False)
        needed = {step.name for step in self._steps}
        for name in [name for name, _ in self.network.named_children() if name not in needed]:
            delattr(self.network, name)
        factor, shift = map(torch.from_numpy, normalisation)
        self.register_buffer("pixel_factor", factor)
        self.register_buffer("pixel_shift", shift)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the layers.

        Parameters
        ----------
        images : Tensor of uint8, shape (N, crop, crop, 3)
        """
        x = images.permute(0, 3, 1, 2).float() * self.pixel_factor + self.pixel_shift
        values: dict[str, Tensor] = {}
        for step in self._steps:
            if step.kind == "lrn" and self._spec.lrn is not None:
                lrn = self._spec.lrn
                # torch divides alpha by the size of the window, the paper (and decaf) does not.
                alpha = lrn.alpha * lrn.size
                x = functional.local_response_norm(x, lrn.size, alpha, lrn.beta, lrn.k)
            else:
                x = self.network.run_step(step, x)
            values |= dict.fromkeys(step.taps, x)
        return {layer: values[layer] for layer in self._layers}


def write_program(stream: IO[bytes], network: ExportedNetwork, crop: int, metadata: str) -> None:
    """Trace a network for batches of any length, and write the program.

    Parameters
    ----------
    stream : binary stream
    network : ExportedNetwork
    crop : int
        Side of its images.
    metadata : str
        Kept in the file as `METADATA`; ``torch.export.load(path, extra_files={METADATA: ""})``
        puts it into that dict.
    """
    example = torch.zeros(2, crop, crop, 3, dtype=torch.uint8)
    batch = torch.export.Dim("N", min=1)
    with torch.no_grad(), warnings.catch_warnings():
        # What torch tells of its own insides is not for the user of a network.
        warnings.simplefilter("ignore")
        program = torch.export.export(
            network.eval(), (example,), dynamic_shapes={INPUT: {0: batch}}
        )
        # In memory first: where a write fails, torch's own does not only raise.
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={METADATA: metadata})
    stream.write(file.getbuffer())


def run_program(path: str | os.PathLike[str]) -> tuple[str, Any]:
    """Load a program.

    Parameters
    ----------
    path : path

    Returns
    -------
    (str, callable)
        The name of what runs it; and a function that maps pixels, uint8 (N, crop, crop, 3), to the
        values of the layers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open(path, "rb") as stream:  # torch asks a path for its ending
            module = torch.export.load(stream).module()

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            values = cast(Mapping[str, Tensor], module(torch.from_numpy(pixels)))
        return [value.numpy() for value in values.values()]

    return f"torch {torch.__version__}", run
