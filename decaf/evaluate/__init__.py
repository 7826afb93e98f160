"""How good networks, features and classifiers are, and the reports that say so."""

from __future__ import annotations

__all__: list[str] = []
