"""Optimal transport as a method: where source rows go."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from decaf.adapt import OptimalTransport
from decaf.adapt.optimal_transport import squared_distances


def domains(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(30) % 3
    centres = 2 * random.normal(size=(3, 6))
    return centres[y] + random.normal(size=(30, 6)), y, 1 + centres[y] + random.normal(size=(30, 6))


def test_rows_go_to_their_partners_as_the_entropy_goes() -> None:
    Xs, y, Xt = domains()
    method = OptimalTransport(epsilon=2e-4, eta=0, scale="none", max_iter=100_000).fit(Xs, y, Xt)
    # Equal masses: the best plan is an assignment.
    partners = linear_sum_assignment(cdist(Xs, Xt, "sqeuclidean"))[1]
    np.testing.assert_array_equal(method.plan_.argmax(axis=1), partners)
    np.testing.assert_allclose(method.transform(Xs, "source"), Xt[partners], atol=0.05)


def test_rows_go_to_the_mean_of_what_they_are_carried_to() -> None:
    Xs, y, Xt = domains()
    method = OptimalTransport(scale="none").fit(Xs, y, Xt)
    plan = method.plan_
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 30, atol=1e-4)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 30, atol=1e-4)
    assert method.error_ < 1e-4
    expected = plan @ Xt / plan.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(method.transform(Xs, "source"), expected, atol=1e-12)
    np.testing.assert_array_equal(method.transform(Xt), Xt)
    # Others go along with the nearest.
    moved = method.transform(Xs[[4]] + 1e-3, "source")
    np.testing.assert_allclose(moved, expected[[4]] + 1e-3, atol=1e-12)


def test_labelled_target_rows_receive_from_their_class() -> None:
    Xs, y, Xt = domains()
    yt = np.where(np.arange(30) < 9, (y + 1) % 3, -1)  # against what distances say
    method = OptimalTransport(scale="none", max_iter=20_000).fit(Xs, y, Xt, yt)
    known = yt >= 0
    strange = known & (y[:, None] != yt)
    assert method.plan_[strange].sum() < 1e-6
    free = OptimalTransport(scale="none").fit(Xs, y, Xt)
    assert free.plan_[strange].sum() > 0.1


def test_order_rotation_and_size_do_not_count() -> None:
    Xs, y, Xt = domains()
    plain = OptimalTransport(scale="none", tol=1e-9, max_iter=20_000).fit(Xs, y, Xt)
    order = np.random.default_rng(0).permutation(30)
    turn = 7 * np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    other = OptimalTransport(scale="none", tol=1e-9, max_iter=20_000)
    other.fit((Xs @ turn)[order], y[order], Xt[::-1] @ turn)
    np.testing.assert_allclose(other.plan_, plain.plan_[order][:, ::-1], atol=1e-8)


def test_says_when_it_stops_early_and_refuses_settings() -> None:
    Xs, y, Xt = domains()
    with pytest.warns(
        ConvergenceWarning, match="Sinkhorn's iteration stopped after max_iter = 1 it"
    ):
        OptimalTransport(epsilon=1e-4, max_iter=1, tol=1e-12).fit(Xs, y, Xt)
    with pytest.raises(
        ValueError, match=r"`epsilon` must .*; `tol` must .*; `eta` must .*; `max_iter"
    ):
        OptimalTransport(epsilon=0, tol=-1, eta=-1, max_iter=0).fit(Xs, y, Xt)


def test_squared_distances_are_scipys() -> None:
    random = np.random.default_rng(0)
    X, Y = 1e3 + random.normal(size=(5, 4)), 1e3 + random.normal(size=(7, 4))
    np.testing.assert_allclose(squared_distances(X, Y), cdist(X, Y, "sqeuclidean"), rtol=1e-9)
    assert (squared_distances(X, X) >= 0).all()
