"""`LinearSVM`: linear support vector machines on features, one class against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from decaf.heads.linear import LinearHead

__all__ = ["SVM_LOSSES", "LinearSVM"]

SVM_LOSSES = ("squared_hinge", "hinge")


class LinearSVM(LinearHead):
    """Linear support vector machine with an L2 penalty, for features of a network.

    Parameters
    ----------
    C : float or "cv"
    loss : {"squared_hinge", "hinge"}
    dropout : float
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

    default_Cs: ClassVar[tuple[float, ...]] = tuple(4.0**power for power in range(-3, 5))

    def __init__(
        self,
        C: float | str = 1.0,
        *,
        loss: str = "squared_hinge",
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
        self.loss = loss
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

    def _loss(self) -> str:
        return self.loss

    def _wrong_settings(self) -> list[str]:
        if self.loss in SVM_LOSSES:
            return []
        return [f"loss must be one of {', '.join(SVM_LOSSES)}, got {self.loss!r}"]
