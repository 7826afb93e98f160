"""Representations along mixtures of the domains."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from decaf.adapt import DLID


def domains(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(40) % 2
    Xs = random.normal(size=(40, 10)) * np.linspace(3, 1, 10) + y[:, None]
    return Xs, y, random.normal(size=(40, 10)) * np.linspace(1, 3, 10) + y[:, None] + 1


def test_a_mixture_is_the_pooled_rows_in_its_shares() -> None:
    Xs, y, Xt = domains()
    method = DLID(dim=3, mixtures=3, scale="none").fit(Xs, y, Xt)
    np.testing.assert_allclose(method.shares_, [0, 0.5, 1])
    # As many source rows as target rows: half of each is all of them.
    for subspace, X in zip(method.subspaces_, (Xs, np.concatenate([Xs, Xt]), Xt), strict=True):
        expected = PCA(3, svd_solver="full").fit(X)
        np.testing.assert_allclose(subspace.mean, X.mean(axis=0))
        cosines = np.abs((subspace.basis.T * expected.components_).sum(axis=1))
        np.testing.assert_allclose(cosines, 1)
    uneven = DLID(dim=2, mixtures=5, scale="none").fit(Xs, y, Xt).subspaces_[1]
    repeated = np.concatenate([np.repeat(Xs, 3, axis=0), Xt])
    np.testing.assert_allclose(uneven.mean, repeated.mean(axis=0))
    expected = PCA(2, svd_solver="full").fit(repeated)
    np.testing.assert_allclose(np.abs((uneven.basis.T * expected.components_).sum(axis=1)), 1)


def test_rows_are_represented_by_all_mixtures_side_by_side() -> None:
    Xs, y, Xt = domains()
    method = DLID(dim=3, mixtures=4, scale="none").fit(Xs, y, Xt)
    linear = DLID(dim=3, mixtures=4, scale="none", encoder="linear").fit(Xs, y, Xt)
    parts = [(Xt - each.mean) @ each.basis for each in method.subspaces_]
    np.testing.assert_allclose(linear.transform(Xt), np.hstack(parts), atol=1e-10)
    bent = [
        np.tanh(part / np.sqrt(each.variances))
        for part, each in zip(parts, method.subspaces_, strict=True)
    ]
    np.testing.assert_allclose(method.transform(Xt), np.hstack(bent), atol=1e-10)
    np.testing.assert_allclose(method.transform(Xt, "source"), method.transform(Xt))


def test_rows_twice_in_another_order_change_nothing() -> None:
    Xs, y, Xt = domains()
    order = np.random.default_rng(0).permutation(80)
    plain = DLID(dim=3).fit(Xs, y, Xt).transform(Xt)
    twice = DLID(dim=3).fit(np.tile(Xs, (2, 1))[order], np.tile(y, 2)[order], Xt[::-1])
    np.testing.assert_allclose(twice.transform(Xt) @ plain.T, plain @ plain.T, atol=1e-7)


def test_refuses_settings() -> None:
    Xs, y, Xt = domains()
    with pytest.raises(ValueError, match=r"`mixtures` must be .*; `encoder` must be one of tanh"):
        DLID(mixtures=1, encoder="deep").fit(Xs, y, Xt)
