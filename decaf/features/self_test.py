"""Ten images through decoders and network, compared with what they gave where decaf was made.

Pixels have to be the same everywhere, and are compared by their hash. Rows differ in their last
digits between processors, and are compared within a tolerance.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from decaf.errors import DecafError, ImageError

__all__ = ["ImageResult", "SelfTest", "self_test"]

LAYER = "fc6_pre"

TOLERANCE = 0.001
"""The greatest difference that is let pass, in units of a row's root mean square.

torch's and oneDNN's plainest kernels were seen to give 1e-5, and one grey level more in all pixels
0.002 to 0.013."""

# JPEG files as bytes, since encoders differ more than decoders: in colour with 4:2:0 subsampling,
# and progressive in grey.
_COLOUR_JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRT"
    "c4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2Nj"
    "Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2P/wAARCAAoADgDASIAAhEBAxEB/8QAGQAAAwEBAQAAAAAAAAAAAAAAAAQFAw"
    "YC/8QAHxAAAgICAgMBAAAAAAAAAAAAAAMBBAJhMUERIVEi/8QAGAEBAAMBAAAAAAAAAAAAAAAABQIDBAb/xAAgEQAC"
    "AwABBQEBAAAAAAAAAAAAAwECBDEFERIhIhVR/9oADAMBAAIRAxEAPwDp33+fZNff59kt97n2T3XJnsww61uCWrKU33"
    "tnld3ZAZZmcuTZT9lspdeAleSJYdGu3M9jS7M+OTn1P2N42PGHJV+Xe8+zpcuWIjgfdZ2BIdZ2Agvo3zwUtV9E5rM5"
    "6kTbLJ6L7KkR0KtrRHQmnMqnJLZpqQoxblmOJUz6N4V/1wOKraNF9CFwG53RNu4slOX2RmVZRhzI6qto1YjxHAY7qt"
    "Kz6OhU6Ip3ITlT9kCi1GgM368zwHN0/RUajQk1GgAPtqb/AEB1ssZqr++B5NWZ6AA9uhlp7TJTlvJQRSmejRlPQAVU"
    "rFrexuW2hYsypGgABZaq+IG1tvLk/9k="
)
_GREY_JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNy"
    "wtQFdBRkxOUlNSMj5aYVpQYEpRUk//wgALCAAoADgBAREA/8QAFwABAQEBAAAAAAAAAAAAAAAABQQBAv/aAAgBAQAA"
    "AAFgEVJ28RAEpd2gK8GBp7kK8Gd12QK8LXWjQv/EABoQAAMBAQEBAAAAAAAAAAAAAAABAwIyMUL/2gAIAQEAAQUCsy"
    "zNdRRFG+bMsyzPuKIoqWZZlmY6iiJZlmWZZkiKJeWZZlmWZFEUZ5syzP/EABQQAQAAAAAAAAAAAAAAAAAAAFD/2gAI"
    "AQEABj8CD//EABgQAQEBAQEAAAAAAAAAAAAAAAAxASER/9oACAEBAAE/IaKO8oIOcKKKM6QQb4ooo60gxFFFFGeoMe"
    "FFFFEEHO1FH//aAAgBAQAAABBukVOpX//EABsQAAIDAQEBAAAAAAAAAAAAAAERECBhUSGR/9oACAEBAAE/EIANbZAJ"
    "bKAD45ASQ4KAAXtuEAA1+mB6PBcAAAHskD//2Q=="
)

# Name → how the SHA-256 of its pixels begins, then the first four numbers of its row and the row's
# root mean square, with the packaged weights. `python -m decaf.features.self_test` prints them.
_EXPECTED: dict[str, tuple[str, tuple[float, ...]]] = {
    "PNG": ("7978a4804b7cb380", (-0.49301, -1.20906, 0.44271, -0.61895, 0.65701)),
    "PNG, grey": ("8660b21d454b190f", (-0.01365, -0.71813, 0.66224, -1.18799, 0.62654)),
    "PNG, palette": ("b2d4ea9713404d9d", (-0.42002, -1.95548, -0.11610, -0.80686, 0.68344)),
    "PNG, transparent": ("8230717cd16e5844", (-0.19040, -1.62247, 0.85246, -0.34469, 0.62650)),
    "BMP": ("e3570ab4bc09cccf", (-0.59882, -1.86702, 1.00968, -0.39671, 0.72125)),
    "TIFF": ("d7c1b8d77bd928cd", (-0.55475, -1.89374, 0.27611, -0.50295, 0.70278)),
    "WEBP": ("f7bbd0e8f5960529", (-0.42805, -1.70547, -0.27297, -0.51130, 0.70985)),
    "GIF": ("585cda35aabd668d", (-0.29600, -0.81962, 0.68754, -1.26491, 0.97915)),
    "JPEG": ("6d305ede17a32652", (0.03831, -1.43239, 0.03322, -0.69378, 0.69561)),
    "JPEG, progressive": ("e6339f5272eca0e7", (-0.06759, -0.95766, 0.41309, -1.00127, 0.61468)),
}


@dataclass(frozen=True)
class ImageResult:
    """What an image of the self-test gave.

    Parameters
    ----------
    name : str
        Its format and kind.
    pixels : bool
        Whether its pixels are those expected.
    difference : float
        The greatest difference from the numbers expected, over the row's root mean square.
    """

    name: str
    pixels: bool
    difference: float

    @property
    def ok(self) -> bool:
        """Whether it is as expected."""
        return self.pixels and self.difference <= TOLERANCE


@dataclass(frozen=True)
class SelfTest:
    """What the self-test found.

    Parameters
    ----------
    images : tuple of ImageResult
        Empty where it could not be run.
    error : str
        The reason why it could not be run, else empty.
    """

    images: tuple[ImageResult, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was run, and everything is as expected."""
        return bool(self.images) and all(image.ok for image in self.images)


