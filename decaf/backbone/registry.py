"""The names of weights, for those who need no weights yet."""

from __future__ import annotations

from typing import Any

__all__ = ["DEFAULT_WEIGHTS", "REGISTRY", "is_registry_name"]

DEFAULT_WEIGHTS = "tiny-imagenet"
"""What comes with decaf, and is meant where no weights are named."""

REGISTRY: tuple[str, ...] = (DEFAULT_WEIGHTS, "imagenet", "random:SEED[:ARCH[:he|paper]]")
"""What `load_weights` knows by name, as it is listed to the user."""


def is_registry_name(weights: Any) -> bool:
    """Tell a name of the weights registry from the path of a file.

    Examples
    --------
    >>> is_registry_name("imagenet"), is_registry_name("./imagenet"), is_registry_name("random:7")
    (True, False, True)
    """
    if not isinstance(weights, str):
        return False
    return weights in (DEFAULT_WEIGHTS, "imagenet") or weights.partition(":")[0] == "random"
