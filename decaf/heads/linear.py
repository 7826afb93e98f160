"""The common part of the linear heads: checking, scaling, the choice of C, fitting, deciding."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, validation
from sklearn.utils.multiclass import check_classification_targets

from decaf.errors import InputError, SettingError
from decaf.heads.c_search import (
    CSearch,
    Fold,
    check_folds,
    predicted_codes,
    search_C,
    stratified_folds,
)
from decaf.heads.conversion import with_normaliser
from decaf.heads.reference import fit_reference, linear_scores, objective
from decaf.heads.row_weights import check_sample_weight, row_weights
from decaf.heads.scaling import SCALES, Scaling, fit_scaling, mean_square_norm

__all__ = ["SOLVERS", "CSearchWarning", "LinearHead"]

SOLVERS = ("batched", "sklearn")

# The search compares accuracies, for which less exact fits do.
_SEARCH_TOL = 1e-3
# The search goes no further, for rows of norm 1: what a C beyond changes lies below rounding.
_LARGEST_C = 2.0**20


class CSearchWarning(UserWarning):
    """The search for C ended at the border of its grid: other values might be better."""


class LinearHead(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base of `LogisticRegression` and `LinearSVM`, which describe parameters and attributes."""

    default_Cs: ClassVar[tuple[float, ...]]

    C: float | str
    dropout: float
    solver: str
    scale: str
    class_weight: Any
    Cs: Sequence[float] | None
    cv: Any
    tol: float
    max_iter: int
    random_state: Any
    device: str

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Sequence[Any] | None = None,
    ) -> Any:
        """Fit the head to features and classes.

        Parameters
        ----------
        X : array-like of float32 or float64, shape (n, n_features)
            Kept in its type; other types become float64 (float16: float32).
        y : array-like, shape (n,)
            Classes: numbers or texts.
        sample_weight : array-like, shape (n,), or float, optional
            For how many rows each row counts, at least 0: in the loss, in the scaling, in the
            accuracy by which C is chosen, and in ``class_weight="balanced"``. A whole number does
            what that many copies of the row would, 0 what leaving it out would. What
            `class_weight` says multiplies it.
        groups : array-like, shape (n,), optional
            The group of each row (an animal, a burst, a site), None or an empty text where it
            has none: no group is on both sides of a fold of the search for C. Not with `cv` as a
            list of folds, which are taken as they are.

        Returns
        -------
        self

        Raises
        ------
        SettingError
            For settings that cannot be used, all of them in one message.
        InputError
            For features that are not finite, weights that are not numbers from 0 on, one for each
            row, and for fewer than two classes.

        Warns
        -----
        ConvergenceWarning
            If the solver stopped before it reached `tol`; `converged_` is False then.
        CSearchWarning
            If the search for C ended at the border of its grid.
        """
        self.check_settings()
        X, y = _checked(self, X=X, y=y)
        check_classification_targets(y)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, len(y))
        counted = y if weight is None else y[weight > 0]
        self.classes_ = np.unique(counted)
        # A row that does not count may be of a class that is not there; its code is not looked at.
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise InputError(
                f"all {len(counted)} rows are of one class, {self.classes_.tolist()[0]!r}; a "
                "classifier needs two"
            )
        self.scaling_: Scaling = fit_scaling(self.scale, X, weight)
        data = _Data(
            self.scaling_.apply(X),
            codes,
            n_classes,
            row_weights(self.class_weight, self.classes_, codes, y, weight),
            self.scaling_,
            self.dropout,
            X,
            weight,
        )
        self.search_: CSearch | None = None
        self.C_ = float(self.C) if self.C != "cv" else self._search(data, _group_texts(groups, y))
        coef, intercept = self._fit(data, self.C_)
        self.coef_, self.intercept_ = self.scaling_.fold(coef, intercept)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the decision values of rows.

        Parameters
        ----------
        X : array-like, shape (n, n_features)

        Returns
        -------
        ndarray of float64, shape (n, K), or (n,) for two classes
            The class of the largest value is predicted; of two classes the second where the value
            is above 0.
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row.

        Parameters
        ----------
        X : array-like, shape (n, n_features)

        Returns
        -------
        ndarray, shape (n,)
            Classes, of the type of `classes_`.
        """
        codes = predicted_codes(self._scores(X))
        classes: np.ndarray = self.classes_[codes]
        return classes

    def to_sklearn(self) -> Any:
        """Return a plain scikit-learn estimator that decides as this head does.

        Returns
        -------
        LogisticRegression, LinearSVC, OneVsRestClassifier or Pipeline
            scikit-learn's, fitted, for features as they are: LogisticRegression and LinearSVC, for
            ``multi_class="ovr"`` with more than two classes a OneVsRestClassifier, and for
            ``scale="unit-norm"`` a Pipeline that begins with a Normalizer. Its C is that of the
            features as they are: to fit it again to the same rows gives the same head, but for
            ``scale="standard"``, which is folded into the coefficients, and but for the class
            weights of an SVM, which LinearSVC gives to the rows of a class only where it is the
            positive one.
        """
        validation.check_is_fitted(self, "coef_")
        # With x' = f x and w' = w / f the objective 1/2 ||w'||² + C Σ loss(w'·x' + b) is, times f²,
        # 1/2 ||w||² + C f² Σ loss(w·x + b). An intercept that is penalised is the weight of a
        # constant feature, 1 among the x' and so 1/f among the x.
        factor = self.scaling_.factor
        plain = self._plain(self.C_ * factor**2, 1 / factor)
        if self.scaling_.name == "unit-norm":
            return with_normaliser(plain, self.n_features_in_)
        return plain

    def _plain(self, C: float, intercept_scaling: float) -> Any:
        """Make the estimator of scikit-learn, for features as they are."""
        raise NotImplementedError

    def _scores(self, X: Any) -> np.ndarray:
        validation.check_is_fitted(self, "coef_")
        X = _checked(self, X=X)
        if self.scaling_.name == "unit-norm":
            X = self.scaling_.apply(X)
        return linear_scores(X, self.coef_, self.intercept_)

    def _loss(self) -> str:
        """Name the loss, one of `decaf.heads.solver.LOSSES`."""
        raise NotImplementedError

    def _wrong_settings(self) -> list[str]:
        """Say what is wrong with the settings that this head alone has."""
        raise NotImplementedError

    def check_settings(self) -> None:
        """Refuse settings that cannot be used, all of them in one message.

        Raises
        ------
        SettingError
        """
        wrong = self._wrong_settings()
        if not (self.C == "cv" if isinstance(self.C, str) else _positive(self.C)):
            wrong.append(f"C must be a number above 0, or 'cv', got {self.C!r}")
        if not (_real(self.dropout) and 0 <= self.dropout < 1):
            wrong.append(f"dropout must be from 0 to below 1, got {self.dropout!r}")
        if self.solver not in SOLVERS:
            wrong.append(f"solver must be one of {', '.join(SOLVERS)}, got {self.solver!r}")
        elif self.solver == "sklearn" and self.dropout:
            wrong.append(
                "solver='sklearn' cannot train with dropout, for which scikit-learn has no loss; "
                "use solver='batched', or dropout=0"
            )
        if self.scale not in SCALES:
            wrong.append(f"scale must be one of {', '.join(SCALES)}, got {self.scale!r}")
        if self.Cs is not None:
            values = list(self.Cs) if isinstance(self.Cs, Iterable) else []
            if not values or not all(_positive(C) for C in values):
                wrong.append(f"Cs must be numbers above 0, at least one, got {self.Cs!r:.80}")
        if not _positive(self.tol):
            wrong.append(f"tol must be a number above 0, got {self.tol!r}")
        if isinstance(self.max_iter, bool) or not (
            isinstance(self.max_iter, (int, np.integer)) and self.max_iter > 0
        ):
            wrong.append(f"max_iter must be a whole number above 0, got {self.max_iter!r}")
        if wrong:
            raise SettingError("; ".join(wrong))

    def _search(self, data: _Data, groups: list[str] | None) -> float:
        folds = check_folds(self.cv, len(data.codes))
        rows = np.arange(len(data.codes))
        if data.sample_weight is not None:
            rows = np.flatnonzero(data.sample_weight > 0)
        if isinstance(folds, int):
            random = check_random_state(self.random_state)
            own = None if groups is None else [groups[row] for row in rows.tolist()]
            drawn = stratified_folds(data.codes[rows], folds, random, own)
            folds = [(rows[train], rows[held]) for train, held in drawn]
        elif len(rows) < len(data.codes):
            folds = [
                (train[np.isin(train, rows)], held[np.isin(held, rows)]) for train, held in folds
            ]
            if not all(len(held) for _, held in folds):
                raise InputError("sample_weight is zero for all held-out rows of a fold of cv")
        _check_classes(folds, data.codes, self.classes_)
        # The grid is for rows of norm 1; C times the square of the norm is what counts.
        size = 1.0
        if self.scale not in ("mean-norm", "unit-norm"):
            size = mean_square_norm(data.X, data.sample_weight)
        self.search_ = search = search_C(
            lambda Cs, folds: self._cross(data, Cs, folds),
            data.codes,
            folds,
            [C / size for C in self.default_Cs] if self.Cs is None else self.Cs,
            widen=self.Cs is None,
            most=_LARGEST_C / size,
            weight=data.sample_weight,
        )
        if not search.converged.all():
            missed = ", ".join(f"{C:g}" for C in search.Cs[~search.converged])
            warnings.warn(
                f"the search for C: fits at C = {missed} did not converge within max_iter = "
                f"{self.max_iter} iterations in some folds",
                ConvergenceWarning,
                stacklevel=3,
            )
        if search.rising:
            grid = f"{search.Cs[0]:g} to {search.Cs[-1]:g}"
            warnings.warn(
                f"the search for C ended at the border of its grid: C = {search.chosen:g} of {grid}"
                + (f", widened {search.widened} times" if search.widened else "")
                + "; values beyond it might be better, give other Cs",
                CSearchWarning,
                stacklevel=3,
            )
        return search.chosen

    def _cross(
        self, data: _Data, Cs: Sequence[float], folds: Sequence[Fold]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        if self.solver == "batched":
            from decaf.heads.solver import cross_decisions

            scores = cross_decisions(
                data.problem(),
                self._loss(),
                list(Cs),
                folds,
                tol=max(self.tol, _SEARCH_TOL),
                device=self.device,
            )
            return [(each.decisions, np.asarray(each.converged)) for each in scores]
        decisions = []
        for train, held in folds:
            fits = fit_reference(
                data.X[train],
                data.codes[train],
                data.n_classes,
                self._loss(),
                Cs,
                row_weight=None if data.row_weight is None else data.row_weight[train],
                tol=max(self.tol, _SEARCH_TOL),
                max_iter=self.max_iter,
                seed=self._seed(),
            )
            rows = data.X[held]
            decided = [(linear_scores(rows, f.coef, f.intercept), f.converged) for f in fits]
            decisions.append(
                (
                    np.stack([scores for scores, _ in decided]).astype(np.float32),
                    np.array([converged for _, converged in decided]),
                )
            )
        return decisions

    def _fit(self, data: _Data, C: float) -> tuple[np.ndarray, np.ndarray]:
        if self.solver == "batched":
            from decaf.heads.solver import solve

            solution = solve(
                data.problem(),
                self._loss(),
                C,
                tol=self.tol,
                max_iter=self.max_iter,
                device=self.device,
            )
            coef, intercept = solution.coef, solution.intercept
            self.objective_ = float(solution.objective)
            self.converged_, self.n_iter_ = bool(solution.converged), max(1, int(solution.n_iter))
            gap = f" (relative gap {solution.gap:.1e}, asked for {self.tol:.1e})"
        else:
            (fitted,) = fit_reference(
                data.X,
                data.codes,
                data.n_classes,
                self._loss(),
                [C],
                row_weight=data.row_weight,
                tol=self.tol,
                max_iter=self.max_iter,
                seed=self._seed(),
            )
            coef, intercept = fitted.coef, fitted.intercept
            self.objective_ = objective(
                data.X,
                data.codes,
                data.n_classes,
                self._loss(),
                C,
                coef,
                intercept,
                row_weight=data.row_weight,
            )
            self.converged_, self.n_iter_ = fitted.converged, fitted.n_iter
            gap = f" (tol {self.tol:.1e})"
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__} did not converge: solver {self.solver!r} stopped after "
                f"{self.n_iter_} iterations{gap} at C = {C:g}, objective {self.objective_:g}; "
                + _advice(self.n_iter_, self.max_iter, self.scale),
                ConvergenceWarning,
                stacklevel=3,
            )
        return coef, intercept

    def _seed(self) -> int:
        state = check_random_state(self.random_state)
        return int(state.randint(np.iinfo(np.int32).max))


def _advice(n_iter: int, max_iter: int, scale: str) -> str:
    if n_iter >= max_iter:
        return "raise max_iter or tol, or use a smaller C"
    # More iterations would change nothing: rounding ended the fit.
    scaling = ", or scale='mean-norm'" if scale in ("none", "standard") else ""
    return f"rounding ended it: use a smaller C{scaling}, or raise tol"


class _Data:
    """Scaled training rows, with what belongs to them."""

    def __init__(
        self,
        X: np.ndarray,
        codes: np.ndarray,
        n_classes: int,
        row_weight: np.ndarray | None,
        scaling: Scaling,
        dropout: float,
        raw: np.ndarray,
        sample_weight: np.ndarray | None = None,
    ) -> None:
        self.X, self.codes, self.n_classes, self.row_weight = X, codes, n_classes, row_weight
        self.sample_weight = sample_weight
        self.dropout = float(dropout)
        self.activations = scaling.activations(raw, X) if dropout else None

    def problem(self) -> Any:
        """Return the problem as the batched solver takes it."""
        from decaf.heads.solver import Problem

        return Problem(
            # torch takes no arrays that must not be written to, such as a mapped file.
            X=self.X if self.X.flags.writeable else self.X.copy(),
            codes=self.codes,
            n_classes=self.n_classes,
            row_weight=self.row_weight,
            dropout=self.dropout,
            activations=self.activations,
        )


def _group_texts(groups: Sequence[Any] | None, y: np.ndarray) -> list[str] | None:
    if groups is None:
        return None
    if len(groups) != len(y):
        raise InputError(f"{len(groups)} groups for {len(y)} rows")
    return ["" if group is None else str(group) for group in groups]


def _real(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    return _real(value) and math.isfinite(value) and value > 0


def _checked(estimator: Any, **given: Any) -> Any:
    """Check features, and classes in fitting, in scikit-learn's way; NaN in our own words."""
    if getattr(given["X"], "dtype", None) == np.float16:
        given["X"] = given["X"].astype(np.float32)
    rest = {"dtype": [np.float64, np.float32], "reset": "y" in given}
    if hasattr(validation, "validate_data"):
        checked = validation.validate_data(estimator, **given, ensure_all_finite=False, **rest)
    else:  # scikit-learn 1.5
        checked = estimator._validate_data(**given, force_all_finite=False, **rest)
    _check_finite(checked[0] if "y" in given else checked)
    return checked


def _check_finite(X: np.ndarray) -> None:
    bad = []
    for start in range(0, len(X), 1024):
        rows = np.isfinite(X[start : start + 1024]).all(axis=1)
        bad += (start + np.flatnonzero(~rows)).tolist()
    if bad:
        shown = ", ".join(str(row) for row in bad[:5]) + (", …" if len(bad) > 5 else "")
        raise InputError(
            f"X contains NaN or infinity in {len(bad)} of {len(X)} rows ({shown}): images that "
            "could not be read have no features; leave their rows out, as FeatureFile.to_xy does"
        )


def _check_classes(folds: Sequence[Fold], codes: np.ndarray, classes: np.ndarray) -> None:
    for number, (train, _) in enumerate(folds):
        missing = np.setdiff1d(np.arange(len(classes)), codes[train])
        if missing.size:
            raise InputError(
                f"fold {number} of cv has no training row of class "
                f"{classes.tolist()[missing[0]]!r}; every fold needs rows of every class"
            )
