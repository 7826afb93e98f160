"""What part of a stored image a training step sees, and in which light.

The views of a batch are drawn all at once, as numbers, before any pixel is touched; they are then
applied image by image on a CPU, or to the batch at once on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decaf.train.randomness import generator
from decaf.train.recipe import TrainSettings

__all__ = ["Views", "cut", "cut_batch", "draw_views", "lighting_shift"]

# Boxes drawn for an image before its centre is taken instead, as torchvision does.
_TRIES = 10


@dataclass(frozen=True, eq=False)
class Views:
    """The views of a batch of N images.

    Attributes
    ----------
    top, left, height, width : ndarray of int64, shape (N,)
        The box in the stored image, in pixels.
    mirrored : ndarray of bool, shape (N,)
    alpha : ndarray of float32, shape (N, 3)
        Of the lighting: how far along each principal component the colour is moved, in standard
        deviations of the training pixels along it.
    """

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    mirrored: np.ndarray
    alpha: np.ndarray

    def __getitem__(self, rows: slice) -> Views:
        return Views(
            self.top[rows],
            self.left[rows],
            self.height[rows],
            self.width[rows],
            self.mirrored[rows],
            self.alpha[rows],
        )


def draw_views(settings: TrainSettings, step: int, side: int, crop: int) -> Views:
    """Draw the views of one step.

    Parameters
    ----------
    settings : TrainSettings
    step : int
        Of the run, counted from 0.
    side : int
        Of the stored images, in pixels.
    crop : int
        Side of the network's input.

    Returns
    -------
    Views
        Of the global batch.
    """
    count = settings.batch_size
    random = generator(settings.seed, "views", step)
    if settings.crop == "random":
        size = np.full(count, min(crop, side))
        height = width = size
    else:
        height, width = _random_boxes(settings, random, count, side)
    top = random.integers(0, side - height + 1)
    left = random.integers(0, side - width + 1)
    mirrored = random.random(count) < 0.5 if settings.mirror else np.zeros(count, bool)
    alpha = random.standard_normal((count, 3), np.float32) * np.float32(settings.lighting)
    return Views(top, left, height, width, mirrored, alpha)


def _random_boxes(
    settings: TrainSettings, random: np.random.Generator, count: int, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw boxes as torchvision's RandomResizedCrop does (Szegedy et al. 2015, section 6)."""
    area = random.uniform(*settings.crop_area, (count, _TRIES)) * side * side
    thin, wide = map(math.log, settings.crop_ratio)
    ratio = np.exp(random.uniform(thin, wide, (count, _TRIES)))
    width = np.round(np.sqrt(area * ratio)).astype(np.int64)
    height = np.round(np.sqrt(area / ratio)).astype(np.int64)
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    chosen = np.arange(count), fits.argmax(axis=1)
    # Where no box fits, the whole image, which is as near to the wished for ratios as it gets.
    found = fits.any(axis=1)
    return np.where(found, height[chosen], side), np.where(found, width[chosen], side)


def cut(pixels: np.ndarray, views: Views, row: int, out: np.ndarray) -> None:
    """Cut one view out of a stored image on the CPU.

    A box of another size than `out` is resized with torch's antialiased bilinear filter on 8-bit
    pixels, which torchvision's transforms call too.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (side, side, 3)
    views : Views
    row : int
        Which of them.
    out : ndarray of uint8, shape (crop, crop, 3)
        Receives the view.
    """
    top, left = views.top[row], views.left[row]
    box = pixels[top : top + views.height[row], left : left + views.width[row]]
    if box.shape != out.shape:
        batch = torch.from_numpy(np.ascontiguousarray(box))[None].permute(0, 3, 1, 2)
        size = out.shape[:2]
        resized = functional.interpolate(batch, size=size, mode="bilinear", antialias=True)
        box = resized[0].permute(1, 2, 0).numpy()
    out[...] = box[:, ::-1] if views.mirrored[row] else box


def cut_batch(pixels: Tensor, views: Views, crop: int) -> Tensor:
    """Cut all views of a batch at once, on the device where it is.

    Boxes of the input's size are copied pixel by pixel; others are interpolated bilinearly at
    float precision, without the filter that `cut` has against aliasing: boxes are seldom much
    larger than the input.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (N, side, side, 3)
    views : Views
        Of N images.
    crop : int
        Side of the network's input.

    Returns
    -------
    Tensor of float32, shape (N, 3, crop, crop), channels last
        From 0 to 255.
    """
    device = pixels.device
    box = torch.from_numpy(np.stack([views.top, views.left, views.height, views.width])).to(device)
    mirrored = torch.from_numpy(views.mirrored).to(device)
    top, left, height, width = box.unbind()
    # Centres of the crop's pixels, as fractions of the box.
    grid = (torch.arange(crop, device=device, dtype=torch.float32) + 0.5) / crop
    across = torch.where(mirrored[:, None], 1 - grid, grid)
    rows = top[:, None] + grid * height[:, None] - 0.5
    columns = left[:, None] + across * width[:, None] - 0.5
    # Samples beyond the box's edge repeat it, as a crop that is resized does.
    rows = torch.minimum(rows.clamp_(min=top[:, None]), (top + height - 1)[:, None])
    columns = torch.minimum(columns.clamp_(min=left[:, None]), (left + width - 1)[:, None])
    image = torch.arange(len(pixels), device=device)[:, None, None]
    if bool((views.height == crop).all()) and bool((views.width == crop).all()):
        out = pixels[image, rows.round().long()[:, :, None], columns.round().long()[:, None, :]]
        return out.float().permute(0, 3, 1, 2)
    above, leftmost = rows.floor(), columns.floor()
    down, right = (rows - above)[:, :, None, None], (columns - leftmost)[:, None, :, None]
    y0, x0 = above.long()[:, :, None], leftmost.long()[:, None, :]
    y1 = (y0 + 1).clamp_(max=pixels.shape[1] - 1)
    x1 = (x0 + 1).clamp_(max=pixels.shape[2] - 1)
    upper = torch.lerp(pixels[image, y0, x0].float(), pixels[image, y0, x1].float(), right)
    lower = torch.lerp(pixels[image, y1, x0].float(), pixels[image, y1, x1].float(), right)
    return torch.lerp(upper, lower, down).permute(0, 3, 1, 2)


def lighting_shift(
    alpha: np.ndarray, eigenvalues: np.ndarray, eigenvectors: np.ndarray
) -> np.ndarray:
    """Give what the lighting adds to all pixels of each image.

    Krizhevsky et al. 2012, section 4.1: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T. With l an eigenvalue
    of the covariance the sum would depend on the unit of the pixels (0 to 255 or 0 to 1), so l is
    taken as its square root, the standard deviation along p, as every implementation does.

    Parameters
    ----------
    alpha : ndarray of float32, shape (N, 3)
    eigenvalues : ndarray of float64, shape (3,)
        Of the covariance of training pixels in [0, 1].
    eigenvectors : ndarray of float64, shape (3, 3)
        In columns.

    Returns
    -------
    ndarray of float32, shape (N, 3)
        For pixels in [0, 1].
    """
    deviations = np.sqrt(np.maximum(eigenvalues, 0))
    shift: np.ndarray = ((alpha * deviations) @ eigenvectors.T).astype(np.float32)
    return shift
