"""The file of a head: safetensors, with all that belongs to the head in its header.

The header (string values, JSON where they are more than a word):

==============  ==========================================================================
format          ``decaf-head``
schema          ``1``
decaf_version   that wrote the file
estimator       ``{"class": …, "settings": …, "fitted": …}``
identity        `decaf.heads.feature_identity.FeatureIdentity.to_dict`
classes         ``{"kind": "int" | "float" | "bool" | "str", "values": […]}``
class_names     list of str
calibration     ``{"a": …}``, or ``{}``
report          dict
sha256          of the tensors and all of the above
==============  ==========================================================================

The tensors, all float64: ``coef`` (K, n_features) and ``intercept`` (K,), and for standardised
features ``scaling.mean`` and ``scaling.std`` (n_features,).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from decaf.errors import DecafError, HeadError, OutputError, SettingError
from decaf.heads.c_search import CSearch
from decaf.heads.calibration import Calibration
from decaf.heads.estimators import LinearSVM, LogisticRegression
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.linear_head import LinearHead
from decaf.heads.scaling import SCALES, Scaling
from decaf.images.listing.recognise import is_kind, not_wanted
from decaf.runtime.wording import counted
from decaf.storage import canonical_json, check_output, disk_errors, write_atomically
from decaf.storage.tensors import TensorFileKind, content_sha256, json_field
from decaf.version import __version__

__all__ = ["ESTIMATORS", "FORMAT", "SCHEMA", "SavedHead", "is_head_file", "load_head", "save_head"]

FORMAT = "decaf-head"
SCHEMA = 1

_FILE = TensorFileKind("head", FORMAT, (str(SCHEMA),), HeadError)

ESTIMATORS: dict[str, type[LinearHead]] = {
    "LinearSVM": LinearSVM,
    "LogisticRegression": LogisticRegression,
}
# What a class may be, as the file calls it: its types in JSON, and the kinds of numpy's types.
_CLASSES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "b"),
    "int": ((int,), "iu"),
    "float": ((float, int), "f"),
    "str": ((str,), "U"),
}


@dataclass(frozen=True)
class SavedHead:
    """A head as it came from its file.

    Attributes
    ----------
    estimator : LogisticRegression or LinearSVM
        Fitted. Its search, where there was one, is without folds and decisions.
    identity : FeatureIdentity
        Which features it belongs to.
    class_names : tuple of str
        Names of the classes, in the order of ``estimator.classes_``.
    report : dict
        Figures measured when it was fitted.
    calibration : Calibration or None
    decaf_version : str
        The version that wrote the file.
    """

    estimator: Any
    identity: FeatureIdentity
    class_names: tuple[str, ...]
    report: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    decaf_version: str = __version__

    @property
    def takes(self) -> str:
        """What it answers to, for people."""
        if not self.identity.is_given:
            return "images"
        numbers = self.estimator.n_features_in_
        return (
            f"features such as those of {self.identity.weights_name}, "
            f"{counted(numbers, 'number')} an image"
        )


def save_head(
    path: str | os.PathLike[str],
    estimator: LinearHead,
    *,
    identity: FeatureIdentity,
    class_names: Sequence[str],
    report: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    overwrite: bool = False,
) -> None:
    """Write a fitted head; the file is complete under its name, or not there.

    Parameters
    ----------
    path : str or path
    estimator : LogisticRegression or LinearSVM
        Fitted.
    identity : FeatureIdentity
        Which features it was fitted to.
    class_names : sequence of str
        One for each of ``estimator.classes_``, in that order.
    report : mapping, optional
        JSON values.
    calibration : Calibration, optional
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    SettingError
        If the estimator is not a fitted head of decaf, the names do not fit its classes, or
        something cannot be written as JSON.
    OutputError
        If the file exists already, or cannot be written.
    """
    target = Path(path)
    name = type(estimator).__name__
    if type(estimator) is not ESTIMATORS.get(name) or not hasattr(estimator, "coef_"):
        raise SettingError(f"`estimator`: expected a fitted {' or '.join(ESTIMATORS)}, got {name}")
    if len(class_names) != len(estimator.classes_):
        raise SettingError(
            f"`class_names` has {len(class_names)} names, the head {len(estimator.classes_)} "
            "classes"
        )
    tensors = {"coef": estimator.coef_, "intercept": estimator.intercept_}
    if estimator.scaling_.mean is not None and estimator.scaling_.std is not None:
        tensors |= {"scaling.mean": estimator.scaling_.mean, "scaling.std": estimator.scaling_.std}
    tensors = {key: np.ascontiguousarray(value, "<f8") for key, value in tensors.items()}
    if not all(np.isfinite(value).all() for value in tensors.values()):
        raise SettingError("a coefficient of the head is not finite")
    try:
        header = {
            "format": FORMAT,
            "schema": str(SCHEMA),
            "decaf_version": __version__,
            "estimator": canonical_json(_estimator_record(estimator)),
            "identity": canonical_json(identity.to_dict()),
            "classes": canonical_json(_classes_record(estimator.classes_)),
            "class_names": canonical_json([str(each) for each in class_names]),
            "calibration": canonical_json({} if calibration is None else {"a": calibration.a}),
            "report": canonical_json(dict(report or {})),
        }
    except (TypeError, ValueError) as error:
        raise SettingError(f"the head cannot be written as JSON: {error}") from None
    header["sha256"] = content_sha256(tensors, header)
    check_output(target, "head")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; give another name, or `overwrite=True`")
    with disk_errors(target, "nothing was written"):
        write_atomically(target, save(tensors, metadata=header))


def is_head_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file says that it is a head of decaf, without reading all of it.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    bool
        False too where it cannot be read.
    """
    return is_kind(os.fspath(path), "head")


