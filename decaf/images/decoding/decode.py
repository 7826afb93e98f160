"""From the bytes of an image file, or an image in memory, to 8-bit RGB pixels.

JPEG goes to torchvision's decoder, the rest to Pillow; both give the same pixels where both can
read a file. Whatever a decoder raises becomes an `ImageError`: one bad image never ends a run.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from decaf.errors import ImageError
from decaf.images.decoding.formats import sniff
from decaf.images.decoding.limits import MAX_PIXELS, refuse_costly
from decaf.images.decoding.to_rgb import WHITE, to_rgb8
from decaf.images.decoding.torchvision_jpeg import decoder_versions, jpeg_decoder

__all__ = ["Decoded", "decode", "decoder_versions", "from_object"]

# torchvision.io.ImageReadMode
_RGB = 3

# Errors of decoders on damaged data; Pillow has no single type for them. Anything else is
# a fault of the decoder.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    Attributes
    ----------
    pixels : torch.Tensor
        uint8, ``(3, H, W)``, RGB, of any strides.
    width, height : int
        As displayed, with EXIF orientation applied.
    format : str
        One of `decaf.images.decoding.formats.FORMATS`, or ``"PIL"``, ``"array"`` or ``"tensor"``.
    """

    pixels: torch.Tensor
    width: int
    height: int
    format: str


def decode(
    data: bytes | bytearray | memoryview,
    *,
    max_pixels: int = MAX_PIXELS,
    background: tuple[int, int, int] = WHITE,
) -> Decoded:
    """Decode an image file to RGB, upright.

    The first frame of animated files and files of several pages is taken. Transparent pixels are
    composited on `background`; 16-bit samples are scaled to 8; float samples (TIFF) are taken as
    0 for black to 1 for white; CMYK is converted as ``(1 - c) (1 - k)``. Colour profiles are not
    applied, and of orientations only that of EXIF is.

    Parameters
    ----------
    data : bytes-like
        The whole file. What it holds decides how it is read.
    max_pixels : int
        Limit on width times height, checked before anything is allocated, as are those of
        `decaf.images.decoding.limits`.
    background : tuple of 3 int
        RGB, 0-255.

    Returns
    -------
    Decoded

    Raises
    ------
    ImageError
        For data that cannot be read; its `status` says why.
    """
    header = sniff(data)
    refuse_costly(header, len(data), max_pixels)
    try:
        decode_jpeg = jpeg_decoder() if header.native else None
        if decode_jpeg is not None:
            # A bytes object is read-only, and torch warns of it; a copy takes microseconds.
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels, orientation = decode_jpeg(buffer, _RGB, False), header.orientation
        else:
            # Pillow costs an import of its own, and most runs are of plain JPEGs.
            from decaf.images.decoding.pillow import decode_with_pillow

            array, orientation = decode_with_pillow(
                bytes(data), header, max_pixels=max_pixels, background=background
            )
            pixels = _as_tensor(array)
        if orientation != 1:
            pixels = _upright(pixels, orientation)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("too_large", f"{header.format}: no memory to decode it") from None
    except _DAMAGE as error:
        raise ImageError("corrupt", f"{header.format}: {_one_line(error)}") from error
    except Exception as error:
        raise ImageError(
            "decoder_failed", f"{header.format}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    return Decoded(pixels, pixels.shape[2], pixels.shape[1], header.format)


def from_object(image: Any, *, background: tuple[int, int, int] = WHITE) -> Decoded:
    """Take an image that is in memory already.

    Parameters
    ----------
    image : PIL.Image.Image, numpy.ndarray or torch.Tensor
        An array is ``(H, W)`` or ``(H, W, C)`` with C of 1, 3 or 4 (RGBA) and of uint8, uint16,
        bool, or float in [0, 1]; a tensor is ``(H, W)``, ``(1, H, W)`` or ``(3, H, W)`` of the
        same types. A PIL image that carries an EXIF orientation is turned.
    background : tuple of 3 int
        Colour that transparent pixels are composited on.

    Returns
    -------
    Decoded
        May share memory with `image`.

    Raises
    ------
    ImageError
        "bad_value" for anything else, or what `decode` raises for a PIL image not yet loaded.
    """
    if isinstance(image, torch.Tensor):
        return _from_tensor(image)
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and image.shape[2] == 2:
            raise ImageError("bad_value", f"array of shape {image.shape}: 2 channels are no colour")
        pixels = _as_tensor(to_rgb8(image, background=background))
        return Decoded(pixels, pixels.shape[2], pixels.shape[1], "array")
    # Asked by name, so that arrays alone do not need Pillow.
    if any(t.__module__ == "PIL.Image" and t.__name__ == "Image" for t in type(image).__mro__):
        return _from_pillow(image, background)
    raise ImageError(
        "bad_value",
        f"{type(image).__module__}.{type(image).__name__} is not an image; "
        "expected a PIL image, a numpy array or a torch tensor",
    )


def _upright(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
    """Apply an EXIF orientation (Exif 2.3, tag 0x0112) to ``(3, H, W)`` pixels."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 2)
    mirrored = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation)
    return pixels if mirrored is None else pixels.flip(mirrored)


def _as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """View an ``(H, W, 3)`` array as a ``(3, H, W)`` tensor, copying what torch cannot view."""
    if not pixels.flags.writeable or not pixels.flags.c_contiguous:
        pixels = pixels.copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _from_tensor(image: torch.Tensor) -> Decoded:
    shape = tuple(image.shape)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))) or 0 in shape:
        raise ImageError(
            "bad_value", f"tensor of shape {shape}; expected (3, H, W), (1, H, W) or (H, W)"
        )
    image = image.detach().cpu()
    if image.dtype in (torch.bfloat16, torch.float16):
        image = image.float()
    if image.dtype == torch.uint8 and len(shape) == 3:
        pixels = image.expand(3, -1, -1)
    else:
        samples = image.numpy()
        pixels = _as_tensor(to_rgb8(samples if samples.ndim == 2 else samples.transpose(1, 2, 0)))
    return Decoded(pixels, pixels.shape[2], pixels.shape[1], "tensor")


def _from_pillow(image: Any, background: tuple[int, int, int]) -> Decoded:
    from decaf.images.decoding.pillow import image_orientation, image_to_rgb8

    if not 0 < image.width * image.height <= MAX_PIXELS:
        status = "too_large" if image.width and image.height else "bad_value"
        raise ImageError(status, f"PIL image of {image.width} x {image.height} pixels")
    try:
        image.load()
        pixels = _upright(
            _as_tensor(image_to_rgb8(image, background=background)), image_orientation(image)
        )
    except ImageError:
        raise
    except Exception as error:
        raise ImageError("corrupt", f"PIL image: {_one_line(error)}") from error
    return Decoded(pixels, pixels.shape[2], pixels.shape[1], "PIL")


def _one_line(error: BaseException) -> str:
    """Return an exception's text in one line, the same each time.

    Without torchvision's source positions, and without addresses in memory (``at 0x7f…``).
    """
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    if ".cpp:" in text:
        text = text.split(".cpp:", 1)[1].split(", ", 1)[-1]
    return text[:300]
