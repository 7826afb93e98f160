"""The finished feature file: its schema, how it is written, checked, read and exported."""

from __future__ import annotations

__all__: list[str] = []
