from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decaf.errors import ImageError
from decaf.images.decoding.formats import FORMATS, HEAD_BYTES, guess_format, sniff
from decaf.images.decoding.jpeg_header import read_jpeg_header
from decaf.images.decoding.limits import refuse_costly
from decaf.images.status import STATUS_NAMES

Make = Callable[..., bytes]

MAGIC = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a",
    b"BM" + bytes(12) + b"(\0\0\0",
    b"II*\0\x08\0\0\0",
    b"MM\0+\0\x08\0\0",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"P5 ",
    b"P6\n#",
    b"\0\0\0\x18ftypavif",
)


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def jpeg(*segments: bytes, frame: int = 0xC0, size: tuple[int, int] = (5, 7), n: int = 3) -> bytes:
    """Markers of a JPEG of (width, height) with n components, and no data."""
    sof = struct.pack(">BHHB", 8, size[1], size[0], n) + b"".join(
        bytes((i + 1, 0x11, 0)) for i in range(n)
    )
    sos = bytes((n,)) + b"".join(bytes((i + 1, 0)) for i in range(n)) + b"\0\x3f\0"
    parts = [b"\xff\xd8", *segments, segment(frame, sof), segment(0xDA, sos), bytes(40)]
    return b"".join(parts) + b"\xff\xd9"


def exif(orientation: int, order: str = "<") -> bytes:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("PNG", "RGBA"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("TIFF", "L"),
        ("WEBP", "RGB"),
        ("PPM", "RGB"),
        ("AVIF", "RGB"),
    ],
)
def test_format_and_size_of_what_pillow_writes(
    saved: Make, photo: np.ndarray, format: str, mode: str
) -> None:
    from PIL import Image, features

    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    header = sniff(saved(Image.fromarray(photo).convert(mode), format))
    assert (header.format, header.width, header.height) == (format, 64, 48)
    assert header.native == (format == "JPEG" and mode != "CMYK")


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_of_each_kind(saved: Make, photo: np.ndarray, lossless: bool) -> None:
    assert sniff(saved(photo, "WEBP", lossless=lossless))[:3] == ("WEBP", 64, 48)


def test_bmp_of_os2_and_of_top_row_first() -> None:
    os2 = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 5, 7, 1, 24)
    assert sniff(os2)[:3] == ("BMP", 5, 7)
    down = b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 5, -7, 1, 24)
    assert sniff(down)[:3] == ("BMP", 5, 7)


def test_ppm_header_with_comments() -> None:
    assert sniff(b"P6\n# made by hand\n5#five\r7\n255\n")[:3] == ("PPM", 5, 7)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_of_a_jpeg(order: str, value: int) -> None:
    block = segment(0xE1, b"Exif\0\0" + exif(value, order))
    assert sniff(jpeg(block)).orientation == value


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_none(value: int) -> None:
    assert sniff(jpeg(segment(0xE1, b"Exif\0\0" + exif(value)))).orientation == 1


def test_the_header_of_a_bigtiff_is_read(tiff: Make) -> None:
    tags = {256: 5, 257: 7, 258: 8, 262: 1, 274: 6}
    ifd = struct.pack("<Q", len(tags))
    ifd += b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in tags.items())
    header = sniff(b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + ifd + bytes(8))
    assert (header.format, header.width, header.height, header.orientation) == ("TIFF", 5, 7, 6)


