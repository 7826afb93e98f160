"""Networks for use elsewhere: ONNX, and programs of torch."""

from __future__ import annotations

__all__: list[str] = []
