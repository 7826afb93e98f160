"""Principal subspaces, angles between them, and the dimension that is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from sklearn.decomposition import PCA

from decaf.adapt.algebra.principal import principal_subspace
from decaf.adapt.algebra.subspaces import (
    disagreement,
    domain_subspaces,
    principal_angles,
    subspace_disagreement_dim,
)
from decaf.errors import InputError, SettingError


def rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Rows of falling variances, not centred."""
    random = np.random.default_rng(seed)
    scale = 10.0 / np.arange(1, d + 1)
    X: np.ndarray = random.normal(size=(n, d)) * scale @ scipy.linalg.qr(
        random.normal(size=(d, d))
    )[0] + random.normal(size=d)
    return X


# The last two are larger than what is decomposed completely.
@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(30, 50), (50, 30), (20, 20), (560, 600), (600, 560)])
def test_components_are_scikit_learns(n: int, d: int) -> None:
    X = rows(n, d)
    found = principal_subspace(X, 8)
    expected = PCA(8, svd_solver="full").fit(X)
    np.testing.assert_allclose(found.mean, expected.mean_)
    np.testing.assert_allclose(found.variances, expected.explained_variance_ * (n - 1) / n)
    cosines = np.abs((found.basis.T * expected.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, rtol=1e-7)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(8), atol=1e-12)


def test_rows_that_come_twice_or_in_another_order_change_nothing() -> None:
    X = rows(40, 60)
    found = principal_subspace(X, 6)
    shuffled = np.random.default_rng(1).permutation(np.concatenate([X, X]))
    again = principal_subspace(shuffled, 6)
    np.testing.assert_allclose(again.variances, found.variances)
    np.testing.assert_allclose(again.basis @ again.basis.T, found.basis @ found.basis.T, atol=1e-9)


def test_weights_are_shares_of_rows() -> None:
    X = rows(40, 25)
    counts = np.random.default_rng(2).integers(1, 4, 40)
    repeated = principal_subspace(np.repeat(X, counts, axis=0), 5)
    weighted = principal_subspace(X, 5, weights=counts / counts.sum())
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.variances, repeated.variances)
    np.testing.assert_allclose(np.abs((weighted.basis * repeated.basis).sum(axis=0)), 1)


@pytest.mark.parametrize("n", [12, 90])
def test_no_more_components_than_the_rank(n: int) -> None:
    X = rows(n, 50)[:, :4] @ np.random.default_rng(1).normal(size=(4, 50))
    assert principal_subspace(X, 10).dim == 4
    assert principal_subspace(X.astype(np.float32), 10).dim == 4
    assert principal_subspace(np.ones((n, 50)), 3).dim == 0
    found = principal_subspace(rows(6, 50), 50)
    assert found.dim == 5  # centred


def test_angles_are_scipys_small_ones_too() -> None:
    random = np.random.default_rng(0)
    P = np.linalg.qr(random.normal(size=(30, 4)))[0]
    Q = np.linalg.qr(random.normal(size=(30, 4)))[0]
    angles, a, b = principal_angles(P, Q)
    np.testing.assert_allclose(angles, scipy.linalg.subspace_angles(P, Q)[::-1])
    np.testing.assert_allclose(a.T @ b, np.diag(np.cos(angles)), atol=1e-12)
    np.testing.assert_allclose(a @ a.T, P @ P.T, atol=1e-12)
    np.testing.assert_allclose(b @ b.T, Q @ Q.T, atol=1e-12)
    axes = np.linalg.qr(random.normal(size=(30, 30)))[0]
    for angle in (0.0, 1e-10, 1e-5, 0.5, np.pi / 2):
        other = axes[:, :2].copy()
        other[:, 0] = np.cos(angle) * axes[:, 0] + np.sin(angle) * axes[:, 2]
        found = principal_angles(axes[:, :2], other)[0]
        np.testing.assert_allclose(found, [0, angle], atol=1e-14, rtol=1e-5)


def test_disagreement_is_that_of_the_paper() -> None:
    bases = [principal_subspace(rows(30, 20, seed), 6).basis for seed in range(3)]
    for dim in (1, 3, 6):
        sines = [
            np.sin(scipy.linalg.subspace_angles(P[:, :dim], bases[2][:, :dim])[0])
            for P in bases[:2]
        ]
        products = [P[:, :dim].T @ bases[2][:, :dim] for P in bases[:2]]
        assert disagreement(products) == pytest.approx(sum(sines) / 2, abs=1e-7)
    assert disagreement([bases[0].T @ bases[0]] * 2) == pytest.approx(0, abs=1e-7)


def known_dimension(shared: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two domains with so many common components, and then one that the other has not."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(40, 40)))[0]
    own = np.arange(shared, shared + 8)
    n = 4000
    common = 10.0 * 0.8 ** np.arange(shared)
    source, target = (
        random.normal(size=(n, shared)) * common @ axes[:, :shared].T
        + random.normal(size=(n, 8)) * 0.5 * 0.8 ** np.arange(8) @ axes[:, own + shift].T
        for shift in (0, 8)
    )
    return source, target + 50 * axes[:, 39]  # the difference of the means does not count


@pytest.mark.parametrize("shared", [3, 7])
def test_the_dimension_is_where_the_domains_part(shared: int) -> None:
    Xs, Xt = known_dimension(shared, 0)
    dim = subspace_disagreement_dim(Xs, Xt)
    # The pooled components beyond the shared ones belong to one domain or the other: both are at a
    # right angle to one of them as soon as each has had its turn.
    assert shared < dim <= shared + 2
    assert subspace_disagreement_dim(Xt, Xs) == dim
    assert subspace_disagreement_dim(Xs, Xt, most=2) == 2


def test_a_choice_is_remembered_for_the_same_rows_only() -> None:
    Xs, Xt = rows(30, 50), rows(25, 50, 1)
    first = domain_subspaces(Xs, Xt, "auto")
    again = domain_subspaces(Xs.copy(), Xt.copy(), "auto")
    np.testing.assert_array_equal(again[0].basis, first[0].basis)
    Xs[3, 4] += 5
    changed = domain_subspaces(Xs, Xt, "auto")
    expected = principal_subspace(Xs, changed[0].dim)
    np.testing.assert_allclose(changed[0].mean, Xs.mean(axis=0))
    np.testing.assert_allclose(np.abs((changed[0].basis * expected.basis).sum(axis=0)), 1)


def test_both_subspaces_are_of_one_dimension() -> None:
    Xs, Xt = rows(30, 50), rows(12, 50, 1)
    source, target = domain_subspaces(Xs, Xt, 9)
    assert source.dim == target.dim == 9
    source, target = domain_subspaces(Xs, Xt, "auto")
    assert source.dim == target.dim == subspace_disagreement_dim(Xs, Xt)
    with pytest.raises(SettingError, match=r"`dim` is 12, but .* target domain span only 11"):
        domain_subspaces(Xs, Xt, 12)
    with pytest.raises(InputError, match="all 5 rows of the source domain are alike"):
        domain_subspaces(np.ones((5, 50)), Xt, "auto")
