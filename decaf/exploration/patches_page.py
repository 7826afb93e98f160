"""Top patches, or the filters of the first layer, as a page: a section for each unit."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.exploration.cut_patches import Patch
from decaf.exploration.page import picture_uri, render_page
from decaf.exploration.patches_picture import activation_text, heat_picture, unit_title
from decaf.exploration.top_patches import TopPatches
from decaf.images import path_text
from decaf.runtime.wording import counted
from decaf.version import __version__

__all__ = ["filters_page", "patches_page"]

# Patches up to this side are kept pixel for pixel, and magnified by the browser.
_SMALL = 64
_BAD_SHOWN = 20

_IMPORTANCE = {
    "occlusion": "Below each patch: by how much the value falls where a grey square covers the "
    "pixels (orange), or rises (blue).",
    "gradient": "Below each patch: the magnitude of the value's derivative with respect to each "
    "pixel (orange).",
    "gradient-times-input": "Below each patch: the value's derivative with respect to each pixel, "
    "times the pixel (orange where that is positive, blue where it is negative).",
}


def patches_page(
    found: TopPatches, patches: Sequence[Sequence[Patch]], importance: str | None = None
) -> str:
    """Return the patches of units as a page.

    Parameters
    ----------
    found : TopPatches
    patches : sequence of sequences of Patch
        As `decaf.exploration.cut_patches.cut_patches` cuts them.
    importance : str, optional
        How their importance was computed.

    Returns
    -------
    str
        HTML that opens from disk.
    """
    sides = found.boxes[found.rows >= 0]
    seen = int((sides[:, 2:] - sides[:, :2]).max()) if len(sides) else 0
    about = (
        f"The images that excite each unit most, strongest first: the {seen} × {seen} pixels that "
        "it sees there, less at a border, with its value below. At most one patch of an image."
    )
    read = len(found.images) - len(found.bad)
    units = [
        {
            "title": unit_title(found, place),
            "patches": [_shown(patch) for patch in own],
            "small": seen <= _SMALL,
        }
        for place, own in enumerate(patches)
    ]
    return _page(
        f"What {found.layer} answers to",
        " ".join([about, *([_IMPORTANCE[importance]] if importance else [])]),
        found.weights,
        units=units,
        silent=f"zero in all {counted(read, 'image')}",
        bad=found.bad[:_BAD_SHOWN],
        bad_told=f"{counted(len(found.bad), 'image')} could not be read"
        + (f"; the first {_BAD_SHOWN}:" if len(found.bad) > _BAD_SHOWN else ""),
        facts=[
            ("images", f"{len(found.images):,}"),
            ("units", f"{len(found.units):,} of {found.layer}"),
            ("silent", f"{len(found.dead):,} of them are zero in all images"),
            *_facts_of(found.weights),
        ],
    )


def filters_page(picture: npt.NDArray[np.uint8], weights: dict[str, str]) -> str:
    """Return the filters of the first layer as a page.

    Parameters
    ----------
    picture : array of uint8, shape (H, W, 3)
        As `decaf.filters_picture` draws them.
    weights : dict
        Name and SHA-256 of the weights.

    Returns
    -------
    str
        HTML that opens from disk.
    """
    about = (
        "Row by row from filter 0 on. Each has a contrast of its own: a weight of 0 is mid grey, "
        "and the largest weight of the filter, in magnitude, is full on or off."
    )
    return _page(
        "The filters of conv1",
        about,
        weights,
        filters=_png_uri(picture),
        facts=_facts_of(weights),
    )


def _page(title: str, about: str, weights: dict[str, str], **values: Any) -> str:
    empty = {"filters": "", "units": [], "silent": "", "bad": (), "bad_told": ""}
    shown = {"title": title, "about": about, "weights": weights, **empty, **values}
    return render_page("units.html", shown)


def _facts_of(weights: dict[str, str]) -> list[tuple[str, str]]:
    return [
        ("weights", f"{weights['name']}, SHA-256 {weights['sha256'][:16]}…"),
        ("made by", f"decaf {__version__}"),
    ]


def _shown(patch: Patch) -> dict[str, str]:
    heat = ""
    if patch.importance is not None:
        heat = _uri(heat_picture(patch.pixels, patch.importance))
    return {
        "picture": _uri(patch.pixels),
        "heat": heat,
        "name": path_text(patch.name),
        "activation": activation_text(patch.activation),
    }


def _uri(pixels: npt.NDArray[np.uint8]) -> str:
    return _png_uri(pixels) if max(pixels.shape[:2]) <= _SMALL else picture_uri(pixels)


def _png_uri(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
