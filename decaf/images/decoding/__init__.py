"""From the bytes of an image file to 8-bit RGB pixels, whatever the file holds."""

from __future__ import annotations

__all__: list[str] = []
