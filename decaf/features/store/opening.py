"""Feature files are opened here: from a path of whatever kind, or as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from decaf.features.store.feature_file import FeatureFile
from decaf.images import is_kind
from decaf.images.decoding.formats import is_hdf5
from decaf.runtime.names import name_text
from decaf.storage.object_store import is_remote

__all__ = ["holds_features", "open_features", "opened_features"]


def open_features(path: str | bytes | os.PathLike[str]) -> FeatureFile:
    """Open a feature file, or a part set as if it were one.

    Parameters
    ----------
    path : str, bytes or path-like
        A file that ``decaf extract`` has written; or the folder, or the URL of the prefix, of a
        part set (`decaf.scale.extract_shards`), whose parts are opened as they are read.

    Returns
    -------
    FeatureFile
        Close it after use, or use it in a ``with`` statement.

    Raises
    ------
    FeatureFileError
        Where it is not a feature file, is damaged, or holds what decaf refuses to follow.

    Examples
    --------
    >>> with open_features("pets.h5") as features:  # doctest: +SKIP
    ...     X, y = features.to_xy("fc6")
    """
    name = name_text(path)
    if is_remote(name) or is_kind(name, "part-set"):
        from decaf.features.store.part_set import PartSet

        return PartSet(name)
    from decaf.features.store.parquet_part import ParquetPart, is_parquet

    return ParquetPart(path) if is_parquet(path) else FeatureFile(path)


@contextmanager
def opened_features(
    features: str | bytes | os.PathLike[str] | FeatureFile,
) -> Iterator[FeatureFile]:
    """Use a feature file that is open, or open it by its path and close it afterwards.

    Parameters
    ----------
    features : path or FeatureFile
        As `open_features` takes it; a file that is open stays open.
    """
    if isinstance(features, FeatureFile):
        yield features
    else:
        with open_features(features) as file:
            yield file


def holds_features(source: Any) -> bool:
    """Tell whether a source is a feature file or part set, or the path of one, and not images.

    Parameters
    ----------
    source : object
        An HDF5 file of decaf that is no feature file counts as one, whose error says what it is.
    """
    if isinstance(source, (str, bytes, os.PathLike)) and is_kind(source, "part-set"):
        return True
    return isinstance(source, FeatureFile) or (is_hdf5(source) and not is_kind(source, "hdf5"))
