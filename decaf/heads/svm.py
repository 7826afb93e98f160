"""`LinearSVM`: linear support vector machines on features, one class against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from decaf.heads.conversion import plain_svm
from decaf.heads.linear import LinearHead

__all__ = ["SVM_LOSSES", "LinearSVM"]

SVM_LOSSES = ("squared_hinge", "hinge")


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
    dropout : float
        Probability with which every activation is dropped while the head is trained, the others
        growing by 1 / (1 - dropout), so that nothing changes in prediction. The head is fitted to
        the loss that is expected over all such masks, in closed form: no copies are drawn, and
        nothing depends on a seed (see `decaf.heads.solver`). For ``solver="batched"`` alone.
    solver : {"batched", "sklearn"}
        ``"batched"`` solves all classes, folds and Cs together, in torch. ``"sklearn"`` is
        scikit-learn's own LinearSVC, the reference: the same optimum, many times slower, and
        without dropout.
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
        The values to choose from, taken as they are. By default eight values from 1/64 to 256,
        divided by the mean square norm of the scaled rows (1 for ``"mean-norm"`` and
        ``"unit-norm"``), and further by factors of 4 where the best value lies at the border: by
        three values, three times at most.
    cv : int, or sequence of (training rows, held-out rows)
        Folds of the search, stratified. Fewer are made where no class has as many rows. The only
        row of a class is never held out.
    tol : float
        How much above its least value the objective may stay, relative to it; for
        scikit-learn's solver the tolerance is LinearSVC's.
    max_iter : int
        Iterations after which a solver gives up, with a warning.
    random_state : int, RandomState or None
        Seed of the folds, and of the order in which LinearSVC visits rows.
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
        Value that is minimised, at `coef_`: 1/2 ||w||² + 1/2 b² + C Σ loss, summed over
        the classes, for the scaled features.
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
    >>> head = LinearSVM("cv").fit(X, y)
    >>> head.predict(X[::20]).tolist()
    ['cat', 'dog', 'newt']
    """

    # On rows of norm 1 of pool5, fc6 and fc7 (Caltech-101 with 30 rows a class, 15-Scene with 100)
    # the accuracy of held-out rows is best at C = 1 … 16.
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

    def _plain(self, C: float, intercept_scaling: float) -> Any:
        return plain_svm(self, C, intercept_scaling)

    def _wrong_settings(self) -> list[str]:
        if self.loss in SVM_LOSSES:
            return []
        return [f"loss must be one of {', '.join(SVM_LOSSES)}, got {self.loss!r}"]
