"""What a run needs of the machine: its processes, its memory, and a place to show progress."""

from __future__ import annotations

__all__: list[str] = []
