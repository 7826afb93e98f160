"""Entropic optimal transport, with and without classes kept apart, by Sinkhorn's iteration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

__all__ = ["Plan", "class_regularised_plan", "group_norms", "sinkhorn"]

# Scalings beyond exp(±50) go back into the potentials.
_LARGE = np.exp(50.0)
_CHECK = 10
_COARSER = 4.0


@dataclass(frozen=True)
class Plan:
    """A transport plan.

    Attributes
    ----------
    plan : ndarray of float64, shape (n_s, n_t)
        Mass that goes from each source row to each target row.
    f, g : ndarray of float64, shape (n_s,) and (n_t,)
        Potentials, in units of the cost.
    error : float
        Sum of the magnitudes by which the sums over rows miss the masses; those over columns are
        met.
    converged : bool
    objectives : tuple of float
        Value that was minimised, step by step, for a plan with a group regularisation.
    """

    plan: np.ndarray
    f: np.ndarray
    g: np.ndarray
    error: float
    converged: bool
    objectives: tuple[float, ...] = ()


# The plan is γ_ij = exp((f_i + g_j - C_ij)/ε), and the potentials f and g are raised in turn until
# its rows sum to a and its columns to b. In the log domain a step is
#
#     f_i = ε log a_i - ε log Σ_j exp((g_j - C_ij)/ε),
#
# which nothing overflows, but which takes n_s n_t exponentials. So between such steps the plan of
# the last one, K, is held, and scaled by vectors: u = a/(Kv), v = b/(Kᵀu), with the potentials
# f + ε log u and g + ε log v; when a scaling grows large, it goes into them (Schmitzer 2019,
# algorithm 2). A small ε is reached by larger ones, each of which begins with the potentials of
# the one before (sec. 3.2 there).
def sinkhorn(
    cost: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    epsilon: float,
    *,
    f: np.ndarray | None = None,
    g: np.ndarray | None = None,
    tol: float = 1e-6,
    max_iter: int = 2000,
) -> Plan:
    """Solve ``min <γ, C> + ε Σ γ (log γ - 1)`` over plans γ with given row and column sums.

    Parameters
    ----------
    cost : ndarray of float64, shape (n_s, n_t)
    a, b : ndarray of float64, shape (n_s,) and (n_t,)
        Masses, above 0, of the same sum.
    epsilon : float
        ε, above 0, in units of the cost.
    f, g : ndarray of float64, optional
        Potentials to begin with; without them ε is reached by larger values.
    tol : float
        Largest error of the row sums, as a share of all mass.
    max_iter : int
        Iterations at the last ε.

    Returns
    -------
    Plan
    """
    if f is None or g is None:
        f, g = np.zeros(len(a)), np.zeros(len(b))
        spread = float(np.ptp(cost))
        step = epsilon * _COARSER ** np.ceil(np.log(max(spread / epsilon, 1)) / np.log(_COARSER))
        while step > epsilon * 1.001:
            coarse = _iterate(cost, a, b, float(step), f, g, 1e-2, 100)
            f, g = coarse.f, coarse.g
            step /= _COARSER
    return _iterate(cost, a, b, epsilon, f, g, tol, max_iter)


def _iterate(
    cost: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    epsilon: float,
    f: np.ndarray,
    g: np.ndarray,
    tol: float,
    max_iter: int,
) -> Plan:
    total = float(a.sum())
    done = 0
    while True:
        # In the log domain.
        f = epsilon * (np.log(a) - logsumexp((g - cost) / epsilon, axis=1))
        g = epsilon * (np.log(b) - logsumexp((f[:, None] - cost) / epsilon, axis=0))
        K = np.exp((f[:, None] + g - cost) / epsilon)
        u, v = np.ones(len(a)), np.ones(len(b))
        image = K.sum(axis=1)
        while True:
            error = float(np.abs(u * image - a).sum())
            if error <= tol * total or done >= max_iter:
                f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
                plan = K * u[:, None] * v
                return Plan(plan, f, g, error, error <= tol * total)
            for _ in range(_CHECK):
                before = u, v
                u = a / np.maximum(image, 1e-300)
                v = b / np.maximum(K.T @ u, 1e-300)
                image = K @ v
                done += 1
            if max(u.max(), v.max(), 1 / u.min(), 1 / v.min()) > _LARGE:
                if not (np.isfinite(u).all() and np.isfinite(v).all() and u.all() and v.all()):
                    u, v = before
                f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
                break


def group_norms(plan: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the norm of what each target row receives from each class of source rows.

    Parameters
    ----------
    plan : ndarray of float64, shape (n_s, n_t)
    groups : ndarray of int64, shape (n_s,)
    n_groups : int

    Returns
    -------
    ndarray of float64, shape (n_groups, n_t)
        ``‖γ(I_c, j)‖₂`` of class c and target row j (Courty et al. 2017, eq. 16).
    """
    squares = np.zeros((n_groups, plan.shape[1]))
    for group in range(n_groups):
        squares[group] = np.square(plan[groups == group]).sum(axis=0)
    norms: np.ndarray = np.sqrt(squares)
    return norms


