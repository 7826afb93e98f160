"""What the layers see: pages and tables of images, made from a feature file."""

from __future__ import annotations

__all__: list[str] = []
