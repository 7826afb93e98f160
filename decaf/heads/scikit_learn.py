"""scikit-learn's own solvers behind decaf's heads: the reference for the batched one.

Both minimise, over the rows x_i with weights r_i,

    1/2 ||w||² + C Σ_i r_i loss(w · x_i + b)

for each class against the rest, or for all classes together where the loss is multinomial. The
intercept b of the hinge losses is penalised like w, as scikit-learn's LinearSVC does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from decaf.heads.problem import FoldScores, Problem, Solution, linear_scores

__all__ = ["cross_decisions", "objective", "solve"]


def solve(
    problem: Problem, loss: str, C: float, *, tol: float, max_iter: int, seed: int
) -> Solution:
    """Solve for one C, as `decaf.heads.solver.solve`, without a bound on the gap.

    Parameters
    ----------
    problem : Problem
        Without dropout, all classes there. LinearSVC makes copies of the rows in float64.
    loss : {"multinomial", "logistic", "hinge", "squared_hinge"}
    C : float
    tol : float
        For the hinge losses scikit-learn's. For the logistic ones relative to the largest component
        of the gradient at zero, which makes it independent of the features' scale.
    max_iter : int
    seed : int
        Seed of the order in which LinearSVC visits rows.

    Returns
    -------
    Solution
    """
    (solution,) = _path(problem, loss, [C], tol=tol, max_iter=max_iter, seed=seed)
    return solution


def cross_decisions(
    problem: Problem,
    loss: str,
    Cs: Sequence[float],
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    tol: float,
    max_iter: int,
    seed: int,
) -> list[FoldScores]:
    """Return the decision values of held-out rows, as `decaf.heads.solver.cross_decisions`.

    Parameters
    ----------
    problem, loss, tol, max_iter, seed
        As in `solve`.
    Cs : sequence of float
        Each is solved from the solution of the one before.
    folds : sequence of (train_rows, held_rows)
        Row numbers.

    Returns
    -------
    list of FoldScores
        One for each fold.
    """
    scores = []
    for train, held in folds:
        part, rows = problem.take(train), problem.X[held]
        path = list(_path(part, loss, Cs, tol=tol, max_iter=max_iter, seed=seed))
        decisions = [linear_scores(rows, each.coef, each.intercept) for each in path]
        converged = np.array([each.converged for each in path])
        scores.append(FoldScores(np.stack(decisions).astype(np.float32), converged))
    return scores


def _path(
    problem: Problem, loss: str, Cs: Sequence[float], *, tol: float, max_iter: int, seed: int
) -> Iterator[Solution]:
    codes = problem.codes
    targets = [codes]
    if loss in ("hinge", "squared_hinge"):
        models: list[Any] = [LinearSVC(loss=loss, tol=tol, max_iter=max_iter, random_state=seed)]
    else:
        if loss == "logistic" and problem.n_classes > 2:
            targets = [(codes == code).astype(np.int64) for code in range(problem.n_classes)]
        tol = tol * _largest_gradient(problem)
        models = [LogisticRegression(tol=tol, max_iter=max_iter, warm_start=True) for _ in targets]
    for C in Cs:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for model, target in zip(models, targets, strict=True):
                model.set_params(C=C).fit(problem.X, target, sample_weight=problem.row_weight)
        for entry in caught:
            if not issubclass(entry.category, ConvergenceWarning):
                warnings.warn(entry.message, stacklevel=3)
        coef = np.vstack([model.coef_ for model in models]).astype(np.float64)
        intercept = np.concatenate([np.atleast_1d(model.intercept_) for model in models])
        intercept = intercept.astype(np.float64)
        yield Solution(
            coef,
            intercept,
            objective(problem, loss, C, coef, intercept),
            gap=float("nan"),
            converged=not any(issubclass(entry.category, ConvergenceWarning) for entry in caught),
            n_iter=max(int(np.max(model.n_iter_)) for model in models),
        )


def _largest_gradient(problem: Problem) -> float:
    """Return the largest component of the gradient of the mean loss at w = 0, b at its best."""
    X, codes = problem.X, problem.codes
    weight = np.ones(len(X)) if problem.row_weight is None else problem.row_weight
    weight = weight / weight.sum()
    one_hot = codes[:, None] == np.arange(problem.n_classes)
    shares = weight @ one_hot
    residual = (weight[:, None] * (shares - one_hot)).T.astype(X.dtype)
    largest = float(np.abs(residual @ X).max(initial=0))
    return largest if largest > 0 else 1.0


def objective(
    problem: Problem, loss: str, C: float, coef: np.ndarray, intercept: np.ndarray
) -> float:
    """Compute what is minimised, in float64, summed over the classes.

    Parameters
    ----------
    problem, loss, C
        As in `solve`.
    coef : ndarray of float64, shape (K, n_features)
    intercept : ndarray of float64, shape (K,)

    Returns
    -------
    float
    """
    scores = linear_scores(problem.X, coef, intercept)
    codes, n_classes = problem.codes, problem.n_classes
    penalty = 0.5 * float(np.square(coef).sum())
    if loss == "multinomial" and n_classes > 2:
        losses = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(scores)), codes]
    else:
        positive = codes[:, None] == (np.arange(n_classes) if n_classes > 2 else [1])
        margins = np.where(positive, scores, -scores)
        if loss in ("hinge", "squared_hinge"):
            penalty += 0.5 * float(np.square(intercept).sum())
            short = np.maximum(0, 1 - margins)
            losses = (short if loss == "hinge" else np.square(short)).sum(axis=1)
        else:
            losses = np.logaddexp(0, -margins).sum(axis=1)
    weight = np.ones(len(scores)) if problem.row_weight is None else problem.row_weight
    return penalty + C * float(weight @ losses)
