"""Training: the pack that holds a data set, and the networks that are made from it."""

from __future__ import annotations

__all__: list[str] = []
