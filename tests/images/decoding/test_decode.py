"""Golden pixels: what each kind of file must decode to, by arithmetic that is written out here."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image, features

from decaf.errors import ImageError
from decaf.images.decoding.decode import decode, from_object

Make = Callable[..., bytes]


def pixels(data: bytes, **options: object) -> np.ndarray:
    decoded = decode(data, **options)  # type: ignore[arg-type]
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (decoded.height, decoded.width, 3)
    return decoded.pixels


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None], 3, axis=2)


def rounded(values: np.ndarray) -> np.ndarray:
    return np.floor(values + 0.5).astype(np.uint8)


def on(color: np.ndarray, alpha: np.ndarray, background: tuple[int, ...]) -> np.ndarray:
    """Composite by the formula, in floats: colour and alpha in [0, 1]."""
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    return rounded(255 * (alpha * color + (1 - alpha) * np.array(background) / 255))


# --- PNG ---------------------------------------------------------------------------------------


class TestPng:
    def test_rgb(self, png: Make, rng: np.random.Generator) -> None:
        samples = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        np.testing.assert_array_equal(pixels(png(samples)), samples)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_grey_of_few_bits(self, png: Make, rng: np.random.Generator, bits: int) -> None:
        samples = rng.integers(0, 2**bits, (5, 9), dtype=np.uint8)
        expected = rounded(samples * (255 / (2**bits - 1)))
        np.testing.assert_array_equal(pixels(png(samples, bits=bits)), grey(expected))

    def test_grey_of_16_bits_is_scaled(self, png: Make) -> None:
        samples = np.array(
            [[0, 128, 129, 255, 256, 257], [32767, 32768, 65000, 65406, 65407, 65535]]
        )
        expected = rounded(samples * (255 / 65535))
        assert expected.tolist() == [[0, 0, 1, 1, 1, 1], [127, 128, 253, 254, 255, 255]]
        np.testing.assert_array_equal(pixels(png(samples.astype(np.uint16))), grey(expected))

    def test_grey_and_alpha(self, png: Make, rng: np.random.Generator) -> None:
        samples = rng.integers(0, 256, (20, 30, 2), dtype=np.uint8)
        expected = on(samples[..., :1] / 255, samples[..., 1:] / 255, (255, 255, 255))
        np.testing.assert_array_equal(pixels(png(samples)), expected)

    def test_rgba_on_white_and_on_another_background(
        self, png: Make, rng: np.random.Generator
    ) -> None:
        samples = rng.integers(0, 256, (40, 50, 4), dtype=np.uint8)
        for background in ((255, 255, 255), (10, 200, 0)):
            expected = on(samples[..., :3] / 255, samples[..., 3:] / 255, background)
            np.testing.assert_array_equal(pixels(png(samples), background=background), expected)

    def test_palette(self, png: Make) -> None:
        indices = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)
        colors = np.array([[10, 20, 30], [250, 0, 5], [0, 128, 255]], dtype=np.uint8)
        for bits in (2, 8):
            data = png(indices, bits=bits, palette=colors.tobytes())
            np.testing.assert_array_equal(pixels(data), colors[indices])

    def test_palette_with_transparency(self, png: Make) -> None:
        indices = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)
        colors = np.array([[10, 20, 30], [250, 0, 5], [0, 128, 255]], dtype=np.uint8)
        alpha = np.array([0, 100, 255])  # the third is opaque for want of an entry
        data = png(indices, bits=8, palette=colors.tobytes(), before=((b"tRNS", b"\x00\x64"),))
        expected = on(colors[indices] / 255, alpha[indices][..., None] / 255, (255, 255, 255))
        np.testing.assert_array_equal(pixels(data), expected)

    def test_one_transparent_colour(self, png: Make) -> None:
        samples = np.array([[[1, 2, 3], [1, 2, 4]]], dtype=np.uint8)
        data = png(samples, before=((b"tRNS", struct.pack(">HHH", 1, 2, 3)),))
        assert pixels(data).tolist() == [[[255, 255, 255], [1, 2, 4]]]

    def test_one_transparent_grey(self, png: Make) -> None:
        data = png(np.array([[7, 8]], dtype=np.uint8), before=((b"tRNS", b"\0\x07"),))
        assert pixels(data).tolist() == [[[255] * 3, [8] * 3]]
        data = png(np.array([[1, 2]], np.uint8), bits=2, before=((b"tRNS", b"\0\x01"),))
        assert pixels(data, background=(9, 8, 7)).tolist() == [[[9, 8, 7], [170] * 3]]

    @pytest.mark.parametrize("value", range(1, 9))
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_orientation(self, png: Make, value: int, where: str) -> None:
        data = png(CORNERS, **{where: ((b"eXIf", exif(value)),)})
        np.testing.assert_array_equal(pixels(data), turned(CORNERS, value))


class TestPngOfSixteenBits:
    def test_rgb(self, png: Make, rng: np.random.Generator) -> None:
        samples = rng.integers(0, 65536, (9, 11, 3)).astype(np.uint16)
        np.testing.assert_array_equal(pixels(png(samples)), rounded(samples / 257))

    def test_rgba(self, png: Make, rng: np.random.Generator) -> None:
        samples = rng.integers(0, 65536, (9, 11, 4)).astype(np.uint16)
        expected = on(samples[..., :3] / 65535, samples[..., 3:] / 65535, (255, 255, 255))
        np.testing.assert_array_equal(pixels(png(samples)), expected)

    def test_grey_and_alpha(self, png: Make, rng: np.random.Generator) -> None:
        """Pillow has the upper bytes alone: one level off at most, and one more for the alpha."""
        samples = rng.integers(0, 65536, (9, 11, 2)).astype(np.uint16)
        expected = on(samples[..., :1] / 65535, samples[..., 1:] / 65535, (255, 255, 255))
        assert np.abs(pixels(png(samples)).astype(int) - expected).max() <= 2

    def test_one_transparent_colour(self, png: Make) -> None:
        samples = np.array([[[1, 2, 3], [1, 2, 4], [257, 514, 65535]]], np.uint16)
        data = png(samples, before=((b"tRNS", struct.pack(">HHH", 1, 2, 3)),))
        assert pixels(data).tolist() == [[[255, 255, 255], [0, 0, 0], [1, 2, 255]]]
        data = png(samples[..., 2], before=((b"tRNS", b"\0\x03"),))
        assert pixels(data)[0, :, 0].tolist() == [255, 0, 255]


def test_animated_png_gives_its_first_frame(saved: Make, photo: np.ndarray) -> None:
    frames = [Image.fromarray(255 - photo)]
    data = saved(photo, "PNG", save_all=True, append_images=frames)
    np.testing.assert_array_equal(pixels(data), photo)


# --- JPEG --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("jpeg_decoder")
class TestJpeg:
    """Uniform colour survives a JPEG of quality 100, so it can be known."""

    def test_grey(self, saved: Make) -> None:
        data = saved(np.full((16, 24), 77, np.uint8), "JPEG", quality=100)
        assert np.unique(pixels(data)).tolist() == [77]

    @pytest.mark.parametrize("progressive", [False, True])
    def test_colour(self, saved: Make, progressive: bool) -> None:
        color = np.full((16, 24, 3), (200, 100, 50), np.uint8)
        data = saved(color, "JPEG", quality=100, subsampling=0, progressive=progressive)
        assert np.abs(pixels(data).astype(int) - color).max() <= 2

    def test_rgb_stored_as_rgb(self, saved: Make) -> None:
        color = np.full((16, 24, 3), (200, 100, 50), np.uint8)
        data = saved(color, "JPEG", quality=100, keep_rgb=True)
        np.testing.assert_array_equal(pixels(data), color)

    def test_rgb_by_adobes_marker(self, saved: Make) -> None:
        """The same three planes, first as YCbCr, then said by Adobe's marker to be RGB."""
        data = saved(np.full((16, 24, 3), 0, np.uint8), "JPEG", quality=100, subsampling=0)
        adobe = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + b"\0"
        jfif_end = 4 + struct.unpack(">H", data[4:6])[0]
        assert pixels(data)[0, 0].tolist() == [0, 0, 0]
        as_rgb = data[:2] + adobe + data[jfif_end:]
        # Y, Cb and Cr of black are 0, 128, 128
        np.testing.assert_array_equal(pixels(as_rgb), np.full((16, 24, 3), (0, 128, 128)))

    def test_cmyk_of_adobe_is_inverted(self, saved: Make) -> None:
        ink = np.full((16, 24, 4), (200, 100, 0, 60), np.uint8)
        data = saved(Image.frombytes("CMYK", ink.shape[1::-1], ink.tobytes()), "JPEG", quality=100)
        expected = [(255 - c) * (255 - 60) / 255 for c in (200, 100, 0)]
        assert np.abs(pixels(data) - np.array(expected)).max() <= 1

    def test_ycck(self, saved: Make) -> None:
        ink = np.full((16, 24, 4), (200, 100, 90, 60), np.uint8)
        data = bytearray(
            saved(Image.frombytes("CMYK", ink.shape[1::-1], ink.tobytes()), "JPEG", quality=100)
        )
        data[data.index(b"Adobe") + 11] = 2
        # Adobe stores inks inverted: the planes are 55, 155, 165, 195, now taken as Y, Cb, Cr, K.
        # YCCK is YCbCr of the inverse of what CMYK would store, which makes it that of the ink.
        y, cb, cr = 55, 155 - 128, 165 - 128
        rgb = np.array([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb])
        expected = (255 - rgb.clip(0, 255)) * 195 / 255
        assert np.abs(pixels(bytes(data)) - expected).max() <= 2

    @pytest.mark.parametrize("value", range(1, 9))
    def test_orientation(self, saved: Make, value: int) -> None:
        blocks = np.kron(CORNERS, np.ones((8, 8, 1), np.uint8))
        tag = Image.Exif()
        tag[0x0112] = value
        data = saved(blocks, "JPEG", quality=100, subsampling=0, exif=tag)
        off = pixels(data).astype(int) - turned(blocks, value)
        assert np.abs(off).max() <= 2

    def test_several_pictures_in_one_file(self, saved: Make, photo: np.ndarray) -> None:
        data = saved(
            photo, "MPO", save_all=True, append_images=[Image.fromarray(255 - photo)], quality=95
        )
        assert np.abs(pixels(data).astype(int) - photo).mean() < 3

    def test_bytes_after_the_end_do_no_harm(self, saved: Make, photo: np.ndarray) -> None:
        data = saved(photo, "JPEG")
        np.testing.assert_array_equal(pixels(data + b"PK\x03\x04" + bytes(99)), pixels(data))


