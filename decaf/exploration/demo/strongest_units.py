"""The question for the units that a photograph excites most, beside what excites them otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.exploration.cut_patches import cut_patches
from decaf.exploration.demo.photograph import Photograph, crop_of
from decaf.exploration.page import picture_uri
from decaf.exploration.top_patches import TopPatches, field_boxes
from decaf.images import path_text
from decaf.images.normalise import normalise
from decaf.runtime.settings import ComputeSettings

if TYPE_CHECKING:
    import numpy.typing as npt

    from decaf.backbone.model import Backbone

__all__ = ["StrongestUnits"]

_UNITS = 4
_PATCHES = 6  # of each unit
_SIDE = 96  # pixels of a patch, at most


class StrongestUnits:
    """Answers with the units of a layer that come nearest to their strongest patches, or beyond.

    A unit's activation is measured by the mean of its top patches: units that are large for every
    image would otherwise always come first.

    Parameters
    ----------
    patches : TopPatches
        Of all units of the layer, by the demo's network.
    backbone : Backbone
    """

    def __init__(self, patches: TopPatches, backbone: Backbone) -> None:
        self._patches = patches
        self._backbone = backbone.with_preprocess(patches.preprocess)
        known = patches.activations[:, :_PATCHES]
        counts = np.isfinite(known).sum(axis=1)
        self._usual = np.nansum(known, axis=1) / np.maximum(counts, 1)

    def __call__(self, photograph: Photograph) -> dict[str, Any]:
        """Return the strongest units.

        Parameters
        ----------
        photograph : Photograph

        Returns
        -------
        dict
            ``layer``, and ``units``: each with its number ``unit``, its ``name`` where it is a
            class, its ``activation``, ``share`` of the mean of its top patches, ``own`` patch of
            the photograph, and ``patches`` with ``picture``, ``path`` and ``activation``.
        """
        crop = crop_of(photograph, self._backbone)
        peaks, positions = self._peaks(crop)
        shares = np.where(self._usual > 0, peaks / np.where(self._usual > 0, self._usual, 1), 0)
        places = np.argsort(-shares, kind="stable")[:_UNITS]
        places = places[shares[places] > 0]
        own = field_boxes(self._backbone, self._patches.layer, positions[places])
        cut = cut_patches(self._of(places), compute=ComputeSettings(workers=0, progress=False))
        units = []
        for place, (left, top, right, bottom), patches in zip(
            places.tolist(), own.tolist(), cut, strict=True
        ):
            units.append(
                {
                    "unit": int(self._patches.units[place]),
                    "name": self._patches.unit_names[place],
                    "activation": float(peaks[place]),
                    "share": float(shares[place]),
                    "own": picture_uri(crop[top:bottom, left:right], height=_SIDE),
                    "patches": [
                        {
                            "picture": picture_uri(patch.pixels, height=_SIDE),
                            "path": path_text(patch.name),
                            "activation": patch.activation,
                        }
                        for patch in patches
                    ],
                }
            )
        return {"layer": self._patches.layer, "images": len(self._patches.images), "units": units}

    def _peaks(
        self, crop: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return the largest value of each unit, and its row and column in the map."""
        import torch

        backbone, layer = self._backbone, self._patches.layer
        batch = normalise(
            torch.from_numpy(crop[None]), backbone.preprocess, mean_image=backbone.mean_image
        )
        values = backbone.features(batch, layer)[layer][0].cpu().numpy()
        flat = values.reshape(len(values), -1)
        width = values.shape[-1] if values.ndim == 3 else 1
        return flat.max(axis=1), np.stack(np.divmod(flat.argmax(axis=1), width), axis=-1)

    def _of(self, places: npt.NDArray[np.int64]) -> TopPatches:
        found, most = self._patches, slice(_PATCHES)
        return replace(
            found,
            units=found.units[places],
            activations=found.activations[places, most],
            rows=found.rows[places, most],
            positions=found.positions[places, most],
            boxes=found.boxes[places, most],
            unit_names=tuple(found.unit_names[place] for place in places.tolist()),
        )
