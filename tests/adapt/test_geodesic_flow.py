"""The geodesic flow kernel against the geodesic, integrated, and its published properties."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.adapt import GFK
from decaf.adapt.geodesic_flow import flow_factor


def basis(d: int, k: int, seed: int) -> np.ndarray:
    columns: np.ndarray = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, k)))[0]
    return columns


def kernel(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    factor, _ = flow_factor(P, Q)
    G: np.ndarray = factor @ factor.T
    return G


def geodesic(P: np.ndarray, Q: np.ndarray, t: float) -> np.ndarray:
    """Φ(t) as eq. 2 of the paper has it, with a complement R of P made for it."""
    k = P.shape[1]
    R = scipy.linalg.null_space(P.T)
    # The generalised SVD of PᵀQ and RᵀQ, by that of PᵀQ: RᵀQV has orthogonal columns of length σ.
    U1, cosines, Vt = np.linalg.svd(P.T @ Q)
    theta = np.arccos(np.clip(cosines, -1, 1))
    rest = -R.T @ Q @ Vt.T
    U2 = rest / np.maximum(np.linalg.norm(rest, axis=0), 1e-300)
    Phi: np.ndarray = P @ U1 * np.cos(t * theta) - R @ U2 * np.sin(t * theta)
    assert Phi.shape[1] == k
    return Phi


@pytest.mark.parametrize(("d", "k"), [(10, 1), (12, 4), (40, 7), (6, 3)])
def test_is_the_integral_over_the_geodesic(d: int, k: int) -> None:
    P, Q = basis(d, k, 0), basis(d, k, 1)
    np.testing.assert_allclose(geodesic(P, Q, 0) @ geodesic(P, Q, 0).T, P @ P.T, atol=1e-12)
    np.testing.assert_allclose(geodesic(P, Q, 1) @ geodesic(P, Q, 1).T, Q @ Q.T, atol=1e-7)
    nodes, weights = np.polynomial.legendre.leggauss(30)
    flow = [geodesic(P, Q, t) for t in (nodes + 1) / 2]
    integral = sum(w / 2 * Phi @ Phi.T for w, Phi in zip(weights, flow, strict=True))
    np.testing.assert_allclose(kernel(P, Q), integral, atol=1e-9)


def test_is_the_closed_form_of_the_paper() -> None:
    d, k = 20, 5
    P, Q = basis(d, k, 0), basis(d, k, 1)
    R = scipy.linalg.null_space(P.T)
    U1, cosines, Vt = np.linalg.svd(P.T @ Q)
    theta = np.arccos(cosines)
    U2 = -R.T @ Q @ Vt.T / np.sin(theta)
    L1 = np.diag((1 + np.sin(2 * theta) / (2 * theta)) / 2)
    L2 = np.diag((np.cos(2 * theta) - 1) / (2 * theta) / 2)
    L3 = np.diag((1 - np.sin(2 * theta) / (2 * theta)) / 2)
    sides = np.hstack([P @ U1, R @ U2])
    np.testing.assert_allclose(
        kernel(P, Q), sides @ np.block([[L1, L2], [L2, L3]]) @ sides.T, atol=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 25), st.integers(1, 6), st.integers(0, 10**6))
def test_published_properties(d: int, k: int, seed: int) -> None:
    k = min(k, d)
    P, Q = basis(d, k, seed), basis(d, k, seed + 1)
    G = kernel(P, Q)
    np.testing.assert_allclose(kernel(Q, P), G, atol=1e-10)
    values = np.linalg.eigvalsh(G)
    assert values.min() > -1e-12
    assert values.max() < 1 + 1e-10
    assert np.trace(G) == pytest.approx(k)  # every Φ(t) has k orthonormal columns
    # Of subspaces, not of their bases.
    turn = basis(k, k, seed + 2)
    np.testing.assert_allclose(kernel(P @ turn, Q), G, atol=1e-10)
    # It turns with the space.
    space = basis(d, d, seed + 3)
    np.testing.assert_allclose(kernel(space @ P, space @ Q), space @ G @ space.T, atol=1e-10)
    np.testing.assert_allclose(kernel(P, P @ turn), P @ P.T, atol=1e-7)


@pytest.mark.parametrize("angle", [1e-12, 1e-8, 1e-5, 9.9e-3, 1.01e-2, 1.0, np.pi / 2])
def test_one_plane_whatever_the_angle(angle: float) -> None:
    P = np.array([[1.0], [0.0], [0.0]])
    Q = np.array([[np.cos(angle)], [np.sin(angle)], [0.0]])
    expected = np.zeros((3, 3))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    for t, w in zip((nodes + 1) / 2, weights / 2, strict=True):
        line = np.array([np.cos(t * angle), np.sin(t * angle), 0])
        expected += w * np.outer(line, line)
    np.testing.assert_allclose(kernel(P, Q), expected, rtol=1e-9, atol=1e-15)


def domains(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(60) % 3
    centres = 2 * random.normal(size=(3, 20))
    Xs = centres[y] + random.normal(size=(60, 20))
    return Xs, y, (centres[y] + random.normal(size=(60, 20))) @ np.diag(np.linspace(0.4, 2, 20))


def test_the_head_stands_on_the_kernel() -> None:
    Xs, y, Xt = domains()
    method = GFK(head="1nn", dim=4, scale="none").fit(Xs, y, Xt)
    assert method.dim_ == 4
    assert method.factor_.shape == (20, 8)
    G = method.factor_ @ method.factor_.T
    difference = Xt[:, None] - Xs[None]
    nearest = np.einsum("tsi,ij,tsj->ts", difference, G, difference).argmin(axis=1)
    np.testing.assert_array_equal(method.predict(Xt), y[nearest])
    np.testing.assert_allclose(
        method.transform(Xt) @ method.transform(Xs, "source").T, Xt @ G @ Xs.T
    )
    swapped = GFK(dim=4, scale="none").fit(Xt, y, Xs)
    np.testing.assert_allclose(swapped.factor_ @ swapped.factor_.T, G, atol=1e-10)


def test_rows_twice_and_in_another_order_give_the_same_kernel() -> None:
    Xs, y, Xt = domains()
    method = GFK().fit(Xs, y, Xt)
    order = np.random.default_rng(0).permutation(120)
    again = GFK().fit(np.tile(Xs, (2, 1))[order], np.tile(y, 2)[order], np.tile(Xt, (2, 1)))
    assert again.dim_ == method.dim_
    np.testing.assert_allclose(
        again.factor_ @ again.factor_.T, method.factor_ @ method.factor_.T, atol=1e-9
    )
