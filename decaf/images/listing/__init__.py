"""Which images there are: paths, folders, archives and tables, with labels, groups and splits."""

from __future__ import annotations

__all__: list[str] = []
