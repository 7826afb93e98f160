"""How much one image may cost before it is refused, read from headers, not found out by trying."""

from __future__ import annotations

__all__ = ["MAX_FILE_BYTES", "MAX_NAME_BYTES", "MAX_PIXELS", "MAX_SCANS"]

# Pillow's own limit: a quarter of a gigabyte of 24-bit pixels, rounded up as Pillow does.
MAX_PIXELS = 178_956_970

# Of one file, or one archive member after decompression.
MAX_FILE_BYTES = 1 << 30

# A progressive JPEG is decoded once per scan, and a scan can be a few bytes long: thousands of them
# make a small file take minutes. Encoders write about ten.
MAX_SCANS = 100

# Of an image or a class. A zip's own limit; a tar has none, and a path on disk has 4096 bytes.
MAX_NAME_BYTES = 65_536
