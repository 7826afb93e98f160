"""The protocol of a benchmark: splits, features kept, heads fitted on training rows alone."""

from __future__ import annotations

__all__: list[str] = []