def test_tiff_bits_stored_apart(tiff: Make) -> None:
    header = sniff(tiff(np.zeros((3, 4, 3), np.uint16), photometric=2))
    assert (header.bits, header.channels) == (16, 3)


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"", "empty", "zero bytes"),
        (b"\n <!DOCTYPE html><html>", "unsupported", "a web page"),
        (b"<?xml version='1.0'?><svg/>", "unsupported", "XML or SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported", "PostScript"),
        (bytes(1000), "unsupported", "zero bytes only"),
        (b"P5 is a text about netpbm", "unsupported", "not an image"),
        (b"BM is a text about bitmaps, and long enough", "unsupported", "not an image"),
        (b"8BPS\0\x01" + bytes(50), "unsupported", "not an image"),
        (b"\xff\xd8\xff", "corrupt", "before its first scan"),
        (b"\xff\xd8\xff\xd9" + bytes(9), "corrupt", "without any scan"),
        (b"\xff\xd8\xff\xe0\xff\xff" + bytes(9), "corrupt", "longer than the file"),
        (jpeg(size=(0, 7)), "corrupt", "0 x 7 pixels"),
        (jpeg(size=(7, 0)), "corrupt", "7 x 0 pixels"),
        (jpeg(frame=0xC3), "unsupported", "SOF3"),
        (jpeg(n=2), "unsupported", "2 components"),
        (jpeg(jpeg()[2:21]), "corrupt", "twice"),
        (jpeg(size=(60000, 60000)), "corrupt", "cannot hold"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "corrupt", "makes sense"),
        (b"GIF89a\x05", "corrupt", "ends too early"),
        (b"GIF89a\0\0\5\0", "corrupt", "0 x 5 pixels"),
        (b"P5 x", "unsupported", "not an image"),
        (b"P5 5 x", "corrupt", "damaged"),
        (b"P5 5", "corrupt", "ends too early"),
        (b"P5 #", "corrupt", "ends too early"),
        (b"II*\0\xff\xff\xff\xff", "corrupt", "directory is damaged"),
        (b"RIFF\0\0\0\0WEBPJUNK" + bytes(20), "corrupt", "unknown chunk"),
        (b"\0\0\0\x18ftypavif" + bytes(30), "corrupt", "without a size"),
    ],
)
def test_refusals_say_why(data: bytes, status: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        sniff(data)
    assert caught.value.status == status


def test_jpeg_of_twelve_bits_is_refused() -> None:
    data = bytearray(jpeg())
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="12-bit"):
        sniff(bytes(data))


def test_a_png_header_cannot_promise_what_deflate_cannot_hold(png: Make) -> None:
    data = bytearray(png(np.zeros((4, 4), np.uint8)))
    data[16:24] = struct.pack(">II", 10_000, 10_000)
    with pytest.raises(ImageError, match="cannot hold 10000 x 10000"):
        sniff(bytes(data))


def test_a_flat_png_at_deflates_best_is_not_refused(png: Make) -> None:
    assert sniff(png(np.zeros((3000, 3000), np.uint8))).width == 3000


def test_png_without_data_is_refused(png: Make) -> None:
    data = png(np.zeros((4, 4), np.uint8)).replace(b"IDAT", b"iDAT")
    with pytest.raises(ImageError, match="without image data"):
        sniff(data)


@pytest.mark.parametrize(("frame", "several"), [(0xC0, False), (0xC2, True)])
def test_scans_are_counted_where_a_decoder_goes_through_them(frame: int, several: bool) -> None:
    data = jpeg(frame=frame) + b"\xff\xda\0" * 200
    if not several:
        assert read_jpeg_header(data).scans == 1
        return
    with pytest.raises(ImageError, match="201 scans") as caught:
        refuse_costly(sniff(data), len(data))
    assert caught.value.status == "too_large"


@given(st.binary(max_size=200))
@example(b"P6 1")
def test_any_bytes_give_a_header_or_an_image_error(data: bytes) -> None:
    _check(data)


@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_any_bytes_after_a_magic_number(magic: bytes, data: bytes) -> None:
    _check(magic + data)


@given(st.binary(max_size=40))
def test_any_bytes_in_an_exif_block(data: bytes) -> None:
    header = sniff(jpeg(segment(0xE1, b"Exif\0\0" + data)))
    assert 1 <= header.orientation <= 8


@given(st.integers(1, 65535), st.integers(1, 65535), st.sampled_from((1, 3, 4)))
def test_sizes_come_back(width: int, height: int, n: int) -> None:
    data = jpeg(size=(width, height), n=n) + bytes(1 << 19)
    header = sniff(memoryview(data))
    assert (header.width, header.height, header.channels) == (width, height, n)


def _check(data: bytes) -> None:
    refused = None
    try:
        header = sniff(data)
    except ImageError as error:
        refused = error
    if refused is not None:
        assert refused.status in STATUS_NAMES[1:]
        assert "\n" not in refused.message
        return
    assert header.format in FORMATS
    assert header.format == guess_format(data[:HEAD_BYTES])
    assert header.width >= 1
    assert header.height >= 1
    assert 1 <= header.orientation <= 8
