"""The network: its specs, its named layers, its weights, and its layer-by-layer summary.

What needs no torch is at hand at once; the rest is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.backbone.spec import ARCHITECTURES, ArchSpec, architecture
from decaf.backbone.steps import LAYERS
from decaf.backbone.summary import Summary, summarise, summary_markdown, summary_text
from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone, load_backbone
    from decaf.backbone.network import AlexNet
    from decaf.backbone.weights.load import Weights, load_weights, save_weights

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
    "summary_markdown",
    "summary_text",
]

__getattr__, __dir__ = lazy_names(__name__)
