"""Features of another network, as a classifier is fitted to them in place of a feature file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError, InputError
from decaf.features.matrix import read_matrix
from decaf.images import STATUS_NAMES, ImageList, path_text
from decaf.runtime.names import name_text

__all__ = ["GivenFeatures", "given_features"]

LAYER = "features"


@dataclass(frozen=True, eq=False)
class GivenFeatures:
    """Features that were given, with what a fit asks of a `decaf.FeatureFile`.

    Attributes
    ----------
    path : str
        Name of the matrix, for messages.
    rows : array of float32, shape (N, D)
    listed : ImageList
        The images of the rows, with the SHA-256 of each.
    """

    path: str
    rows: npt.NDArray[np.float32]
    listed: ImageList
    layers = (LAYER,)
    status_names = STATUS_NAMES

    @property
    def run(self) -> dict[str, Any]:
        """What is known of how they were made: by no weights of decaf's."""
        name = path_text(os.path.basename(self.path))
        return {
            "weights": {"name": name, "sha256": ""},
            "arch": {},
            "preprocess": {},
            "crops": "",
            "layers": [LAYER],
            "precision": "",
            "versions": {},
        }

    @property
    def paths(self) -> npt.NDArray[np.object_]:
        """Names of the images: (N,) object array of str."""
        return np.array([*self.listed.paths, None], object)[:-1]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class of each image: (N,) int64, -1 where there is none."""
        return self.listed.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty where labels are bare numbers."""
        return self.listed.class_names

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """Code of each image, 0 for ok."""
        return np.zeros(len(self.rows), np.uint8)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Which rows hold features: all."""
        return np.ones(len(self.rows), bool)

    @property
    def messages(self) -> npt.NDArray[np.object_]:
        """Errors of the images: none."""
        return np.full(len(self.rows), "", object)

    def images(self) -> ImageList:
        """Return the images of the rows."""
        return self.listed

    def to_xy(self, _layer: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return rows and labels, as `decaf.FeatureFile.to_xy` does.

        Parameters
        ----------
        _layer : str
            There is one alone.
        """
        return self.rows, self.labels


def given_features(images: ImageList, features: Any, paths: Any) -> GivenFeatures:
    """Match the rows of a matrix with listed images, whose bytes tell which are copies.

    Parameters
    ----------
    images : ImageList
    features : path, array or FeatureMatrix
        As `decaf.features.matrix.read_matrix` takes it.
    paths : path or sequence, or None
        As `FeatureMatrix.in_order` takes them.

    Raises
    ------
    InputError
        If a row or an image is left without the other, or a row is not finite.
    ImageError
        If the file of an image cannot be read.
    """
    if images.refs is None:
        raise InputError(
            "`features` are matched to images by their paths, which images in memory have not: "
            "decaf.heads fits to arrays"
        )
    matrix = read_matrix(features)
    rows = matrix.in_order(images.names, images.relative or images.names, paths)
    digests = np.empty((len(images), 32), np.uint8)
    for place, ref in enumerate(images.refs):
        try:
            digests[place] = np.frombuffer(ref.digest(ref.load()), np.uint8)
        except ImageError as error:
            name = name_text(images.names[place])
            raise ImageError(error.status, error.message, name, place) from None
    return GivenFeatures(matrix.name, rows, replace(images, content_sha256=digests))
