"""The input of every method: rows of a source domain with classes, rows of a target domain."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from decaf.adapt.algebra.fit_cache import Memory
from decaf.errors import InputError
from decaf.heads.input_checks import check_finite
from decaf.images.listing.labels import is_missing
from decaf.runtime.wording import counted

__all__ = ["NEEDS", "Domains", "check_domains", "check_rows"]

NEEDS = ("nothing", "rows", "labels")
"""Needs of a method in the target domain: nothing, rows, or rows with some labels."""

_FINITE = next(
    name
    for name in ("ensure_all_finite", "force_all_finite")  # the second in scikit-learn 1.5
    if name in inspect.signature(check_array).parameters
)


@dataclass(frozen=True)
class Domains:
    """Two domains, checked. Classes are numbers 0 to ``len(classes) - 1``.

    Attributes
    ----------
    Xs : ndarray of float32 or float64, shape (n_s, d)
        Source rows.
    ys : ndarray of int64, shape (n_s,)
        Their classes; every class has a row.
    Xt : ndarray of the same type, shape (n_t, d)
        Target rows, labelled or not; (0, d) where none were given.
    yt : ndarray of int64, shape (n_t,)
        Their classes, -1 for a row without a label.
    classes : ndarray, shape (n_classes,)
        The classes as the user names them, ascending.
    memory : Memory, optional
        Remembers what depends on the rows alone, where several methods are fitted to them.
    """

    Xs: np.ndarray
    ys: np.ndarray
    Xt: np.ndarray
    yt: np.ndarray
    classes: np.ndarray
    memory: Memory | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Which target rows have a label, a mask of shape (n_t,)."""
        return self.yt >= 0

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return int(self.Xs.shape[1])

    def with_rows(self, Xs: np.ndarray, Xt: np.ndarray) -> Domains:
        """Return the same domains with their rows replaced, scaled ones for example.

        Parameters
        ----------
        Xs : ndarray, shape (ns, d)
        Xt : ndarray, shape (nt, d)
        """
        return replace(self, Xs=Xs, Xt=Xt)


def check_domains(
    Xs: Any, ys: Any, Xt: Any = None, yt: Any = None, *, method: str, needs: str = "rows"
) -> Domains:
    """Check what a user gave as two domains.

    Parameters
    ----------
    Xs : array-like, shape (n_s, d)
        Float32 where both domains are float32 (or float16), float64 otherwise.
    ys : array-like, shape (n_s,)
        Classes: numbers or texts.
    Xt : array-like, shape (n_t, d), optional
    yt : array-like, shape (n_t,), optional
        Classes of the target rows; -1, None, NaN or an empty text for a row without a label.
    method : str
        Name of the method, for messages.
    needs : {"nothing", "rows", "labels"}
        Need of the method in the target domain. With ``"nothing"`` `Xt` and `yt` are not even
        looked at.

    Returns
    -------
    Domains

    Raises
    ------
    InputError
        For rows that are not finite, lengths or numbers of features that do not fit, a domain of
        one row, target classes that the source does not have, or what is missing.
    """
    source = check_rows(Xs, "source")
    labels = _classes_of(ys, len(source))
    _check_several(source, "source", method)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"the source domain has only one class, {classes.tolist()[0]!r}; a classifier needs two"
        )
    if needs == "nothing":
        target = source[:0]
        target_codes = np.zeros(0, np.int64)
    else:
        if Xt is None:
            raise InputError(f"{method} learns from the target domain too: give its rows as `Xt`")
        target = check_rows(Xt, "target")
        _check_several(target, "target", method)
        target_codes = _target_codes(yt, len(target), classes)
        if target.shape[1] != source.shape[1]:
            raise InputError(
                f"the source domain has {source.shape[1]} features, the target domain "
                f"{target.shape[1]}: both must be of the same layer"
            )
    if needs == "labels" and not (target_codes >= 0).any():
        raise InputError(
            f"{method} needs labelled rows of the target domain: `yt` "
            + (
                "is not given"
                if yt is None
                else f"has no label among {counted(len(target), 'row')}"
            )
        )
    kind = np.result_type(source, target)
    return Domains(
        Xs=source.astype(kind, copy=False),
        ys=codes.astype(np.int64).reshape(-1),
        Xt=target.astype(kind, copy=False),
        yt=target_codes,
        classes=classes,
    )


