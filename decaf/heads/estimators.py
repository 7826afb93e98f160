"""The linear heads: `LogisticRegression` and `LinearSVM`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sklearn.linear_model
from scipy.special import expit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.svm import LinearSVC

from decaf.heads.c_search import LOGISTIC_CS, LOGISTIC_DROPOUT_CS, SVM_CS, SVM_DROPOUT_CS
from decaf.heads.calibration import softmax
from decaf.heads.input_checks import wrong_choice
from decaf.heads.linear_head import LinearHead

__all__ = ["MULTI_CLASS", "SVM_LOSSES", "LinearSVM", "LogisticRegression"]

MULTI_CLASS = ("multinomial", "ovr")
SVM_LOSSES = ("squared_hinge", "hinge")


@dataclass(eq=False, repr=False, kw_only=True)
class LogisticRegression(LinearHead):
    """Logistic regression with an L2 penalty, for features of a network.

    It minimises 1/2 ||w||² + C Σ loss; the intercept is not penalised. Checked by scikit-learn's
    ``check_estimator``.

    Parameters
    ----------
    C : float or "cv"
        Weight of the losses against the penalty, for features scaled as `scale` says. ``"cv"``
        chooses it by cross-validation among the training rows; `Cs` and `cv` say how.
    multi_class : {"multinomial", "ovr"}
        One softmax over all classes, or each class against the rest, as Donahue et al. (2014) do.
        For two classes they are the same.
    dropout : float
        Probability with which every activation is dropped while the head is trained, the others
        growing by 1 / (1 - dropout), so that nothing changes in prediction. The head is fitted to
        the loss that is expected over all such masks, in closed form: no copies are drawn, and
        nothing depends on a seed (see `decaf.heads.solver`). With ``multi_class="multinomial"``
        and more than two classes it is Jensen's upper bound of that loss. For
        ``solver="batched"`` alone.
    solver : {"batched", "sklearn"}
        ``"batched"`` solves all classes, folds and Cs together, in torch. ``"sklearn"`` is
        scikit-learn's own LogisticRegression, the reference: the same optimum, many times slower,
        and without dropout.
    scale : {"none", "mean-norm", "unit-norm", "standard"}
        ``"mean-norm"`` multiplies all features by one number, so that the root mean square of the
        training rows' norms is 1: one grid of C serves all layers, and nothing else changes.
        ``"unit-norm"`` brings each row to norm 1, ``"standard"`` each feature to mean 0 and
        variance 1. Learned from all rows given to `fit`, and used for all folds of the search
        alike: a scaling does not see classes.
    class_weight : dict, "balanced" or None
        Multiplies C for the rows of a class: by the number that the dict has for it, or by
        n / (n_classes · rows of the class).
    Cs : sequence of float, optional
        The values to choose from, taken as they are. By default eight values from 1 to 16384 (with
        dropout 4, 32 and 256), divided by the mean square norm of the scaled rows (1 for
        ``"mean-norm"`` and ``"unit-norm"``), and further in the same ratio where the best value
        lies at the border: by three values (with dropout by one), three times at most.
    cv : int, or sequence of (training rows, held-out rows)
        Folds of the search, stratified. Fewer are made where no class has as many rows. The only
        row of a class is never held out.
    tol : float
        How much above its least value the objective may stay, relative to it; for
        scikit-learn's solver how small the gradient must be, relative to that at zero.
    max_iter : int
        Iterations after which a solver gives up, with a warning.
    random_state : int, RandomState or None
        Seed of the folds.
    device : str
        Where the batched solver works: ``"auto"``, ``"cpu"``, ``"cuda"``, ….

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        In ascending order.
    coef_ : ndarray of float64, shape (K, n_features)
        One row a class, one alone for two classes; for features as they are, but for
        ``scale="unit-norm"``, where they are for rows of norm 1.
    intercept_ : ndarray of float64, shape (K,)
    C_ : float
        The C used.
    scaling_ : Scaling
    converged_ : bool
        Whether the solver reached `tol`.
    n_iter_ : int
    objective_ : float
        Value that is minimised, at `coef_`: 1/2 ||w||² + C Σ loss, summed over the classes, for the
        scaled features.
    search_ : CSearch or None
        Results of the search for C.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).exponential(size=(60, 100)).astype(np.float32)
    >>> y = np.repeat(["cat", "dog", "newt"], 20)
    >>> X[20:40, :10] += 1
    >>> X[40:, 10:20] += 1
    >>> head = LogisticRegression("cv").fit(X, y)
    >>> head.predict(X[::20]).tolist()
    ['cat', 'dog', 'newt']
    """

    default_Cs: ClassVar[tuple[float, ...]] = LOGISTIC_CS
    dropout_Cs: ClassVar[tuple[float, ...]] = LOGISTIC_DROPOUT_CS

    multi_class: str = "multinomial"

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like, shape (n, n_features)

        Returns
        -------
        ndarray of float64, shape (n, n_classes)
            The softmax of the decision values; with ``multi_class="ovr"`` each class's own
            probability, divided by their sum.
        """
        scores = self._scores(X)
        if scores.shape[1] == 1:
            positive: np.ndarray = expit(scores[:, 0])
            return np.stack([1 - positive, positive], axis=1)
        if self.multi_class == "ovr":
            each: np.ndarray = expit(scores)
            total = each.sum(axis=1, keepdims=True)
            return np.where(total > 0, each / np.where(total > 0, total, 1), 1 / each.shape[1])
        return softmax(scores)

    def _loss(self) -> str:
        return "multinomial" if self.multi_class == "multinomial" else "logistic"

    def _plain(self, C: float, intercept_scaling: float) -> Any:
        settings = {"C": C, "tol": self.tol, "max_iter": self.max_iter}
        n_iter = np.array([self.n_iter_], np.int32)
        if self.multi_class == "multinomial" or len(self.classes_) == 2:
            plain = sklearn.linear_model.LogisticRegression(
                class_weight=self.class_weight, **settings
            )
            return _fitted_as(self, plain, self.classes_, self.coef_, self.intercept_, n_iter)
        plain = OneVsRestClassifier(sklearn.linear_model.LogisticRegression(**settings))
        plain.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(self.classes_)
        with suppress(AttributeError):  # in earlier versions a property, of the binarizer's
            plain.classes_ = plain.label_binarizer_.classes_
        plain.estimators_ = [
            _fitted_as(
                self,
                sklearn.linear_model.LogisticRegression(**settings),
                np.array([0, 1]),
                self.coef_[code : code + 1],
                self.intercept_[code : code + 1],
                n_iter,
            )
            for code in range(len(self.classes_))
        ]
        plain.n_features_in_ = self.n_features_in_
        return plain

    def _wrong_settings(self) -> list[str]:
        return wrong_choice("multi_class", self.multi_class, MULTI_CLASS)


