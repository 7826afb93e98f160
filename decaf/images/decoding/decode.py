"""From the bytes of an image file, or an image in memory, to 8-bit RGB pixels.

JPEG goes to simplejpeg or torchvision, the rest to Pillow; all give the same pixels where they can
read a file. Whatever a decoder raises becomes an `ImageError`: one bad image never ends a run.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError
from decaf.images.decoding.formats import sniff
from decaf.images.decoding.jpeg import decode_jpeg
from decaf.images.decoding.limits import MAX_PIXELS, refuse_costly
from decaf.images.decoding.to_rgb import WHITE, to_rgb8

if TYPE_CHECKING:
    import torch

__all__ = ["Decoded", "decode", "from_object"]

Pixels = npt.NDArray[np.uint8]

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
    pixels : ndarray of uint8, shape (H, W, 3)
        RGB, of any strides.
    format : str
        One of `decaf.images.decoding.formats.FORMATS`, or ``"PIL"``, ``"array"`` or ``"tensor"``.
    """

    pixels: Pixels
    format: str

    @property
    def width(self) -> int:
        """Width as displayed, with EXIF orientation applied."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height as displayed."""
        return int(self.pixels.shape[0])


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
        pixels = decode_jpeg(data) if header.native else None
        orientation = header.orientation
        if pixels is None:
            # Pillow costs an import of its own, and most runs are of plain JPEGs.
            from decaf.images.decoding.pillow import decode_with_pillow

            pixels, orientation = decode_with_pillow(
                bytes(data), header, max_pixels=max_pixels, background=background
            )
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
    return Decoded(pixels, header.format)


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
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and image.shape[2] == 2:
            raise ImageError("bad_value", f"array of shape {image.shape}: 2 channels are no colour")
        return Decoded(to_rgb8(image, background=background), "array")
    # Asked by name, so that arrays alone need neither Pillow nor torch.
    names = {f"{kind.__module__}.{kind.__name__}" for kind in type(image).__mro__}
    if "PIL.Image.Image" in names:
        return _from_pillow(image, background)
    if "torch.Tensor" in names:
        return _from_tensor(image)
    raise ImageError(
        "bad_value",
        f"{type(image).__module__}.{type(image).__name__} is not an image; "
        "expected a PIL image, a numpy array or a torch tensor",
    )


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (Exif 2.3, tag 0x0112) to ``(H, W, 3)`` pixels."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    mirrored = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation)
    return pixels if mirrored is None else np.flip(pixels, mirrored)


def _from_tensor(image: torch.Tensor) -> Decoded:
    shape = tuple(image.shape)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))) or 0 in shape:
        raise ImageError(
            "bad_value", f"tensor of shape {shape}; expected (3, H, W), (1, H, W) or (H, W)"
        )
    image = image.detach().cpu()
    if str(image.dtype) == "torch.bfloat16":  # numpy has none
        image = image.float()
    samples = image.numpy()
    return Decoded(to_rgb8(samples if samples.ndim == 2 else samples.transpose(1, 2, 0)), "tensor")


def _from_pillow(image: Any, background: tuple[int, int, int]) -> Decoded:
    from decaf.images.decoding.pillow import image_orientation, image_to_rgb8

    if not 0 < image.width * image.height <= MAX_PIXELS:
        status = "too_large" if image.width and image.height else "bad_value"
        raise ImageError(status, f"PIL image of {image.width} x {image.height} pixels")
    try:
        image.load()
        pixels = _upright(image_to_rgb8(image, background=background), image_orientation(image))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError("corrupt", f"PIL image: {_one_line(error)}") from error
    return Decoded(pixels, "PIL")


def _one_line(error: BaseException) -> str:
    """Return an exception's text in one line, the same each time.

    Without torchvision's source positions, and without addresses in memory (``at 0x7f…``).
    """
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    if ".cpp:" in text:
        text = text.split(".cpp:", 1)[1].split(", ", 1)[-1]
    return text[:300]