def check_rows(X: Any, domain: str) -> np.ndarray:
    """Check the rows of one domain.

    Parameters
    ----------
    X : array-like, shape (n, d)
    domain : str
        Its name in messages, ``"source"`` or ``"target"``.

    Returns
    -------
    ndarray of float32 or float64, shape (n, d)

    Raises
    ------
    InputError
        If a row is not finite, or `X` is not an array of numbers in two dimensions.
    TypeError
        scikit-learn's, for a sparse matrix.
    """
    if getattr(X, "dtype", None) == np.float16:
        X = X.astype(np.float32)
    try:
        rows: np.ndarray = check_array(X, dtype=[np.float64, np.float32], **{_FINITE: False})
    except ValueError as error:
        raise InputError(f"`X` of the {domain} domain: {' '.join(str(error).split())}") from None
    check_finite(rows, f"`X` of the {domain} domain")
    return rows


def _check_several(rows: np.ndarray, domain: str, method: str) -> None:
    if len(rows) == 1:
        raise InputError(
            f"the {domain} domain has only 1 sample (n_samples = 1); {method} needs at least 2"
        )


def _classes_of(ys: Any, rows: int) -> np.ndarray:
    if ys is None:
        raise InputError("`ys` is None; y should be a 1d array: the classes of the source rows")
    labels = column_or_1d(_as_array(ys), warn=True)
    if len(labels) != rows:
        raise InputError(
            f"the source domain has {counted(rows, 'row')}, but `ys` has "
            f"{counted(len(labels), 'label')}"
        )
    if labels.dtype.kind in "OUS" and any(_is_unlabelled(label) for label in labels):
        raise InputError("`ys` has rows without a label; every row of the source domain needs one")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError(
            "`ys` contains NaN or infinity; every row of the source domain needs a class"
        )
    check_classification_targets(labels)
    return np.asarray(labels)


def _target_codes(yt: Any, rows: int, classes: np.ndarray) -> np.ndarray:
    codes = np.full(rows, -1, np.int64)
    if yt is None:
        return codes
    labels = _as_array(yt)
    if labels.ndim != 1:
        labels = column_or_1d(labels, warn=True)
    if len(labels) != rows:
        raise InputError(
            f"the target domain has {counted(rows, 'row')}, but `yt` has "
            f"{counted(len(labels), 'label')}; give one for "
            "each row, -1, None or NaN where there is none"
        )
    names = classes.tolist()
    if any(_is_unlabelled(name) for name in names):
        raise InputError(
            "the source domain has a class -1, which marks a target row without a label; give the "
            "class another name"
        )
    code_of = {name: code for code, name in enumerate(names)}
    unknown = []
    for row, label in enumerate(labels.tolist()):
        if _is_unlabelled(label):
            continue
        code = code_of.get(label)
        if code is None:
            unknown.append(label)
        else:
            codes[row] = code
    if unknown:
        raise InputError(
            f"the target domain has classes that the source domain lacks: {_listed(unknown)}; the "
            f"source has {_listed(names)}. Both must have the same classes; a target row without a "
            "label is marked by -1, None or NaN"
        )
    return codes


def _as_array(labels: Any) -> np.ndarray:
    """Return labels as an array; of a list of texts with None, NaN or -1 among them as they are."""
    array = np.asarray(labels)
    if array.dtype.kind in "US" and isinstance(labels, (list, tuple)):
        return np.asarray(labels, object)
    return array


def _is_unlabelled(label: Any) -> bool:
    """Say whether a label is one of those that stand for none: as in `is_missing`, or -1."""
    return is_missing(label) or bool(label == -1)


def _listed(labels: Iterable[Any]) -> str:
    unique = list(dict.fromkeys(labels))
    try:
        unique.sort()
    except TypeError:  # of several types
        unique.sort(key=str)
    shown = ", ".join(f"{label!s:.60}" for label in unique[:10])
    return shown + (f", … ({len(unique)} in all)" if len(unique) > 10 else "")
