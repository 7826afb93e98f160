"""The training pack: a data set in one file, its images cut to size, ready to be fed."""

from __future__ import annotations

__all__: list[str] = []
