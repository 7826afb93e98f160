"""Finite Newton for hinge losses in the row space, each column with its own active set.

With `Piecewise` losses the objective ½‖w‖² + Σ h(f) is made of quadratic pieces. At decisions f the
dual variables are α = clip((1 - y f)/σ + p, 0, u), and a piece is known by the rows J that lie
strictly inside. On that piece w = Σ y α x is optimal when

    σ α_J + y_J (K y α)_J = 1 + σ p_J,   α = u on the rows U that are above,   α = 0 elsewhere,

with signed duals a = yα:  (K_JJ + σ I) a_J = y_J + σ y_J p_J - K_JU a_U.  One Cholesky of the size
of J for each column, an exact line search, and a handful of rounds: the piece repeats and the
solution is exact (Keerthi and DeCoste 2005; Chapelle 2007). Without a bound (squared hinge) U is
empty. At small C nearly every row of every column is active: there K + σI is well conditioned, and
conjugate gradients over those columns together replace the Choleskys.

The hinge itself is the limit of such losses: the method of multipliers puts p to the last α and
repeats with a smaller σ (Rockafellar 1976; with Newton inside, Li, Sun and Toh 2018). Where the
costs of rows differ by many powers of ten, no one σ suits all rows, and the α of the small ones
creep: dual coordinate descent, which has a step of its own for each row, ends that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decaf.heads.solver.losses import Piecewise, derivative_along, dot, line_search
from decaf.runtime.cores import share_out

__all__ = ["Gram", "coordinate_descent", "finite_newton", "hinge_multipliers"]

# Rounds of multipliers (five to ten are usual) before coordinate descent takes over.
TURNS = 12
MOST_ROWS = 4096  # up to which K is made for coordinate descent
LOOK_EVERY = 10  # rounds of it after which the gap is computed


class Gram:
    """K = X Xᵀ: the matrix, or for many more rows than dimensions the rows that make it.

    Parameters
    ----------
    matrix : Tensor, shape (n, n), optional
    X : Tensor, shape (n, d), optional
        Needed where there is no `matrix`.
    """

    def __init__(self, matrix: Tensor | None = None, X: Tensor | None = None) -> None:
        self._matrix, self._X = matrix, X

    @property
    def X(self) -> Tensor:
        """The rows."""
        assert self._X is not None
        return self._X

    def matrix(self) -> Tensor:
        """Return K, made of the rows where it is not kept."""
        return self.X @ self.X.T if self._matrix is None else self._matrix

    def times(self, v: Tensor) -> Tensor:
        """Return K v (n, K).

        Parameters
        ----------
        v : Tensor, shape (n, K)
        """
        return self.X @ (self.X.T @ v) if self._matrix is None else self._matrix @ v

    def diagonal(self) -> Tensor:
        """Return the diagonal (n,)."""
        return self.X.square().sum(1) if self._matrix is None else self._matrix.diagonal()

    def solve(self, rows: Tensor | None, ridge: Tensor, right: Tensor) -> Tensor:
        """Solve (K_JJ + diag(ridge)) x = right for the rows J, or all of them.

        For more rows than dimensions, with D = diag(ridge) and Woodbury's identity,
        (D + X Xᵀ)⁻¹ = D⁻¹ - D⁻¹ X (I + Xᵀ D⁻¹ X)⁻¹ Xᵀ D⁻¹.

        Parameters
        ----------
        rows : Tensor of int64, optional
            Row numbers; None for all.
        ridge : Tensor, shape (rows,)
        right : Tensor, shape (rows, K)
        """
        if self._matrix is not None:
            if rows is None:
                return _solve_in_place(self._matrix.clone(), ridge, right)
            # Rows, then columns: a third quicker than both at once.
            part = self._matrix.index_select(0, rows).index_select(1, rows)
            return _solve_in_place(part, ridge, right)
        X = self.X if rows is None else self.X[rows]
        if len(X) <= X.shape[1]:
            return _solve_in_place(X @ X.T, ridge, right)
        scaled, right = X / ridge[:, None], right / ridge[:, None]
        inner = _solve_in_place(X.T @ scaled, torch.ones_like(X[0]), X.T @ right)
        return right - scaled @ inner


def _solve_in_place(matrix: Tensor, ridge: Tensor, right: Tensor) -> Tensor:
    matrix.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    lift = 1e-12 if matrix.dtype == torch.float64 else 1e-6
    while bool(failed) and lift < 1:  # singular to rounding: lift the diagonal until it is not
        matrix.diagonal().mul_(1 + lift)
        lift *= 10
        factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_solve(right, factor)


def finite_newton(
    gram: Gram, loss: Piecewise, signed: Tensor, *, tol: float, max_iter: int
) -> tuple[Tensor, bool, int]:
    """Minimise ½‖w‖² + Σ h(f) for each column.

    Parameters
    ----------
    gram : Gram
        K, the constant feature of the intercept included.
    loss : Piecewise
    signed : Tensor, shape (n, K)
        Where to begin: the coefficients a of w = Xᵀa.
    tol : float
        Relative: a column is done when Newton's model promises less than `tol` of its objective.
    max_iter : int
        Newton steps.

    Returns
    -------
    signed : Tensor, shape (n, K)
    converged : bool
    n_iter : int
    """
    result = signed.clone()
    kept = torch.arange(signed.shape[1], device=signed.device)
    at = signed
    decisions = gram.times(at)
    for count in range(max_iter):
        target, exact = _newton_point(gram, loss, at, decisions, tol)
        ahead = gram.times(target)
        direction, forward = target - at, ahead - decisions
        begin = dot(at, forward) + dot(loss.slope(decisions), forward)
        value = 0.5 * dot(at, decisions) + loss.value(decisions)
        # Where the Newton point lies on the piece it came from, it is the solution.
        same = exact & _same_piece(loss, decisions, ahead)
        done = same | (-0.5 * begin <= tol * value)
        result[:, kept] = torch.where(same, target, at)
        if bool(done.all()):
            return result, True, count
        stay = torch.nonzero(~done)[:, 0]
        kept, at, decisions, loss = kept[stay], at[:, stay], decisions[:, stay], loss.columns(stay)
        direction, forward, begin = direction[:, stay], forward[:, stay], begin[stay]
        line = derivative_along(loss, decisions, forward, dot(at, forward), dot(direction, forward))
        step, _ = line_search(line, begin, below=-1e-3, above=1e-3, rounds=30)
        step = step.to(at.dtype)
        at = torch.addcmul(at, direction, step)
        decisions = torch.addcmul(decisions, forward, step)
        result[:, kept] = at
    return result, False, max_iter


def hinge_multipliers(
    gram: Gram, signs: Tensor, cost: Tensor, signed: Tensor, *, tol: float, max_iter: int
) -> tuple[Tensor, bool, int]:
    """Minimise ½‖w‖² + Σ c max(0, 1 - y f) for each column.

    Parameters
    ----------
    gram : Gram
    signs : Tensor, shape (n, K)
        y, -1 or 1.
    cost : Tensor, shape (n, 1)
        c.
    signed : Tensor, shape (n, K)
        Where to begin.
    tol : float
        Relative duality gap of each column.
    max_iter : int
        Newton steps, all rounds together.

    Returns
    -------
    signed : Tensor, shape (n, K)
        yα with 0 ≤ α ≤ c.
    converged : bool
    n_iter : int
    """
    result = signed.clone()
    kept = torch.arange(signed.shape[1], device=signed.device)
    alpha = torch.minimum((signs * signed).clamp(min=0), cost)
    width, inner, used, turns = 0.5, 0.1 * tol, 0, 0
    few_rows = len(signed) <= MOST_ROWS
    while used < max_iter and not (turns == TURNS and few_rows):
        # Floor: below it K_JJ + σI would be singular to rounding where rows are repeated.
        sigma = (width / cost).clamp(min=1e-9 * float(gram.diagonal().mean()))
        loss = Piecewise(signs, sigma, cost, alpha)
        signed, _, count = finite_newton(
            gram, loss, signs * alpha, tol=inner, max_iter=max_iter - used
        )
        used, turns = used + max(count, 1), turns + 1
        # Not loss.dual of the decisions: it divides their rounding by σ.
        alpha = torch.minimum((signs * signed).clamp(min=0), cost)
        candidate = signs * alpha
        done = _gap_is_small(signs, cost, alpha, gram.times(candidate), tol)
        result[:, kept] = candidate
        if bool(done.all()):
            return result, True, used
        stay = torch.nonzero(~done)[:, 0]
        kept, signs, alpha = kept[stay], signs[:, stay], alpha[:, stay]
        width, inner = max(0.1 * width, 1e-4), max(0.1 * inner, 1e-14)
    if few_rows:
        alpha, done = coordinate_descent(gram, signs, cost, alpha, tol=tol, rounds=max_iter)
        result[:, kept] = signs * alpha
        return result, bool(done.all()), used
    return result, False, used


def coordinate_descent(
    gram: Gram, signs: Tensor, cost: Tensor, alpha: Tensor, *, tol: float, rounds: int
) -> tuple[Tensor, Tensor]:
    """Minimise ½‖w‖² + Σ c max(0, 1 - y f) for each column, row by row.

    Dual coordinate descent (Hsieh et al. 2008, algorithm 1):

        α_i ← min(max(α_i - (y_i f_i - 1) / K_ii, 0), c_i),     f ← f + K_i Δ(y_i α_i).

    It needs K, and many rounds for rows that are hard to separate, so that it is not the first
    choice.

    Parameters
    ----------
    gram, signs, cost, tol
        As in `hinge_multipliers`.
    alpha : Tensor, shape (n, K)
        0 ≤ α ≤ c.
    rounds : int
        Over all rows, at most.

    Returns
    -------
    alpha : Tensor, shape (n, K)
    done : Tensor of bool, shape (K,)
        Which columns reached `tol`.
    """
    K = gram.matrix()
    alpha = alpha.clone()
    decisions = K @ (signs * alpha)
    floor = 1e-12 * float(K.diagonal().mean())
    steps = (1 / K.diagonal().clamp(min=floor)).tolist()
    done = torch.zeros(signs.shape[1], dtype=torch.bool, device=signs.device)
    for number in range(rounds):
        if number % LOOK_EVERY == 0:
            decisions = K @ (signs * alpha)  # without the rounding of the updates
            done = _gap_is_small(signs, cost, alpha, decisions, tol)
            if bool(done.all()):
                break
        for row, step in enumerate(steps):
            sign = signs[row]
            moved = alpha[row] - (sign * decisions[row] - 1) * step
            moved = torch.minimum(moved.clamp_(min=0), cost[row])
            decisions.addr_(K[row], sign * (moved - alpha[row]))
            alpha[row] = moved
    return alpha, done


def _gap_is_small(
    signs: Tensor, cost: Tensor, alpha: Tensor, decisions: Tensor, tol: float
) -> Tensor:
    """Say of which columns the duality gap is at most `tol` of the hinge's objective."""
    norm = dot(signs * alpha, decisions)
    lost = (cost * (1 - signs * decisions).clamp(min=0)).sum(0).double()
    return norm + lost - alpha.sum(0).double() <= tol * (0.5 * norm + lost)


