"""From crops to the network's input: scaled, without the mean, and channels last."""

from __future__ import annotations

import torch

from decaf.errors import SettingError
from decaf.images.crops import crop_corners
from decaf.images.spec import PreprocessSpec

__all__ = ["normalise"]


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
