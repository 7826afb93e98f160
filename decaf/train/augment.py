"""Views: the part of a stored image that a training step sees, and in which light.

The views of a batch are drawn all at once, as numbers, before any pixel is touched; they are then
applied image by image on a CPU, or to the batch at once on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decaf.images.spec import PreprocessSpec
from decaf.runtime.device import sent_to
from decaf.train.randomness import generator, key
from decaf.train.recipe import TrainSettings

__all__ = [
    "Normaliser",
    "Views",
    "cut",
    "cut_batch",
    "draw_views",
    "fixed_views",
    "lighting_shift",
    "sent",
]

TRIES = 10
"""Boxes drawn for an image before the whole of it is taken instead, as torchvision does."""

# Numbers drawn for a view: area and ratio of some boxes, place of the one that fits, the mirror.
_DRAWS = 2 * TRIES + 3


@dataclass(frozen=True, eq=False)
class Views:
    """The views of a batch of N images.

    Attributes
    ----------
    top, left, height, width : ndarray of int64, shape (N,)
        The box in the stored image, in pixels.
    mirrored : ndarray of bool, shape (N,)
    alpha : ndarray of float32, shape (N, 3)
        Lighting: how far along each principal component the colour is moved, in standard
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


def draw_views(settings: TrainSettings, step: int, side: int | np.ndarray, crop: int) -> Views:
    """Draw the views of one step.

    Parameters
    ----------
    settings : TrainSettings
    step : int
        Step of the run, counted from 0.
    side : int or ndarray of int64, shape (batch_size,)
        Side of the stored images, in pixels; one for all, or one each.
    crop : int
        Side of the network's input.

    Returns
    -------
    Views
        Views of the global batch.
    """
    count = settings.batch_size
    random = generator(settings.seed, "views", step)
    if settings.crop == "random":
        height = width = np.full(count, np.minimum(crop, side))
    else:
        # The area of a box and its ratio are uniform, the latter in its logarithm.
        area, ratio = random.random((count, TRIES)), random.random((count, TRIES))
        height, width = _random_boxes(settings, area, ratio, np.broadcast_to(side, count))
    top = random.integers(0, side - height + 1)
    left = random.integers(0, side - width + 1)
    mirrored = random.random(count) < 0.5 if settings.mirror else np.zeros(count, bool)
    alpha = random.standard_normal((count, 3), np.float32) * np.float32(settings.lighting)
    return Views(top, left, height, width, mirrored, alpha)


