"""From labelled images to a classifier, with an estimate of how good it is on others."""

from __future__ import annotations

__all__: list[str] = []