# --- the formats of Pillow alone -----------------------------------------------------------------


@pytest.mark.parametrize("format", ["BMP", "PPM", "TIFF"])
def test_lossless_rgb(saved: Make, photo: np.ndarray, format: str) -> None:
    np.testing.assert_array_equal(pixels(saved(photo, format)), photo)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(saved: Make, photo: np.ndarray, compression: str) -> None:
    np.testing.assert_array_equal(pixels(saved(photo, "TIFF", compression=compression)), photo)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colour_of_compressed_tiff(
    tiff: Make, rng: np.random.Generator, compression: str | None, order: str
) -> None:
    samples = rng.integers(0, 65536, (13, 17, 3)).astype(np.uint16)
    data = tiff(samples, photometric=2, order=order, compression=compression)
    np.testing.assert_array_equal(pixels(data), rounded(samples / 257))


def test_lossless_webp_with_alpha(saved: Make, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    samples[..., 3] |= 1  # lossless WebP forgets colours nobody can see
    data = saved(Image.fromarray(samples), "WEBP", lossless=True, exact=True)
    expected = on(samples[..., :3] / 255, samples[..., 3:] / 255, (255, 255, 255))
    np.testing.assert_array_equal(pixels(data), expected)


def test_animated_webp_and_gif_give_their_first_frame(saved: Make) -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("#ff0000", "#00ff00", "#0000ff")]
    options = {"save_all": True, "append_images": frames[1:], "duration": 50}
    for data in (
        saved(frames[0], "GIF", **options),
        saved(frames[0], "WEBP", lossless=True, **options),
    ):
        assert decode(data).height == 4
        np.testing.assert_array_equal(pixels(data), np.full((4, 6, 3), (255, 0, 0)))


