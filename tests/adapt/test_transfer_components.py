"""Transfer components against the dense problem, which is not symmetric."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from decaf.adapt import TCA, transfer_components
from decaf.adapt.algebra.mean_discrepancy import IdentityPlusColumns, mean_differences, row_size


def domains(seed: int = 0, d: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(24) % 3
    centres = 2 * random.normal(size=(3, d))
    return centres[y] + random.normal(size=(24, d)), y, 1 + centres[y] + random.normal(size=(24, d))


def l_and_H(n_s: int, n_t: int) -> tuple[np.ndarray, np.ndarray]:
    n = n_s + n_t
    return np.r_[np.full(n_s, 1 / n_s), np.full(n_t, -1 / n_t)], np.eye(n) - 1 / n


@pytest.mark.parametrize("mu", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("d", [15, 70])
def test_solves_the_generalised_problem(d: int, mu: float) -> None:
    Xs, _, Xt = domains(d=d)
    X = np.concatenate([Xs, Xt])
    ell, H = l_and_H(24, 24)
    K = X @ X.T
    W, values = transfer_components.transfer_components(X, ell, 5, mu)
    B = K @ np.outer(ell, ell) @ K + mu * np.eye(48)
    # LAPACK's solver for matrices without symmetry, of the matrix that the paper has.
    expected, vectors = scipy.linalg.eig(np.linalg.solve(B, K @ H @ K))
    order = np.argsort(-expected.real)[:5]
    np.testing.assert_allclose(values, expected[order].real, rtol=1e-8)
    for found, other in zip(W.T, vectors[:, order].real.T, strict=True):
        cosine = found @ other / np.linalg.norm(found) / np.linalg.norm(other)
        assert abs(cosine) == pytest.approx(1, abs=1e-7)
    np.testing.assert_allclose(W.T @ K @ H @ K @ W, np.eye(5), atol=1e-8)
    # What takes the matrix for a symmetric one finds something else.
    wrong = np.linalg.eigh(np.linalg.solve(B, K @ H @ K))[0][::-1][:5]
    assert np.abs(wrong / values - 1).max() > 1e-3


def test_rows_are_represented_by_the_kernel() -> None:
    Xs, y, Xt = domains()
    method = TCA(dim=4, mu=0.5, scale="none").fit(Xs, y, Xt)
    X = np.concatenate([Xs, Xt])
    size = np.sqrt(np.square(X).sum(axis=1).mean())
    ell, _ = l_and_H(24, 24)
    W, values = transfer_components.transfer_components(X / size, ell, 4, 0.5)
    Z = np.concatenate([method.transform(Xs, "source"), method.transform(Xt)])
    np.testing.assert_allclose(Z, X @ X.T @ W / size**2, atol=1e-10)
    np.testing.assert_allclose(method.eigenvalues_, values)
    # Every component has the same variance, as the constraint says.
    np.testing.assert_allclose(np.cov(Z, rowvar=False, bias=True), np.eye(4) / 48, atol=1e-10)


def test_the_means_come_nearer_than_by_principal_components() -> None:
    Xs, y, Xt = domains()
    distances = []
    for mu in (1e6, 1e-3):
        method = TCA(dim=3, mu=mu, scale="none").fit(Xs, y, Xt)
        Z, other = method.transform(Xs, "source"), method.transform(Xt)
        distances.append(np.linalg.norm(Z.mean(axis=0) - other.mean(axis=0)))
    assert distances[1] < 0.1 * distances[0]


def test_order_and_rotation_do_not_count() -> None:
    Xs, y, Xt = domains()
    plain = TCA(dim=4, scale="none").fit(Xs, y, Xt).transform(Xt)
    order = np.random.default_rng(0).permutation(24)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(15, 15)))[0]
    other = TCA(dim=4, scale="none").fit((Xs @ turn)[order], y[order], Xt[::-1] @ turn)
    found = other.transform(Xt @ turn)
    np.testing.assert_allclose(found @ found.T, plain @ plain.T, atol=1e-7)


def test_differences_of_means() -> None:
    ys, yt = np.array([0, 0, 1, 2]), np.array([0, 1, 1, -1, -1])
    m = mean_differences(ys, yt, 4)
    assert m.shape == (9, 3)  # no target row is of class 2, no row at all of class 3
    X = np.random.default_rng(0).normal(size=(9, 2))
    S, T = X[:4], X[4:]
    expected = [
        S.mean(0) - T.mean(0),
        S[ys == 0].mean(0) - T[yt == 0].mean(0),
        S[ys == 1].mean(0) - T[yt == 1].mean(0),
    ]
    np.testing.assert_allclose(m.T @ X, expected)


def test_powers_of_identity_plus_columns() -> None:
    random = np.random.default_rng(0)
    N, V = random.normal(size=(12, 3)), random.normal(size=(12, 2))
    N = np.hstack([N, N[:, :1]])  # collinear columns
    B = IdentityPlusColumns(N, 0.3)
    dense = N @ N.T + 0.3 * np.eye(12)
    np.testing.assert_allclose(B.power(V, -1), np.linalg.solve(dense, V))
    np.testing.assert_allclose(B.power(V, 1), dense @ V)
    np.testing.assert_allclose(B.power(B.power(V, -0.5), -0.5), np.linalg.solve(dense, V))


def test_size_of_rows() -> None:
    assert row_size(np.array([[3.0, 4.0]]), np.array([[0.0, 1.0], [0.0, 0.0]])) == pytest.approx(
        np.sqrt(26 / 3)
    )
    assert row_size(np.zeros((2, 3))) == 1
