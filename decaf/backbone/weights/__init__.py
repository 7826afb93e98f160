"""Weights: their names, at hand without torch; their files, checked and loaded, in the modules."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["DEFAULT_WEIGHTS", "FORMER", "REGISTRY", "is_registry_name"]

DEFAULT_WEIGHTS = "imagenet-distilled"
"""What comes with decaf, and is meant where no weights are named."""

REGISTRY: tuple[str, ...] = (DEFAULT_WEIGHTS, "imagenet", "random:SEED[:ARCH[:he|paper]]")
"""What `load_weights` knows by name, as it is listed to the user."""

FORMER: Mapping[str, str] = MappingProxyType(
    {"tiny-imagenet": "0ce0ffc7e54719924131c70d60a9178d3e3d4a3cd4f308028989abd63da26fd7"}
)
"""Weights that came with earlier versions of decaf, and their SHA-256."""


def is_registry_name(weights: Any) -> bool:
    """Tell a name of the weights registry from the path of a file.

    Examples
    --------
    >>> is_registry_name("imagenet"), is_registry_name("./imagenet"), is_registry_name("random:7")
    (True, False, True)
    """
    if not isinstance(weights, str):
        return False
    named = (DEFAULT_WEIGHTS, "imagenet", *FORMER)
    return weights in named or weights.partition(":")[0] == "random"
