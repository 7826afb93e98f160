"""From the bytes of an image file of any format to 8-bit RGB pixels."""

from __future__ import annotations

__all__: list[str] = []