def test_several_pages_of_tiff_give_the_first(saved: Make) -> None:
    pages = [Image.new("L", (6, 4), level) for level in (40, 200)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert np.unique(pixels(data)).tolist() == [40]


def test_gif_with_transparency(saved: Make) -> None:
    image = Image.frombytes("P", (2, 2), bytes([0, 1, 1, 0]))
    image.putpalette([10, 20, 30, 200, 100, 50])
    data = saved(image, "GIF", transparency=1)
    assert pixels(data).tolist() == [[[10, 20, 30], [255] * 3], [[255] * 3, [10, 20, 30]]]


def test_avif(saved: Make, photo: np.ndarray) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    assert np.abs(pixels(saved(photo, "AVIF", quality=95)).astype(int) - photo).mean() < 4


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_of_avif(saved: Make, value: int) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    blocks = np.kron(CORNERS, np.ones((16, 16, 1), np.uint8))
    tag = Image.Exif()
    tag[0x0112] = value
    data = saved(blocks, "AVIF", quality=95, subsampling="4:4:4", exif=tag)
    off = np.abs(pixels(data).astype(int) - turned(blocks, value))
    assert np.median(off, axis=(0, 1)).max() <= 8


def test_cmyk_tiff(tiff: Make) -> None:
    ink = np.array([[[200, 100, 0, 60], [0, 0, 0, 255]]], np.uint8)
    expected = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:].astype(float)) / 255
    assert np.abs(pixels(tiff(ink, photometric=5)) - expected).max() <= 1