def load_head(path: str | os.PathLike[str]) -> SavedHead:
    """Read and check the file of a head.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    SavedHead

    Raises
    ------
    HeadError
        If the file is damaged, not a head, of a later schema, or not consistent with itself.
    """
    where = os.fspath(path)
    if not os.path.isfile(where):
        if os.path.exists(where):
            raise HeadError(not_wanted(where, "head"))
        raise HeadError(f"{where}: cannot be read: there is no such file")
    with _FILE.open(where, "numpy") as (header, file):
        names: list[str] = file.keys()
        slices = {name: file.get_slice(name) for name in names}
        wrong = sorted(name for name in slices if slices[name].get_dtype() != "F64")
        if wrong:
            raise HeadError(f"{where}: damaged: its tensor {wrong[0]!r:.60} is not float64")
        tensors = {name: np.array(file.get_tensor(name)) for name in slices}
    if content_sha256(tensors, header) != header.get("sha256"):
        raise HeadError(f"{where}: damaged or altered: its content does not have its SHA-256")
    try:
        return _saved(header, tensors)
    except (DecafError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise HeadError(f"{where}: not consistent with itself: {error!s:.200}") from None


def _saved(header: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> SavedHead:
    record = json_field(header, "estimator", dict)
    kind = ESTIMATORS.get(record["class"])
    if kind is None:
        raise HeadError(f"a head of class {record['class']!r:.60}")
    classes = _classes(json_field(header, "classes", dict))
    class_names = json_field(header, "class_names", list)
    if len(class_names) != len(classes) or not all(isinstance(each, str) for each in class_names):
        raise HeadError(f"class_names must be {len(classes)} texts")
    calibration = json_field(header, "calibration", dict)
    return SavedHead(
        _estimator(kind, record, classes, tensors),
        FeatureIdentity.from_dict(json_field(header, "identity", dict)),
        tuple(class_names),
        json_field(header, "report", dict),
        Calibration(_number(calibration["a"], above=0)) if calibration else None,
        header.get("decaf_version", "of an unknown version"),
    )


def _plain(value: Any) -> Any:
    """Turn numpy's numbers and arrays into Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    return value


def _estimator_record(estimator: LinearHead) -> dict[str, Any]:
    """Describe a fitted head in JSON values, its arrays and classes left out."""
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
            "rising": search.rising,
        },
    }
    return {"class": type(estimator).__name__, "settings": settings, "fitted": fitted}


def _classes_record(classes: np.ndarray) -> dict[str, Any]:
    """Describe classes, numbers or texts, in JSON values."""
    for kind, (_, dtypes) in _CLASSES.items():
        if classes.dtype.kind in dtypes:
            return {"kind": kind, "values": _plain(classes)}
    if all(isinstance(each, str) for each in classes):
        return {"kind": "str", "values": _plain(classes)}
    raise TypeError(f"classes of type {classes.dtype}")


def _estimator(
    kind: type[LinearHead],
    record: Mapping[str, Any],
    classes: np.ndarray,
    tensors: Mapping[str, np.ndarray],
) -> LinearHead:
    """Make the fitted head that `_estimator_record` described, with everything checked.

    The tensors are ``coef``, ``intercept``, and for standardised features ``scaling.mean`` and
    ``scaling.std``. A part that is missing, of the wrong type or shape, or does not fit the others
    raises HeadError, SettingError, KeyError, TypeError or ValueError.
    """
    settings, fitted = dict(record["settings"]), record["fitted"]
    if set(settings) != set(kind().get_params(deep=False)):
        raise HeadError(f"the settings of a {kind.__name__} are others")
    if isinstance(settings["class_weight"], list):
        settings["class_weight"] = dict(settings["class_weight"])
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
        _number(scaling["factor"], above=0),
        tensors.get("scaling.mean"),
        tensors.get("scaling.std"),
    )
    estimator.coef_, estimator.intercept_ = coef, tensors["intercept"]
    estimator.classes_ = classes
    estimator.n_features_in_ = coef.shape[1]
    estimator.C_ = _number(fitted["C"], above=0)
    estimator.converged_ = bool(fitted["converged"])
    estimator.n_iter_ = int(fitted["n_iter"])
    estimator.objective_ = _number(fitted["objective"], above=-1)
    estimator.search_ = None if fitted["search"] is None else _search(fitted["search"])
    return estimator


def _search(record: Mapping[str, Any]) -> CSearch:
    lists = {key: np.array(record[key], np.float64) for key in ("Cs", "accuracy", "std")}
    converged = np.array(record["converged"], bool)
    if {value.shape for value in (*lists.values(), converged)} != {(len(converged),)}:
        raise HeadError("the lists of its search for C are of different lengths")
    return CSearch(
        **lists,
        chosen=_number(record["chosen"], above=0),
        at_border=bool(record["at_border"]),
        widened=int(record["widened"]),
        folds=(),
        decisions=None,
        converged=converged,
        rising=bool(record.get("rising", record["at_border"])),  # older heads do not tell
    )


def _classes(record: Mapping[str, Any]) -> np.ndarray:
    """Make the classes that `_classes_record` described, with everything checked."""
    kind, values = record["kind"], record["values"]
    types, dtypes = _CLASSES[kind]
    if not isinstance(values, list) or not all(type(each) in types for each in values):
        raise HeadError(f"its classes are not of type {kind}")
    if len(values) < 2 or sorted(set(values)) != values:
        raise HeadError("its classes are not two or more, in order, each once")
    classes = np.array(values)
    if classes.dtype.kind not in dtypes:
        raise HeadError(f"its classes are not of type {kind}")
    return classes


def _number(value: Any, *, above: float) -> float:
    """Check that what was read is a finite number above another."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise HeadError(f"a number was expected, got {value!r:.60}")
    if not np.isfinite(value) or value <= above:
        raise HeadError(f"a finite number above {above:g} was expected, got {value!r}")
    return float(value)
