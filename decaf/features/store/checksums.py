"""Checksums of a feature file's columns and attributes, as written and as read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import FeatureFileError
from decaf.features.store import schema
from decaf.runtime.names import SYSTEM
from decaf.storage import field_digests

if TYPE_CHECKING:
    from decaf.features.store.feature_file import FeatureFile

__all__ = ["ContentDigest", "attribute_digests", "read_attributes", "read_content"]


class ContentDigest:
    """SHA-256 of each column, fed with its rows in order.

    Numbers count as their bytes, little-endian and in row-major order, texts as theirs, each with a
    zero byte behind it.
    """

    def __init__(self) -> None:
        self._sums: dict[str, hashlib._Hash] = {}

    def numbers(self, name: str, values: np.ndarray) -> None:
        """Count the next rows of a column of numbers, as they are stored.

        Parameters
        ----------
        name : str
            Name of its dataset.
        values : ndarray
        """
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        self._of(name).update(np.ascontiguousarray(little).data)

    def texts(self, name: str, texts: Iterable[bytes]) -> None:
        """Count the next rows of a column of texts.

        Parameters
        ----------
        name : str
            Name of its dataset.
        texts : iterable of bytes
        """
        self._of(name).update(b"".join(text + b"\0" for text in texts))

    def hexdigests(self) -> dict[str, str]:
        """Return the SHA-256 of each column, by the name of its dataset."""
        return {name: total.hexdigest() for name, total in sorted(self._sums.items())}

    def _of(self, name: str) -> hashlib._Hash:
        return self._sums.setdefault(name, hashlib.sha256())


def attribute_digests(
    run: Mapping[str, Any],
    environment: Mapping[str, Any],
    decaf_version: str,
    created: str,
    layers: Mapping[str, Sequence[int]],
    path_system: str | None = SYSTEM,
) -> dict[str, str]:
    """Return the SHA-256 of each field of what a file says of itself: ``run/crops``, ….

    They stand apart from those of the columns, which are the same for the same rows.

    Parameters
    ----------
    run, environment, decaf_version, created
        The attributes of that name.
    layers : mapping of str to sequence of int
        Shape of a row of each layer.
    path_system : str, optional
        The attribute of that name; None leaves it out, which early versions did not count.
    """
    shapes = {layer: list(shape) for layer, shape in layers.items()}
    about: dict[str, Any] = {"decaf_version": decaf_version, "created": created, "shapes": shapes}
    if path_system is not None:
        about["path_system"] = path_system
    return field_digests({"run": run, "environment": environment, **about})


def read_attributes(file: FeatureFile) -> dict[str, str]:
    """Return `attribute_digests` of an open file.

    Parameters
    ----------
    file : FeatureFile
    """
    return attribute_digests(
        file.run,
        file.environment,
        str(file.attrs["decaf_version"]),
        str(file.attrs["created"]),
        {layer: file[layer].shape[1:] for layer in file.layers},
        file.path_system if "path_system" in (file.attribute_digests or ()) else None,
    )


def read_content(file: FeatureFile) -> dict[str, str]:
    """Read the whole of a feature file, and return the SHA-256 of each column.

    HDF5 compares every chunk with its own checksum on the way; and a row holds numbers where its
    status is ok, and else nothing but NaN.

    Parameters
    ----------
    file : FeatureFile

    Raises
    ------
    FeatureFileError
        Where the data is damaged, or a row is not as its status says.
    """
    digest = ContentDigest()
    digest.texts(schema.PATH, file.path_bytes)
    digest.texts(schema.MESSAGE, (text.encode() for text in file.messages))
    digest.texts(schema.CLASS_NAMES, (text.encode() for text in file.class_names))
    digest.texts(schema.STATUS_NAMES_DATASET, (text.encode() for text in file.status_names))
    for name in schema.OPTIONAL:
        texts = file.column(name)
        if texts is not None:
            digest.texts(name, (text.encode() for text in texts))
    for name, numbers in (
        (schema.BOX, file.boxes),
        (schema.CONFIDENCE, file.confidences),
    ):
        if numbers is not None:
            digest.numbers(name, numbers)
    digest.numbers(schema.LABEL, file.labels)
    digest.numbers(schema.STATUS, file.status)
    digest.numbers(schema.SOURCE_SIZE, file.source_size)
    digest.numbers(schema.CONTENT_SHA256, file.content_sha256)
    ok = file.ok
    for layer in file.layers:
        for start, values in file[layer].blocks():
            digest.numbers(f"{schema.FEATURES}/{layer}", values)
            empty = np.isnan(values.reshape(len(values), -1))
            good = ok[start : start + len(values)]
            wrong = np.where(good, empty.any(axis=1), ~empty.all(axis=1))
            if wrong.any():
                row = start + int(wrong.argmax())
                held = "NaN" if ok[row] else "numbers"
                raise FeatureFileError(
                    f"{file.path}: {layer}, row {row} holds {held}, but its status is "
                    f"{file.status_names[file.status[row]]}"
                )
    return digest.hexdigests()
