"""Entropic transport: its masses, its limit, its objective."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import xlogy

from decaf.adapt.algebra.sinkhorn import class_regularised_plan, group_norms, sinkhorn


def problem(n: int = 8, m: int = 11, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    a, b = random.uniform(0.5, 2, n), random.uniform(0.5, 2, m)
    return random.uniform(size=(n, m)), a / a.sum(), b / b.sum()


def transport_cost(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The cost of the best plan, by linear programming."""
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    found = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.r_[a, b])
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("epsilon", [1e-3, 0.05, 10.0])
def test_plans_have_their_masses_and_their_form(epsilon: float) -> None:
    cost, a, b = problem()
    found = sinkhorn(cost, a, b, epsilon, tol=1e-10, max_iter=200_000)
    assert found.converged
    assert (found.plan >= 0).all()
    np.testing.assert_allclose(found.plan.sum(axis=1), a, atol=1e-9)
    np.testing.assert_allclose(found.plan.sum(axis=0), b, atol=1e-9)
    # The optimality condition: ε log γ + C is a sum of potentials.
    np.testing.assert_allclose(
        found.plan, np.exp((found.f[:, None] + found.g - cost) / epsilon), rtol=1e-6, atol=1e-300
    )


def test_comes_to_the_linear_programme_as_the_entropy_goes() -> None:
    cost, a, b = problem()
    best = transport_cost(cost, a, b)
    excess = []
    for epsilon in (0.3, 0.03, 0.003, 0.0003):
        plan = sinkhorn(cost, a, b, epsilon, tol=1e-8, max_iter=100_000).plan
        excess.append(float((plan * cost).sum()) - best)
    assert all(later < earlier for earlier, later in pairwise(excess))
    assert excess[0] > 1e-3
    assert abs(excess[-1]) < 1e-5
    # Large ε: the masses alone.
    np.testing.assert_allclose(sinkhorn(cost, a, b, 1e5).plan, np.outer(a, b), rtol=1e-4)


def test_begins_from_potentials_and_says_when_it_stops_early() -> None:
    cost, a, b = problem()
    found = sinkhorn(cost, a, b, 0.02, tol=1e-9, max_iter=10_000)
    again = sinkhorn(cost, a, b, 0.02, f=found.f, g=found.g, tol=1e-8, max_iter=1)
    assert again.converged
    short = sinkhorn(cost, a, b, 1e-4, max_iter=1)
    assert not short.converged
    np.testing.assert_allclose(short.plan.sum(axis=0), b)
    assert short.error == pytest.approx(np.abs(short.plan.sum(axis=1) - a).sum(), rel=1e-6)


def test_costs_of_any_size_neither_overflow_nor_vanish() -> None:
    cost, a, b = problem()
    plain = sinkhorn(cost, a, b, 0.01, tol=1e-9, max_iter=20_000).plan
    far = sinkhorn(1e6 + 1e6 * cost, a, b, 1e4, tol=1e-9, max_iter=20_000).plan
    np.testing.assert_allclose(far, plain, atol=1e-8)


def groups() -> np.ndarray:
    return np.array([0, 0, 0, 1, 1, 2, 2, 2])


def objective(plan: np.ndarray, cost: np.ndarray, epsilon: float, eta: float) -> float:
    total = float((plan * cost).sum() + epsilon * (xlogy(plan, plan) - plan).sum())
    for c in range(3):
        total += eta * float(np.linalg.norm(plan[groups() == c], axis=0).sum())
    return total


def test_classes_lower_their_objective_step_by_step_to_its_least() -> None:
    cost, a, b = problem()
    epsilon, eta = 0.05, 0.3
    found = class_regularised_plan(
        cost, a, b, epsilon, eta, groups(), tol=1e-11, max_iter=50_000, steps=300, step_tol=1e-12
    )
    values = np.array(found.objectives)
    assert len(values) > 2
    assert (np.diff(values) < 0).all()
    assert values[-1] == pytest.approx(objective(found.plan, cost, epsilon, eta), rel=1e-9)
    np.testing.assert_allclose(found.plan.sum(axis=1), a, atol=1e-9)
    np.testing.assert_allclose(found.plan.sum(axis=0), b, atol=1e-9)
    # Convex, so that no plan with these masses is better: try many near and far.
    random = np.random.default_rng(0)
    plain = sinkhorn(cost, a, b, epsilon, tol=1e-11, max_iter=50_000).plan
    assert objective(plain, cost, epsilon, eta) > values[-1]
    for size in (1e-2, 1e-1, 1.0):
        for _ in range(5):
            other = cost + size * random.normal(size=cost.shape)
            trial = sinkhorn(other, a, b, epsilon, tol=1e-11, max_iter=50_000).plan
            for share in (1e-3, 0.1, 1.0):
                mixed = found.plan + share * (trial - found.plan)
                assert objective(mixed, cost, epsilon, eta) > values[-1] - 1e-7


def test_targets_receive_from_fewer_classes() -> None:
    cost, a, b = problem()
    mixed = class_regularised_plan(cost, a, b, 0.05, 0.0, groups()).plan
    np.testing.assert_array_equal(mixed, sinkhorn(cost, a, b, 0.05).plan)
    kept = class_regularised_plan(cost, a, b, 0.05, 2.0, groups(), steps=50).plan
    purity = [
        (group_norms(plan, groups(), 3).max(axis=0) / group_norms(plan, groups(), 3).sum(axis=0))
        for plan in (mixed, kept)
    ]
    assert purity[1].mean() > purity[0].mean() + 0.05
