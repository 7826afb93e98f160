"""Features in MATLAB's files of version 5: a matrix ``fts`` and the classes ``labels``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.storage.matlab import MatlabValue, read_matlab

__all__ = ["FEATURES", "LABELS", "read_matlab_features"]

FEATURES = ("fts", "feas", "features")
LABELS = ("labels", "label")

# Office-31's largest domain at pool5 in float64 is 208 MB.
MAX_BYTES = 2 << 30

_MOST = float(np.finfo(np.float32).max)


def read_matlab_features(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read the features and classes of a MATLAB file of version 5 (``save -v6`` or ``-v7``).

    Parameters
    ----------
    path : path
        With ``fts`` (n, d), also called ``feas`` or ``features``, and ``labels`` (n, 1) or (1, n),
        whole numbers.

    Returns
    -------
    fts : array of float32, shape (n, d)
    labels : array of int64, shape (n,)

    Raises
    ------
    InputError
        If it cannot be read, is damaged, unpacks to more than 2 GiB, has no such variables, or
        holds NaN or infinity; names the row.
    """
    shown = os.fspath(path)
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise InputError(f"has {size:,} bytes, more than {MAX_BYTES:,}")
        found = read_matlab(Path(path).read_bytes(), FEATURES + LABELS, max_bytes=MAX_BYTES)
        fts, labels = _chosen(found, FEATURES), _chosen(found, LABELS)
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror or error}") from error
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None
    if fts.ndim != 2 or not fts.size:
        raise InputError(f"{shown}: features of shape {fts.shape}; expected (rows, dimensions)")
    if labels.size != len(fts):
        raise InputError(f"{shown}: {len(fts)} rows of features, and {labels.size} labels")
    # Comparisons with NaN are false.
    bad = ~((fts >= -_MOST) & (fts <= _MOST)).all(axis=1)
    if bad.any():
        raise InputError(
            f"{shown}: {int(bad.sum())} of {len(fts)} rows of features hold NaN, infinity or "
            f"numbers beyond float32, the first is row {int(bad.argmax())}"
        )
    numbers = labels.astype(np.float64).ravel()
    if not (np.isfinite(numbers) & (numbers == np.round(numbers)) & (abs(numbers) < 2**31)).all():
        raise InputError(f"{shown}: labels that are no whole numbers")
    return fts.astype(np.float32), numbers.astype(np.int64)


def _chosen(found: dict[str, MatlabValue], names: tuple[str, ...]) -> npt.NDArray[Any]:
    """Choose the variable with one of some names; it has to hold plain numbers."""
    own = [name for name in names if name in found]
    if len(own) != 1:
        raise InputError(f"{len(own) or 'no'} variables called {' or '.join(names)}; expected one")
    value = found[own[0]]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise InputError(f"{own[0]} does not hold plain real numbers")
    return value
