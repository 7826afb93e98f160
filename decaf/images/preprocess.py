"""From an image to the network's input: load, decode, resize, crop, normalise.

The 8-bit resize is torch's own antialiased bilinear filter, which torchvision's transforms call
too: results are equal bit for bit to `torchvision.transforms.v2` on uint8 tensors. torchvision's
pipelines of PIL images and of float tensors round some pixels to the neighbouring grey level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from decaf.errors import ImageError, SettingError
from decaf.images.crops import crop_corners
from decaf.images.decoding.decode import Decoded, decode, from_object
from decaf.images.listing.image_ref import ImageRef
from decaf.images.spec import PreprocessSpec
from decaf.images.status import NO_DIGEST, Outcome

__all__ = [
    "MAX_RESIZED_PIXELS",
    "normalise",
    "object_content",
    "prepare",
    "resized_crops",
    "resized_size",
]

# A 1 x 5000 strip whose shorter side becomes 256 would grow to 1.3 million columns.
MAX_RESIZED_PIXELS = 64_000_000


def prepare(
    source: ImageRef | Callable[[], Any], spec: PreprocessSpec, *, ten: bool, out: np.ndarray
) -> Outcome:
    """Load, decode, resize and crop one image into `out`, with every fault caught.

    Parameters
    ----------
    source : ImageRef or callable
        Where the image lies; or what returns it, a PIL image, array or tensor: getting that may run
        a user's code (a torch Dataset's), which may fail like any decoder.
    spec : PreprocessSpec
        Resizing and cropping.
    ten : bool
        Cut five crops (the ten-crop's, before mirroring) instead of the centre.
    out : ndarray of uint8, shape (1 or 5, crop, crop, 3)
        Receives the crops, RGB; all zeros where the image is bad.

    Returns
    -------
    Outcome
        Never raises for a bad image.
    """
    digest = NO_DIGEST
    try:
        if isinstance(source, ImageRef):
            data = source.load()
            digest = source.digest(data)
            decoded = decode(data, background=spec.background)
            pixels = source.cut(decoded.pixels)
        else:
            decoded, digest = object_content(source(), spec.background)
            pixels = decoded.pixels
        out[...] = resized_crops(pixels, spec, ten).numpy()
    except Exception as error:
        out[...] = 0
        if isinstance(error, ImageError):
            return Outcome(error.status, error.message, -1, -1, digest)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome("decoder_failed", text[:500], -1, -1, digest)
    return Outcome("ok", "", decoded.width, decoded.height, digest)


def object_content(image: Any, background: tuple[int, int, int]) -> tuple[Decoded, bytes]:
    """Decode an image in memory, and hash its pixels.

    Parameters
    ----------
    image : PIL.Image.Image, ndarray or Tensor
        As `decaf.images.decoding.decode.from_object` takes it.
    background : tuple of 3 int
        Colour that transparent pixels are composited on.

    Returns
    -------
    Decoded
    bytes
        SHA-256 of its pixels.

    Raises
    ------
    ImageError
        For what is no image.
    """
    decoded = from_object(image, background=background)
    pixels = decoded.pixels.permute(1, 2, 0).contiguous().numpy()
    return decoded, hashlib.sha256(pixels.data).digest()


def resized_crops(pixels: torch.Tensor, spec: PreprocessSpec, ten: bool = False) -> torch.Tensor:
    """Resize an image and cut its crops.

    Parameters
    ----------
    pixels : torch.Tensor
        uint8, ``(3, H, W)``, of any strides.
    spec : PreprocessSpec
        Says how.
    ten : bool
        Whether to cut the five crops of a ten-crop (their mirrors are made later) or the centre.

    Returns
    -------
    torch.Tensor
        uint8, contiguous, ``(n, crop, crop, 3)`` with n 5 or 1, in the order of
        `decaf.images.crops`.

    Raises
    ------
    ImageError
        "too_large" if keeping the aspect ratio makes more than `MAX_RESIZED_PIXELS` pixels;
        "wrong_size" if the image is to be taken as it is, and has not the size for it.
    """
    height, width = resized_size(pixels.shape[1], pixels.shape[2], spec)
    rows = pixels.permute(1, 2, 0).contiguous()  # how decoders give them: no copy
    if (height, width) != tuple(rows.shape[:2]):
        # With the strides of a batch spelt out torch sees that this is channels last, and gives
        # the result so too, a fifth faster; after a mere unsqueeze it does not.
        batch = rows[None].permute(0, 3, 1, 2)
        resized = interpolate(batch, size=(height, width), mode="bilinear", antialias=True)
        rows = resized[0].permute(1, 2, 0).contiguous()
    side = spec.crop
    # Lines of a crop are copied whole, which numpy does in half the time.
    lines = rows.view(height, width * 3).numpy()
    offsets = crop_corners(height, width, side, ten)
    crops = np.empty((len(offsets), side, side * 3), dtype=np.uint8)
    for crop, (top, left) in zip(crops, offsets, strict=True):
        crop[...] = lines[top : top + side, left * 3 : (left + side) * 3]
    return torch.from_numpy(crops).view(-1, side, side, 3)


def normalise(
    batch: torch.Tensor,
    spec: PreprocessSpec,
    *,
    mean_image: torch.Tensor | None = None,
    ten: bool = False,
) -> torch.Tensor:
    """Turn crops into what the network takes: ``(pixel * scale - mean) / std``.

    Parameters
    ----------
    batch : torch.Tensor
        uint8, ``(N, crop, crop, 3)``, as `resized_crops` gives.
    spec : PreprocessSpec
        Has `scale`, `mean` and `std`.
    mean_image : torch.Tensor, optional
        float32 ``(3, resize_to, resize_to)``, subtracted in place of `spec.mean`, each crop taking
        the part that lies under it; needed exactly when `spec.mean_image_sha256` is set.
    ten : bool
        Whether the batch is of groups of 5 crops in the order of
        `decaf.images.crops`.

    Returns
    -------
    torch.Tensor
        float32, ``(N, 3, crop, crop)``, channels last.

    Raises
    ------
    SettingError
        If the mean image is missing, not asked for, or of the wrong shape.
    """
    if (mean_image is None) != (spec.mean_image_sha256 is None):
        raise SettingError(
            "preprocessing: a mean image must be given if and only if the spec names one"
        )
    std = torch.tensor(spec.std, dtype=torch.float64, device=batch.device)
    # A whole line of pixels is the inner loop: of 3 channels alone it takes seven times as long.
    width = batch.shape[2]
    factor = (spec.scale / std).float().repeat(width)
    out = batch.to(torch.float32, memory_format=torch.contiguous_format)
    lines = out.flatten(2)
    if mean_image is None:
        mean = torch.tensor(spec.mean, dtype=torch.float64, device=batch.device)
        # x scale / std - mean / std, one pass over the data
        torch.addcmul((-mean / std).float().repeat(width), lines, factor, out=lines)
        return out.permute(0, 3, 1, 2)
    side = spec.resize_to
    if tuple(mean_image.shape) != (3, side, side):
        raise SettingError(
            f"preprocessing: mean image of shape {tuple(mean_image.shape)}, "
            f"expected {(3, side, side)}"
        )
    offsets = crop_corners(side, side, spec.crop, ten)
    shift = torch.stack([_part(mean_image, top, left, spec.crop) for top, left in offsets])
    shift = (shift.to(batch.device, torch.float64) / -std).float().flatten(2)
    groups = lines.view(-1, *shift.shape)
    torch.addcmul(shift, groups, factor, out=groups)
    return out.permute(0, 3, 1, 2)


def _part(mean_image: torch.Tensor, top: int, left: int, crop: int) -> torch.Tensor:
    return mean_image[:, top : top + crop, left : left + crop].permute(1, 2, 0)


def resized_size(height: int, width: int, spec: PreprocessSpec) -> tuple[int, int]:
    """Return the size after the resize; the long side is cut to an integer as in torchvision.

    Parameters
    ----------
    height, width : int
        Of the image.
    spec : PreprocessSpec

    Returns
    -------
    (int, int)
        Height and width.

    Raises
    ------
    ImageError
        As `resized_crops`.
    """
    side = spec.resize_to
    if spec.resize == "warp":
        return side, side
    if spec.resize == "none":
        if (height, width) != (side, side):
            raise ImageError(
                "wrong_size",
                f"{width} x {height} pixels; taken as they are (resize 'none'), images must have "
                f"{side} x {side}",
            )
        return side, side
    short, long = sorted((height, width))
    long = int(side * long / short)
    if side * long > MAX_RESIZED_PIXELS:
        raise ImageError(
            "too_large",
            f"{width} x {height} pixels become {side} x {long} when the shorter side is {side}; "
            f"{MAX_RESIZED_PIXELS} pixels is the limit",
        )
    return (side, long) if height <= width else (long, side)
