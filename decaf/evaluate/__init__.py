"""How good a network is: error rates of classification, alone and averaged over networks."""

from __future__ import annotations

__all__: list[str] = []
