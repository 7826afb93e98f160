"""Damaged files of every format: each decodes or is refused, none does anything else.

``DECAF_FUZZ`` sets how many are tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from decaf.errors import ImageError
from decaf.images.decoding.decode import decode
from decaf.images.status import STATUS_NAMES

COUNT = int(os.environ.get("DECAF_FUZZ", "300"))

# What a wrong header may ask for is bounded by this, so that the test stays small.
PIXELS = 1 << 20


@pytest.fixture
def seeds(
    saved: Callable[..., bytes],
    png: Callable[..., bytes],
    tiff: Callable[..., bytes],
    photo: np.ndarray,
) -> list[bytes]:
    image = Image.fromarray(photo)
    tag = Image.Exif()
    tag[0x0112] = 6
    alpha = np.dstack([photo, photo[..., :1]])
    frames = {"save_all": True, "append_images": [image.rotate(90, expand=True)]}
    return [
        saved(image, "JPEG", exif=tag),
        saved(image, "JPEG", progressive=True, quality=40),
        saved(image.convert("L"), "JPEG"),
        saved(image.convert("CMYK"), "JPEG"),
        png(photo),
        png(alpha, before=((b"tEXt", b"Comment\0text"),)),
        png(photo.astype(np.uint16) * 257, before=((b"tRNS", b"\0\1\0\2\0\3"),)),
        saved(image.quantize(16), "PNG", transparency=3),
        saved(image, "GIF", **frames),
        saved(image, "BMP"),
        saved(image.quantize(16), "BMP"),
        saved(image, "TIFF", compression="tiff_lzw"),
        tiff(photo[..., 0].astype(np.float32) / 255),
        tiff(photo.astype(np.uint16) * 257, photometric=2, order=">"),
        saved(image, "WEBP", exif=tag),
        saved(Image.fromarray(alpha), "WEBP", lossless=True),
        saved(image, "PPM"),
        b"P2 8 6 99\n" + b" ".join(b"%d" % v for v in range(48)),
    ]


def mutated(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file in one of the ways that disks, networks and attackers do."""
    changed = bytearray(data)
    kind = rng.integers(6)
    if kind == 0:  # flipped bits
        for at in rng.integers(0, len(changed), rng.integers(1, 9)):
            changed[at] ^= 1 << rng.integers(8)
    elif kind == 1:  # the header, where the sizes are
        for at in rng.integers(0, min(len(changed), 64), rng.integers(1, 5)):
            changed[at] = rng.choice((0, 1, 127, 128, 255))
    elif kind == 2:
        del changed[rng.integers(1, len(changed)) :]
    elif kind == 3:  # a piece lost, so that all that follows is elsewhere
        start = int(rng.integers(1, len(changed)))
        del changed[start : start + int(rng.integers(1, 100))]
    elif kind == 4:  # the end of another file
        changed[rng.integers(1, len(changed)) :] = other[rng.integers(len(other)) :]
    else:  # a block of one byte, as of a bad sector
        start = int(rng.integers(len(changed)))
        end = min(start + int(rng.integers(1, 512)), len(changed))
        changed[start:end] = bytes((int(rng.choice((0, 255))),)) * (end - start)
    return bytes(changed)


def test_damaged_files_decode_or_are_refused(seeds: list[bytes]) -> None:
    rng = np.random.default_rng(2012)
    for seed in seeds:
        decode(seed)
    for i in range(COUNT):
        data = mutated(seeds[i % len(seeds)], seeds[rng.integers(len(seeds))], rng)
        status, message = "ok", ""
        try:
            decoded = decode(data, max_pixels=PIXELS)
        except ImageError as error:
            status, message = error.status, error.message
        else:
            assert decoded.pixels.dtype == np.uint8, i
            assert decoded.pixels.shape == (decoded.height, decoded.width, 3), i
            assert 0 < decoded.width * decoded.height <= PIXELS, i
        # A decoder's surprises are caught, but each deserves a look.
        assert status in STATUS_NAMES, i
        assert "\n" not in message, i
        assert status != "decoder_failed", (i, data[:64])
