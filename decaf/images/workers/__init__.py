"""The processes that decode and prepare images."""

from __future__ import annotations

__all__: list[str] = []
