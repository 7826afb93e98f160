"""The unfinished feature file: a locked directory of shards, and what it remembers of its run."""

from __future__ import annotations

__all__: list[str] = []
