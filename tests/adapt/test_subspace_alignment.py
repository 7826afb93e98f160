"""Subspace alignment: its formula, and what does not change it."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from decaf.adapt import SubspaceAlignment


def domains(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(60) % 3
    centres = 2 * random.normal(size=(3, 20))
    Xs = centres[y] + random.normal(size=(60, 20))
    return Xs, y, (centres[y] + random.normal(size=(60, 20))) @ np.diag(np.linspace(0.4, 2, 20))


def test_is_algorithm_1_of_the_paper() -> None:
    Xs, y, Xt = domains()
    method = SubspaceAlignment(head="1nn", dim=5).fit(Xs, y, Xt)
    S, T = (StandardScaler().fit_transform(X) for X in (Xs, Xt))
    X_s, X_t = (PCA(5, svd_solver="full").fit(X).components_.T for X in (S, T))
    aligned = X_s @ (X_s.T @ X_t)
    classifier = KNeighborsClassifier(1).fit(S @ aligned, y)
    np.testing.assert_array_equal(method.predict(Xt), classifier.predict(T @ X_t))
    # The signs of components are free, alike in both domains: M turns the source to the target's.
    signs = np.sign((method.components_["target"] * X_t).sum(axis=0))
    np.testing.assert_allclose(method.transform(Xs, "source"), S @ aligned * signs, atol=1e-9)
    np.testing.assert_allclose(method.transform(Xt), T @ X_t * signs, atol=1e-9)


def test_the_alignment_is_the_nearest() -> None:
    Xs, y, Xt = domains()
    method = SubspaceAlignment(dim=4, scale="none").fit(Xs, y, Xt)
    M, X_t = method.alignment_, method.components_["target"]
    X_s = method.components_["source"] @ np.linalg.inv(M)
    best = np.linalg.norm(X_s @ M - X_t)
    random = np.random.default_rng(0)
    for _ in range(20):
        other = M + 0.1 * random.normal(size=(4, 4))
        assert np.linalg.norm(X_s @ other - X_t) > best


def test_turns_with_the_space() -> None:
    Xs, y, Xt = domains()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    plain = SubspaceAlignment(dim=4, scale="none").fit(Xs, y, Xt)
    turned = SubspaceAlignment(dim=4, scale="none").fit(Xs @ turn, y, Xt @ turn)
    for domain, X in (("source", Xs), ("target", Xt)):
        one, other = plain.transform(X, domain), turned.transform(X @ turn, domain)
        np.testing.assert_allclose(other @ other.T, one @ one.T, atol=1e-8)
    np.testing.assert_allclose(
        turned.decision_function(Xt @ turn), plain.decision_function(Xt), atol=1e-3
    )
