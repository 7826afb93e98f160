"""The common part of the methods: checking, scaling, the head on top, predicting target rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from decaf.adapt.algebra.fit_cache import Memory, recalled
from decaf.adapt.domains import Domains, check_domains, check_rows
from decaf.adapt.head import HEADS, TrainedLinear, fit_head
from decaf.errors import InputError, SettingError
from decaf.heads.input_checks import wrong_choice, wrong_number
from decaf.heads.scaling import Scaling, fit_scaling

__all__ = ["DOMAINS", "SCALES", "AdaptationEstimator"]

DOMAINS = ("source", "target")

SCALES = ("none", "unit-norm", "standard")


def _decides(estimator: Any) -> bool:
    if estimator.head == "1nn":
        raise AttributeError("head='1nn' has no decision values, only predict")
    return True


# A dataclass, whose `__init__` stores its arguments and does nothing else, as scikit-learn asks.
@dataclass(eq=False, repr=False, kw_only=True)
class AdaptationEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base of all methods of domain adaptation.

    A method learns from source rows with classes and from target rows of which none, some or all
    have classes, and predicts the classes of target rows. It is a representation of both domains'
    rows with a head on top: `fit` scales the rows, learns the representation (`_adapt`), and fits
    the head to the represented source rows and labelled target rows.

    A subclass says in `_needs` what it needs of the target domain, and has `_adapt` and
    `_represent` where it represents rows otherwise than they are, and `_wrong_settings` where it
    has settings of its own.

    Parameters
    ----------
    head : {"svm", "logreg", "1nn"}
        `decaf.heads.LinearSVM`, `decaf.heads.LogisticRegression`, or the nearest neighbour.
    C : float or "cv"
        C of the first two, for rows of a root mean square norm of 1. ``"cv"`` chooses it by
        stratified cross-validation among the rows that the head learns from: the source's and the
        labelled ones of the target.
    scale : {"none", "unit-norm", "standard"}
        Before anything else: ``"unit-norm"`` brings each row to Euclidean norm 1; ``"standard"``
        each feature to mean 0 and variance 1 in its own domain.
    random_state : int, RandomState or None
        Seed of the folds.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        In ascending order.
    head_ : LinearSVM, LogisticRegression or NearestNeighbour
        The fitted head, for rows that `transform` returns.
    C_ : float
        The C used; not there for ``head="1nn"``.
    scalings_ : dict of str to Scaling
        Scaling of the ``"source"`` rows and of the ``"target"`` rows.
    n_features_in_ : int
    """

    # One of `decaf.adapt.domains.NEEDS`.
    _needs: ClassVar[str] = "rows"

    head: str = "svm"
    C: float | str = 1.0
    scale: str = "none"
    random_state: Any = 0

    def fit(
        self,
        Xs: Any,
        ys: Any = None,
        Xt: Any = None,
        yt: Any = None,
        *,
        memory: Memory | None = None,
    ) -> Any:
        """Learn from two domains.

        Parameters
        ----------
        Xs : array-like of float32 or float64, shape (n_s, d)
            Source rows.
        ys : array-like, shape (n_s,)
            Their classes: numbers or texts.
        Xt : array-like, shape (n_t, d)
            Target rows, with or without labels.
        yt : array-like, shape (n_t,), optional
            Classes of the target rows; -1, None or NaN for a row without a label.
        memory : Memory, optional
            Where several methods are fitted to the same rows: what they share is computed once.

        Returns
        -------
        self

        Raises
        ------
        SettingError
            For settings that cannot be used.
        InputError
            For domains that do not fit each other or the method.
        """
        self.check_settings()
        domains = replace(
            check_domains(Xs, ys, Xt, yt, method=type(self).__name__, needs=self._needs),
            memory=memory,
        )
        self._memory = memory
        self.classes_ = domains.classes
        self.n_features_in_ = domains.n_features
        source, target = self._fit_scalings(domains)
        self.scalings_: dict[str, Scaling] = {"source": source, "target": target}
        self._fit_scaled(
            domains.with_rows(
                _scaled(source, domains.Xs, memory), _scaled(target, domains.Xt, memory)
            )
        )
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each target row.

        Parameters
        ----------
        X : array-like, shape (n, d)

        Returns
        -------
        ndarray, shape (n,)
            Classes, of the type of `classes_`.
        """
        head, rows = self._deciding(X)
        return np.asarray(head.predict(rows))

    # scikit-learn has no types in some versions, and the decorator has in others.
    @available_if(_decides)  # type: ignore[untyped-decorator, unused-ignore]
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the decision values of target rows; not there for ``head="1nn"``.

        Parameters
        ----------
        X : array-like, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n, n_classes), or (n,) for two classes
            The class of the largest value is predicted; of two classes the second where the value
            is above 0.
        """
        head, rows = self._deciding(X)
        return np.asarray(head.decision_function(rows))

    def transform(self, X: Any, domain: str = "target") -> np.ndarray:
        """Return rows as the method represents them, where the head works.

        Parameters
        ----------
        X : array-like, shape (n, d)
        domain : {"target", "source"}
            Which domain they are of.

        Returns
        -------
        ndarray, shape (n, k)
        """
        return self._represent(self._scaled_rows(X, domain), domain)

    def check_settings(self) -> None:
        """Refuse settings that cannot be used, all of them in one message.

        Raises
        ------
        SettingError
        """
        wrong = [
            *wrong_choice("head", self.head, HEADS),
            *wrong_number("C", self.C, other="cv"),
            *wrong_choice("scale", self.scale, SCALES),
            *self._wrong_settings(),
        ]
        if wrong:
            raise SettingError("; ".join(wrong))

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_memory"}

    def _wrong_settings(self) -> list[str]:
        """Say what is wrong with the settings that this method alone has."""
        return []

    def _adapt(self, domains: Domains) -> None:
        """Learn the representation from scaled rows and keep it in attributes; here none."""

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        """Represent scaled rows (n, d) of a domain: (n, k); here as they are."""
        return X

    def _fit_scalings(self, domains: Domains) -> tuple[Scaling, Scaling]:
        """Learn how source rows and target rows are scaled: each from its own domain's rows."""

        def fitted(X: np.ndarray) -> Scaling:
            return recalled(
                domains.memory, "scaling", lambda: fit_scaling(self.scale, X), X, self.scale
            )

        return fitted(domains.Xs), fitted(domains.Xt)

    def _fit_scaled(self, domains: Domains) -> None:
        """Learn the representation and the head from scaled rows."""
        self._adapt(domains)
        self._fit_head(*self._training_rows(domains))

    def _training_rows(self, domains: Domains) -> tuple[np.ndarray, np.ndarray]:
        """Return what the head learns from: rows as represented (n, k), and their codes (n,).

        The source rows and the labelled target rows; a method may give others.
        """
        known = domains.labelled
        rows = [self._represent(domains.Xs, "source")]
        if known.any():
            rows.append(self._represent(domains.Xt[known], "target"))
        return np.concatenate(rows), np.concatenate([domains.ys, domains.yt[known]])

    def _fit_head(self, rows: np.ndarray, codes: np.ndarray) -> None:
        self.head_ = fit_head(
            self.head, rows, self.classes_[codes], C=self.C, random_state=self.random_state
        )
        if self.head != "1nn":
            self.C_: float = self.head_.C_

    def _deciding(self, X: Any) -> tuple[Any, np.ndarray]:
        """Return the head that decides about target rows, and these as it takes them.

        A method may fold representation and linear head into `coef_` and `intercept_`, one linear
        function of scaled rows: predicting costs no more than it does without adaptation.
        """
        rows = self._scaled_rows(X, "target")
        if self.head != "1nn" and hasattr(self, "coef_"):
            return TrainedLinear(self.classes_, self.coef_, self.intercept_, self.C_), rows
        return self.head_, self._represent(rows, "target")

    def _scaled_rows(self, X: Any, domain: str) -> np.ndarray:
        check_is_fitted(self, "head_")
        if wrong := wrong_choice("domain", domain, DOMAINS):
            raise SettingError(wrong[0])
        rows = check_rows(X, domain)
        if rows.shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return _scaled(self.scalings_[domain], rows, getattr(self, "_memory", None))

    def _projected(self, X: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return rows (n, d) times columns (d, k), or recall them: (n, k) float64."""
        memory = getattr(self, "_memory", None)
        return recalled(memory, "projected", lambda: X @ columns, X, columns)


def _scaled(scaling: Scaling, X: np.ndarray, memory: Memory | None) -> np.ndarray:
    if scaling.name == "none":
        return scaling.apply(X)
    what = scaling.name, scaling.factor, scaling.mean, scaling.std
    return recalled(memory, "scaled rows", lambda: scaling.apply(X), X, *what)
