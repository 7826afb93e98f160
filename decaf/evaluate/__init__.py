"""The errors of networks on labelled images, alone and averaged over several."""

from __future__ import annotations

__all__: list[str] = []
