"""What weights are called in tables: short, without this machine's folders, and one name each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from decaf.backbone.weights import is_registry_name

__all__ = ["same_weights", "short_names"]


def short_names(weights: Sequence[str]) -> dict[str, str]:
    """Return each network's name for tables: of a path the file's, with as many folders as tell.

    Parameters
    ----------
    weights : sequence of str
        Names and paths, as `decaf.load_backbone` takes them.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> short_names(["random:0", "/home/ann/runs/first/weights.safetensors"])
    {'random:0': 'random:0', '/home/ann/runs/first/weights.safetensors': 'weights.safetensors'}
    >>> list(short_names(["/runs/first/w.safetensors", "/runs/second/w.safetensors"]).values())
    ['first/w.safetensors', 'second/w.safetensors']
    """
    parts = {
        name: (name,) if is_registry_name(name) else Path(os.path.abspath(name)).parts
        for name in weights
    }
    found = {}
    for name, own in parts.items():
        length = 1
        others = {each for each in parts.values() if each != own}
        while any(each[-length:] == own[-length:] for each in others):
            length += 1
        found[name] = "/".join(own[-length:])
    return found


def same_weights(weights: Sequence[str]) -> list[str]:
    """Return the weights that are named more than once, be it by different paths."""
    places = [name if is_registry_name(name) else os.path.realpath(name) for name in weights]
    return [
        name
        for number, (name, place) in enumerate(zip(weights, places, strict=True))
        if place in places[:number]
    ]
