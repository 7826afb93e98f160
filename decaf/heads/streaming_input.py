"""What `fit_streaming` is given, checked: the estimator, rows, labels, rows held out."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from decaf.errors import InputError, SettingError
from decaf.features.store.feature_file import FeatureFile
from decaf.heads.estimators import LinearSVM, LogisticRegression
from decaf.heads.input_checks import check_labels, is_number, row_weights, wrong_choice
from decaf.heads.linear_head import LinearHead
from decaf.runtime.wording import counted

__all__ = ["class_weights", "held_rows", "rows_and_labels", "streaming_template"]

HEADS = ("logreg", "svm")
PRECISIONS = ("fp32", "bf16")
TOL, PASSES = 1e-3, 100


def streaming_template(
    head: str | LinearHead, Cs: Any, precision: str, block: int | None
) -> LinearHead:
    """Return the estimator whose copies are fitted; refuse what streaming cannot do.

    Parameters
    ----------
    head : str or LinearHead
    Cs, precision, block
        As `decaf.heads.fit_streaming` takes them.

    Raises
    ------
    SettingError
        With every setting that cannot be used.
    """
    template: Any = head
    if isinstance(head, str):
        kinds = {"logreg": LogisticRegression, "svm": LinearSVM}
        if head in kinds:
            template = kinds[head](tol=TOL, max_iter=PASSES)
    wrong = []
    if isinstance(template, LinearHead):
        template.check_settings()
        if template.solver != "batched":
            wrong.append(
                f"`solver` {template.solver!r}: rows are streamed to solver 'batched' alone"
            )
        if template.dropout:
            wrong.append(f"`dropout` {template.dropout!r}: must be 0 where rows are streamed")
        if template.scale != "mean-norm":
            wrong.append(f"`scale` {template.scale!r}: must be 'mean-norm' where rows are streamed")
        if isinstance(template, LinearSVM) and template.loss != "squared_hinge":
            wrong.append(
                f"`loss` {template.loss!r}: must be 'squared_hinge' where rows are streamed"
            )
        if Cs is None and template.C == "cv":
            wrong.append("`C` 'cv' takes all rows in memory: give `Cs`, and rows `held_out`")
    else:
        wrong.append(
            f"`head` must be one of {', '.join(HEADS)}, or a LogisticRegression or LinearSVM, got "
            f"{head!r:.60}"
        )
    given = [] if Cs is None else list(np.atleast_1d(np.asarray(Cs, object)))
    if (Cs is not None and not given) or not all(is_number(C) and C > 0 for C in given):
        wrong.append(f"`Cs` must be numbers above 0, at least one, got {Cs!r:.80}")
    wrong += wrong_choice("precision", precision, PRECISIONS)
    if block is not None and not (isinstance(block, (int, np.integer)) and block > 0):
        wrong.append(f"`block` must be a whole number above 0, got {block!r}")
    if wrong:
        raise SettingError("; ".join(wrong))
    assert isinstance(template, LinearHead)
    return template


def rows_and_labels(
    source: Any, layer: str | None, labels: Any
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Return what gives rows, the label of each, and which have a label, and features.

    Parameters
    ----------
    source : FeatureFile or array-like
    layer, labels
        As `decaf.heads.fit_streaming` takes them.

    Returns
    -------
    rows : array-like, shape (n, …)
    y : ndarray, shape (n,)
    labelled, ok : ndarray of bool, shape (n,)

    Raises
    ------
    InputError, SettingError
    """
    if isinstance(source, FeatureFile):
        if layer is None and len(source.layers) > 1:
            raise SettingError(f"`layer`: {source.path} has {', '.join(source.layers)}; name one")
        rows: Any = source[source.layers[0] if layer is None else layer]
        ok, y = source.ok.copy(), source.labels if labels is None else labels
    else:
        if not hasattr(source, "shape") or len(source.shape) < 2:
            raise InputError(
                f"`features` must be a feature file or an array with a row an image, got "
                f"{type(source).__name__} of shape {getattr(source, 'shape', None)}"
            )
        if labels is None:
            raise InputError("`labels` are missing: features in an array have none of their own")
        if layer is not None:
            raise SettingError(f"`layer` {layer!r}: features in an array have no layers")
        rows, ok, y = source, np.ones(len(source), bool), labels
    if np.dtype(rows.dtype).kind != "f":
        raise InputError(f"`features` are {rows.dtype}: floats are wanted")
    check_labels(y)
    y = np.asarray(y)
    if y.shape != (len(rows),):
        raise InputError(
            f"`labels` has shape {y.shape}; give one for each of {counted(len(rows), 'row')}"
        )
    if y.dtype.kind not in "biufUSO":
        raise InputError(f"`labels` are {y.dtype}: numbers or texts are wanted")
    labelled = y >= 0 if y.dtype.kind in "if" else np.ones(len(y), bool)
    return rows, y, labelled, ok


def held_rows(held_out: Any, codes: np.ndarray, random_state: Any) -> np.ndarray:
    """Return the mask of the rows that are held out.

    Parameters
    ----------
    held_out, random_state
        As `decaf.heads.fit_streaming` takes them.
    codes : ndarray of int64, shape (n,)
        -1 for rows that are passed over.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    SettingError
    """
    held = np.zeros(len(codes), bool)
    if held_out is None:
        return held
    if is_number(held_out):
        if not 0 < held_out < 1:
            raise SettingError(f"`held_out` {held_out!r}: must be above 0 and below 1, or a mask")
        random = check_random_state(random_state)
        for code in range(int(codes.max()) + 1):
            of_class = random.permutation(np.flatnonzero(codes == code))
            held[of_class[: int(held_out * len(of_class))]] = True
        return held
    mask = np.asarray(held_out)
    if mask.shape != codes.shape or mask.dtype != bool:
        raise SettingError(
            f"`held_out` must be a share, or a mask of {counted(len(codes), 'row')}, got "
            f"{mask.dtype} of shape {mask.shape}"
        )
    return mask & (codes >= 0)


def class_weights(class_weight: Any, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the weight of the rows of each class.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    classes : ndarray, shape (n_classes,)
    counts : ndarray of int64, shape (n_classes,)
        Rows of each class.

    Returns
    -------
    ndarray of float64, shape (n_classes,)

    Raises
    ------
    SettingError
        If a class has no weight above 0.
    """
    if class_weight is None:
        return np.ones(len(classes))
    codes = np.repeat(np.arange(len(classes)), counts)
    weights = row_weights(class_weight, classes, codes, classes[codes], None)
    assert weights is not None
    of_class: np.ndarray = weights[np.cumsum(counts) - counts]
    return of_class
