"""From samples as they are stored to 8-bit RGB: scaling, transparency, grey."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError

__all__ = ["WHITE", "Samples", "keyed_out", "to_rgb8"]

Samples = npt.NDArray[Any]

WHITE = (255, 255, 255)

# Rows are converted in blocks of about this many samples, so that the wider numbers in between do
# not multiply the memory of a large image.
_BLOCK = 1 << 20


def to_rgb8(
    samples: Samples,
    *,
    background: tuple[int, int, int] = WHITE,
    full_scale: int | None = None,
    inverted: bool = False,
) -> npt.NDArray[np.uint8]:
    """Convert samples to 8-bit RGB.

    A sample v of full scale m becomes ``round(255 v / m)``; transparent pixels are composited as
    ``round(a c + (1 - a) b)``, not gamma-corrected, as viewers and Pillow do.

    Parameters
    ----------
    samples : array of shape (H, W) or (H, W, C), C 1 to 4
        bool, uint8, uint16, or float in [0, 1]. The last of 2 or 4 channels is alpha, not
        premultiplied.
    background : tuple of 3 int
        Colour behind transparent pixels, 0-255.
    full_scale : int, optional
        The value of white, for integers that do not use all of their type.
    inverted : bool
        Whether 0 is white.

    Returns
    -------
    array of shape (H, W, 3), uint8
        May share memory with `samples`.

    Raises
    ------
    ImageError
        "bad_value" for another shape or type, no pixels, and floats that are NaN or outside
        [0, 1].

    Examples
    --------
    >>> to_rgb8(np.array([[0, 257, 65535]], dtype=np.uint16))[0, :, 0].tolist()
    [0, 1, 255]
    """
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.ndim != 3 or not 1 <= samples.shape[2] <= 4 or 0 in samples.shape:
        raise ImageError(
            "bad_value",
            f"array of shape {samples.shape}; expected (H, W) or (H, W, C) with C of 1 to 4",
        )
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8)
        full_scale = 1
    integers = samples.dtype in (np.uint8, np.uint16)
    if not integers and not np.issubdtype(samples.dtype, np.floating):
        raise ImageError(
            "bad_value", f"array of {samples.dtype}; expected uint8, uint16, bool or float"
        )
    if full_scale is None and integers:
        full_scale = 255 if samples.dtype == np.uint8 else 65535
    channels = samples.shape[2]
    as_is = samples.dtype == np.uint8 and full_scale == 255 and not inverted
    if as_is and channels in (1, 3):
        return np.broadcast_to(samples, (*samples.shape[:2], 3)).astype(np.uint8, copy=False)

    out = np.empty((*samples.shape[:2], 3), dtype=np.uint8)
    rows = max(1, _BLOCK // (samples.shape[1] * channels))
    for top in range(0, samples.shape[0], rows):
        block = samples[top : top + rows]
        if full_scale is None:
            out[top : top + rows] = _floats(block, background, inverted)
        else:
            out[top : top + rows] = _integers(block, background, full_scale, inverted)
    return out


def keyed_out(samples: Samples, key: tuple[int, ...], bits: int) -> npt.NDArray[np.bool_]:
    """Tell which pixels are of the one colour that a PNG names as transparent (its tRNS chunk).

    Parameters
    ----------
    samples : array of shape (H, W, C)
        As decoded: fewer than 8 bits already scaled to 8.
    key : tuple of 1 or 3 int
        The colour as stored.
    bits : int
        Bits of a stored sample.

    Returns
    -------
    array of shape (H, W), bool
    """
    # Of fewer bits the lower alone count (PNG specification, 11.3.2.1).
    white = (1 << bits) - 1
    stored = np.array(key) & white
    if bits < 8:
        stored = stored * (255 // white)
    same = samples.reshape(*samples.shape[:2], -1) == stored.astype(samples.dtype)
    transparent: npt.NDArray[np.bool_] = same.all(axis=2)
    return transparent


def _integers(
    samples: Samples,
    background: tuple[int, int, int],
    full_scale: int,
    inverted: bool,
) -> Samples:
    values: Samples = samples.astype(np.int32 if full_scale <= 255 else np.int64)
    if int(values.max()) > full_scale:
        raise ImageError("bad_value", f"sample of {values.max()} where {full_scale} is white")
    color, alpha = _split(values)
    if inverted:
        color = full_scale - color
    if alpha is None:
        return (color * 510 + full_scale) // (2 * full_scale)
    # 255 (a c + (m - a) b m / 255) / m², rounded; all in integers, so that nothing depends on the
    # order of floating-point operations. With m of 255 none of them is above 2 · 255³ + 255².
    behind: Samples = np.array(background, dtype=values.dtype)
    numerator: Samples = 255 * alpha * color + (full_scale - alpha) * behind * full_scale
    return (2 * numerator + full_scale**2) // (2 * full_scale**2)


def _floats(samples: Samples, background: tuple[int, int, int], inverted: bool) -> Samples:
    values = samples.astype(np.float64)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # also where there is a NaN
        raise ImageError(
            "bad_value", f"float samples of {low:g} to {high:g}; expected 0 (black) to 1 (white)"
        )
    color, alpha = _split(values)
    if inverted:
        color = 1 - color
    if alpha is not None:
        color = alpha * color + (1 - alpha) * (np.array(background) / 255)
    return np.floor(color * 255 + 0.5)


def _split(values: Samples) -> tuple[Samples, Samples | None]:
    """Return colour and alpha; a colour of one channel stands for all three."""
    channels = values.shape[2]
    if channels in (2, 4):
        return values[:, :, :-1], values[:, :, -1:]
    return values, None