@pytest.mark.parametrize("head", [b"P1\n# comment\n3 2\n", b"P4 3 2\n"])
def test_pbm_has_black_ones(head: bytes) -> None:
    data = head + (b"0 1 0\n1 1 0\n" if head.startswith(b"P1") else bytes((0b01000000, 0b11000000)))
    expected = np.array([[255, 0, 255], [0, 0, 255]])
    np.testing.assert_array_equal(pixels(data), grey(expected))


@pytest.mark.parametrize("top", [255, 100, 1000, 65535])
def test_pgm_is_scaled_by_its_own_white(top: int) -> None:
    values = np.array([[0, 1, top // 2], [top // 3, top - 1, top]])
    raw = values.astype(">u2" if top > 255 else "u1").tobytes()
    expected = rounded(values * 255 / top)
    np.testing.assert_array_equal(pixels(b"P5 3 2 %d\n" % top + raw), grey(expected))


@pytest.mark.parametrize("order", ["<", ">"])
class TestTiff:
    def test_grey_of_16_bits_is_scaled(self, tiff: Make, order: str) -> None:
        samples = np.array([[0, 128, 129, 257], [32768, 65000, 65407, 65535]], np.uint16)
        expected = rounded(samples / 257)
        np.testing.assert_array_equal(pixels(tiff(samples, order=order)), grey(expected))

    def test_colour_of_16_bits(self, tiff: Make, rng: np.random.Generator, order: str) -> None:
        samples = rng.integers(0, 65536, (6, 5, 3)).astype(np.uint16)
        data = tiff(samples, photometric=2, order=order)
        np.testing.assert_array_equal(pixels(data), rounded(samples / 257))

    def test_floats(self, tiff: Make, rng: np.random.Generator, order: str) -> None:
        samples = rng.random((6, 5), dtype=np.float32)
        samples[0, :2] = 0, 1
        expected = rounded(samples.astype(np.float64) * 255)
        np.testing.assert_array_equal(pixels(tiff(samples, order=order)), grey(expected))

    def test_white_is_zero(self, tiff: Make, rng: np.random.Generator, order: str) -> None:
        bytes_, floats = np.array([[0, 10, 255]], np.uint8), np.array([[0, 0.2, 1]], np.float32)
        for samples, expected in ((bytes_, [255, 245, 0]), (floats, [255, 204, 0])):
            result = pixels(tiff(samples, order=order, photometric=0))
            np.testing.assert_array_equal(result, grey(np.array([expected])))

    @pytest.mark.parametrize("value", range(1, 9))
    def test_orientation(self, tiff: Make, order: str, value: int) -> None:
        data = tiff(CORNERS, photometric=2, order=order, extra={274: value})
        np.testing.assert_array_equal(pixels(data), turned(CORNERS, value))

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.01, 255.0])
    def test_floats_that_are_no_shade(self, tiff: Make, order: str, wrong: float) -> None:
        samples = np.array([[0.5, wrong]], np.float32)
        with pytest.raises(ImageError, match=r"expected 0 \(black\) to 1") as caught:
            decode(tiff(samples, order=order))
        assert caught.value.status == "bad_value"

    @pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32])
    def test_integers_without_a_known_white(self, tiff: Make, order: str, dtype: type) -> None:
        with pytest.raises(ImageError, match=r"is not read|not known") as caught:
            decode(tiff(np.ones((2, 2), dtype), order=order))
        assert caught.value.status == "unsupported"


