"""Photographs of telephones (HEIC): read with pillow-heif, else refused with what to install."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from decaf.errors import ImageError
from decaf.images.decoding.decode import decode
from decaf.images.decoding.formats import guess_format, sniff

HEAD = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"


def test_the_brands_of_heif_and_avif() -> None:
    assert guess_format(HEAD) == "HEIF"
    assert guess_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf") == "HEIF"
    assert guess_format(b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf") == "AVIF"
    assert guess_format(b"\0\0\0\x18ftypisom\0\0\0\0isomiso2mp41") is None
    data = HEAD + b"\0\0\0\x14ispe" + struct.pack(">III", 0, 4032, 3024)
    assert sniff(data)[:3] == ("HEIF", 4032, 3024)


def test_without_the_library_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = HEAD + b"\0\0\0\x14ispe" + struct.pack(">III", 0, 40, 30)
    with pytest.raises(ImageError, match=r"pip install 'decaf-features\[heic\]'") as caught:
        decode(data)
    assert caught.value.status == "unsupported"


def test_a_photograph_is_read_and_turned_once(photo: np.ndarray) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo)).save(buffer, quality=95, exif=exif.tobytes())
    data = buffer.getvalue()
    result = decode(data)
    assert (result.format, result.width, result.height) == ("HEIF", 48, 64)
    difference = result.pixels.astype(int) - np.rot90(photo, -1)
    assert np.abs(difference).mean() < 4
    with pytest.raises(ImageError) as caught:
        decode(data[: len(data) // 2])
    assert caught.value.status == "corrupt"
