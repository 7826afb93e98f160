"""Dense SIFT: the local descriptors that a Fisher vector summarises."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.images import ImageRef
from decaf.images.decoding.decode import decode
from harness.fisher_vectors.settings import FisherVectorSettings, require

__all__ = ["dense_sift", "grey_image", "grid"]

# OpenCV's bins are 1.5 times the size of their keypoint (SIFT_DESCR_SCL_FCTR is 3, and it counts
# half of the size).
_BIN_PER_SIZE = 1.5
# Lowe 2004, section 6.1: a bin is this many standard deviations of the smoothing wide. OpenCV takes
# an image to be smoothed by 0.5 already.
_BIN_PER_SIGMA = 6.0
_LEAST_SIGMA = 0.6


def grey_image(ref: ImageRef, settings: FisherVectorSettings) -> npt.NDArray[np.uint8]:
    """Read an image as grey levels, reduced to the settings' side.

    Parameters
    ----------
    ref : ImageRef
        Where it lies.
    settings : FisherVectorSettings

    Returns
    -------
    ndarray of shape (H, W), uint8
        Luma of ITU-R BT.601.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    cv2 = require("cv2")
    pixels = np.ascontiguousarray(decode(ref.load()).pixels)
    grey: npt.NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # The longer side is within bounds, and at least one patch fits in.
    factor = min(1.0, settings.side / max(grey.shape))
    size = [max(4 * settings.bin_size, round(n * factor)) for n in grey.shape[::-1]]
    fitted: npt.NDArray[np.uint8] = _resized(grey, size)
    return fitted


def dense_sift(
    grey: npt.NDArray[np.uint8],
    settings: FisherVectorSettings,
    *,
    sample: int | None = None,
    random: np.random.Generator | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Describe the patches of a regular grid, at several scales, upright.

    The patch keeps its size and the image is reduced, as in Sánchez et al. 2013: on an
    image of half the side a patch covers four times the area and there is a quarter of them.
    Descriptors are RootSIFT (Arandjelović and Zisserman 2012): SIFT divided by its sum, then the
    square root of each entry, so that they have norm 1. Patches of less contrast than the settings
    ask for are left out, and those without any gradient, of which SIFT has nothing to say.

    Parameters
    ----------
    grey : ndarray of shape (H, W), uint8
        As `grey_image` returns it.
    settings : FisherVectorSettings
    sample : int, optional
        Describe this many patches only, drawn by `random` without replacement from all scales.
    random : numpy.random.Generator, optional
        Needed with `sample`.

    Returns
    -------
    descriptors : ndarray of shape (n, 128), float32
    positions : ndarray of shape (n, 2), float32
        Centres of the patches, x and y as parts of the image's width and height.
    """
    cv2 = require("cv2")
    sizes = [[max(1, round(n * scale)) for n in grey.shape[::-1]] for scale in settings.scales]
    images = [_resized(grey, size) for size in sizes]
    grids = [
        _with_contrast(image, grid(image.shape[0], image.shape[1], settings), settings)
        for image in images
    ]
    if sample is not None:
        assert random is not None
        grids = _drawn(grids, sample, random)
    sift = cv2.SIFT_create(
        nOctaveLayers=1, sigma=max(_LEAST_SIGMA, settings.bin_size / _BIN_PER_SIGMA)
    )
    descriptors, positions = [], []
    for image, points in zip(images, grids, strict=True):
        if len(points) == 0:
            continue
        # An angle of 0 is "upright"; octave 0 is the image as it is.
        size = settings.bin_size / _BIN_PER_SIZE
        keypoints = [cv2.KeyPoint(x, y, size, 0.0) for x, y in points.tolist()]
        known, of_patches = sift.compute(image, keypoints)
        assert len(known) == len(keypoints)  # OpenCV drops those too near to other kinds of borders
        descriptors.append(of_patches)
        positions.append((points + 0.5) / np.array(image.shape[::-1]))
    if not descriptors:
        return np.empty((0, 128), np.float32), np.empty((0, 2), np.float32)
    stacked = np.concatenate(descriptors)
    total = stacked.sum(axis=1)
    kept = total > 0
    rooted = np.sqrt(stacked[kept] / total[kept, None])
    return rooted, np.concatenate(positions).astype(np.float32)[kept]


def grid(height: int, width: int, settings: FisherVectorSettings) -> npt.NDArray[np.float64]:
    """Return the centres of the patches that lie within an image, as x and y in pixels.

    Parameters
    ----------
    height, width : int
    settings : FisherVectorSettings

    Examples
    --------
    >>> grid(16, 21, FisherVectorSettings(step=4, bin_size=4)).tolist()
    [[8.0, 8.0], [12.0, 8.0]]
    """
    half, step = 2 * settings.bin_size, settings.step
    # What the last step leaves over is shared by the two borders.
    ys = np.arange(half + max(0, height - 2 * half) % step // 2, height - half + 1, step)
    xs = np.arange(half + max(0, width - 2 * half) % step // 2, width - half + 1, step)
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(np.float64)


def _resized(grey: npt.NDArray[np.uint8], size: list[int]) -> Any:
    """Return an image of a width and a height."""
    if size == list(grey.shape[::-1]):
        return grey
    cv2 = require("cv2")
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _with_contrast(image: Any, points: Any, settings: FisherVectorSettings) -> Any:
    """Keep the points whose patches have a mean gradient of at least `settings.contrast`."""
    if len(points) == 0:
        return points
    cv2 = require("cv2")
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), _LEAST_SIGMA)
    # [-1, 0, 1], twice the derivative
    twice = [cv2.Sobel(smooth, cv2.CV_32F, *which, ksize=1) for which in ((1, 0), (0, 1))]
    # Sums over patches from the sums over all that lies above and to the left.
    sums = cv2.integral(cv2.magnitude(*twice) / 2)
    half = 2 * settings.bin_size
    x, y = points.astype(np.int64).T
    inside = (
        sums[y + half, x + half]
        - sums[y - half, x + half]
        - sums[y + half, x - half]
        + sums[y - half, x - half]
    )
    return points[inside >= settings.contrast * (2 * half) ** 2]


def _drawn(
    grids: list[npt.NDArray[np.float64]], sample: int, random: np.random.Generator
) -> list[npt.NDArray[np.float64]]:
    """Keep so many points of all grids together."""
    total = sum(len(points) for points in grids)
    kept = np.zeros(total, dtype=bool)
    kept[random.permutation(total)[:sample]] = True
    borders = np.cumsum([len(points) for points in grids])[:-1]
    return [points[k] for points, k in zip(grids, np.split(kept, borders), strict=True)]
