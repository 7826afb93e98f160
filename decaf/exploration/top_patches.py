"""What a unit answers to: the patches of a user's own images that excite it most.

Zeiler and Fergus show the nine strongest patches of a unit, each from another image. Here all units
of a layer have theirs after one pass over the images, which keeps the strongest so far and nothing
of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.backbone.steps import LAYERS, layer_shape, seen_pixels
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import InputError, SettingError, Stopped
from decaf.exploration.strongest import PLACE, Strongest
from decaf.features.extraction import Extraction
from decaf.features.settings import NetworkSettings, RunSettings
from decaf.images import STATUS_NAMES, ImageList, collect, path_text
from decaf.images.status import ON_ERROR, BadImage
from decaf.images.workers.decoders import warm_decoders
from decaf.runtime.names import name_text
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import (
    ComputeSettings,
    Part,
    one_of,
    refuse,
    settings_from,
    whole_number,
)
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.backbone.spec import ArchSpec
    from decaf.features.rows import Rows
    from decaf.images.spec import PreprocessSpec

__all__ = ["MOST_PATCHES", "TopPatches", "check_units", "field_boxes", "top_patches"]

MOST_PATCHES = 1000


@dataclass(frozen=True, eq=False)
class TopPatches:
    """The patches that excite each unit of a layer most, at most one of an image.

    U units have up to K patches each, strongest first; of equally strong ones that of the earlier
    image is first.

    Attributes
    ----------
    layer : str
    units : array of int64, shape (U,)
        Numbers of the units: channels of a map, places in a vector, from 0 on.
    activations : array of float32, shape (U, K)
        Largest value of the unit in the image; NaN where there are fewer patches.
    rows : array of int64, shape (U, K)
        Places in `images`; -1 where there are fewer patches.
    positions : array of int32, shape (U, K, 2)
        Row and column of that value in the map; of a vector 0 and 0.
    boxes : array of int32, shape (U, K, 4)
        The pixels that the position sees: left, top, right and bottom edge in the image as the
        network is shown it (resized and cropped); of a vector the whole of that.
    unit_names : tuple of str
        Names of the units where they are classes, else empty texts.
    images : ImageList
    content_sha256 : array of uint8, shape (N, 32)
        SHA-256 of the images as they were read.
    bad : tuple of BadImage
        Images that could not be read.
    preprocess : PreprocessSpec
        How the images were prepared.
    weights : dict
        Name and SHA-256 of the weights.
    """

    layer: str
    units: npt.NDArray[np.int64]
    activations: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]
    unit_names: tuple[str, ...]
    images: ImageList
    content_sha256: npt.NDArray[np.uint8]
    bad: tuple[BadImage, ...]
    preprocess: PreprocessSpec
    weights: dict[str, str]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many patches each unit has."""
        counts: npt.NDArray[np.int64] = np.count_nonzero(self.rows >= 0, axis=1)
        return counts

    @property
    def dead(self) -> list[int]:
        """The units that no image excites: behind their ReLU they are zero everywhere."""
        return [int(unit) for unit in self.units[self.counts == 0]]

    def take(self, units: Sequence[int]) -> TopPatches:
        """Return the patches of some of the units, in the order given.

        Parameters
        ----------
        units : sequence of int
            Numbers out of `units`.

        Raises
        ------
        SettingError
            For a unit that there is not.
        """
        place_of = {int(unit): place for place, unit in enumerate(self.units)}
        missing = [unit for unit in units if unit not in place_of]
        if missing:
            raise SettingError(f"`units` {missing[0]!r}: no patches of {self.layer} are of it")
        places = [place_of[unit] for unit in units]
        return replace(
            self,
            units=self.units[places],
            activations=self.activations[places],
            rows=self.rows[places],
            positions=self.positions[places],
            boxes=self.boxes[places],
            unit_names=tuple(self.unit_names[place] for place in places),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the patches as plain JSON values."""
        return {
            "format": "decaf-top-patches",
            "layer": self.layer,
            "weights": self.weights,
            "preprocess": self.preprocess.to_dict(),
            "images": len(self.images),
            "bad": [
                {"path": path_text(bad.name), "status": bad.status, "message": bad.message}
                for bad in self.bad
            ],
            "dead": self.dead,
            "units": [
                {
                    "unit": int(unit),
                    **({"name": name} if name else {}),
                    "patches": [
                        self._record(place, rank) for rank in range(int(self.counts[place]))
                    ],
                }
                for place, (unit, name) in enumerate(zip(self.units, self.unit_names, strict=True))
            ],
        }

    def _record(self, place: int, rank: int) -> dict[str, Any]:
        row = int(self.rows[place, rank])
        return {
            "path": path_text(self.images.names[row]),
            "row": row,
            "activation": float(self.activations[place, rank]),
            "position": self.positions[place, rank].tolist(),
            "box": self.boxes[place, rank].tolist(),
        }


def top_patches(
    images: Any,
    layer: str = "conv5",
    *,
    units: int | Sequence[int] | npt.NDArray[np.integer] | None = None,
    top: int = 9,
    on_error: str = "raise",
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> TopPatches:
    """Find the patches of images that excite the units of a layer most.

    The images pass through the network once, whatever the number of units, and what is kept does
    not grow with them but for 32 bytes each. A unit behind a ReLU that is zero all over an image
    has no patch in it.

    Parameters
    ----------
    images : as for `decaf.extract`
    layer : str
        Layer of the units.
    units : int, or sequence or array of int, optional
        Their numbers, from 0 on; all by default.
    top : int
        Patches for each unit, 1 to 1,000; no more than there are images.
    on_error : {"raise", "record"}
        At an image that cannot be read: raise `ImageError` (default; on the command line "record"
        is), or leave it out and write it down.
    network : NetworkSettings, optional
        How the network is run: weights, preprocess, precision and batch_size, as in
        `decaf.extract`. It sees the centre crop.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress and stop, as in `decaf.extract`.
    **named
        Fields of `network` and `compute` by their names: ``weights="imagenet", workers=4``.

    Returns
    -------
    TopPatches

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be asked for: such as a layer or a unit that the network has not.
    ImageError
        For a bad image, with ``on_error="raise"``.
    Stopped
        After `stop` was set.

    References
    ----------
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> generator = np.random.default_rng(0)
    >>> photographs = generator.integers(0, 256, (12, 70, 80, 3), np.uint8)
    >>> patches = top_patches(photographs, "conv2", units=[3, 5], weights="random:0:alexnet-64")
    >>> patches.rows.shape, patches.boxes.shape
    ((2, 9), (2, 9, 4))
    """
    made = settings_from(
        top_patches,
        named,
        Part("network", NetworkSettings, network, ("crops",)),
        Part("compute", ComputeSettings, compute),
    )
    network, compute = made
    refuse(
        one_of("layer", layer, LAYERS)
        + whole_number("top", top, 1, MOST_PATCHES)
        + one_of("on_error", on_error, ON_ERROR)
    )
    listed = collect(images, labels="none", layout="classes")
    warm_decoders(listed, compute.workers)
    from decaf.backbone.engine import Engine
    from decaf.backbone.model import load_backbone
    from decaf.runtime.device import choose_device

    backbone = load_backbone(DEFAULT_WEIGHTS if network.weights is None else network.weights)
    backbone = backbone.with_preprocess(network.preprocess)
    chosen = check_units(backbone, layer, units)
    settings = RunSettings((layer,), precision=network.precision or "fp32")
    device = choose_device(compute.device)
    engine = Engine(backbone, (layer,), precision=settings.precision, device=device)
    strongest = Strongest(len(chosen), min(top, len(listed)))
    survey = _Survey(listed, raise_bad=on_error == "raise")
    with Extraction(
        listed,
        backbone,
        settings,
        device=device,
        workers=compute.workers,
        batch_size=network.batch_size,
        in_one_go=False,
        engine=_largest_of_maps(engine, layer, None if units is None else chosen),
    ) as extraction:
        blocks = extraction.rows(stop=compute.stop, raise_bad=survey.raise_bad)
        silent = _is_silent_at_zero(backbone.spec, layer)
        with closing(blocks), progress_for(compute.progress, len(listed), 0) as shown:
            try:
                for rows in blocks:
                    good = survey.add(rows)
                    strongest.add(rows, layer, good, silent=silent)
                    shown.advance(rows.stop - rows.start)
            except Stopped:
                raise Stopped(
                    f"stopped after {shown.done} of {counted(len(listed), 'image')}; nothing is "
                    "kept"
                ) from None
    activations, ranked, places = strongest.ranked()
    positions = _positions(places, ranked, backbone, layer)
    return TopPatches(
        layer=layer,
        units=chosen,
        activations=activations,
        rows=ranked,
        positions=positions,
        boxes=np.where(ranked[..., None] < 0, -1, field_boxes(backbone, layer, positions)),
        unit_names=_unit_names(backbone, layer, chosen),
        images=listed,
        content_sha256=survey.digests,
        bad=survey.bad(),
        preprocess=backbone.preprocess,
        weights={"name": backbone.weights_name, "sha256": backbone.sha256},
    )


def check_units(
    backbone: Backbone,
    layer: str,
    units: int | Sequence[int] | npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the numbers of units of a layer, in the order asked for.

    Parameters
    ----------
    backbone : Backbone
    layer : str
    units : int, or sequence or array of int, optional
        All by default.

    Raises
    ------
    SettingError
        For a layer or a unit that there is not, and for units that are named twice.
    """
    count = layer_shape(backbone.spec, layer, backbone.preprocess.crop)[0]
    if units is None:
        return np.arange(count)
    asked: list[Any] = [units] if isinstance(units, (int, np.integer)) else list(units)
    wrong = [
        each
        for each in asked
        if isinstance(each, bool)
        or not isinstance(each, (int, np.integer))
        or not 0 <= each < count
    ]
    if wrong or not asked:
        shown = ", ".join(repr(each) for each in wrong[:5]) or "none"
        raise SettingError(
            f"`units` {shown}: {layer} of {backbone.spec.name} has the units 0 to {count - 1}"
        )
    if len(set(asked)) < len(asked):
        raise SettingError("`units`: a unit is named twice")
    return np.array(asked, np.int64)


def field_boxes(
    backbone: Backbone, layer: str, positions: npt.NDArray[np.integer]
) -> npt.NDArray[np.int32]:
    """Return the pixels that positions of a layer see: their receptive fields, within the image.

    No pixel outside can change the value there. Vectors see the whole image.

    Parameters
    ----------
    backbone : Backbone
    layer : str
    positions : array of int, shape (…, 2)
        Rows and columns of its map.

    Returns
    -------
    array of int32, shape (…, 4)
        Left, top, right and bottom edge in the image as the network is shown it.
    """
    side = backbone.preprocess.crop
    boxes = np.empty((*positions.shape[:-1], 4), np.int32)
    if len(layer_shape(backbone.spec, layer, side)) == 1:
        boxes[...] = (0, 0, side, side)
        return boxes
    windows = np.array(seen_pixels(backbone.spec, layer, side), np.int32)
    rows, columns = windows[positions[..., 0]], windows[positions[..., 1]]
    boxes[..., 0], boxes[..., 2] = columns[..., 0], columns[..., 1]
    boxes[..., 1], boxes[..., 3] = rows[..., 0], rows[..., 1]
    return boxes


def _largest_of_maps(
    engine: Any, layer: str, units: npt.NDArray[np.int64] | None
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return an engine whose rows are the largest value of each unit's map, and its place."""
    import torch

    picked = None if units is None else torch.from_numpy(units).to(engine.device)

    @torch.inference_mode()
    def largest(crops: np.ndarray) -> dict[str, np.ndarray]:
        values = engine.tensors(crops)[layer]
        if picked is not None:
            values = values[:, picked]
        # Of a vector each unit is a map of one position. Of equals the first is taken.
        peaks, places = values.reshape(*values.shape[:2], -1).max(dim=2)
        return {layer: peaks.cpu().numpy(), PLACE: places.float().cpu().numpy()}

    return largest


def _is_silent_at_zero(spec: ArchSpec, layer: str) -> bool:
    """Tell whether zero is the value of a unit that a ReLU has closed."""
    return spec.activation == "relu" and not layer.endswith("_pre") and layer not in ("fc8", "prob")


def _positions(
    places: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], backbone: Backbone, layer: str
) -> npt.NDArray[np.int32]:
    shape = layer_shape(backbone.spec, layer, backbone.preprocess.crop)
    width = shape[-1] if len(shape) == 3 else 1
    positions = np.stack(np.divmod(places, width), axis=-1)
    return np.where(rows[..., None] < 0, -1, positions).astype(np.int32)


def _unit_names(backbone: Backbone, layer: str, units: npt.NDArray[np.int64]) -> tuple[str, ...]:
    if layer not in ("fc8", "prob") or not backbone.class_names:
        return ("",) * len(units)
    return tuple(backbone.class_names[unit] for unit in units)


class _Survey:
    """What became of the images of a pass: their hashes, and those that could not be read."""

    def __init__(self, images: ImageList, *, raise_bad: bool) -> None:
        self.raise_bad = raise_bad
        self.digests = np.zeros((len(images), 32), np.uint8)
        self._images = images
        self._bad: dict[int, BadImage] = {}

    def add(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Take a block of rows, and return which of its images are good."""
        self.digests[rows.start : rows.stop] = rows.content_sha256
        for place in np.flatnonzero(rows.status).tolist():
            row, status = rows.start + place, STATUS_NAMES[rows.status[place]]
            name = name_text(self._images.names[row])
            self._bad[row] = BadImage(name, status, rows.messages[place])
        good: npt.NDArray[np.bool_] = rows.status == 0
        return good

    def bad(self) -> tuple[BadImage, ...]:
        """Return the images that could not be read, in their order.

        Raises
        ------
        InputError
            Where there are no others.
        """
        bad = tuple(self._bad[row] for row in sorted(self._bad))
        if len(bad) == len(self._images):
            raise InputError(
                f"none of {counted(len(bad), 'image')} can be read; the first is {bad[0].name!r}: "
                f"{bad[0].message} ({bad[0].status})"
            )
        return bad
