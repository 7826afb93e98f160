"""Weights before any training: drawn by a seed, for training and as baselines."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from decaf.backbone.spec import ArchSpec, architecture, parameter_shapes
from decaf.backbone.weights.state import Weights
from decaf.errors import SettingError, WeightsError
from decaf.images.spec import PreprocessSpec, named_preprocess

__all__ = ["Scheme", "default_preprocess", "random_state", "random_weights"]

Scheme = Literal["he", "paper"]

# Krizhevsky et al. 2012, section 5: "the neuron biases in the second, fourth, and fifth
# convolutional layers, as well as in the fully-connected hidden layers, with the constant 1".
_ONES = ("conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias")


def default_preprocess(arch: str) -> PreprocessSpec:
    """Return the preprocessing of a named architecture where no weights file says otherwise.

    Parameters
    ----------
    arch : str
    """
    name = "shorter-side" if arch == "alexnet" else "decaf"
    return named_preprocess(name, architecture(arch).input_size)


def random_state(spec: ArchSpec, seed: int, scheme: Scheme = "he") -> dict[str, Tensor]:
    """Draw the parameters of a network.

    Parameters
    ----------
    spec : ArchSpec
        Spec of the network they are for.
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
        raise SettingError(f"the seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
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


def random_weights(name: str) -> Weights:
    """Make the weights of a name, ``random:SEED[:ARCH[:SCHEME]]``.

    Parameters
    ----------
    name : str

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the name is of another form, or there is no such architecture or scheme.
    """
    parts = name.split(":")[1:]
    seed, arch, scheme = (*parts, *("", "alexnet-2012", "he")[len(parts) :])[:3]
    if len(parts) > 3 or not (seed.isascii() and seed.isdigit() and len(seed) <= 19):
        raise WeightsError(f"weights {name!r}: expected random:SEED[:ARCH[:he|paper]]")
    kind: Scheme = "paper" if scheme == "paper" else "he"
    try:
        spec = architecture(arch)
        if scheme != kind:
            raise SettingError(f"initialisation must be he or paper, got {scheme!r}")
        state = random_state(spec, int(seed), kind)
    except SettingError as error:
        raise WeightsError(f"weights {name!r}: {error}") from None
    # One name for the same numbers however much of it was spelled out: the name is part of what a
    # feature file is identified by.
    spelled = [str(int(seed)), spec.name, kind]
    if kind == "he":
        del spelled[2:]
        if spec.name == "alexnet-2012":
            del spelled[1:]
    return Weights.of(
        ":".join(["random", *spelled]),
        spec,
        default_preprocess(arch),
        state,
        provenance={"source": "random", "seed": int(seed), "initialisation": kind},
    )
