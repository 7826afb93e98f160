"""A fitted head as JSON values and tensors, and back, with everything checked on the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from decaf.errors import HeadError
from decaf.heads.c_search import CSearch
from decaf.heads.linear import LinearHead
from decaf.heads.logistic import LogisticRegression
from decaf.heads.scaling import SCALES, Scaling
from decaf.heads.svm import LinearSVM

__all__ = [
    "ESTIMATORS",
    "classes_record",
    "estimator_record",
    "number",
    "read_classes",
    "read_estimator",
]

ESTIMATORS: dict[str, type[LinearHead]] = {
    "LinearSVM": LinearSVM,
    "LogisticRegression": LogisticRegression,
}
_KINDS = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "str"}
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
}
_DTYPES = {"bool": "b", "int": "iu", "float": "f", "str": "U"}


def _plain(value: Any) -> Any:
    """Turn numpy's numbers and arrays into Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    return value


def estimator_record(estimator: LinearHead) -> dict[str, Any]:
    """Describe a fitted head in JSON values, its arrays and classes left out.

    Parameters
    ----------
    estimator : LogisticRegression or LinearSVM

    Returns
    -------
    dict
        ``class``, ``settings`` and ``fitted``.
    """
    settings = {key: _plain(value) for key, value in estimator.get_params(deep=False).items()}
    if isinstance(settings["class_weight"], dict):
        # A list of pairs: the keys may be numbers, which JSON's keys cannot be.
        pairs = settings["class_weight"].items()
        settings["class_weight"] = [[_plain(key), _plain(weight)] for key, weight in pairs]
    # A value that is not plain decided how the head was fitted, not what it does.
    if not isinstance(settings["random_state"], int):
        settings["random_state"] = None
    if not isinstance(settings["cv"], int):
        settings["cv"] = max(2, len(settings["cv"]))
    scaling, search = estimator.scaling_, estimator.search_
    fitted = {
        "C": estimator.C_,
        "converged": estimator.converged_,
        "n_iter": estimator.n_iter_,
        "objective": estimator.objective_,
        "scaling": {"name": scaling.name, "factor": scaling.factor},
        "search": None
        if search is None
        else {
            "Cs": search.Cs.tolist(),
            "accuracy": search.accuracy.tolist(),
            "std": search.std.tolist(),
            "chosen": search.chosen,
            "at_border": search.at_border,
            "widened": search.widened,
            "converged": search.converged.tolist(),
        },
    }
    return {"class": type(estimator).__name__, "settings": settings, "fitted": fitted}


def classes_record(classes: np.ndarray) -> dict[str, Any]:
    """Describe classes in JSON values.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        Numbers or texts.

    Returns
    -------
    dict
        ``kind`` and ``values``.

    Raises
    ------
    TypeError
        For classes that are neither.
    """
    kind = _KINDS.get(classes.dtype.kind)
    if kind is None and all(isinstance(each, str) for each in classes):
        kind = "str"
    if kind is None:
        raise TypeError(f"classes of type {classes.dtype}")
    return {"kind": kind, "values": _plain(classes)}


