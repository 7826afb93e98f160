"""Nearest rows: those that scikit-learn finds, however the rows come."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from harness.ilsvrc.nearest import chosen, nearest_rows


@pytest.mark.parametrize("size", [1, 7, 50, 200])
def test_the_nearest_are_those_of_scikit_learn(size: int) -> None:
    random = np.random.default_rng(size)
    rows = random.standard_normal((120, 30)).astype(np.float32).clip(0)
    queries = rows[[3, 77]] + random.standard_normal((2, 30)).astype(np.float32) / 9
    blocks = (rows[start : start + size] for start in range(0, len(rows), size))
    found = nearest_rows(queries, blocks, 6)
    reference = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(rows.astype(np.float64))
    distances, indices = reference.kneighbors(queries.astype(np.float64))
    np.testing.assert_array_equal(found.rows, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_rows_without_numbers_are_never_near() -> None:
    rows = np.array([[0, 0], [np.nan, 0], [3, 4], [0, 0]], np.float32)
    found = nearest_rows(np.zeros((1, 2), np.float32), iter([rows]), 3)
    assert found.rows.tolist() == [[0, 3, 2]]  # of equals the first
    assert found.distances.tolist() == [[0, 0, 5]]


def test_images_are_drawn_of_as_many_classes_as_can_be() -> None:
    labels = np.repeat(np.arange(8), 5)
    drawn = [chosen(labels, 5, seed) for seed in range(20)]
    assert all(len(set(labels[rows])) == 5 for rows in drawn)
    assert len({tuple(rows) for rows in drawn}) > 15
    np.testing.assert_array_equal(chosen(labels, 5, 3), drawn[3])
    few = chosen(np.array([0, 0, 0, 1, 1, 1]), 5, 0)
    assert len(set(few.tolist())) == 5
    assert sorted(chosen(np.array([0, 1, 0]), 5, 0).tolist()) == [0, 1, 2]
