"""The common part of the linear heads: checking, scaling, the choice of C, fitting."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import check_random_state, validation
from sklearn.utils.multiclass import check_classification_targets

from decaf.errors import InputError, SettingError
from decaf.heads import scikit_learn
from decaf.heads.c_search import CSearch, Fold, make_folds, search_C
from decaf.heads.input_checks import (
    check_finite,
    check_labels,
    check_sample_weight,
    is_number,
    row_weights,
    wrong_choice,
    wrong_number,
)
from decaf.heads.problem import FoldScores, LinearDecision, Problem, linear_scores
from decaf.heads.scaling import SCALES, Scaling, fit_scaling, mean_square_norm
from decaf.runtime.wording import counted

__all__ = ["SOLVERS", "CSearchWarning", "LinearHead"]

SOLVERS = ("batched", "sklearn")

# The search compares accuracies, for which less exact fits do.
_SEARCH_TOL = 1e-3
# The search goes no further, for rows of norm 1: what a C beyond changes lies below rounding.
_LARGEST_C = 2.0**20


class CSearchWarning(UserWarning):
    """The search for C ended at the border of its grid: other values might be better."""


# A dataclass, whose `__init__` stores its arguments and does nothing else, as scikit-learn asks.
@dataclass(eq=False, repr=False)
class LinearHead(LinearDecision, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base of `LogisticRegression`, which describes parameters and attributes, and `LinearSVM`."""

    default_Cs: ClassVar[tuple[float, ...]]
    dropout_Cs: ClassVar[tuple[float, ...]]

    C: float | str = 1.0
    _: KW_ONLY
    dropout: float = 0.0
    solver: str = "batched"
    scale: str = "mean-norm"
    class_weight: Any = None
    Cs: Sequence[float] | None = None
    cv: Any = 5
    tol: float = 1e-5
    max_iter: int = 1000
    random_state: Any = 0
    device: str = "auto"

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Sequence[Any] | None = None
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
            row, for rows without a label, and for fewer than two classes. The head counts as not
            fitted then, whatever it was before.

        Warns
        -----
        ConvergenceWarning
            If the solver stopped before it reached `tol`; `converged_` is False then.
        CSearchWarning
            If the search for C ended at the border of its grid.
        """
        self.check_settings()
        # Where this fails the head counts as not fitted, rather than as half of an earlier fit.
        self.__dict__.pop("coef_", None)
        check_labels(y)
        X, y = self._checked(X=X, y=y)
        check_classification_targets(y)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, len(y))
        weighed = y if weight is None else y[weight > 0]
        self.classes_ = np.unique(weighed)
        # A row that does not count may be of a class that is not there; its code is not looked at.
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if len(self.classes_) < 2:
            raise InputError(
                f"all {counted(len(weighed), 'row', 'are')} of one class, "
                f"{self.classes_.tolist()[0]!r}; a "
                "classifier needs two"
            )
        self.scaling_: Scaling = fit_scaling(self.scale, X, weight)
        # One factor is left to the solver where it can be: a scaled copy is a second matrix. The
        # hinge, whose corners show the rounding of the scaled rows, copies rows anyway.
        factor = self.scaling_.factor
        left = self.solver == "batched" and not self.dropout and self._loss() != "hinge"
        if not (left and 1e-6 < factor < 1e6):
            factor = 1.0
        scaled = X if factor != 1 else self.scaling_.apply(X)
        problem = Problem(
            # torch takes no arrays that must not be written to, such as a mapped file.
            X=scaled if scaled.flags.writeable else scaled.copy(),
            codes=codes,
            n_classes=len(self.classes_),
            row_weight=row_weights(self.class_weight, self.classes_, codes, y, weight),
            dropout=float(self.dropout),
            activations=self.scaling_.activations(X, scaled) if self.dropout else None,
            factor=factor,
        )
        self.search_: CSearch | None = None
        if self.C == "cv":
            self.search_ = self._search(problem, weight, groups)
        self.C_ = float(self.C) if self.search_ is None else self.search_.chosen
        coef, intercept = self._fit(problem, self.C_)
        self.coef_, self.intercept_ = self.scaling_.fold(coef, intercept)
        return self

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
            return make_pipeline(Normalizer().fit(np.zeros((1, self.n_features_in_))), plain)
        return plain

    @abstractmethod
    def _plain(self, C: float, intercept_scaling: float) -> Any:
        """Make the estimator of scikit-learn, for features as they are."""

    def check_settings(self) -> None:
        """Refuse settings that cannot be used, all of them in one message.

        Raises
        ------
        SettingError
        """
        wrong = [*self._wrong_settings(), *wrong_number("C", self.C, other="cv")]
        if not (is_number(self.dropout) and 0 <= self.dropout < 1):
            wrong.append(f"`dropout` must be from 0 to below 1, got {self.dropout!r}")
        wrong += wrong_choice("solver", self.solver, SOLVERS)
        if self.solver == "sklearn" and self.dropout:
            wrong.append(
                "`solver='sklearn'` cannot train with `dropout`, for which scikit-learn has no "
                "loss; use `solver='batched'`, or `dropout=0`"
            )
        wrong += wrong_choice("scale", self.scale, SCALES)
        if self.Cs is not None:
            values = list(self.Cs) if isinstance(self.Cs, Iterable) else []
            if not values or any(wrong_number("C", C) for C in values):
                wrong.append(f"`Cs` must be numbers above 0, at least one, got {self.Cs!r:.80}")
        wrong += [
            *wrong_number("tol", self.tol),
            *wrong_number("max_iter", self.max_iter, whole=True),
        ]
        if wrong:
            raise SettingError("; ".join(wrong))

    @abstractmethod
    def _loss(self) -> str:
        """Name the loss, one of `decaf.heads.solver.LOSSES`."""

    @abstractmethod
    def _wrong_settings(self) -> list[str]:
        """Say what is wrong with the settings that this head alone has."""

    def _scores(self, X: Any) -> np.ndarray:
        validation.check_is_fitted(self, "coef_")
        X = self._checked(X=X)
        if self.scaling_.name == "unit-norm":
            X = self.scaling_.apply(X)
        return linear_scores(X, self.coef_, self.intercept_)

    def _checked(self, **given: Any) -> Any:
        """Check features, and classes in fitting, in scikit-learn's way; NaN in our own words."""
        if getattr(given["X"], "dtype", None) == np.float16:
            given["X"] = given["X"].astype(np.float32)
        rest = {"dtype": [np.float64, np.float32], "reset": "y" in given}
        if hasattr(validation, "validate_data"):
            checked = validation.validate_data(self, **given, ensure_all_finite=False, **rest)
        else:  # scikit-learn 1.5
            checked = self._validate_data(**given, force_all_finite=False, **rest)
        check_finite(checked[0] if "y" in given else checked)
        return checked

    @property
    def grid(self) -> tuple[float, ...]:
        """The values of C that a search begins with, for rows of norm 1, where `Cs` has none."""
        return self.dropout_Cs if self.dropout else self.default_Cs

    def _search(
        self, problem: Problem, weight: np.ndarray | None, groups: Sequence[Any] | None
    ) -> CSearch:
        random = check_random_state(self.random_state)
        folds = make_folds(self.cv, problem.codes, self.classes_, random, weight, groups)
        # The grid is for rows of norm 1; C times the square of the norm is what counts.
        size = 1.0
        if self.scale not in ("mean-norm", "unit-norm"):
            size = mean_square_norm(problem.X, weight)
        search = search_C(
            lambda Cs, folds: self._cross_decisions(problem, Cs, folds),
            problem.codes,
            folds,
            [C / size for C in self.grid] if self.Cs is None else self.Cs,
            widen=self.Cs is None,
            most=_LARGEST_C / size,
            weight=weight,
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
            widened = f", widened {search.widened} times" if search.widened else ""
            warnings.warn(
                f"the search for C ended at the border of its grid: C = {search.chosen:g} of "
                f"{grid}{widened}; values beyond it might be better, give other `Cs`",
                CSearchWarning,
                stacklevel=3,
            )
        return search

    def _cross_decisions(
        self, problem: Problem, Cs: Sequence[float], folds: Sequence[Fold]
    ) -> list[FoldScores]:
        loss, tol = self._loss(), max(self.tol, _SEARCH_TOL)
        if self.solver == "batched":
            from decaf.heads.solver import cross_decisions

            return cross_decisions(problem, loss, Cs, folds, tol=tol, device=self.device)
        return scikit_learn.cross_decisions(
            problem, loss, Cs, folds, tol=tol, max_iter=self.max_iter, seed=self._seed()
        )

    def _fit(self, problem: Problem, C: float) -> tuple[np.ndarray, np.ndarray]:
        loss, tol, most = self._loss(), self.tol, self.max_iter
        if self.solver == "batched":
            from decaf.heads.solver import solve

            solution = solve(problem, loss, C, tol=tol, max_iter=most, device=self.device)
            gap = f"relative gap {solution.gap:.1e}, asked for {tol:.1e}"
        else:
            solution = scikit_learn.solve(
                problem, loss, C, tol=tol, max_iter=most, seed=self._seed()
            )
            gap = f"tol {tol:.1e}"
        self.objective_, self.converged_ = solution.objective, bool(solution.converged)
        self.n_iter_ = max(1, solution.n_iter)
        if not self.converged_:
            advice = "raise `max_iter` or `tol`, or use a smaller `C`"
            if self.n_iter_ < most:
                # More iterations would change nothing: rounding ended the fit.
                scaling = ", or `scale='mean-norm'`" if self.scale in ("none", "standard") else ""
                advice = f"rounding ended it: use a smaller `C`{scaling}, or raise `tol`"
            warnings.warn(
                f"{type(self).__name__} did not converge: solver {self.solver!r} stopped after "
                f"{self.n_iter_} iterations ({gap}) at C = {C:g}, objective "
                f"{self.objective_:g}; {advice}",
                ConvergenceWarning,
                stacklevel=3,
            )
        return solution.coef, solution.intercept

    def _seed(self) -> int:
        state = check_random_state(self.random_state)
        return int(state.randint(np.iinfo(np.int32).max))
