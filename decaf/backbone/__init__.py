"""The network: its specs, its named layers, its weights, and its layer-by-layer summary.

What needs no torch is at hand at once; the rest is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from decaf.backbone.spec import ARCHITECTURES, LAYERS, ArchSpec, architecture
from decaf.backbone.summary import Summary, summarise

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone, load_backbone
    from decaf.backbone.network import AlexNet
    from decaf.backbone.weights import Weights, load_weights, save_weights

__all__ = [
    "ARCHITECTURES",
    "LAYERS",
    "AlexNet",
    "ArchSpec",
    "Backbone",
    "Summary",
    "Weights",
    "architecture",
    "load_backbone",
    "load_weights",
    "save_weights",
    "summarise",
]

# Public name → the module that defines it and loads torch.
_LAZY = {
    "AlexNet": "decaf.backbone.network",
    "Backbone": "decaf.backbone.model",
    "Weights": "decaf.backbone.weights",
    "load_backbone": "decaf.backbone.model",
    "load_weights": "decaf.backbone.weights",
    "save_weights": "decaf.backbone.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