# Generalised conditional gradient (Courty et al. 2017, algorithm 1; Bredies et al. 2009): what is
# minimised is F(γ) = <γ, C> + ε Σ γ (log γ - 1) + η Ω(γ), convex. Only Ω is made linear at γ; the
# rest is solved by Sinkhorn's iteration with the cost C + η ∇Ω(γ), ∇Ω(γ)_ij = γ_ij / ‖γ(I_c, j)‖.
# From γ the step goes towards that solution, γ + t (γ* - γ), as far as F falls; F is convex in t,
# and its least value is found by bisection of the slope.
def class_regularised_plan(
    cost: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    epsilon: float,
    eta: float,
    groups: np.ndarray,
    *,
    tol: float = 1e-6,
    max_iter: int = 2000,
    steps: int = 10,
    step_tol: float = 1e-5,
) -> Plan:
    """Solve ``min <γ, C> + ε Σ γ (log γ - 1) + η Σ_j Σ_c ‖γ(I_c, j)‖₂`` (Courty et al. 2017).

    Parameters
    ----------
    cost, a, b, epsilon, tol, max_iter
        As in `sinkhorn`.
    eta : float
        η, from 0: how much each target row is to receive from few classes.
    groups : ndarray of int64, shape (n_s,)
        Classes of the source rows, from 0.
    steps : int
        At most so many steps of the conditional gradient.
    step_tol : float
        A step that lowers the objective by less than this share of it is the last.

    Returns
    -------
    Plan
        Its `objectives` fall.
    """
    n_groups = int(groups.max()) + 1
    now = sinkhorn(cost, a, b, epsilon, tol=tol, max_iter=max_iter)
    if eta == 0:
        return now

    def norms(plan: np.ndarray) -> np.ndarray:
        above: np.ndarray = np.maximum(group_norms(plan, groups, n_groups), 1e-300)
        return above

    def objective(plan: np.ndarray) -> float:
        linear = cost + epsilon * (np.log(np.maximum(plan, 1e-300)) - 1)
        return float((plan * linear).sum()) + eta * float(group_norms(plan, groups, n_groups).sum())

    def share_of(move: np.ndarray) -> float:
        """Find the share of a move, from 0 to 1, at which the objective is least."""
        low, high = 0.0, 1.0
        for round_ in range(12):
            share = 1.0 if round_ == 0 else (low + high) / 2
            at = plan + share * move
            slope = cost + epsilon * np.log(np.maximum(at, 1e-300)) + eta * at / norms(at)[groups]
            if float((slope * move).sum()) > 0:
                high = share
            elif round_ == 0:
                return 1.0
            else:
                low = share
        return low

    plan = now.plan
    objectives = [objective(plan)]
    for _ in range(steps):
        slope = plan / norms(plan)[groups]
        now = sinkhorn(
            cost + eta * slope, a, b, epsilon, f=now.f, g=now.g, tol=tol, max_iter=max_iter
        )
        move = now.plan - plan
        trial = plan + share_of(move) * move
        value = objective(trial)
        if value >= objectives[-1]:
            break
        plan = trial
        objectives.append(value)
        if objectives[-2] - value <= step_tol * abs(value):
            break
    error = float(np.abs(plan.sum(axis=1) - a).sum())
    return Plan(plan, now.f, now.g, error, now.converged, tuple(objectives))
