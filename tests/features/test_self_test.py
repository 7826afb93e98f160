"""The self-test: its images are what they should be, and it sees what has changed."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from decaf.errors import ImageError
from decaf.features import self_test as module
from decaf.features.self_test import ImageResult, SelfTest, self_test
from decaf.images.decoding import decode as decoding


def pixels_by_pillow(file: bytes) -> np.ndarray:
    """Decode by Pillow alone, with white below what is transparent, in float64."""
    image = Image.open(io.BytesIO(file))
    if "A" not in image.getbands():
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image, np.float64)
    alpha = pixels[..., 3:] / 255
    return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def test_the_hashes_expected_are_those_of_the_pixels() -> None:
    files = dict(module._files())
    assert len(files) == 10
    assert list(files) == list(module._EXPECTED)
    for name, file in files.items():
        pixels = np.ascontiguousarray(pixels_by_pillow(file))
        assert hashlib.sha256(pixels.data).hexdigest().startswith(module._EXPECTED[name][0]), name


def test_it_passes_here() -> None:
    found = self_test(device="cpu")
    assert found.error == ""
    assert found.ok
    assert max(image.difference for image in found.images) < module.TOLERANCE / 10


def test_a_grey_level_more_is_seen(monkeypatch) -> None:
    true = decoding.decode

    def brighter(data: bytes) -> decoding.Decoded:
        decoded = true(data)
        pixels = decoded.pixels + (decoded.pixels < 255)
        return decoding.Decoded(pixels, decoded.format)

    monkeypatch.setattr(decoding, "decode", brighter)
    found = self_test(device="cpu")
    assert not found.ok
    assert not any(image.pixels for image in found.images)
    assert all(image.difference > module.TOLERANCE for image in found.images)


def test_what_cannot_be_run_is_told(monkeypatch) -> None:
    def broken(data: bytes) -> decoding.Decoded:
        raise ImageError("corrupt", "no decoder for it")

    monkeypatch.setattr(decoding, "decode", broken)
    assert self_test(device="cpu") == SelfTest(error="PNG: no decoder for it")


@pytest.mark.parametrize("difference", [float("inf"), 2 * module.TOLERANCE])
def test_a_wrong_row_is_not_ok(difference: float) -> None:
    assert ImageResult("PNG", pixels=True, difference=0.0).ok
    assert not ImageResult("PNG", pixels=True, difference=difference).ok
    assert not ImageResult("PNG", pixels=False, difference=0.0).ok
    assert not SelfTest((ImageResult("PNG", pixels=True, difference=difference),)).ok
    assert not SelfTest().ok
