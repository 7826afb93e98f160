"""`LogisticRegression`: multinomial or one-vs-rest logistic regression on features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from decaf.heads.linear import LinearHead

__all__ = ["MULTI_CLASS", "LogisticRegression"]

MULTI_CLASS = ("multinomial", "ovr")


class LogisticRegression(LinearHead):
    """Logistic regression with an L2 penalty, for features of a network.

    Parameters
    ----------
    C : float or "cv"
        Weight of the losses against the penalty, for features scaled as `scale` says. ``"cv"``
        chooses it by cross-validation among the training rows.
    multi_class : {"multinomial", "ovr"}
        One softmax over all classes, or each class against the rest (Donahue et al. 2014).
    dropout : float
        Share of the activations that are dropped while the head is trained.
    solver : {"batched", "sklearn"}
    scale : {"none", "mean-norm", "unit-norm", "standard"}
    class_weight : dict, "balanced" or None
    Cs : sequence of float, optional
    cv : int, or sequence of (training rows, held-out rows)
    tol : float
    max_iter : int
    random_state : int, RandomState or None
    device : str
    """

    default_Cs: ClassVar[tuple[float, ...]] = tuple(4.0**power for power in range(-2, 6))

    def __init__(
        self,
        C: float | str = 1.0,
        *,
        multi_class: str = "multinomial",
        dropout: float = 0.0,
        solver: str = "batched",
        scale: str = "mean-norm",
        class_weight: Any = None,
        Cs: Sequence[float] | None = None,
        cv: Any = 5,
        tol: float = 1e-5,
        max_iter: int = 1000,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.C = C
        self.multi_class = multi_class
        self.dropout = dropout
        self.solver = solver
        self.scale = scale
        self.class_weight = class_weight
        self.Cs = Cs
        self.cv = cv
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.device = device

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give the probability of each class.

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
            positive = _logistic(scores[:, 0])
            return np.stack([1 - positive, positive], axis=1)
        if self.multi_class == "ovr":
            each = _logistic(scores)
            total = each.sum(axis=1, keepdims=True)
            return np.where(total > 0, each / np.where(total > 0, total, 1), 1 / each.shape[1])
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

    def _loss(self) -> str:
        return "multinomial" if self.multi_class == "multinomial" else "logistic"

    def _wrong_settings(self) -> list[str]:
        if self.multi_class in MULTI_CLASS:
            return []
        return [f"multi_class must be one of {', '.join(MULTI_CLASS)}, got {self.multi_class!r}"]


def _logistic(values: np.ndarray) -> np.ndarray:
    # 1 / (1 + exp(-v)) = exp(-log(1 + exp(-v))), which overflows nowhere.
    found: np.ndarray = np.exp(-np.logaddexp(0, -values))
    return found