def self_test(*, device: str = "auto") -> SelfTest:
    """Decode ten generated images, compute a layer of the packaged network, and compare both.

    Parameters
    ----------
    device : str
        As of `decaf.extract`.

    Returns
    -------
    SelfTest
        An error of decaf or of what it is built on is recorded in it, not raised.
    """
    try:
        return SelfTest(tuple(_compared(device)))
    # An installation that is broken may fail with anything.
    except Exception as error:
        kind = "" if isinstance(error, DecafError) else f"{type(error).__name__}: "
        return SelfTest(error=kind + " ".join(str(error).split()))


def _compared(device: str) -> Iterator[ImageResult]:
    for name, digest, numbers in _measured(device):
        expected_digest, expected = _EXPECTED[name]
        differences = np.abs(np.subtract(numbers, expected)) / expected[-1]
        # NaN, where a row is, is more than any tolerance.
        difference = float(np.nan_to_num(differences.max(), nan=np.inf))
        yield ImageResult(name, digest == expected_digest, difference)


def _measured(device: str) -> Iterator[tuple[str, str, tuple[float, ...]]]:
    """Yield what `_EXPECTED` has of each image."""
    from decaf.features.extract import extract
    from decaf.images.decoding.decode import decode

    decoded = {}
    for name, file in _files():
        try:
            decoded[name] = np.ascontiguousarray(decode(file).pixels)
        except ImageError as error:
            raise ImageError(error.status, f"{name}: {error.message}") from error
    rows = extract(list(decoded.values()), LAYER, device=device, workers=0, progress=False)
    for (name, pixels), row in zip(decoded.items(), rows.astype(np.float64), strict=True):
        digest = hashlib.sha256(pixels.data).hexdigest()[:16]
        yield name, digest, (*row[:4].tolist(), float(np.sqrt(np.mean(row**2))))


def _waves(number: int) -> np.ndarray:
    """Return an image of 90 × 120 pixels: triangular waves, of whole numbers throughout."""
    y, x = np.mgrid[:90, :120]
    slopes = ((3 + number, 2), (1, 4 + number), (5, 1 + 2 * number))
    return np.stack([np.abs((x * a + y * b) % 510 - 255) for a, b in slopes], 2).astype(np.uint8)


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each image file; all but the JPEGs are without loss."""
    from PIL import Image

    opaque = [Image.fromarray(_waves(number)) for number in range(8)]
    transparent = opaque[3].copy()
    transparent.putalpha(opaque[4].getchannel(0))
    palette = opaque[2].getchannel(1)
    palette.putpalette([level for step in range(256) for level in (step, 255 - step, step // 2)])
    for name, image in (
        ("PNG", opaque[0]),
        ("PNG, grey", opaque[1].getchannel(0)),
        ("PNG, palette", palette),
        ("PNG, transparent", transparent),
        ("BMP", opaque[4]),
        ("TIFF", opaque[5]),
        ("WEBP", opaque[6]),
        ("GIF", opaque[7].getchannel(2)),
    ):
        file = io.BytesIO()
        # Pillow's writers of other formats leave the second and third alone.
        image.save(file, format=name.partition(",")[0], lossless=True, exact=True)
        yield name, file.getvalue()
    yield "JPEG", base64.b64decode(_COLOUR_JPEG)
    yield "JPEG, progressive", base64.b64decode(_GREY_JPEG)


if __name__ == "__main__":
    for name, digest, numbers in _measured("cpu"):
        print(f'    "{name}": ("{digest}", ({", ".join(f"{number:.5f}" for number in numbers)})),')
