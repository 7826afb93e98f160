"""Joint distribution adaptation against the dense problem, round by round."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from sklearn.neighbors import KNeighborsClassifier

from decaf.adapt import JDA
from decaf.adapt.algebra.mean_discrepancy import mean_differences
from decaf.adapt.joint_distribution import joint_components


def domains(seed: int = 0, d: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(45) % 3
    centres = 1.5 * random.normal(size=(3, d))
    Xt = 0.6 + 0.8 * centres[y] + random.normal(size=(45, d))
    return centres[y] + random.normal(size=(45, d)), y, Xt


def dense(X: np.ndarray, ys: np.ndarray, guess: np.ndarray, k: int, lam: float) -> np.ndarray:
    """Eq. 8 as it stands in the paper, with matrices of n × n, and M as the authors scale it."""
    n_s, n_t = len(ys), len(guess)
    n = n_s + n_t
    M = np.zeros((n, n))
    e = np.r_[np.full(n_s, 1 / n_s), np.full(n_t, -1 / n_t)]
    M += np.outer(e, e)
    for c in range(ys.max() + 1):
        e = np.zeros(n)
        if (guess == c).any():
            e[:n_s][ys == c] = 1 / (ys == c).sum()
            e[n_s:][guess == c] = -1 / (guess == c).sum()
            M += np.outer(e, e)
    M /= np.linalg.norm(M, "fro")
    H = np.eye(n) - 1 / n
    columns = X.T
    left = columns @ M @ columns.T + lam * np.eye(len(columns))
    # The smallest Φ of left A = XHXᵀ A Φ.
    A = scipy.linalg.eigh(columns @ H @ columns.T, left)[1]
    A = A[:, ::-1][:, :k]
    found: np.ndarray = A / np.sqrt(np.diag(A.T @ columns @ H @ columns.T @ A))
    return found


@pytest.mark.parametrize("lam", [0.05, 1.0])
def test_a_projection_is_that_of_the_dense_problem(lam: float) -> None:
    Xs, ys, Xt = domains()
    X = np.concatenate([Xs, Xt]) / 4
    guess = np.r_[ys[:20], np.full(25, -1)]
    m = mean_differences(ys, guess, 3)
    parts = X, np.ones(len(X)), X.T @ m / np.sqrt(np.linalg.norm(m.T @ m))
    A = joint_components(*parts, 5, lam)
    expected = dense(X, ys, guess, 5, lam)
    signs = np.sign((A * expected).sum(axis=0))
    np.testing.assert_allclose(A, expected * signs, atol=1e-8)
    np.testing.assert_allclose(joint_components(*parts, 5, lam, start=A[:, :3]), A, atol=1e-8)


@pytest.mark.parametrize("d", [12, 150])
def test_rounds_are_those_of_algorithm_1(d: int) -> None:
    Xs, ys, Xt = domains(d=d)
    known = np.arange(45) < 6
    yt = np.where(known, ys, -1)
    X = np.concatenate([Xs, Xt])
    X = X / np.sqrt(np.square(X).sum(axis=1).mean())
    guess = yt
    for rounds in range(1, 4):
        method = JDA(head="1nn", dim=4, iterations=rounds, scale="none").fit(Xs, ys, Xt, yt)
        np.testing.assert_array_equal(method.pseudo_labels_, guess)
        Z = X @ dense(X, ys, guess, 4, 1.0)
        found = np.concatenate([method.transform(Xs, "source"), method.transform(Xt)])
        np.testing.assert_allclose(found @ found.T, Z @ Z.T, atol=1e-7)
        head = KNeighborsClassifier(1).fit(
            np.concatenate([Z[:45], Z[45:][known]]), np.concatenate([ys, ys[known]])
        )
        guess = np.where(known, ys, head.predict(Z[45:]))


def test_stops_when_no_class_changes() -> None:
    Xs, ys, Xt = domains()
    method = JDA(head="1nn", dim=3, iterations=50).fit(Xs, ys, Xs + 0.01)
    assert method.n_iter_ < 10
    assert (method.pseudo_labels_ == ys).all()
    given = JDA(head="1nn", dim=3).fit(Xs, ys, Xt, ys)
    assert given.n_iter_ == 1
    assert (given.pseudo_labels_ == ys).all()


def test_order_and_rotation_do_not_count() -> None:
    Xs, ys, Xt = domains()
    settings = {"head": "1nn", "dim": 4, "scale": "none"}
    plain = JDA(**settings).fit(Xs, ys, Xt)
    order = np.random.default_rng(0).permutation(45)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    other = JDA(**settings).fit((Xs @ turn)[order], ys[order], (Xt @ turn)[order])
    one, two = plain.transform(Xt), other.transform(Xt @ turn)
    np.testing.assert_allclose(two @ two.T, one @ one.T, atol=1e-7)
    np.testing.assert_array_equal(other.predict(Xt @ turn), plain.predict(Xt))


def test_refuses_settings() -> None:
    Xs, ys, Xt = domains()
    with pytest.raises(ValueError, match=r"`regularisation` must be .*; `iterations` must be"):
        JDA(regularisation=0, iterations=1.5).fit(Xs, ys, Xt)
