"""A fitted head as a plain scikit-learn estimator, which runs where decaf is not installed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelBinarizer, Normalizer
from sklearn.svm import LinearSVC

__all__ = ["plain_logistic", "plain_one_vs_rest", "plain_svm", "with_normaliser"]


def plain_logistic(head: Any, C: float) -> Any:
    """Make scikit-learn's LogisticRegression with the coefficients of a head.

    Parameters
    ----------
    head : LogisticRegression
        A fitted head of decaf.
    C : float
        For features as they are.

    Returns
    -------
    sklearn.linear_model.LogisticRegression
    """
    settings = {"tol": head.tol, "max_iter": head.max_iter, "class_weight": head.class_weight}
    return _with_coefficients(
        LogisticRegression(C=C, **settings),
        head,
        head.classes_,
        head.coef_,
        head.intercept_,
        np.array([head.n_iter_], np.int32),
    )


def plain_one_vs_rest(head: Any, C: float) -> Any:
    """Make a OneVsRestClassifier of binary LogisticRegressions with the coefficients of a head.

    Parameters
    ----------
    head : LogisticRegression
        A head of decaf, fitted with ``multi_class="ovr"`` to three classes or more.
    C : float
        For features as they are.

    Returns
    -------
    sklearn.multiclass.OneVsRestClassifier
    """
    plain = OneVsRestClassifier(LogisticRegression(C=C, tol=head.tol, max_iter=head.max_iter))
    plain.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(head.classes_)
    with suppress(AttributeError):  # in earlier versions a property, of the binarizer's
        plain.classes_ = plain.label_binarizer_.classes_
    plain.estimators_ = [
        _with_coefficients(
            LogisticRegression(C=C, tol=head.tol, max_iter=head.max_iter),
            head,
            np.array([0, 1]),
            head.coef_[code : code + 1],
            head.intercept_[code : code + 1],
            np.array([head.n_iter_], np.int32),
        )
        for code in range(len(head.classes_))
    ]
    plain.n_features_in_ = head.n_features_in_
    return plain


def plain_svm(head: Any, C: float, intercept_scaling: float) -> Any:
    """Make scikit-learn's LinearSVC with the coefficients of a head.

    Parameters
    ----------
    head : LinearSVM
        Fitted.
    C, intercept_scaling : float
        For features as they are.

    Returns
    -------
    sklearn.svm.LinearSVC
    """
    plain = LinearSVC(
        loss=head.loss,
        C=C,
        intercept_scaling=intercept_scaling,
        tol=head.tol,
        max_iter=head.max_iter,
        random_state=head.random_state,
    )
    classes, coef, intercept = head.classes_, head.coef_, head.intercept_
    return _with_coefficients(plain, head, classes, coef, intercept, head.n_iter_)


def with_normaliser(plain: Any, n_features: int) -> Any:
    """Put scikit-learn's Normalizer, which brings each row to norm 1, before an estimator.

    Parameters
    ----------
    plain : estimator
        Fitted.
    n_features : int

    Returns
    -------
    sklearn.pipeline.Pipeline
    """
    return make_pipeline(Normalizer().fit(np.zeros((1, n_features))), plain)


def _with_coefficients(
    plain: Any, head: Any, classes: np.ndarray, coef: np.ndarray, intercept: np.ndarray, n: Any
) -> Any:
    plain.classes_, plain.n_iter_ = classes, n
    plain.coef_, plain.intercept_ = coef.copy(), intercept.copy()
    plain.n_features_in_ = head.n_features_in_
    if hasattr(head, "feature_names_in_"):
        plain.feature_names_in_ = head.feature_names_in_
    return plain
