r"""½‖w‖² plus the loss expected under dropout, in closed form: no copies are drawn.

Each activation of a row is dropped with probability p while the head is trained, and what stays is
divided by 1 - p, so that nothing changes at test: x̃_j = x_j ξ_j / (1 - p), ξ_j ~ Bernoulli(1 - p).
The margin of a row is then a sum of thousands of independent terms with

    mean μ = w·x + b,     variance s² = q Σ_j w_j² a_j²,     q = p / (1 - p)

(a is x, or what of it the mask acts on), and by the central limit theorem it is Gaussian as far as
these losses can tell (Wang and Manning 2013, Fast dropout training, sec. 2). Training on the
expected loss is what training on infinitely many corrupted copies of each row tends to (van der
Maaten et al. 2013, Learning with marginalized corrupted features, sec. 3): there is no number of
copies to choose, no noise that depends on a seed, and the objective stays convex, as expectations
of convex functions are. With t = a/s, a = 1 - yμ, φ and Φ the normal density and distribution:

    hinge            E = aΦ(t) + sφ(t)               ∂/∂a = Φ            ∂/∂s² = φ/(2s)
    squared hinge    E = (a² + s²)Φ(t) + asφ(t)      ∂/∂a = 2(aΦ + sφ)   ∂/∂s² = Φ
    logistic         E log(1 + e^-z), z ~ N(yμ, s²)  ∂/∂μ = -yE σ(-z)    ∂/∂s² = ½E σ(z)σ(-z)

The logistic ones are integrals over t; the trapezoidal rule converges geometrically there, since
log(1 + e^-z) is analytic for |Im z| < π. For several classes Jensen's inequality bounds the
expected loss from above (and the bound is tight where the variances are small, or one class has
all the probability):

    E log Σ_k exp(f_k - f_y) ≤ log Σ_k exp(μ_k - μ_y + ½ v_k),   v_k = q Σ_j (w_kj - w_yj)² a_j².
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from decaf.heads.solver.losses import signs_of

__all__ = [
    "DropoutObjective",
    "Evaluated",
    "expected_hinge",
    "expected_logistic",
    "expected_squared_hinge",
]

Expected = tuple[Tensor, Tensor, Tensor]
SMALLEST = 1e-10  # variance below which a margin counts as certain


def expected_hinge(margin: Tensor, variance: Tensor) -> Expected:
    """Return E max(0, 1 - z) for z ~ N(margin, variance), and its derivatives.

    Parameters
    ----------
    margin : Tensor
        Mean of y f.
    variance : Tensor
        Variance of y f, at least 0; the shape is the same.

    Returns
    -------
    value, by_margin, by_variance : Tensor
    """
    s, a, density, below = _normal(margin, variance)
    value = (a * below + s * density).clamp(min=0)
    return value, -below, 0.5 * density / s


def expected_squared_hinge(margin: Tensor, variance: Tensor) -> Expected:
    """Return E max(0, 1 - z)² for z ~ N(margin, variance), and its derivatives.

    Parameters
    ----------
    margin, variance : Tensor
        As in `expected_hinge`.

    Returns
    -------
    value, by_margin, by_variance : Tensor
    """
    s, a, density, below = _normal(margin, variance)
    ramp = (a * below + s * density).clamp(min=0)
    value = (a * ramp + s * s * below).clamp(min=0)
    return value, -2 * ramp, below


def expected_logistic(margin: Tensor, variance: Tensor) -> Expected:
    """Return E log(1 + exp(-z)) for z ~ N(margin, variance), and its derivatives.

    The error of the trapezoidal rule with step h is about exp(-2π²/(h s)) from the poles of the
    loss at ±iπ, and exp(-2π²/h²) from the weight: h = 0.75 serves up to s = 1, and 1.1/s beyond,
    both below 1e-6.

    Parameters
    ----------
    margin, variance : Tensor
        As in `expected_hinge`.

    Returns
    -------
    value, by_margin, by_variance : Tensor
    """
    s = (variance + SMALLEST).sqrt()
    h = min(0.75, 1.1 / max(float(s.max()), 1e-3))
    count = math.ceil(6 / h)
    nodes = [h * i for i in range(-count, count + 1)]
    weights = [math.exp(-0.5 * t * t) for t in nodes]
    total = sum(weights)
    value, by_margin, by_variance = (torch.zeros_like(margin) for _ in range(3))
    for t, weight in zip(nodes, weights, strict=True):
        z = torch.add(margin, s, alpha=t)
        p = torch.sigmoid(-z)
        # log(1 + e^-z) = -z - log σ(-z); softplus is the form that keeps its digits.
        value.add_(torch.nn.functional.softplus(-z, threshold=80), alpha=weight / total)
        by_margin.sub_(p, alpha=weight / total)
        by_variance.addcmul_(p, 1 - p, value=0.5 * weight / total)
    return value, by_margin, by_variance


def _normal(margin: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s, a = (variance + SMALLEST).sqrt(), 1 - margin
    t = a / s
    density = torch.exp(-0.5 * t * t) * (1 / math.sqrt(2 * math.pi))
    return s, a, density, torch.special.ndtr(t)


_EXPECTED = {
    "hinge": expected_hinge,
    "squared_hinge": expected_squared_hinge,
    "logistic": expected_logistic,
    "multinomial": expected_logistic,
}


@dataclass
class Evaluated:
    """The objective at one point.

    Attributes
    ----------
    value : Tensor of float64, shape (K,)
        For coupled classes all of the loss stands in the first.
    gradient : Tensor, shape (d + 1, K)
        The intercept is last.
    ridge : Tensor, shape (d, K)
        Addition of dropout to the diagonal of the Hessian: an adaptive ridge (Wager, Wang and Liang
        2013, sec. 2).
    curvature : Tensor, shape (K,)
        About the mean second derivative of the loss by the decision value, summed over the rows.
    """

    value: Tensor
    gradient: Tensor
    ridge: Tensor
    curvature: Tensor

    def columns(self, kept: Tensor) -> Evaluated:
        """Return some columns.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers.
        """
        return Evaluated(
            self.value[kept], self.gradient[:, kept], self.ridge[:, kept], self.curvature[kept]
        )


@dataclass
class DropoutObjective:
    """The objective of one training set.

    Parameters
    ----------
    name : str
        The loss.
    X : Tensor, shape (n, d)
    squares : Tensor, shape (n, d)
        a∘a, the squared activations.
    codes : Tensor of int64, shape (n,)
    n_classes : int
    cost : Tensor, shape (n, 1)
        C times the weight of each row.
    odds : float
        q = p / (1 - p).
    """

    name: str
    X: Tensor
    squares: Tensor
    codes: Tensor
    n_classes: int
    cost: Tensor
    odds: float
    _signs: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._signs = signs_of(self.codes, self.n_classes, self.cost.dtype)

    @property
    def group(self) -> int:
        """How many columns belong together."""
        return self.n_classes if self.name == "multinomial" and self.n_classes > 2 else 1

    @property
    def penalised(self) -> bool:
        """Whether the intercept is."""
        return self.name in ("hinge", "squared_hinge")

    def at(self, weights: Tensor, columns: Tensor) -> Evaluated:
        """Return the objective at some weights.

        Parameters
        ----------
        weights : Tensor, shape (d + 1, K)
            The intercept is last. Dropout does not act on it.
        columns : Tensor of int64, shape (K,)
            Which classes these are; all of them where the classes are coupled.
        """
        w, b = weights[:-1], weights[-1]
        point = self._multinomial(w, b) if self.group > 1 else self._one_vs_rest(w, b, columns)
        point.value += 0.5 * w.square().sum(0, dtype=torch.float64)
        point.gradient[:-1] += w
        if self.penalised:
            point.value += 0.5 * b.double().square()
            point.gradient[-1] += b
        return point

    def _one_vs_rest(self, w: Tensor, b: Tensor, columns: Tensor) -> Evaluated:
        signs = self._signs[:, columns]
        variance = (self.squares @ w.square()).mul_(self.odds)
        margin = torch.addmm(b, self.X, w).mul_(signs)
        value, by_margin, by_variance = _EXPECTED[self.name](margin, variance)
        total = (self.cost * value).sum(0, dtype=torch.float64)
        slope = by_margin.mul_(signs).mul_(self.cost)
        by_variance = by_variance.mul_(self.cost)
        # ∂s²/∂w_j = 2q a_j² w_j
        ridge = (self.squares.T @ by_variance).mul_(2 * self.odds)
        gradient = torch.cat([torch.addcmul(self.X.T @ slope, ridge, w), slope.sum(0)[None]])
        # Of an expectation over N(μ, s²), ∂²/∂μ² is twice ∂/∂s² (Price's theorem).
        return Evaluated(total, gradient, ridge, 2 * by_variance.sum(0))

    def _multinomial(self, w: Tensor, b: Tensor) -> Evaluated:
        """Bound by Jensen's inequality.

        With r_i = w_{y_i}, v_k = q (Σ w_k² a² - 2 Σ (a² r)·w_k + Σ r² a²): the middle term is a
        product of a²∘r with W. For the gradient let p be the softmax of μ_k - μ_y + ½ v_k (times
        the cost). Then ∂L/∂w_k = Xᵀ(p - 1_y) + q Σ_i p_ik a²(w_k - r_i), and the row's own class
        gets -q Σ_k p_ik a²(w_k - r_i) besides.
        """
        own = self.codes[:, None]
        variance = self.squares @ w.square()
        tied = self.squares * w.T[self.codes]
        variance += variance.gather(1, own) - 2 * (tied @ w)
        logits = torch.addmm(b, self.X, w)
        logits = (logits - logits.gather(1, own)).addcmul_(
            variance.clamp_(min=0).scatter_(1, own, 0.0), torch.tensor(0.5 * self.odds).to(w)
        )
        each = torch.logsumexp(logits, 1, keepdim=True)
        total = logits.new_zeros(logits.shape[1], dtype=torch.float64)
        total[0] = (self.cost * each).sum(dtype=torch.float64)
        p = torch.softmax(logits, 1).mul_(self.cost)
        curvature = p * (1 - p / self.cost)
        slope = p.clone().scatter_add_(1, own, -self.cost)
        both = p.scatter_add(1, own, self.cost)
        ridge = (self.squares.T @ both).mul_(self.odds)
        gradient = torch.addcmul(self.X.T @ slope, ridge, w)
        gradient.addmm_(tied.T, p, alpha=-self.odds)
        torch.mul(self.squares, p @ w.T, out=tied)
        gradient.T.index_add_(0, self.codes, tied, alpha=-self.odds)
        # What a step of one column alone meets; p_own near 1 meets the other classes' rest.
        alone = p.scatter_add(1, own, self.cost - 2 * p.gather(1, own))
        ridge = (self.squares.T @ alone).mul_(self.odds)
        gradient = torch.cat([gradient, slope.sum(0)[None]])
        return Evaluated(total, gradient, ridge, curvature.sum(0))
