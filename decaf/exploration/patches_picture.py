"""Top patches as one picture: a row for each unit, its patches side by side, values below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.exploration.cut_patches import Patch
from decaf.exploration.top_patches import TopPatches
from decaf.runtime.wording import printable

if TYPE_CHECKING:
    from PIL import Image as Pillow

__all__ = ["activation_text", "heat_picture", "magnified", "patches_picture", "unit_title"]

TILE = 104  # side of a patch in the picture, pixels
GAP = 8
LABEL = 108  # width of the column with the unit's number
LINE = 16  # height of a line of text
_INK, _FAINT, _PAPER = (32, 32, 32), (112, 112, 112), (255, 255, 255)
# Told apart by those who see no red or no green as well.
_FOR, _AGAINST = np.array([230.0, 97.0, 0.0]), np.array([60.0, 90.0, 200.0])


def patches_picture(found: TopPatches, patches: Sequence[Sequence[Patch]]) -> npt.NDArray[np.uint8]:
    """Draw the patches of units.

    Parameters
    ----------
    found : TopPatches
    patches : sequence of sequences of Patch
        As `decaf.exploration.cut_patches.cut_patches` cuts them. Below a patch with an importance
        is the same patch in grey with that laid over it: see `heat_picture`.

    Returns
    -------
    array of uint8, shape (H, W, 3)
    """
    from PIL import Image, ImageDraw, ImageFont

    explained = any(patch.importance is not None for own in patches for patch in own)
    height = GAP + TILE * (2 if explained else 1) + LINE + GAP // 2
    width = LABEL + found.rows.shape[1] * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (width, GAP + height * len(patches)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (unit, name, own) in enumerate(
        zip(found.units.tolist(), found.unit_names, patches, strict=True)
    ):
        top = GAP + number * height
        draw.text((GAP, top), f"{found.layer} {unit}", _INK, font)
        if name:
            draw.text((GAP, top + LINE), _fitting(name, LABEL - GAP, font), _FAINT, font)
        if not own:
            text = f"zero in all {len(found.images) - len(found.bad)} images"
            draw.text((LABEL, top), text, _FAINT, font)
        for place, patch in enumerate(own):
            left = LABEL + place * (TILE + GAP)
            sheet.paste(magnified(patch.pixels), (left, top))
            below = top + TILE
            if patch.importance is not None:
                sheet.paste(magnified(heat_picture(patch.pixels, patch.importance)), (left, below))
                below += TILE
            draw.text((left, below), activation_text(patch.activation), _FAINT, font)
    return np.asarray(sheet)


def activation_text(value: float) -> str:
    """Return a unit's value in three digits.

    Parameters
    ----------
    value : float

    Examples
    --------
    >>> activation_text(4.0), activation_text(123.4)
    ('4.00', '123')
    """
    return f"{value:#.3g}".rstrip(".")


def unit_title(found: TopPatches, place: int) -> str:
    """Return a unit's number, and its name where it is a class.

    Parameters
    ----------
    found : TopPatches
    place : int
        Place of the unit in `found`.
    """
    name = found.unit_names[place]
    return f"{found.layer} {found.units[place]}" + (f": {name}" if name else "")


def heat_picture(
    pixels: npt.NDArray[np.uint8], importance: npt.NDArray[np.floating]
) -> npt.NDArray[np.uint8]:
    """Lay over a patch in grey how much its pixels mattered.

    Orange pixels speak for the unit's value and blue ones against it. The most important hundredth
    of a patch's pixels has the full colour, so patches cannot be compared by their colours.

    Parameters
    ----------
    pixels : array of uint8, shape (H, W, 3)
    importance : array, shape (H, W)

    Returns
    -------
    array of uint8, shape (H, W, 3)
    """
    grey = pixels.mean(axis=2, keepdims=True) * 0.6 + 255 * 0.4
    size = np.abs(importance)
    # The largest where nearly all pixels are zero.
    peak = float(np.quantile(size, 0.99)) or float(size.max()) or 1.0
    colour = np.where(importance[..., None] > 0, _FOR, _AGAINST)
    strength = 0.85 * np.minimum(size / peak, 1)[..., None]
    mixed: npt.NDArray[np.uint8] = np.rint(grey * (1 - strength) + colour * strength).astype("u1")
    return mixed


def magnified(pixels: npt.NDArray[np.uint8]) -> Pillow.Image:
    """Return pixels at such a size that they just fit into a square of `TILE`.

    What is magnified is not smoothed, so that every pixel can be seen.

    Parameters
    ----------
    pixels : array of uint8, shape (H, W, 3)
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.resize(size, how)


def _fitting(text: str, width: int, font: Any) -> str:
    """Return as much of a text as is no wider than so many pixels."""
    shown = printable(text)
    if font.getlength(shown) <= width:
        return shown
    while shown and font.getlength(shown + "…") > width:
        shown = shown[:-1]
    return shown + "…"
