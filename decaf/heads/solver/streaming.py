"""`solve_stream`: logistic regression and squared-hinge SVMs of rows that are never held.

One pass over the rows gives value, gradient and duality gap of all classes and all Cs at once, for
two products with the rows; everything else is small beside it. So passes are what counts, and the
steps between them may be dear. For both losses the Hessian of a class is near

    I + (Σ_i c_i loss''_i / t) XᵀRX,   t = Σ r_i,

with one matrix XᵀRX for all classes and Cs. In the basis of its eigenvectors, found once, that is
diagonal: every class has a model of its own for a product with the basis a pass. At W = 0 it is
exact for the squared hinge and, but for the coupling of the classes, for the softmax (Böhning
1992). What it lacks later L-BFGS learns in this basis (Liu and Nocedal 1989; Morales and Nocedal
2000 on preconditioning).

A line search would cost passes. Here the length of a step is found on a few thousand rows that are
kept, the classes all alike, each row as often as it stands for others. The derivative along the
direction is known at the present point from all rows; the sample only tells how it changes:
φ'(t) ≈ φ'(0) + φ'_sample(t) - φ'_sample(0). The pass that tries the step gives the next gradient.
One-vs-rest columns accept or shorten their steps each by itself.

The rows' weighted mean is taken off for a free intercept, as the solver in memory does.
`decaf.heads.solver.streaming_objective` derives the certificate. A lower bound of the optimum stays
one, so that the best of all passes counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from decaf.heads.problem import Solution
from decaf.heads.solver.eigen_basis import make_basis
from decaf.heads.solver.losses import (
    Derivative,
    Loss,
    derivative_along,
    dot,
    line_search,
    make_loss,
)
from decaf.heads.solver.row_stream import RowStream, StreamStatistics
from decaf.heads.solver.streaming_objective import StreamedObjective

__all__ = ["StreamedPass", "solve_stream"]

PAIRS = (3, 10)  # of L-BFGS, at least and at most
# Share of the objective that rounding may hide.
ROUNDING = {torch.float32: 1e-7, torch.float64: 1e-14}
IN_BF16 = 1e-4
NEAR = 3.0  # times `tol`, where bfloat16 ends


@dataclass(frozen=True)
class StreamedPass:
    """The state of the solver after a pass.

    Attributes
    ----------
    number : int
        Passes so far, without the one of the statistics.
    objectives, gaps : tuple of float
        One for each C; the gap is relative to the objective, and certified but for passes in
        bfloat16.
    weights : Tensor, shape (d, G, K)
    intercept : Tensor, shape (G, K)
        The best so far of all heads, as `solve_stream` takes them in `start`.
    """

    number: int
    objectives: tuple[float, ...]
    gaps: tuple[float, ...]
    weights: Tensor = field(repr=False)
    intercept: Tensor = field(repr=False)


def solve_stream(
    stream: RowStream,
    statistics: StreamStatistics,
    loss: str,
    Cs: Sequence[float],
    *,
    weight: np.ndarray,
    tol: float,
    max_passes: int,
    dtype: torch.dtype = torch.float32,
    bf16: bool = False,
    pair_bytes: int = 1 << 30,
    start: tuple[Tensor, Tensor] | None = None,
    tell: Callable[[StreamedPass], object] = lambda _: None,
) -> list[Solution]:
    """Solve for all Cs in the same passes.

    Parameters
    ----------
    stream : RowStream
        Of finite rows, some of each class.
    statistics : StreamStatistics
        Of these rows; its device is that of the work.
    loss : {"multinomial", "logistic", "squared_hinge"}
    Cs : sequence of float
        For rows whose mean square norm is 1.
    weight : ndarray of float64, shape (n_classes,)
        Weight of the rows of each class, above 0.
    tol : float
        Largest duality gap, relative to the objective.
    max_passes : int
    dtype : torch.dtype
        float32 or float64, of weights and products; sums over blocks are of float64, but for the
        gradient.
    bf16 : bool
        Begin with products in bfloat16. The end, and so the certificate, is in `dtype`.
    pair_bytes : int
        Memory for the pairs of L-BFGS.
    start : (Tensor, Tensor), optional
        Weights and intercepts to begin at, as a `StreamedPass` has them.
    tell : callable
        Called after each pass.

    Returns
    -------
    list of Solution
        One for each C, for the rows scaled by ``1 / sqrt(statistics.mean_square_norm)``; `n_iter`
        is the number of passes, without that of the statistics.
    """
    descent = _Descent(
        stream,
        statistics,
        loss,
        Cs,
        weight=weight,
        dtype=dtype,
        bf16=bf16 and max_passes > 1,
        pair_bytes=pair_bytes,
    )
    descent.begin(start)
    while True:
        descent.drop_finished(tol)
        tell(descent.state())
        if not len(descent.active) or descent.objective.passes >= max_passes:
            return descent.solutions(tol)
        descent.step(tol)
        if descent.objective.passes >= max_passes - 1:
            descent.leave_bf16()


@dataclass
class _Point:
    """What a pass tells of coordinates, all (G, K) but the gradient; of coupled columns sums."""

    value: Tensor
    gradient: Tensor  # (d + 1, G, K)
    gap: Tensor
    curvature: Tensor


class _Descent:
    """The heads that are not finished yet, their directions and pairs. See `solve_stream`."""

    def __init__(
        self,
        stream: RowStream,
        statistics: StreamStatistics,
        loss: str,
        Cs: Sequence[float],
        *,
        weight: np.ndarray,
        dtype: torch.dtype,
        bf16: bool,
        pair_bytes: int,
    ) -> None:
        device = statistics.class_sums.device
        of_class = torch.from_numpy(weight).to(device, torch.float64)
        counts = torch.from_numpy(statistics.counts).to(device)
        factor = float(statistics.mean_square_norm) ** -0.5
        self.mass = of_class * counts  # Y
        self.t = float(self.mass.sum())
        mean = of_class @ statistics.class_sums / self.t
        self.objective = StreamedObjective(
            stream, loss, of_class, factor=factor, mean=mean, dtype=dtype, bf16=bf16
        )
        self.free = loss != "squared_hinge"
        self.shift = mean * factor if self.free else torch.zeros_like(mean)
        self.basis = make_basis(statistics, self.t, factor, free=self.free, dtype=dtype)
        self.columns = 1 if len(weight) == 2 else len(weight)
        self.positive_mass = self.mass[1:] if self.columns == 1 else self.mass
        sums = of_class[:, None] * (statistics.class_sums - counts[:, None] * mean) * factor
        sums = sums[1:] if self.columns == 1 else sums
        self.class_sums = self.basis.vectors.T @ sums.T.to(dtype) if self.free else None  # S
        self.Cs = torch.tensor(list(Cs), dtype=torch.float64, device=device)
        self.active = torch.arange(len(Cs), device=device)
        # The model's diagonal is `penalty` + Σ c loss'' / t times `spread`.
        self.spread, self.penalty = self.basis.values, torch.ones_like(self.basis.values)
        if self.free:
            last = self.spread.new_tensor([self.t])
            self.spread = torch.cat([self.spread, last])
            self.penalty = torch.cat([self.penalty, 1e-6 * last / self.t])
        bytes_of_pair = 2 * len(self.spread) * len(Cs) * self.columns * dtype.itemsize
        self.most_pairs = int(np.clip(pair_bytes // bytes_of_pair, *PAIRS))
        self._take_sample(statistics, loss, of_class)

    def _take_sample(self, statistics: StreamStatistics, loss: str, weight: Tensor) -> None:
        codes = torch.from_numpy(statistics.sample_codes).to(weight.device)
        seen = torch.bincount(codes, minlength=len(weight)).clamp(min=1)
        cost = (self.mass / seen)[codes][:, None].to(self.objective.dtype)
        self.sample = self.objective.prepared(statistics.sample_rows).to(self.objective.dtype)
        self.sample_losses: list[Loss] = [
            make_loss(loss, codes, len(weight), float(C) * cost) for C in self.Cs
        ]

    def begin(self, start: tuple[Tensor, Tensor] | None) -> None:
        """Evaluate where the descent begins."""
        shape = (len(self.shift), len(self.Cs), self.columns)
        dtype, device = self.objective.dtype, self.shift.device
        if start is None:
            start = (torch.zeros(shape, dtype=dtype), torch.zeros(shape[1:], dtype=dtype))
        weights, intercept = (each.to(device, dtype) for each in start)
        self.Z = self.basis.coordinates(weights, intercept)
        self.best = self.Z.clone()  # of all heads, finished ones too
        self.objectives = torch.full((len(self.Cs),), torch.inf, dtype=torch.float64)
        self.gaps = self.objectives.clone()
        self.pass_of = torch.zeros(len(self.Cs), dtype=torch.int64)
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        self.direction = torch.zeros_like(self.Z)
        self.begins = torch.zeros(shape[1:], dtype=torch.float64, device=device)
        self.length = torch.ones_like(self.begins)
        self._evaluate_here()

    def _evaluate_here(self) -> None:
        self.at = self._evaluate(self.Z)
        # No loss is below 0.
        self.lower = (self.at.value - self.at.gap).clamp(min=0)
        self.refused = torch.zeros_like(self.at.value, dtype=torch.int64)
        self._turn(torch.ones_like(self.refused, dtype=torch.bool))

    def step(self, tol: float) -> None:
        """Try a step; the columns that do not gain by it get a shorter one."""
        objective = self.objective
        moved = self.length.to(objective.dtype) * self.direction
        there = self._evaluate(self.Z + moved)
        slack = (IN_BF16 if objective.bf16 else ROUNDING[objective.dtype]) * self.at.value.abs()
        gained = there.value <= self.at.value + 1e-4 * self.length * self.begins + slack
        self.lower = torch.maximum(self.lower, there.value - there.gap)
        change = there.gradient - self.at.gradient
        along = self._total(dot(moved, change))
        good = gained & (along > 0)
        rho = torch.where(good, 1 / torch.where(good, along, 1.0), 0.0)
        ends = self._total(dot(there.gradient, self.direction))
        secant = -self.begins / (ends - self.begins).clamp(min=1e-300)
        self.length = self.length * secant.clamp(0.1, 0.5)
        self.refused = torch.where(gained, 0, self.refused + 1)
        self.pairs = [*self.pairs[-(self.most_pairs - 1) :], (moved, change, rho)]
        self.Z = torch.where(gained, self.Z + moved, self.Z)
        self.at = _Point(
            *(
                torch.where(gained, getattr(there, name), getattr(self.at, name))
                for name in ("value", "gradient", "gap", "curvature")
            )
        )
        if objective.bf16 and (not gained.all() or bool((self._gap() <= NEAR * tol).all())):
            self.leave_bf16()
            return
        # Refused twice: the pairs mislead; the model alone makes a direction of descent.
        misled = self.refused == 2
        if bool(misled.any()):
            self._forget(misled)
        self._turn(gained | misled)

    def leave_bf16(self) -> None:
        """Go on in the full precision, whose bounds alone count."""
        if self.objective.bf16:
            self.objective.bf16 = False
            self._evaluate_here()

    def drop_finished(self, tol: float) -> None:
        """Keep the best of each head, and go on with those above the tolerance."""
        gap = self._gap()
        self.best[:, self.active] = self.Z
        place = self.active.cpu()
        self.objectives[place] = self._of_head(self.at.value).cpu()
        self.gaps[place] = gap.cpu()
        self.pass_of[place] = self.objective.passes
        if self.objective.bf16 or bool((gap > tol).all()):
            return
        stay = torch.nonzero(gap > tol)[:, 0]
        self.active, self.Cs = self.active[stay], self.Cs[stay]
        self.sample_losses = [self.sample_losses[int(place)] for place in stay]
        self.Z, self.direction = self.Z[:, stay], self.direction[:, stay]
        for name in ("length", "begins", "lower", "refused"):
            setattr(self, name, getattr(self, name)[stay])
        at = self.at
        self.at = _Point(at.value[stay], at.gradient[:, stay], at.gap[stay], at.curvature[stay])
        self.pairs = [(s[:, stay], y[:, stay], rho[stay]) for s, y, rho in self.pairs]

    def state(self) -> StreamedPass:
        """Return where all heads stand."""
        return StreamedPass(
            self.objective.passes,
            tuple(self.objectives.tolist()),
            tuple(self.gaps.tolist()),
            *self.basis.weights(self.best),
        )

    def solutions(self, tol: float) -> list[Solution]:
        """Return the heads, the rows' mean put back into the intercept."""
        weights, intercept = (each.double() for each in self.basis.weights(self.best))
        intercept = intercept - torch.einsum("d,dgk->gk", self.shift, weights)
        return [
            Solution(
                coef=weights[:, g].T.cpu().numpy().copy(),
                intercept=intercept[g].cpu().numpy().copy(),
                objective=float(self.objectives[g]),
                gap=float(self.gaps[g]),
                converged=bool(self.gaps[g] <= tol),
                n_iter=int(self.pass_of[g]),
            )
            for g in range(weights.shape[1])
        ]

    def _evaluate(self, Z: Tensor) -> _Point:
        weights, intercept = self.basis.weights(Z)
        seen = self.objective.evaluate(weights, intercept, self.Cs)
        data = self.basis.coordinates(seen.gradient, seen.rest)
        penalised = Z[:-1] if self.free else Z
        value = self._total(0.5 * dot(penalised, penalised) + seen.loss)
        gradient = data.clone()
        gradient[: len(penalised)] += penalised
        if not self.free:
            gap = 0.5 * dot(gradient, gradient)
            return _Point(value, gradient, gap, seen.curvature)
        gap = self._logistic_gap(Z, data[:-1], seen.rest, seen.log_sums)
        return _Point(value, gradient, self._total(gap), seen.curvature)

    def _logistic_gap(self, Z: Tensor, data: Tensor, rest: Tensor, log_sums: Tensor) -> Tensor:
        """Return P - D(α') of each column, in the symbols of `streaming_objective`."""
        assert self.class_sums is not None
        C, b, Y, t = self.Cs[:, None], Z[-1].double(), self.positive_mass, self.t
        odds = rest / (C * Y)
        if self.objective.coupled:
            odds = odds.amax(1, keepdim=True).clamp(min=0)
        else:  # p of the others, too
            odds = torch.maximum(odds, -rest / (C * (t - Y))).clamp(min=0)
        tau = odds / (1 + odds)
        q = (Y / t - torch.where(odds > 0, rest / odds.clamp(min=1e-300), 0.0) / (C * t)).clamp(0)
        mixed = Z[:-1] + (1 - tau).to(data.dtype) * data
        mixed -= (tau * C).to(data.dtype) * self.class_sums[:, None]
        entropy = torch.special.entr(q)
        if not self.objective.coupled:
            entropy = entropy + torch.special.entr((1 - q).clamp(min=0))
        beside = self._total(log_sums - C * t * (b * q + entropy)) * tau
        if self.objective.coupled:  # once for all columns
            beside = beside / beside.shape[1]
        return 0.5 * dot(mixed, mixed) + beside.clamp(min=0)

    def _turn(self, which: Tensor) -> None:
        """Find new directions, and the lengths of their steps, for some of the columns."""
        direction = self._direction()
        begins = self._total(dot(self.at.gradient, direction))
        uphill = which & (begins > 0)  # rounding
        if bool(uphill.any()):
            self._forget(uphill)
            direction = self._direction()
        self.direction = torch.where(which, direction, self.direction)
        self.begins = self._total(dot(self.at.gradient, self.direction)).clamp(max=0)
        self.length = torch.where(which, self._lengths(), self.length)

    def _direction(self) -> Tensor:
        """Return minus the inverse Hessian of the model and the pairs, times the gradient."""
        dtype = self.objective.dtype
        q, factors = -self.at.gradient, []
        for s, y, rho in reversed(self.pairs):
            factors.append((rho * self._total(dot(s, q))).to(dtype))
            q.addcmul_(y, factors[-1], value=-1)
        model = self.at.curvature / self.t * self.spread[:, None, None]
        q /= (model + self.penalty[:, None, None]).to(dtype)
        for (s, y, rho), factor in zip(self.pairs, reversed(factors), strict=True):
            q.addcmul_(s, factor - (rho * self._total(dot(y, q))).to(dtype))
        return q

    def _forget(self, which: Tensor) -> None:
        self.pairs = [(s, y, torch.where(which, 0.0, rho)) for s, y, rho in self.pairs]

    def _lengths(self) -> Tensor:
        """Return the lengths of steps (G, K), found on the sample."""
        weights, intercept = self.basis.weights(self.Z)
        forward, forward_b = self.basis.weights(self.direction)
        penalised = slice(0, -1) if self.free else slice(None)
        first = self._total(dot(self.Z[penalised], self.direction[penalised]))
        rise = self._total(dot(self.direction[penalised], self.direction[penalised]))
        lengths = torch.ones_like(self.begins)
        for g, loss in enumerate(self.sample_losses):
            derivative = derivative_along(
                loss,
                self.sample @ weights[:, g] + intercept[g],
                self.sample @ forward[:, g] + forward_b[g],
                first[g],
                rise[g],
            )
            here, _ = derivative(torch.zeros_like(first[g]))
            offset = self.begins[g] - here

            def corrected(
                step: Tensor, derivative: Derivative = derivative, offset: Tensor = offset
            ) -> tuple[Tensor, Tensor]:
                value, slope = derivative(step)
                return value + offset, slope

            lengths[g], _ = line_search(corrected, self.begins[g], below=-0.3, above=0.1, rounds=12)
        return lengths

    def _total(self, each: Tensor) -> Tensor:
        """Return values of columns (G, K), of coupled ones for each the sum of its head."""
        return each.sum(1, keepdim=True).expand(each.shape) if self.objective.coupled else each

    def _of_head(self, each: Tensor) -> Tensor:
        return each[:, 0] if self.objective.coupled else each.sum(1)

    def _gap(self) -> Tensor:
        """Return the certified gaps (G,), relative to the objectives."""
        value, here = self._of_head(self.at.value), self._of_head(self.at.gap)
        rounding = 10 * ROUNDING[self.objective.dtype] * value
        between = torch.maximum(self._of_head(self.at.value - self.lower), rounding)
        return torch.minimum(here, between) / value.clamp(min=1e-300)
