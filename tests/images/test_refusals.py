"""Files that must be refused, with the right status, however a decoder takes them."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile

from decaf.errors import ImageError
from decaf.images.decoding import pillow, torchvision_jpeg
from decaf.images.decoding.decode import decode
from decaf.images.decoding.limits import MAX_PIXELS

Make = Callable[..., bytes]


def refused(data: bytes, **options: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data, **options)  # type: ignore[arg-type]
    assert caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


def decoders_are(monkeypatch: pytest.MonkeyPatch, decoder: Callable[..., Any]) -> None:
    """Put something in the place of all decoders."""
    monkeypatch.setattr(simplejpeg, "decode_jpeg", decoder)
    monkeypatch.setattr(torchvision_jpeg, "jpeg_decoder", lambda: decoder)
    monkeypatch.setattr(pillow, "decode_with_pillow", decoder)


@pytest.mark.usefixtures("jpeg_decoder")
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("GIF", {}),
        ("PPM", {}),
    ],
)
def test_a_file_cut_anywhere_is_refused(
    saved: Make, photo: np.ndarray, format: str, options: dict[str, object]
) -> None:
    data = saved(photo, format, **options)
    decode(data)
    for tenth in range(1, 10):
        error = refused(data[: len(data) * tenth // 10])
        assert error.status == "corrupt"


@pytest.mark.usefixtures("jpeg_decoder")
def test_jpeg_without_its_end_is_refused(saved: Make, photo: np.ndarray) -> None:
    assert refused(saved(photo, "JPEG")[:-2]).status == "corrupt"


@pytest.mark.usefixtures("jpeg_decoder")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF"])
def test_the_users_pillow_switch_is_neither_followed_nor_lost(
    monkeypatch: pytest.MonkeyPatch, saved: Make, photo: np.ndarray, format: str
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = saved(photo, format)
    decode(data)
    assert refused(data[: len(data) // 2]).status == "corrupt"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_the_switch_stays_off() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.usefixtures("jpeg_decoder")
def test_png_with_a_flipped_bit_in_its_data(png: Make, photo: np.ndarray) -> None:
    data = bytearray(png(photo))
    data[data.index(b"IDAT") + 30] ^= 4
    assert refused(bytes(data)).status == "corrupt"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_more_pixels_than_the_limit_are_refused_undecoded(
    monkeypatch: pytest.MonkeyPatch, saved: Make, photo: np.ndarray, format: str
) -> None:
    data = saved(photo, format)
    assert decode(data, max_pixels=48 * 64).width == 64
    decoders_are(monkeypatch, lambda *_, **__: pytest.fail("decoded"))
    error = refused(data, max_pixels=48 * 64 - 1)
    assert error.status == "too_large"
    assert error.message == "64 x 48 pixels; 3071 pixels is the limit"


def test_a_bomb_between_pillows_two_limits_raises_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refused(b"P5 10000 9999 255\n" + bytes(100_000)).status == "corrupt"


def test_pillows_own_limit_holds_above_ours() -> None:
    side = int(MAX_PIXELS**0.5) + 100
    data = b"P5 %d %d 255\n" % (side, side) + bytes(100)
    assert refused(data).status == "too_large"
    assert refused(data, max_pixels=10**10).status == "too_large"


def test_a_frame_larger_than_the_size_in_the_header(saved: Make) -> None:
    """Pillow grows a GIF to its frame; the limit holds for that size too."""
    data = bytearray(saved(np.zeros((300, 300), np.uint8), "GIF"))
    data[6:10] = struct.pack("<HH", 2, 2)
    error = refused(bytes(data), max_pixels=1000)
    assert error.status == "too_large"


@pytest.mark.parametrize("text", [b"", b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS"])
def test_what_is_no_image_never_reaches_a_decoder(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    decoders_are(monkeypatch, lambda *_, **__: pytest.fail("decoded"))
    assert refused(text).status in ("empty", "unsupported")


@pytest.mark.parametrize("format", ["EPS", "ICO", "TGA", "PCX", "SGI", "JPEG2000"])
def test_formats_off_the_list(saved: Make, photo: np.ndarray, format: str) -> None:
    assert refused(saved(photo, format)).status == "unsupported"


def test_the_ending_plays_no_part(saved: Make, photo: np.ndarray) -> None:
    # There is no name to go by: a PNG is a PNG.
    assert decode(saved(photo, "PNG")).format == "PNG"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("decode_jpeg, /build/decode_jpeg.cpp:171, Image is\nincomplete"), "corrupt"),
        (SyntaxError("broken PNG file"), "corrupt"),
        (struct.error("unpack"), "corrupt"),
        (OSError("truncated"), "corrupt"),
        (MemoryError(), "too_large"),
        (KeyError("what"), "corrupt"),
        (AttributeError("what"), "decoder_failed"),
        (AssertionError("no"), "decoder_failed"),
    ],
)
def test_whatever_a_decoder_raises_is_one_images_fault(
    monkeypatch: pytest.MonkeyPatch, png: Make, error: Exception, status: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    decoders_are(monkeypatch, fail)
    caught = refused(png(np.zeros((2, 2), np.uint8)))
    assert caught.status == status
    assert "/build" not in caught.message


def test_interrupts_are_not_swallowed(monkeypatch: pytest.MonkeyPatch, png: Make) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    decoders_are(monkeypatch, fail)
    with pytest.raises(KeyboardInterrupt):
        decode(png(np.zeros((2, 2), np.uint8)))


def test_compressed_text_in_a_png_is_bounded(png: Make, photo: np.ndarray) -> None:
    """100 MB of text in a chunk of 100 kB do not matter to the pixels."""
    text = b"Comment\0\0" + zlib.compress(bytes(100 << 20))
    data = png(photo, before=((b"zTXt", text),))
    np.testing.assert_array_equal(decode(data).pixels, photo)


def test_a_png_without_its_palette(saved: Make, photo: np.ndarray) -> None:
    """Pillow opens it, and fails on an assertion."""
    data = saved(Image.fromarray(photo).quantize(16), "PNG").replace(b"PLTE", b"pLTE")
    error = refused(data)
    assert (error.status, error.message) == (
        "corrupt",
        "PNG of palette colours without their palette",
    )


def test_a_polyglot_is_what_it_begins_as(saved: Make, photo: np.ndarray) -> None:
    jpeg, png_data = saved(photo, "JPEG"), saved(photo, "PNG")
    assert decode(jpeg + png_data).format == "JPEG"
    assert decode(png_data + jpeg).format == "PNG"


def test_every_sample_of_input_types(saved: Make, photo: np.ndarray) -> None:
    data = saved(photo, "JPEG")
    expected = decode(data).pixels
    for same in (bytearray(data), memoryview(data), memoryview(bytearray(data))):
        np.testing.assert_array_equal(decode(same).pixels, expected)


def test_opened_images_are_closed(saved: Make, photo: np.ndarray) -> None:
    # A ResourceWarning would be an error here.
    decode(saved(photo, "TIFF"))
    assert Image.open(io.BytesIO(saved(photo, "TIFF"))).size == (64, 48)


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_sixteen_bit_planes(tiff: Make, order: str, compression: str | None) -> None:
    """Pillow takes such planes for 8-bit ones, and gives noise."""
    samples = np.arange(6 * 5 * 3, dtype=np.uint16).reshape(6, 5, 3) * 700
    options = {"order": order, "compression": compression, "extra": {284: 2}}
    error = refused(tiff(samples, photometric=2, **options))
    assert error.status == "unsupported"
    assert "16-bit samples stored plane by plane is not read; save it with" in error.message


@pytest.mark.parametrize(
    ("samples", "photometric"),
    [
        (np.full((2, 3), 9, np.uint16), 1),
        (np.full((2, 3), 9, np.uint8), 0),
        (np.full((2, 3), 0.5, np.float32), 1),
    ],
)
def test_one_plane_that_pillow_misreads(tiff: Make, samples: np.ndarray, photometric: int) -> None:
    data = tiff(samples, photometric=photometric, extra={284: 2})
    assert refused(data).status == "unsupported"
    decode(tiff(samples, photometric=photometric, extra={284: 2}, compression="deflate"))
    decode(tiff(samples, photometric=photometric, extra={284: 1}))


def test_compressed_big_endian_floats(tiff: Make) -> None:
    """Pillow swaps their bytes twice: a mask of 0 and 1 would come out black."""
    samples = np.array([[0, 1]], np.float32)
    assert refused(tiff(samples, order=">", compression="deflate")).status == "unsupported"
    expected = [[0, 255]]
    assert (
        decode(tiff(samples, order="<", compression="deflate")).pixels[..., 0].tolist() == expected
    )
    assert decode(tiff(samples, order=">")).pixels[..., 0].tolist() == expected


@pytest.mark.parametrize(
    ("samples", "photometric"),
    [
        (np.zeros((4, 4, 3), np.float32), 2),
        (np.zeros((4, 4)), 1),
        (np.zeros((4, 4), np.float16), 1),
    ],
)
def test_tiff_of_a_kind_that_pillow_does_not_read(
    tiff: Make, samples: np.ndarray, photometric: int
) -> None:
    error = refused(tiff(samples, photometric=photometric))
    assert error.status == "unsupported"
    assert error.message == "TIFF of a kind that Pillow does not read"


def test_twelve_bits_with_white_as_zero(tiff: Make) -> None:
    assert refused(tiff(np.zeros((2, 3), np.uint8), photometric=0, bits=12)).status == "unsupported"


@pytest.mark.parametrize("error", [OSError, AssertionError])
def test_no_message_holds_an_address(
    monkeypatch: pytest.MonkeyPatch, png: Make, saved: Make, photo: np.ndarray, error: type
) -> None:
    for format in ("TIFF", "WEBP", "GIF", "BMP"):
        data = saved(photo, format)
        for cut in (24, 40, 60, len(data) // 2):
            assert "0x" not in refused(data[:cut]).message

    def fail(*_: object, **__: object) -> None:
        raise error(f"cannot read {io.BytesIO()!r} now")

    decoders_are(monkeypatch, fail)
    message = refused(png(np.zeros((2, 2), np.uint8))).message
    assert message.endswith("cannot read <_io.BytesIO object> now")