def test_white_is_zero_in_16_bits(tiff: Make) -> None:
    # Of this kind Pillow reads little-endian files only.
    samples = np.array([[0, 13107, 65535]], np.uint16)
    result = pixels(tiff(samples, photometric=0))
    np.testing.assert_array_equal(result, grey(np.array([[255, 204, 0]])))


def test_twelve_bit_tiff_is_scaled_by_its_own_white(tiff: Make) -> None:
    # Two samples of 12 bits are three bytes: 0x000 0xfff, 0x800 0x333.
    packed = np.frombuffer(bytes.fromhex("000fff800333"), np.uint8).reshape(2, 3)
    data = bytearray(tiff(packed, bits=12))
    width = data.index(struct.pack("<HHI", 256, 4, 1))
    data[width + 8 : width + 12] = struct.pack("<I", 2)
    expected = rounded(np.array([[0, 4095], [2048, 819]]) * (255 / 4095))
    np.testing.assert_array_equal(pixels(bytes(data)), grey(expected))


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_of_webp(saved: Make, value: int) -> None:
    tag = Image.Exif()
    tag[0x0112] = value
    data = saved(CORNERS, "WEBP", lossless=True, exif=tag)
    np.testing.assert_array_equal(pixels(data), turned(CORNERS, value))


# --- orientation, written out --------------------------------------------------------------------

# Stored top row: red, green, blue; second row: white, grey, black.
CORNERS = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        [[255, 255, 255], [128, 128, 128], [0, 0, 0]],
    ],
    dtype=np.uint8,
)


def exif(value: int) -> bytes:
    return b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, value, 0) + bytes(4)


def turned(stored: np.ndarray, value: int) -> np.ndarray:
    """Place stored row 0 and column 0 where Exif 2.3 says that they are seen."""
    first_row, first_column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[value]
    height, width = stored.shape[:2]
    sideways = first_row in ("left", "right")
    out = np.empty((width, height, 3) if sideways else stored.shape, np.uint8)
    for y, x in np.ndindex(height, width):
        row = y if first_row in ("top", "left") else height - 1 - y
        column = x if first_column in ("top", "left") else width - 1 - x
        out[(column, row) if sideways else (row, column)] = stored[y, x]
    return out


# --- real photographs ----------------------------------------------------------------------------


def test_photographs_equal_pillows(shared_data: object) -> None:
    files = sorted(shared_data.glob("imagenet-sample/*.JPEG"))[:20]  # type: ignore[attr-defined]
    assert files
    for file in files:
        with Image.open(file) as image:
            expected = np.asarray(image.convert("RGB"))
        off = np.abs(pixels(file.read_bytes()).astype(int) - expected)
        assert off.max() <= 1, file.name  # other builds of libjpeg may round differently


