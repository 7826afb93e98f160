"""Fine-tuning: a trained network adapted, all of it, to a folder of images."""

from __future__ import annotations

__all__: list[str] = []