@dataclass(eq=False, repr=False, kw_only=True)
class LinearSVM(LinearHead):
    """Linear support vector machine with an L2 penalty, each class against the rest.

    It minimises 1/2 ||w||² + 1/2 b² + C Σ loss; the intercept b is penalised as in scikit-learn's
    LinearSVC. Checked by scikit-learn's ``check_estimator``.

    Parameters
    ----------
    C : float or "cv"
        Weight of the losses against the penalty, for features scaled as `scale` says. ``"cv"``
        chooses it by cross-validation among the training rows; `Cs` and `cv` say how.
    loss : {"squared_hinge", "hinge"}
    Cs : sequence of float, optional
        As for `LogisticRegression`, by default eight values from 1/64 to 256 (with dropout 1/4, 2
        and 16).
    tol : float
        How much above its least value the objective may stay, relative to it; for
        scikit-learn's solver the tolerance is LinearSVC's.
    random_state : int, RandomState or None
        Seed of the folds, and of the order in which LinearSVC visits rows.
    dropout, solver, scale, class_weight, cv, max_iter, device
        As for `LogisticRegression`; ``solver="sklearn"`` is scikit-learn's LinearSVC.

    Attributes
    ----------
    objective_ : float
        Value that is minimised, at `coef_`: 1/2 ||w||² + 1/2 b² + C Σ loss, summed over
        the classes, for the scaled features.
    classes_, coef_, intercept_, C_, scaling_, converged_, n_iter_, search_, n_features_in_
        As of `LogisticRegression`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).exponential(size=(60, 100)).astype(np.float32)
    >>> y = np.repeat(["cat", "dog", "newt"], 20)
    >>> X[20:40, :10] += 1
    >>> X[40:, 10:20] += 1
    >>> head = LinearSVM("cv").fit(X, y)
    >>> head.predict(X[::20]).tolist()
    ['cat', 'dog', 'newt']
    """

    default_Cs: ClassVar[tuple[float, ...]] = SVM_CS
    dropout_Cs: ClassVar[tuple[float, ...]] = SVM_DROPOUT_CS

    loss: str = "squared_hinge"

    def _loss(self) -> str:
        return self.loss

    def _plain(self, C: float, intercept_scaling: float) -> Any:
        plain = LinearSVC(
            loss=self.loss,
            C=C,
            intercept_scaling=intercept_scaling,
            tol=self.tol,
            max_iter=self.max_iter,
            random_state=self.random_state,
        )
        coef, intercept = self.coef_, self.intercept_
        return _fitted_as(self, plain, self.classes_, coef, intercept, self.n_iter_)

    def _wrong_settings(self) -> list[str]:
        return wrong_choice("loss", self.loss, SVM_LOSSES)


def _fitted_as(
    head: LinearHead,
    plain: Any,
    classes: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    n_iter: Any,
) -> Any:
    """Set the coefficients of an estimator of scikit-learn to those of a head."""
    plain.classes_, plain.n_iter_ = classes, n_iter
    plain.coef_, plain.intercept_ = coef.copy(), intercept.copy()
    plain.n_features_in_ = head.n_features_in_
    if hasattr(head, "feature_names_in_"):
        plain.feature_names_in_ = head.feature_names_in_
    return plain
