"""Leading eigenpairs by blocks against LAPACK's."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from decaf.adapt.algebra import eigenpairs
from decaf.adapt.algebra.eigenpairs import leading_eigenpairs

SIZE = 600  # larger than what is decomposed completely


@cache
def axes(size: int) -> np.ndarray:
    vectors: np.ndarray = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    return vectors


def matrix(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric matrix of given eigenvalues, with its eigenvectors."""
    vectors = axes(len(values))
    return (vectors * values) @ vectors.T, vectors


class Counted:
    def __init__(self, A: np.ndarray) -> None:
        self.A, self.vectors = A, 0

    def __call__(self, V: np.ndarray) -> np.ndarray:
        self.vectors += V.shape[1]
        found: np.ndarray = self.A @ V
        return found


@pytest.mark.parametrize("k", [1, 5, 40])
def test_gives_lapacks_pairs_with_few_products(k: int) -> None:
    values = 100.0 / np.arange(1, SIZE + 1) ** 1.5
    A, vectors = matrix(values)
    multiply = Counted(A)
    found, basis = leading_eigenpairs(multiply, SIZE, k)
    np.testing.assert_allclose(found, values[:k], rtol=1e-9)
    np.testing.assert_allclose(np.abs((basis * vectors[:, :k]).sum(axis=0)), 1, rtol=1e-8)
    np.testing.assert_allclose(basis.T @ basis, np.eye(k), atol=1e-12)
    places = np.abs(basis).argmax(axis=0)
    assert (basis[places, np.arange(k)] > 0).all()
    assert multiply.vectors < SIZE


def test_starts_from_what_is_known() -> None:
    A, vectors = matrix(100.0 / np.arange(1, SIZE + 1) ** 1.5)
    cold, warm = Counted(A), Counted(A)
    expected = leading_eigenpairs(cold, SIZE, 10)
    near = vectors[:, :10] + 1e-6
    found = leading_eigenpairs(warm, SIZE, 10, start=near)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    assert warm.vectors < cold.vectors / 2


def test_finds_all_of_a_low_rank_and_of_equal_eigenvalues() -> None:
    A, vectors = matrix(np.r_[np.full(6, 2.0), np.zeros(SIZE - 6)])
    values, basis = leading_eigenpairs(lambda V: A @ V, SIZE, 8)
    np.testing.assert_allclose(values, np.r_[np.full(6, 2.0), 0, 0], atol=1e-12)
    np.testing.assert_allclose(vectors[:, :6].T @ basis[:, :6] @ basis[:, :6].T, vectors[:, :6].T)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-12)
    values, basis = leading_eigenpairs(lambda V: 0 * V, SIZE, 3)
    assert not values.any()
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)


def test_decomposes_completely_where_eigenvalues_lie_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eigenpairs, "_MOST_PRODUCTS", 50)
    values = np.linspace(1.01, 1, SIZE)
    A, vectors = matrix(values)
    multiply = Counted(A)
    found, basis = leading_eigenpairs(multiply, SIZE, 20)
    assert multiply.vectors >= SIZE
    np.testing.assert_allclose(found, values[:20], rtol=1e-12)
    np.testing.assert_allclose(np.abs((basis * vectors[:, :20]).sum(axis=0)), 1, rtol=1e-8)


@pytest.mark.parametrize("k", [1, 7, 30])
def test_small_matrices_are_lapacks(k: int) -> None:
    A, _ = matrix(np.arange(30.0, 0, -1))
    values, basis = leading_eigenpairs(lambda V: A @ V, 30, k)
    np.testing.assert_allclose(values, np.arange(30, 30 - k, -1))
    np.testing.assert_allclose(A @ basis, basis * values, atol=1e-10)
