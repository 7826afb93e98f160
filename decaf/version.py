"""The version of decaf, which every file that it writes carries."""

from __future__ import annotations

__all__ = ["__version__"]

# The next release. What is built from the commit of a tag gets the tag's version here (setup.py).
__version__ = "0.1.0.dev0"
