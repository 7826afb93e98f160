"""The question for the images of a feature file that are most like a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decaf.errors import ImageError, InputError, WeightsError
from decaf.exploration.demo.photograph import Photograph
from decaf.exploration.neighbours import NearestRows
from decaf.exploration.page import thumbnails
from decaf.exploration.search import search
from decaf.features.recorded_run import recorded_backbone
from decaf.runtime.settings import ComputeSettings
from decaf.runtime.wording import printable

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.features.store.feature_file import FeatureFile

__all__ = ["NearestImages"]


class NearestImages:
    """Answers with the nearest images of a feature file, by cosine.

    Parameters
    ----------
    file : FeatureFile
        Stays open. Photographs are computed as its images were.
    layer : str, optional
        By default the last that the file holds.
    backbone : Backbone
        The demo's network, of which the features have to be.
    k : int
        How many images.
    compute : ComputeSettings

    Raises
    ------
    WeightsError
        If the features are of another network.
    SettingError
        If the file does not hold the layer.
    """

    def __init__(
        self,
        file: FeatureFile,
        layer: str | None,
        backbone: Backbone,
        *,
        k: int,
        compute: ComputeSettings,
    ) -> None:
        self._rows = NearestRows(file, layer)
        try:
            recorded_backbone(file, backbone)
        except WeightsError:
            there = file.run["weights"]
            raise WeightsError(
                f"{file.path}: holds features of weights {there['name']} (SHA-256 "
                f"{there['sha256'][:12]}…), not of {backbone.weights_name} "
                f"({backbone.sha256[:12]}…); give that network as `model`, or a head on it"
            ) from None
        self._backbone = backbone
        self._k = k
        self._compute = compute

    def __call__(self, photograph: Photograph) -> dict[str, Any]:
        """Return the nearest images.

        Parameters
        ----------
        photograph : Photograph

        Returns
        -------
        dict
            ``layer``; ``searched``, the number of images that were compared; and ``images``, each
            with its ``path``, ``class``, ``cosine``, and ``picture``: a ``data:`` address, or
            nothing where the image is not there any more or is another.
        """
        found = search(
            self._rows,
            photograph.pixels[None],
            k=self._k,
            weights=self._backbone,
            compute=self._compute,
        )
        (answer,) = found.answers
        if answer.status != "ok":
            raise ImageError(answer.status, answer.message)
        return {
            "layer": found.layer,
            "searched": found.searched,
            "images": [
                {
                    "path": printable(match.path),
                    "class": printable(match.class_name),
                    "cosine": match.cosine,
                    "picture": self._picture(match.row),
                }
                for match in answer.matches
            ],
        }

    def _picture(self, row: int) -> str | None:
        try:
            return thumbnails(self._rows.file, [row]).uris[0]
        except InputError:  # another image has its name now
            return None
