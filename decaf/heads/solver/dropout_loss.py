r"""Losses expected under dropout, in closed form: no copies are drawn.

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

import torch
from torch import Tensor

__all__ = ["expected_hinge", "expected_logistic", "expected_squared_hinge"]

Expected = tuple[Tensor, Tensor, Tensor]
SMALLEST = 1e-10  # variance below which a margin counts as certain


def expected_hinge(margin: Tensor, variance: Tensor) -> Expected:
    """Return E max(0, 1 - z) for z ~ N(margin, variance), and its derivatives.

    Parameters
    ----------
    margin : Tensor
        Mean of y f.
    variance : Tensor
        Of the same shape, at least 0.

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
