"""`decaf.visualize`: what a layer of a network looks for, as a picture or a page."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import SettingError
from decaf.exploration.cut_patches import Patch, cut_patches
from decaf.exploration.filters import filters_picture
from decaf.exploration.importance import METHODS, Target, importance_map
from decaf.exploration.patches_picture import patches_picture
from decaf.exploration.top_patches import MOST_PATCHES, TopPatches, check_units, top_patches
from decaf.features.settings import NetworkSettings
from decaf.runtime.names import name_text
from decaf.runtime.settings import (
    ComputeSettings,
    Part,
    one_of,
    refuse,
    settings_from,
    whole_number,
)
from decaf.storage import check_output, disk_errors, write_atomically
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["DEFAULT_UNITS", "MOST_SHOWN", "Visualization", "visualize"]

DEFAULT_LAYER = "conv5"
DEFAULT_UNITS = 16
"""Units that are shown where none are named: the first of the layer."""

MOST_SHOWN = 5000
"""Patches that a picture or a page may have; a page of them stays under 60 MB."""

# Ending → kind of file that may be replaced.
_KINDS = {".png": "image", ".html": "page", ".htm": "page"}


@dataclass(frozen=True, eq=False)
class Visualization:
    """A picture or page that `visualize` has written.

    Attributes
    ----------
    path : Path
    layer : str
    units : int
        How many filters or units it shows.
    units_in_layer : int
        How many there are.
    found : TopPatches or None
        Patches that it shows; None where it shows filters.
    """

    path: Path
    layer: str
    units: int
    units_in_layer: int
    found: TopPatches | None

    def to_dict(self) -> dict[str, Any]:
        """Return what is shown as plain JSON values."""
        plain = {"file": str(self.path), "units_in_layer": self.units_in_layer}
        if self.found is None:
            return {"format": "decaf-filters", **plain, "layer": self.layer}
        return {**self.found.to_dict(), **plain}


def visualize(
    weights: str | os.PathLike[str] | Backbone = DEFAULT_WEIGHTS,
    images: Any = None,
    *,
    out: str | bytes | os.PathLike[str],
    layer: str | None = None,
    units: int | Sequence[int] | str | None = None,
    top: int | None = None,
    importance: str | None = None,
    overwrite: bool = False,
    on_error: str = "raise",
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> Visualization:
    """Show the filters of a network; or, of images, the patches that excite its units most.

    Parameters
    ----------
    weights : str, path or Backbone
        As `decaf.load_backbone` takes them.
    images : as for `decaf.extract`, optional
        Without images, the filters of conv1 are drawn; see `decaf.filters_picture`. With them, the
        patches are; see `decaf.top_patches`.
    out : path
        The file to write, ending in ``.png`` or ``.html``.
    layer : str, optional
        Layer of the units; "conv5" by default.
    units : int or sequence of int, or "all", optional
        Numbers of the units, from 0 on; the first 16 by default.
    top : int, optional
        Patches for each unit; 9 by default.
    importance : {"occlusion", "gradient", "gradient-times-input"}, optional
        Show below each patch which of its pixels mattered; see `decaf.pixel_importance`.
    overwrite : bool
        Replace `out` if it is there.
    on_error : {"raise", "record"}
        At an image that cannot be read, as in `decaf.top_patches`.
    network : NetworkSettings, optional
        How the network is run: preprocess, precision and batch_size, as in `decaf.extract`. It is
        not run for filters.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress and stop, as in `decaf.extract`.
    **named
        Fields of `network` and `compute` by their names.

    Returns
    -------
    Visualization

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be asked for.
    ImageError
        For a bad image, with ``on_error="raise"``.
    OutputError
        If `out` is there already, or cannot be written.
    Stopped
        After `stop` was set; nothing is written.

    References
    ----------
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.
    """
    made = settings_from(
        visualize,
        named,
        Part("network", NetworkSettings, network, ("weights", "crops")),
        Part("compute", ComputeSettings, compute),
    )
    network, compute = made
    path = Path(name_text(out))
    _check_out(path, overwrite=overwrite, inputs=(weights, images))
    if images is None:
        of_images = {"layer": layer, "units": units, "top": top, "importance": importance}
        of_images |= vars(network)
        of_images |= {"workers": compute.workers}
        of_images |= {"device": None if compute.device == "auto" else compute.device}
        idle = [f"`{name}`" for name, value in of_images.items() if value is not None]
        if idle:
            verb = "is" if len(idle) == 1 else "are"
            what = f"{', '.join(idle)} {verb} for the patches of images"
            raise SettingError(f"{what}: give `images` too")
        return _show_filters(path, weights)
    refuse(
        one_of("importance", importance, METHODS, optional=True)
        + whole_number("top", top, 1, MOST_PATCHES, optional=True)
    )
    from decaf.backbone.model import load_backbone

    layer, top = layer or DEFAULT_LAYER, top or 9
    backbone = load_backbone(weights).with_preprocess(network.preprocess)
    in_layer = len(check_units(backbone, layer))
    chosen = _chosen_units(backbone, layer, units, top)
    found = top_patches(
        images,
        layer,
        units=chosen,
        top=top,
        on_error=on_error,
        network=replace(network, weights=backbone, preprocess=None),
        compute=compute,
    )
    explain = None if importance is None else _explain(backbone, layer, importance)
    patches = cut_patches(found, explain=explain, compute=compute)
    with disk_errors(path, "nothing was written"):
        write_atomically(path, _content(path, found, patches, importance))
    return Visualization(path, layer, len(chosen), in_layer, found)


def _check_out(path: Path, *, overwrite: bool, inputs: Sequence[Any]) -> None:
    if path.suffix.lower() not in _KINDS:
        raise SettingError(
            f"`out` {str(path)!r}: cannot tell the format from the ending {path.suffix!r}; use "
            ".png (a picture) or .html (a page)"
        )
    kind = _KINDS[path.suffix.lower()]
    check_output(path, kind, inputs=inputs, example="units.png", overwrite=overwrite)


def _show_filters(path: Path, weights: Any) -> Visualization:
    from decaf.backbone.model import load_backbone

    backbone = load_backbone(weights)
    picture = filters_picture(backbone)
    identity = {"name": backbone.weights_name, "sha256": backbone.sha256}
    if _KINDS[path.suffix.lower()] == "page":
        from decaf.exploration.patches_page import filters_page

        content = filters_page(picture, identity).encode()
    else:
        content = _png(picture, {"layer": "conv1", "weights": identity})
    with disk_errors(path, "nothing was written"):
        write_atomically(path, content)
    count = backbone.spec.convs[0].channels
    return Visualization(path, "conv1", count, count, None)


def _chosen_units(backbone: Backbone, layer: str, units: Any, top: int) -> npt.NDArray[np.int64]:
    """Return the units to be shown, no more than a picture or page can hold."""
    chosen = check_units(backbone, layer, None if units is None or units == "all" else units)
    if units is None:
        chosen = chosen[:DEFAULT_UNITS]
    if len(chosen) * top > MOST_SHOWN:
        raise SettingError(
            f"`units`: {len(chosen):,} units with {top} patches each; a picture or page has at "
            f"most {MOST_SHOWN:,} patches: name up to {MOST_SHOWN // top:,} units, or give a "
            "smaller `top`"
        )
    return chosen


def _explain(
    backbone: Backbone, layer: str, method: str
) -> Callable[[npt.NDArray[np.uint8], int, tuple[int, int]], npt.NDArray[np.float32]]:
    def heat(
        pixels: npt.NDArray[np.uint8], unit: int, position: tuple[int, int]
    ) -> npt.NDArray[np.float32]:
        return importance_map(backbone, pixels, Target(layer, unit, position), method)[1]

    return heat


def _content(
    path: Path, found: TopPatches, patches: Sequence[Sequence[Patch]], importance: str | None
) -> bytes:
    if _KINDS[path.suffix.lower()] == "page":
        from decaf.exploration.patches_page import patches_page

        return patches_page(found, patches, importance).encode()
    return _png(patches_picture(found, patches), {**found.to_dict(), "importance": importance})


def _png(picture: npt.NDArray[np.uint8], record: dict[str, Any]) -> bytes:
    """Return a picture as PNG, with what it shows in a text chunk called ``decaf``."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("decaf", json.dumps({"decaf_version": __version__, **record}), zip=True)
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG", pnginfo=text)
    return data.getvalue()
