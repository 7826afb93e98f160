"""Networks for use elsewhere: ONNX, and programs of torch."""

from __future__ import annotations

__all__ = ["INPUT"]

INPUT = "images"
"""Name of a model's input: uint8 (N, crop, crop, 3), RGB."""
