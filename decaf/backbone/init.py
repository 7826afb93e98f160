"""Random parameters, the same for the same seed, for baselines and for training from scratch."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from decaf.backbone.spec import ArchSpec, parameter_shapes
from decaf.errors import SettingError

__all__ = ["Scheme", "random_state"]

Scheme = Literal["he", "paper"]

# Krizhevsky et al. 2012, section 5: "the neuron biases in the second, fourth, and fifth
# convolutional layers, as well as in the fully-connected hidden layers, with the constant 1".
_ONES = ("conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias")


def random_state(spec: ArchSpec, seed: int, scheme: Scheme = "he") -> dict[str, Tensor]:
    """Draw the parameters of a network.

    Parameters
    ----------
    spec : ArchSpec
        Of the network they are for.
    seed : int
        0 to 2**63 - 1. Torch's global generator is neither used nor moved.
    scheme : {"he", "paper"}
        ``"he"``: weights from N(0, 2 / fan-in), biases 0 (He et al. 2015, equation 10).
        ``"paper"``: weights from N(0, 0.01^2), biases 1 in conv2, conv4, conv5, fc6 and fc7 and
        0 elsewhere (Krizhevsky et al. 2012, section 5).

    Returns
    -------
    dict of str to Tensor
        Float32, in forward order.

    Raises
    ------
    SettingError
        If the seed or scheme is out of its bounds.
    """
    if scheme not in ("he", "paper"):
        raise SettingError(f"initialisation must be he or paper, got {scheme!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise SettingError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in parameter_shapes(spec).items():
        # device= is named so that no default device of the caller's changes the numbers.
        tensor = torch.empty(shape, dtype=torch.float32, device="cpu")
        if name.endswith(".weight"):
            std = math.sqrt(2 / math.prod(shape[1:])) if scheme == "he" else 0.01
            tensor.normal_(0.0, std, generator=generator)
        else:
            tensor.fill_(1.0 if scheme == "paper" and name in _ONES else 0.0)
        state[name] = tensor
    return state