def read_estimator(
    kind: type[LinearHead],
    record: Mapping[str, Any],
    classes: np.ndarray,
    tensors: Mapping[str, np.ndarray],
) -> LinearHead:
    """Make the fitted head that `estimator_record` described.

    Parameters
    ----------
    kind : type
        One of `ESTIMATORS`.
    record : mapping
    classes : ndarray, shape (n_classes,)
    tensors : mapping of str to ndarray of float64
        ``coef``, ``intercept``, and for standardised features ``scaling.mean``, ``scaling.std``.

    Returns
    -------
    LogisticRegression or LinearSVM

    Raises
    ------
    HeadError, SettingError, KeyError, TypeError, ValueError
        If a part is missing, of the wrong type or shape, or does not fit the others.
    """
    settings, fitted = dict(record["settings"]), record["fitted"]
    if set(settings) != set(kind().get_params(deep=False)):
        raise HeadError(f"the settings of a {kind.__name__} are others")
    if isinstance(settings["class_weight"], list):
        settings["class_weight"] = {key: weight for key, weight in settings["class_weight"]}  # noqa: C416 (pairs from a stranger)
    estimator = kind(**settings)
    estimator.check_settings()
    columns = 1 if len(classes) == 2 else len(classes)
    coef = tensors["coef"]
    if coef.ndim != 2 or len(coef) != columns or not coef.shape[1]:
        raise HeadError(f"coef is of shape {coef.shape} for {len(classes)} classes")
    shapes = {"coef": coef.shape, "intercept": (columns,)}
    scaling = fitted["scaling"]
    if scaling["name"] not in SCALES or scaling["name"] != settings["scale"]:
        raise HeadError(f"a scaling named {scaling['name']!r:.60}")
    if scaling["name"] == "standard":
        shapes |= {"scaling.mean": coef.shape[1:], "scaling.std": coef.shape[1:]}
    if {name: value.shape for name, value in tensors.items()} != shapes:
        raise HeadError(f"its tensors are not {', '.join(shapes)}, of fitting shapes")
    if not all(np.isfinite(value).all() for value in tensors.values()):
        raise HeadError("a coefficient is not finite")
    if not (tensors.get("scaling.std", np.ones(1)) > 0).all():
        raise HeadError("scaling.std must be above 0")
    estimator.scaling_ = Scaling(
        scaling["name"],
        number(scaling["factor"], above=0),
        tensors.get("scaling.mean"),
        tensors.get("scaling.std"),
    )
    estimator.coef_, estimator.intercept_ = coef, tensors["intercept"]
    estimator.classes_ = classes
    estimator.n_features_in_ = coef.shape[1]
    estimator.C_ = number(fitted["C"], above=0)
    estimator.converged_ = bool(fitted["converged"])
    estimator.n_iter_ = int(fitted["n_iter"])
    estimator.objective_ = number(fitted["objective"], above=-1)
    estimator.search_ = None if fitted["search"] is None else _search(fitted["search"])
    return estimator


def _search(record: Mapping[str, Any]) -> CSearch:
    lists = {key: np.array(record[key], np.float64) for key in ("Cs", "accuracy", "std")}
    converged = np.array(record["converged"], bool)
    if {value.shape for value in (*lists.values(), converged)} != {(len(converged),)}:
        raise HeadError("the lists of its search for C are of different lengths")
    return CSearch(
        **lists,
        chosen=number(record["chosen"], above=0),
        at_border=bool(record["at_border"]),
        widened=int(record["widened"]),
        folds=(),
        decisions=None,
        converged=converged,
    )


def read_classes(record: Mapping[str, Any]) -> np.ndarray:
    """Make the classes that `classes_record` described.

    Parameters
    ----------
    record : mapping

    Returns
    -------
    ndarray, shape (n_classes,)

    Raises
    ------
    HeadError, KeyError, TypeError, ValueError
        If they are not what a head can have learned.
    """
    kind, values = record["kind"], record["values"]
    types = _TYPES[kind]
    if not isinstance(values, list) or not all(type(each) in types for each in values):
        raise HeadError(f"its classes are not of type {kind}")
    if len(values) < 2 or sorted(set(values)) != values:
        raise HeadError("its classes are not two or more, in order, each once")
    classes = np.array(values)
    if classes.dtype.kind not in _DTYPES[kind]:
        raise HeadError(f"its classes are not of type {kind}")
    return classes


def number(value: Any, *, above: float) -> float:
    """Check a number that was read.

    Parameters
    ----------
    value : object
    above : float
        The value must be greater than this.

    Returns
    -------
    float

    Raises
    ------
    HeadError
        If it is no number, not finite, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise HeadError(f"a number was expected, got {value!r:.60}")
    if not np.isfinite(value) or value <= above:
        raise HeadError(f"a finite number above {above:g} was expected, got {value!r}")
    return float(value)