# --- objects -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([[0, 128, 255]], np.uint8), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.uint8)[..., None], [0, 128, 255]),
        (np.array([[0, 32896, 65535]], np.uint16), [0, 128, 255]),
        (np.array([[False, True, True]]), [0, 255, 255]),
        (np.array([[0, 0.5, 1]], np.float64), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float16), [0, 128, 255]),
    ],
)
def test_arrays(samples: np.ndarray, expected: list[int]) -> None:
    result = from_object(samples)
    assert result.format == "array"
    np.testing.assert_array_equal(result.pixels, grey(np.array([expected], np.uint8)))


def test_array_with_alpha_and_read_only_and_reversed(rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    expected = on(samples[..., :3] / 255, samples[..., 3:] / 255, (255, 255, 255))
    assert from_object(samples).pixels.tolist() == expected.tolist()
    color = samples[::-1, :, :3]
    color.setflags(write=False)
    assert from_object(color).pixels.tolist() == color.tolist()


def test_tensors(rng: np.random.Generator) -> None:
    samples = torch.from_numpy(rng.integers(0, 256, (3, 6, 5), dtype=np.uint8))
    colour = samples.permute(1, 2, 0).tolist()
    assert from_object(samples).pixels.tolist() == colour
    assert from_object(samples / 255).pixels.tolist() == colour
    assert from_object((samples / 255).requires_grad_()).pixels.tolist() == colour
    grey = samples[:1].expand(3, -1, -1).permute(1, 2, 0).tolist()
    assert from_object(samples[:1]).pixels.tolist() == grey
    assert from_object(samples[0]).pixels.tolist() == grey
    steps = (samples.bfloat16() / 256).to(torch.bfloat16)  # exact
    assert from_object(steps).pixels.tolist() == from_object(steps.double()).pixels.tolist()
    assert from_object(samples[:1] > 9).pixels[..., 0].tolist() == ((samples[0] > 9) * 255).tolist()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_pillow_images_of_every_mode(mode: str) -> None:
    white = {"1": 1, "LA": (0, 0), "RGB": (255,) * 3, "RGBA": (0,) * 4, "CMYK": (0,) * 4}
    white |= {"YCbCr": (255, 128, 128), "I;16": 65535, "F": 1.0}
    image = Image.new(mode, (5, 4), white.get(mode, 255))
    if mode == "P":
        image.putpalette([0] * 765 + [255] * 3)
    result = from_object(image)
    assert (result.format, result.width, result.height) == ("PIL", 5, 4)
    assert np.unique(result.pixels).tolist() == [255]


def test_pillow_image_that_is_to_be_turned(saved: Make) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    image = Image.open(io.BytesIO(saved(CORNERS, "PNG", exif=tag)))
    np.testing.assert_array_equal(from_object(image).pixels, turned(CORNERS, 6))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 4, 2), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((3, 4), np.int64),
        np.zeros((3, 4), np.complex64),
        np.full((3, 4), 255.0),
        np.full((3, 4), np.nan),
        torch.zeros(4, 3, 5),
        torch.zeros(0, 3),
        torch.full((3, 4, 5), 2.0),
        torch.zeros(3, 4, 5, dtype=torch.int64),
        Image.new("I", (2, 2), 70_000),
        Image.new("F", (2, 2), -1.0),
        "photo.jpg",
        None,
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_objects_that_are_no_images(wrong: object) -> None:
    with pytest.raises(ImageError) as caught:
        from_object(wrong)
    assert caught.value.status == "bad_value"


def test_truncated_pillow_image_is_an_image_error(saved: Make, photo: np.ndarray) -> None:
    data = saved(photo, "PNG")
    with pytest.raises(ImageError) as caught:
        from_object(Image.open(io.BytesIO(data[: len(data) // 2])))
    assert caught.value.status == "corrupt"


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Under the strictest filters too: a warning of Pillow's must not become a bad image."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
