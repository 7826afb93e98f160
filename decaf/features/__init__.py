"""From images to the feature file and back: extraction, the file itself, export."""

from __future__ import annotations

__all__: list[str] = []
