"""Features that are not extracted: the rows of a data set's images, whoever has made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from decaf.errors import SettingError
from decaf.features.matrix import matrix_fingerprint, read_matrix

__all__ = ["ReadyFeatures", "named_values", "read_given_features"]

D = TypeVar("D", bound=Dataset)


@dataclass(frozen=True, eq=False)
class ReadyFeatures(Generic[D]):
    """Features of one kind, of all images of a data set.

    Attributes
    ----------
    kind : str
        What they are called: ``"SURF_L10"``, ``"clip"``.
    dataset : Dataset
    rows : array of float32, shape (N, D)
        In the order of `dataset`.
    fingerprint : str
        SHA-256 of images and rows.
    """

    kind: str
    dataset: D
    rows: npt.NDArray[np.float32]
    fingerprint: str

    def of(self, dataset: D) -> ReadyFeatures[D]:
        """Return the features of a part of the images.

        Parameters
        ----------
        dataset : Dataset
            Some of the images.
        """
        place = {name: row for row, name in enumerate(self.dataset.names)}
        kept = np.array([place[name] for name in dataset.names], np.int64)
        return replace(self, dataset=dataset, rows=self.rows[kept])

    def matrix(self, _layer: str, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Return the features of some images, as `CachedFeatures.matrix` does.

        Parameters
        ----------
        _layer : str
            There is one kind of them alone.
        rows : array of int
        """
        some: npt.NDArray[np.float32] = self.rows[rows]
        return some


def named_values(option: str, values: Sequence[str] | None) -> dict[str, str]:
    """Read what was given as NAME=VALUE.

    Parameters
    ----------
    option : str
        Begins the message.
    values : sequence of str, or None

    Raises
    ------
    SettingError
        If one has no name, or two have the same.

    Examples
    --------
    >>> named_values("--features", ["clip=a/clip.npy"])
    {'clip': 'a/clip.npy'}
    """
    named: dict[str, str] = {}
    for each in values or ():
        name, _, value = each.partition("=")
        if not (name and value) or "/" in name:
            raise SettingError(f"{option}: expected NAME=FILE, such as clip=clip.npy")
        if name in named:
            raise SettingError(f"{option}: {name} is named twice")
        named[name] = value
    return named


def read_given_features(
    files: Mapping[str, str], paths: Sequence[str] | None, dataset: D
) -> tuple[ReadyFeatures[D], ...]:
    """Read matrices of features and match their rows to the images of a data set.

    Parameters
    ----------
    files : mapping of str to path
        Name of each → its file, as `decaf.features.matrix.read_matrix` takes it.
    paths : sequence of str, or None
        Lists of the paths of their rows: ``NAME=LIST`` of one, LIST of all that have none.
    dataset : Dataset

    Raises
    ------
    SettingError, InputError
        For lists that belong to nothing, and as `FeatureMatrix.in_order`.
    """
    of_name: dict[str, str] = {}
    of_all = []
    for value in paths or ():
        name, equals, path = value.partition("=")
        if equals and name in files:
            of_name[name] = path
        else:
            of_all.append(value)
    if len(of_all) > 1 or (paths and not files):
        raise SettingError(
            "--paths: expected one list for all --features, or NAME=LIST for one of "
            f"{', '.join(files) or 'them'}"
        )
    given = []
    for name, file in files.items():
        matrix = read_matrix(file)
        own = of_name.get(name) or (of_all[0] if of_all and matrix.paths is None else None)
        rows = matrix.in_order(dataset.files, dataset.names, own)
        fingerprint = matrix_fingerprint(dataset.names, rows)
        given.append(ReadyFeatures(name, dataset, rows, fingerprint))
    return tuple(given)
