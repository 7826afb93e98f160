"""From decoded pixels to the network's input: resize, crop, normalise.

The 8-bit resize is torch's own antialiased bilinear filter, which torchvision's transforms call
too: results are equal bit for bit to `torchvision.transforms.v2` on uint8 tensors. torchvision's
pipelines of PIL images and of float tensors round some pixels to the neighbouring grey level.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

from decaf.errors import ImageError, SettingError
from decaf.images.spec import PreprocessSpec

__all__ = ["MAX_RESIZED_PIXELS", "crop_offsets", "normalise", "resized_crops"]

# A 1 x 5000 strip whose shorter side becomes 256 would grow to 1.3 million columns.
MAX_RESIZED_PIXELS = 64_000_000


def crop_offsets(height: int, width: int, crop: int, ten: bool = False) -> list[tuple[int, int]]:
    """Return the top-left corners of the crops of an image.

    Parameters
    ----------
    height, width : int
        Size of the resized image, both at least `crop`.
    crop : int
        Side of a crop.
    ten : bool
        Whether to give the five of a ten-crop (Krizhevsky et al. 2012, sec. 4.1), in the order top
        left, top right, bottom left, bottom right, centre; else the centre alone.

    Returns
    -------
    list of (top, left)

    Examples
    --------
    >>> crop_offsets(256, 341, 227)
    [(14, 57)]
    >>> crop_offsets(256, 256, 227, ten=True)
    [(0, 0), (0, 29), (29, 0), (29, 29), (14, 14)]
    """
    # Rounded half to even, which is what torchvision's CenterCrop does.
    centre = round((height - crop) / 2), round((width - crop) / 2)
    if not ten:
        return [centre]
    bottom, right = height - crop, width - crop
    return [(0, 0), (0, right), (bottom, 0), (bottom, right), centre]


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
        uint8, contiguous, ``(n, crop, crop, 3)`` with n 5 or 1, in the order of `crop_offsets`.

    Raises
    ------
    ImageError
        "too_large" if keeping the aspect ratio makes more than `MAX_RESIZED_PIXELS` pixels;
        "wrong_size" if the image is to be taken as it is, and has not the size for it.
    """
    height, width = _resized_size(pixels.shape[1], pixels.shape[2], spec)
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
    offsets = crop_offsets(height, width, side, ten)
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
        Whether the batch is of groups of 5 crops in the order of `crop_offsets`.

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
    factor = (spec.scale / std).float()
    out = batch.to(torch.float32)
    if mean_image is None:
        mean = torch.tensor(spec.mean, dtype=torch.float64, device=batch.device)
        # x scale / std - mean / std, one pass over the data
        torch.addcmul((-mean / std).float(), out, factor, out=out)
        return out.permute(0, 3, 1, 2)
    side = spec.resize_to
    if tuple(mean_image.shape) != (3, side, side):
        raise SettingError(
            f"preprocessing: mean image of shape {tuple(mean_image.shape)}, "
            f"expected {(3, side, side)}"
        )
    offsets = crop_offsets(side, side, spec.crop, ten)
    shift = torch.stack([_part(mean_image, top, left, spec.crop) for top, left in offsets])
    shift = (shift.to(batch.device, torch.float64) / -std).float()
    groups = out.view(-1, len(offsets), spec.crop, spec.crop, 3)
    torch.addcmul(shift, groups, factor, out=groups)
    return out.permute(0, 3, 1, 2)


def _part(mean_image: torch.Tensor, top: int, left: int, crop: int) -> torch.Tensor:
    return mean_image[:, top : top + crop, left : left + crop].permute(1, 2, 0)


def _resized_size(height: int, width: int, spec: PreprocessSpec) -> tuple[int, int]:
    """Return the size after the resize; the long side is cut to an integer as in torchvision."""
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
