"""The version of decaf, which every file that it writes carries."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