def _piece(loss: Piecewise, decisions: Tensor) -> tuple[Tensor, Tensor]:
    alpha = loss.dual(decisions)
    above = alpha >= loss.upper
    return (alpha > 0) & ~above, above


def _same_piece(loss: Piecewise, one: Tensor, other: Tensor) -> Tensor:
    inside, above = _piece(loss, one)
    inside_other, above_other = _piece(loss, other)
    return ((inside == inside_other) & (above == above_other)).all(0)


def _newton_point(
    gram: Gram, loss: Piecewise, at: Tensor, decisions: Tensor, tol: float
) -> tuple[Tensor, Tensor]:
    """Return the minimum of the piece on which each column stands, and whether it is exact."""
    inside, above = _piece(loss, decisions)
    right = loss.signs.clone()
    if loss.centre is not None:
        right += loss.sigma * loss.signs * loss.centre
    target = torch.zeros_like(at)
    if bool(above.any()):
        target = torch.where(above, loss.signs * loss.upper, target)
        right -= gram.times(target)
    solution, exact = _on_piece(gram, inside, loss.sigma, right, at, tol)
    return target + solution, exact


def _on_piece(
    gram: Gram, inside: Tensor, sigma: Tensor, right: Tensor, start: Tensor, tol: float
) -> tuple[Tensor, Tensor]:
    """Solve (K_JJ + σI) x = right_J, with 0 elsewhere, and say which columns are exact."""
    solution = torch.zeros_like(start)
    sizes = inside.sum(0)
    common = sigma.shape[1] == 1
    sigma = sigma.expand(right.shape)
    exact = torch.ones_like(sizes, dtype=torch.bool)
    everywhere = sizes == len(start)
    if int(everywhere.sum()) > 1 and common:
        columns = torch.nonzero(everywhere)[:, 0]
        solution[:, columns] = gram.solve(None, sigma[:, 0], right[:, columns])
        sizes = torch.where(everywhere, 0, sizes)
    # A bound on the condition number of K_JJ + σI; up to 1e6 conjugate gradients still pay.
    hard = float(gram.diagonal().sum()) / float(sigma.min())
    share = 0.2 if hard < 6e3 else 0.4
    large = torch.nonzero(sizes > max(300, share * len(start)))[:, 0]
    if len(large) > 4 and hard < 1e6:
        solution[:, large] = _conjugate_gradients(
            gram, inside[:, large], sigma[:, large], right[:, large], start[:, large], tol
        )
        exact[large] = False
        sizes[large] = 0

    def one(column: int) -> None:
        rows = torch.nonzero(inside[:, column])[:, 0]
        values = gram.solve(rows, sigma[rows, column], right[rows, column, None])
        solution[rows, column] = values[:, 0]

    small = int(sizes.max()) < 500
    share_out(one, torch.nonzero(sizes)[:, 0].tolist(), solution.device, small=small)
    return solution, exact


def _conjugate_gradients(
    gram: Gram, inside: Tensor, sigma: Tensor, right: Tensor, start: Tensor, tol: float
) -> Tensor:
    """Solve (K_JJ + σI) x = right_J of all columns, from `start`, to a fraction of its residual."""
    mask = inside.to(right.dtype)
    x = start * mask

    def times(v: Tensor) -> Tensor:
        return mask * gram.times(v) + sigma * v

    residual = mask * right - times(x)
    first = residual.square().sum(0)
    # Jacobi's preconditioner costs nothing, and evens out row weights.
    jacobi = mask / (gram.diagonal()[:, None] + sigma)
    z = jacobi * residual
    p, rz = z.clone(), (residual * z).sum(0)
    for _ in range(250):
        ap = times(p)
        step = rz / (p * ap).sum(0).clamp(min=torch.finfo(rz.dtype).tiny)
        x.addcmul_(p, step)
        residual.addcmul_(ap, step, value=-1)
        if bool((residual.square().sum(0) <= max(0.01 * tol, 1e-10) * first).all()):
            break
        z = jacobi * residual
        new = (residual * z).sum(0)
        p = torch.addcmul(z, p, new / rz.clamp(min=torch.finfo(rz.dtype).tiny))
        rz = new
    return x
