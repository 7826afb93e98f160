"""JPEG by simplejpeg: torchvision's pixels, and its word on every file that is not quite whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
import simplejpeg
import torch
from PIL import Image

from decaf.images.decoding import torchvision_jpeg
from decaf.images.decoding.jpeg import decode_jpeg, decoder_versions

Make = Callable[..., bytes]


def by_torchvision(data: bytes) -> np.ndarray:
    decoder = torchvision_jpeg.jpeg_decoder()
    if decoder is None:
        pytest.skip("this torchvision was built without libjpeg")
    tensor = decoder(torch.frombuffer(bytearray(data), dtype=torch.uint8), 3, False)
    pixels: np.ndarray = tensor.permute(1, 2, 0).numpy()
    return pixels


def by_simplejpeg(data: bytes) -> np.ndarray:
    pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    return pixels


@pytest.mark.parametrize("side", [(1, 1), (7, 9), (64, 48), (33, 130)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_are_torchvisions(
    saved: Make,
    rng: np.random.Generator,
    side: tuple[int, int],
    subsampling: str,
    progressive: bool,
) -> None:
    image = rng.integers(0, 256, (*side, 3), dtype=np.uint8)
    data = saved(image, "JPEG", subsampling=subsampling, progressive=progressive, quality=80)
    np.testing.assert_array_equal(by_simplejpeg(data), by_torchvision(data))
    np.testing.assert_array_equal(decode_jpeg(data), by_torchvision(data))


def test_pixels_of_grey_and_of_photographs_are_torchvisions(
    saved: Make, photo: np.ndarray, shared_data: Path
) -> None:
    grey = saved(Image.fromarray(photo).convert("L"), "JPEG")
    files = [grey, *(p.read_bytes() for p in sorted(shared_data.glob("imagenet-sample/*.JPEG")))]
    assert len(files) > 9
    for data in files:
        np.testing.assert_array_equal(by_simplejpeg(data), by_torchvision(data))


def test_torchvision_decides_on_what_simplejpeg_objects_to(saved: Make, photo: np.ndarray) -> None:
    data = saved(photo, "JPEG")
    second = 4 + int.from_bytes(data[4:6], "big")  # segment
    extraneous = data[:second] + b"\x12\x34" + data[second:]
    with pytest.raises(ValueError, match="extraneous"):
        by_simplejpeg(extraneous)
    np.testing.assert_array_equal(decode_jpeg(extraneous), by_torchvision(data))
    with pytest.raises(RuntimeError, match="truncated"):
        decode_jpeg(data[: len(data) // 2])


def test_without_torchvision_pillow_is_asked(
    saved: Make, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_jpeg, "jpeg_decoder", lambda: None)
    data = saved(photo, "JPEG")
    assert decode_jpeg(data[: len(data) // 2]) is None
    assert decoder_versions().keys() == {"pillow", "simplejpeg"}


def test_versions_are_those_installed() -> None:
    versions = decoder_versions()
    assert versions["pillow"] == PIL.__version__
    assert versions["simplejpeg"] == simplejpeg.__version__
    assert ("torchvision" in versions) == (torchvision_jpeg.jpeg_decoder() is not None)
