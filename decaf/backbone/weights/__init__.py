"""Weights: their names, their files, and the checks that they pass before use."""

from __future__ import annotations

__all__: list[str] = []
