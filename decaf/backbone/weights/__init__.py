"""Weights: their names, at hand without torch; their files, checked and loaded, in the modules."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = [
    "DEFAULT_WEIGHTS",
    "FORMER",
    "IMAGENET",
    "REGISTRY",
    "WEIGHTS_ENDINGS",
    "is_random",
    "is_registry_name",
]

DEFAULT_WEIGHTS = "imagenet-distilled"
"""The weights that come with decaf, and are meant where none are named."""

IMAGENET = "imagenet"
"""torchvision's AlexNet, which torchvision downloads."""

REGISTRY: tuple[str, ...] = (DEFAULT_WEIGHTS, IMAGENET, "random:SEED[:ARCH[:he|paper]]")
"""The names that `load_weights` knows, as they are listed to the user."""

FORMER: Mapping[str, str] = MappingProxyType(
    {"tiny-imagenet": "0ce0ffc7e54719924131c70d60a9178d3e3d4a3cd4f308028989abd63da26fd7"}
)
"""Weights that came with earlier versions of decaf, and their SHA-256."""


WEIGHTS_ENDINGS = (".safetensors", ".pth", ".pt")
"""Endings of the names of weights files: decaf's first, then torchvision's."""


def is_random(weights: str) -> bool:
    """Tell the name of random weights, ``random:SEED``, from others.

    Parameters
    ----------
    weights : str
        The name.
    """
    return weights.partition(":")[0] == "random"


def is_registry_name(weights: Any) -> bool:
    """Tell a name of the weights registry from the path of a file.

    Parameters
    ----------
    weights : object
        The weights as they were given; anything but a str is no name.

    Examples
    --------
    >>> is_registry_name("imagenet"), is_registry_name("./imagenet"), is_registry_name("random:7")
    (True, False, True)
    """
    if not isinstance(weights, str):
        return False
    return weights in (DEFAULT_WEIGHTS, IMAGENET, *FORMER) or is_random(weights)
