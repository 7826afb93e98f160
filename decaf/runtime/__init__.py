"""The machine of a run: its cores, memory, devices and processes, and how progress is shown."""

from __future__ import annotations

__all__: list[str] = []
