"""How output comes to be on a disk: whole under its name or not there, and told where it fails."""

from __future__ import annotations

__all__: list[str] = []