def _random_boxes(
    settings: TrainSettings, area: np.ndarray, ratio: np.ndarray, sides: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Make boxes of random numbers as torchvision's RandomResizedCrop does.

    Szegedy et al. 2015, "Going Deeper with Convolutions", section 6: the area is uniform, the
    aspect ratio uniform in its logarithm; of `TRIES` boxes the first that fits is taken.

    Parameters
    ----------
    settings : TrainSettings
        Have the bounds.
    area, ratio : ndarray of float64, shape (N, TRIES)
        From 0 to 1: where between the bounds.
    sides : ndarray of int64, shape (N,)
        Sides of the stored images, in pixels.

    Returns
    -------
    height, width : ndarray of int64, shape (N,)
    """
    least, most = settings.crop_area
    thin, wide = map(math.log, settings.crop_ratio)
    side = sides[:, None]
    pixels = (least + (most - least) * area) * side * side
    shape = np.exp(thin + (wide - thin) * ratio)
    width = np.round(np.sqrt(pixels * shape)).astype(np.int64)
    height = np.round(np.sqrt(pixels / shape)).astype(np.int64)
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    chosen = np.arange(len(sides)), fits.argmax(axis=1)
    # Where no box fits, the whole image, which is as near to the wished for ratios as it gets.
    any_fits = fits.any(axis=1)
    return np.where(any_fits, height[chosen], sides), np.where(any_fits, width[chosen], sides)


def cut(pixels: np.ndarray, views: Views, row: int, out: np.ndarray) -> None:
    """Cut one view out of a stored image on the CPU.

    A box of another size than `out` is resized with torch's antialiased bilinear filter on 8-bit
    pixels, which torchvision's transforms call too.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (side, side, 3)
    views : Views
    row : int
        Number of the view.
    out : ndarray of uint8, shape (crop, crop, 3)
        Receives the view.
    """
    top, left = views.top[row], views.left[row]
    box = torch.from_numpy(pixels)[top : top + views.height[row], left : left + views.width[row]]
    if box.shape != out.shape:
        batch = box.contiguous()[None].permute(0, 3, 1, 2)
        size = out.shape[:2]
        resized = functional.interpolate(batch, size=size, mode="bilinear", antialias=True)
        box = resized[0].permute(1, 2, 0)
    # numpy copies pixels backwards one number at a time, eight times slower.
    torch.from_numpy(out).copy_(box.flip(1) if views.mirrored[row] else box)


def cut_batch(pixels: Tensor, views: Views, crop: int) -> Tensor:
    """Cut all views of a batch at once, on the device where it is.

    Boxes of the input's size are copied pixel by pixel. Others go through the filter that `cut`
    calls, spelt out: a triangle as wide as a pixel of the coarser grid, over rows, then columns.
    The results differ by the rounding to 8 bits that `cut` does after each of the two.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (N, side, side, 3)
    views : Views
        Views of the N images.
    crop : int
        Side of the network's input.

    Returns
    -------
    Tensor of uint8 or float, shape (N, crop, crop, 3)
        From 0 to 255.
    """
    device = pixels.device
    box = sent(np.stack([views.top, views.left, views.height, views.width]), device)
    top, left, height, width = box[:, :, None].unbind()
    mirrored = sent(views.mirrored, device)[:, None]
    place = torch.arange(crop, device=device)
    across = torch.where(mirrored, crop - 1 - place, place)
    if (views.height == crop).all() and (views.width == crop).all():
        image = torch.arange(len(pixels), device=device)[:, None, None]
        return pixels[image, (top + place)[:, :, None], (left + across)[:, None, :]]
    side = pixels.shape[1]
    # In half precision pixels are exact, and weights good to a tenth of a pixel's last bit.
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    rows = _filter(top, height, place[None], crop, side).to(dtype)
    columns = _filter(left, width, across, crop, side).to(dtype)
    count = len(pixels)
    lines = (rows @ pixels.view(count, side, side * 3).to(dtype)).view(count, crop, side, 3)
    lines = lines.permute(0, 1, 3, 2).reshape(count, crop * 3, side)
    out = lines @ columns.transpose(1, 2)
    return out.view(count, crop, 3, crop).permute(0, 1, 3, 2)


def _filter(start: Tensor, length: Tensor, place: Tensor, crop: int, side: int) -> Tensor:
    """Return the weight (N, crop, side) of each stored pixel in each pixel of a view line."""
    scale = length / crop
    centre = (start + (place + 0.5) * scale)[:, :, None]
    pixel = torch.arange(side, device=start.device)
    apart = (pixel + 0.5 - centre).abs() / scale.clamp(min=1)[:, :, None]
    inside = (pixel >= start[:, :, None]) & (pixel < (start + length)[:, :, None])
    weight = (1 - apart).clamp_(min=0) * inside
    return weight / weight.sum(2, keepdim=True)


def sent(values: np.ndarray, device: torch.device) -> Tensor:
    """Bring an array to a device without waiting for what the device is doing.

    Parameters
    ----------
    values : ndarray
    device : torch.device
    """
    return sent_to(device, torch.from_numpy(np.ascontiguousarray(values)))


def lighting_shift(
    alpha: np.ndarray, eigenvalues: np.ndarray, eigenvectors: np.ndarray
) -> np.ndarray:
    """Return what the lighting adds to all pixels of each image.

    Krizhevsky et al. 2012, section 4.1: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T. With l an eigenvalue
    of the covariance the sum would depend on the unit of the pixels (0 to 255 or 0 to 1), so l is
    taken as its square root, the standard deviation along p, as every implementation does.

    Parameters
    ----------
    alpha : ndarray of float32, shape (N, 3)
    eigenvalues : ndarray of float64, shape (3,)
        Eigenvalues of the covariance of training pixels in [0, 1].
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


def fixed_views(
    settings: TrainSettings, contents: np.ndarray, numbers: np.ndarray, sides: np.ndarray
) -> Views:
    """Return views that are the same in every pass: drawn by the contents of images and a number.

    Parameters
    ----------
    settings : TrainSettings
        Have the boxes' areas and ratios, whether to mirror, and the seed.
    contents : ndarray of uint8, shape (N, 32)
        SHA-256 of the images' files.
    numbers : ndarray of int64, shape (N,)
        Number of the view of each image.
    sides : ndarray of int64, shape (N,)
        Sides of the stored images, in pixels.

    Returns
    -------
    Views
    """
    words = np.ascontiguousarray(contents).view(np.uint64)
    start = words[:, 0] ^ np.uint64(key(settings.seed, "fixed views"))
    place = numbers.astype(np.uint64)[:, None] * np.uint64(_DRAWS) + np.arange(
        1, _DRAWS + 1, dtype=np.uint64
    )
    drawn = _split_mix(start[:, None] + place * np.uint64(0x9E3779B97F4A7C15))
    height, width = _random_boxes(settings, drawn[:, :TRIES], drawn[:, TRIES : 2 * TRIES], sides)
    top, left, mirror = drawn[:, 2 * TRIES :].T
    return Views(
        (top * (sides - height + 1)).astype(np.int64),
        (left * (sides - width + 1)).astype(np.int64),
        height,
        width,
        (mirror < 0.5) & settings.mirror,
        np.zeros((len(sides), 3), np.float32),
    )


def _split_mix(state: np.ndarray) -> np.ndarray:
    """Return uniform numbers in [0, 1) of 64-bit states (Steele et al. 2014, SplitMix64)."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    uniform: np.ndarray = (z >> np.uint64(11)) * 2.0**-53
    return uniform


class Normaliser:
    """From 8-bit pixels to what the network takes, with a colour shift of each image's own.

    Parameters
    ----------
    preprocess : PreprocessSpec
    mean_image : Tensor or None
        Float32 (3, resize_to, resize_to), where `preprocess` names one: its part under the crop is
        not known for a resized box, so that it is the centre's for all.
    dtype : torch.dtype
        Type of what comes out.
    device : torch.device
    """

    def __init__(
        self,
        preprocess: PreprocessSpec,
        mean_image: Tensor | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        crop = preprocess.crop
        self._preprocess = preprocess
        self._others: dict[int, Normaliser] = {}
        std = torch.tensor(preprocess.std, dtype=torch.float64)
        mean = torch.tensor(preprocess.mean, dtype=torch.float64).view(1, 1, 3)
        if mean_image is not None:
            mean = mean_image.double().permute(1, 2, 0)
        self.dtype = dtype
        self._crop = crop
        # Lines of an image are taken as 3 * crop numbers: over an axis of 3 torch computes one
        # number at a time.
        self._factor = (preprocess.scale / std).float().repeat(crop).to(device)
        # Shifts come for pixels in [0, 1].
        self._shift = (preprocess.scale * 255 / std).float().to(device)
        offset = -(mean / std).float().to(device)
        self._side = len(offset)
        self._lines, self._mirrored = offset.flatten(1), offset.flip(1).flatten(1)
        if mean_image is None:
            self._centre = self._lines.repeat(1, crop)[None]
        else:
            first = round((self._side - crop) / 2)
            self._centre = self._part(first, first, False).contiguous()

    def at(self, side: int) -> Normaliser:
        """Return that of views of another side; not with a mean image, which has a side too.

        Parameters
        ----------
        side : int
            In pixels.
        """
        if side == self._crop:
            return self
        if side not in self._others:
            spec = replace(self._preprocess, crop=side, resize_to=max(side, self._crop))
            self._others[side] = Normaliser(spec, None, self.dtype, self._lines.device)
        return self._others[side]

    def __call__(
        self,
        pixels: Tensor,
        shift: Tensor | None = None,
        corners: np.ndarray | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Normalise a batch.

        Parameters
        ----------
        pixels : Tensor of uint8 or float, shape (n, crop, crop, 3)
            From 0 to 255.
        shift : Tensor of float32, shape (n, 3), optional
            Added to pixels in [0, 1].
        corners : ndarray of int64, shape (n, 3), optional
            Top, left and whether mirrored, of each image's part of the mean image; the centre by
            default.
        out : Tensor, shape (n, crop, crop, 3), contiguous, optional
            Where to put the result.

        Returns
        -------
        Tensor, shape (n, 3, crop, crop), channels last
        """
        count, crop = len(pixels), self._crop
        pixels = pixels.reshape(count, crop, crop * 3)
        offset = self._offset_of(corners)
        if shift is not None:
            offset = offset + (shift * self._shift)[:, None, :].repeat(1, 1, crop)
        lines = None if out is None else out.view(pixels.shape)
        if lines is not None and lines.dtype == torch.float32:
            wide = lines.copy_(pixels)
        else:
            wide = pixels.to(torch.float32)
        torch.addcmul(offset, wide, self._factor, out=wide)
        if lines is None:
            lines = wide.to(self.dtype)
        elif lines is not wide:
            lines.copy_(wide)
        return lines.view(count, crop, crop, 3).permute(0, 3, 1, 2)

    def _offset_of(self, corners: np.ndarray | None) -> Tensor:
        if corners is None or self._side == 1:
            return self._centre
        crop, device = self._crop, self._lines.device
        if len(corners) == 1:  # a view, where the general way copies
            return self._part(*corners[0].tolist())
        place = torch.arange(crop, device=device)
        top, left, mirrored = sent(corners, device)[:, :, None].unbind(1)
        across = torch.where(mirrored > 0, crop - 1 - place, place)
        image = self._lines.view(self._side, self._side, 3)
        part = image[(top + place)[:, :, None], (left + across)[:, None, :]]
        return part.view(len(corners), crop, crop * 3)

    def _part(self, top: int, left: int, mirrored: int) -> Tensor:
        crop = self._crop
        image = self._mirrored if mirrored else self._lines
        if mirrored:
            left = self._side - crop - left
        return image[None, top : top + crop, left * 3 : (left + crop) * 3]
