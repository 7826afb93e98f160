"""Image files made byte by byte, so that what a test expects does not come from a decoder."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from decaf.images.decoding import torchvision_jpeg

PNG_COLOR = {1: 0, 3: 2, 2: 4, 4: 6}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(
    samples: np.ndarray,
    *,
    bits: int | None = None,
    palette: bytes | None = None,
    before: tuple[tuple[bytes, bytes], ...] = (),
    after: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """Write (H, W) or (H, W, C) uint8 or uint16 samples; `bits` packs (H, W) samples."""
    if samples.ndim == 2:
        samples = samples[:, :, None]
    height, width, channels = samples.shape
    bits = bits or samples.dtype.itemsize * 8
    color = PNG_COLOR[channels] if palette is None else 3
    if bits < 8:
        flags = np.unpackbits(samples.astype(np.uint8), axis=2)[:, :, -bits:]
        lines = np.packbits(flags.reshape(height, -1), axis=1)
    else:
        lines = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))]
    if palette is not None:
        chunks.append(_chunk(b"PLTE", palette))
    chunks += [_chunk(*c) for c in before]
    chunks.append(_chunk(b"IDAT", zlib.compress(raw)))
    chunks += [_chunk(*c) for c in after]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def _lzw(data: bytes) -> bytes:
    """Pack as TIFF's LZW may (TIFF 6.0, section 13), clearing before codes grow past 9 bits.

    Every byte is its own code, so nothing gets smaller, but every decoder must follow.
    """
    codes: list[int] = []
    for i, byte in enumerate(data):
        if i % 200 == 0:
            codes.append(256)
        codes.append(byte)
    text = "".join(f"{code:09b}" for code in [*codes, 257])
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def make_tiff(
    samples: np.ndarray,
    *,
    photometric: int = 1,
    order: str = "<",
    bits: int | None = None,
    sample_format: int | None = None,
    extra: dict[int, int] | None = None,
    compression: str | None = None,
) -> bytes:
    """Write one strip of (H, W) or (H, W, C) samples of any type."""
    if samples.ndim == 2:
        samples = samples[:, :, None]
    height, width, channels = samples.shape
    bits = bits or samples.dtype.itemsize * 8
    if sample_format is None:
        sample_format = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    if compression is not None:
        data = {"deflate": zlib.compress, "lzw": _lzw}[compression](data)
    stored = len(data)
    if len(data) % 2:
        data += b"\0"
    bits_at = 8 + len(data)
    tail = struct.pack(order + "H" * channels, *[bits] * channels)
    entries = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, channels, bits_at if channels > 2 else bits | (bits << 16) * (channels > 1)),
        259: (3, 1, {None: 1, "deflate": 8, "lzw": 5}[compression]),
        262: (3, 1, photometric),
        273: (4, 1, 8),
        277: (3, 1, channels),
        278: (4, 1, height),
        279: (4, 1, stored),
        339: (3, 1, sample_format),
    }
    entries.update({tag: (3, 1, value) for tag, value in (extra or {}).items()})
    ifd = struct.pack(order + "H", len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        ifd += struct.pack(order + "HHI", tag, kind, count)
        short = kind == 3 and count == 1
        ifd += struct.pack(order + ("HH" if short else "I"), *((value, 0) if short else (value,)))
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    at = bits_at + len(tail)
    return magic + struct.pack(order + "I", at) + data + tail + ifd + bytes(4)


def make_saved(image: Image.Image | np.ndarray, format: str, **options: object) -> bytes:
    """Let Pillow write an image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(name="png")
def _png() -> Callable[..., bytes]:
    return make_png


@pytest.fixture(name="tiff")
def _tiff() -> Callable[..., bytes]:
    return make_tiff


@pytest.fixture(name="saved")
def _saved() -> Callable[..., bytes]:
    return make_saved


@pytest.fixture(params=["simplejpeg", "torchvision", "pillow"])
def jpeg_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each decoder of JPEG in turn: those before it refuse all files, or are not to be had."""
    if request.param != "simplejpeg":

        def refuse(*_: object, **__: object) -> None:
            raise ValueError("refused")

        monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    if request.param == "pillow":
        monkeypatch.setattr(torchvision_jpeg, "jpeg_decoder", lambda: None)
    elif request.param == "torchvision" and torchvision_jpeg.jpeg_decoder() is None:
        pytest.skip("this torchvision was built without libjpeg")
    return str(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def photo(rng: np.random.Generator) -> np.ndarray:
    """Something smooth enough for lossy formats: (48, 64, 3) uint8."""
    y, x = np.mgrid[0:48, 0:64]
    waves = [np.sin(x / a) + np.cos(y / b) for a, b in ((9, 7), (13, 11), (8, 15))]
    return (np.stack(waves, axis=2) * 60 + 128).clip(0, 255).astype(np.uint8)
