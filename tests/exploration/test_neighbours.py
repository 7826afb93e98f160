"""Nearest rows, beside scikit-learn's, and rows that must not be returned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import decaf
from decaf.errors import FeatureFileError, InputError, SettingError
from decaf.exploration import NearestRows
from decaf.exploration import neighbours as module
from decaf.exploration import sketch as sketch_module
from made_features import made_file

ROWS, DIMENSIONS, BAD = 60, 12, (0, 17, 59)


@pytest.fixture
def values() -> np.ndarray:
    # A layer of maps, far from the origin so that no scale is left out.
    return np.random.default_rng(0).normal(2, 5, (ROWS, 3, 2, 2)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path, values: np.ndarray) -> Path:
    return made_file(tmp_path / "f.h5", {"pool5": values, "fc6": values[:, 0, 0]}, bad=BAD)


@pytest.mark.parametrize("max_bytes", [None, 0])
def test_rows_and_cosines_are_those_of_scikit_learn(
    file: Path, values: np.ndarray, max_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several blocks of rows, of queries and of cosines.
    monkeypatch.setattr("decaf.features.store.layer_view.BLOCK_BYTES", 48 * 7)
    monkeypatch.setattr(module, "_COSINE_BYTES", 4 * 10 * 5)
    monkeypatch.setattr(module, "_QUERY_BYTES", 48 * 10)
    good = np.setdiff1d(np.arange(ROWS), BAD)
    X = values.reshape(ROWS, -1)[good].astype(np.float64)
    queries = np.random.default_rng(1).normal(size=(25, DIMENSIONS))
    distances, places = (
        NearestNeighbors(metric="cosine", algorithm="brute").fit(X).kneighbors(queries, 9)
    )
    with decaf.open_features(file) as features:
        nearest = NearestRows(features, "pool5", max_bytes=max_bytes)
        assert nearest.held == (max_bytes is None)
        rows, cosines = nearest.of_queries(queries, 9)
        np.testing.assert_array_equal(rows, good[places])
        np.testing.assert_allclose(cosines, 1 - distances, atol=1e-6)
        # Of rows of the file, each without itself.
        rows, cosines = nearest.of_rows(k=4)
        distances, places = (
            NearestNeighbors(metric="cosine", algorithm="brute").fit(X).kneighbors(n_neighbors=4)
        )
        np.testing.assert_array_equal(rows, good[places])
        np.testing.assert_allclose(cosines, 1 - distances, atol=1e-6)


def test_rows_that_are_equally_near_come_in_their_order(tmp_path: Path) -> None:
    path = made_file(tmp_path / "f.h5", {"fc6": np.tile([[1.0, 2], [2, 4]], (20, 1))})
    with decaf.open_features(path) as features:
        for nearest in (NearestRows(features), NearestRows(features, max_bytes=0)):
            rows, cosines = nearest.of_queries([[3.0, 6]], 5)
            assert rows.tolist() == [[0, 1, 2, 3, 4]]
            np.testing.assert_allclose(cosines, 1, atol=1e-6)
            assert nearest.of_rows([2], k=3)[0].tolist() == [[0, 1, 3]]


def test_more_than_there_are_and_those_that_are_too_far(file: Path) -> None:
    with decaf.open_features(file) as features:
        nearest = NearestRows(features, "fc6", rows=[3, 4, 17])
        rows, cosines = nearest.of_rows(k=5)
        assert rows.tolist() == [[4, -1, -1, -1, -1], [3, -1, -1, -1, -1]]
        assert np.isnan(cosines[:, 1:]).all()
        rows, _ = nearest.of_rows(k=5, least=cosines[0, 0] + 1e-3)
        assert (rows == -1).all()


def test_zeros_have_no_direction(tmp_path: Path) -> None:
    path = made_file(tmp_path / "f.h5", {"fc6": [[0.0, 0], [1, 0], [-1, 0], [1e30, 1e30]]})
    with decaf.open_features(path) as features:
        nearest = NearestRows(features)
        rows, cosines = nearest.of_queries([[0, 0], [2, 0]], 4)
        assert rows.tolist() == [[-1] * 4, [1, 3, 0, 2]]
        np.testing.assert_allclose(cosines[1], [1, 0.5**0.5, 0, -1], atol=1e-6)


def test_what_cannot_be_asked_is_said(file: Path) -> None:
    with decaf.open_features(file) as features:
        with pytest.raises(SettingError, match="has no layer 'fc9'; it has pool5, fc6"):
            NearestRows(features, "fc9")
        nearest = NearestRows(features)
        assert nearest.layer == "fc6"
        with pytest.raises(SettingError, match=r"shape \(1, 3\); fc6 of .* has rows of 2"):
            nearest.of_queries([[1, 2, 3]], 1)
        with pytest.raises(SettingError, match="hold NaN or infinity"):
            nearest.of_queries([[1, np.nan]], 1)
        with pytest.raises(SettingError, match="`k` 0: must be a whole number from 1 on"):
            nearest.of_queries([[1, 2]], 0)
        with pytest.raises(SettingError, match=r"row 17 has no features: cut short \(corrupt\)"):
            nearest.of_rows([17], k=1)
        with pytest.raises(SettingError, match="has no row 60; it has 60 rows"):
            nearest.of_rows([60], k=1)


def low_rank(rows: int, dimensions: int) -> np.ndarray:
    """Rows that lie near a few axes, as features do."""
    random = np.random.default_rng(3)
    hidden = random.normal(size=(rows, 6)) @ random.normal(size=(6, dimensions))
    return (hidden + 0.3 * random.normal(size=hidden.shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(3000, 40), (200, 40), (2500, 9)])
def test_a_sketch_leaves_no_near_row_out(
    tmp_path: Path, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = low_rank(*shape)
    values[7] = values[11]  # of which the first comes first
    values[50] = 0
    monkeypatch.setattr(module, "_SKETCHED_BYTES", 0)
    for place in (module, sketch_module):
        monkeypatch.setattr(place, "COLUMNS", 8)
    path = made_file(tmp_path / "f.h5", {"fc6": values})
    with decaf.open_features(path) as features:
        sketched, plain = NearestRows(features), NearestRows(features, max_bytes=0)
        sketched.of_rows(k=1)
        assert "_sketch" not in vars(sketched), "a pass over all rows has no use for it"
        assert (sketched._sketch is None) == (shape[1] == 9)
        for rows in ([7, 50, 100], [11]):
            found = sketched.of_rows(rows, k=9)
            expected = plain.of_rows(rows, k=9)
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
        queries = low_rank(5, shape[1])
        np.testing.assert_array_equal(
            sketched.of_queries(queries, 20)[0], plain.of_queries(queries, 20)[0]
        )


def test_a_sketch_leaves_most_rows_out_where_features_have_axes() -> None:
    units = low_rank(5000, 400)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    places = sketch_module.Sketch(units).candidates(units[17], 10)
    assert places is not None
    assert len(places) < 500
    assert set(np.argsort(-(units @ units[17]))[:10]) <= set(places)
    noise = np.random.default_rng(0).normal(size=(5000, 2000)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    assert sketch_module.Sketch(noise).candidates(noise[17], 10) is None


@pytest.mark.parametrize("max_bytes", [None, 0])
def test_features_of_a_good_row_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, values: np.ndarray, max_bytes: int | None
) -> None:
    rows = values.reshape(ROWS, -1)
    rows[3, 2] = np.inf
    path = made_file(tmp_path / "n.h5", {"fc6": rows}, bad=BAD)
    wrong = r"n\.h5: fc6 of row 3, '003\.jpg', holds NaN or infinity; extract the images anew"
    with decaf.open_features(path) as file:
        with pytest.raises(FeatureFileError, match=wrong):
            NearestRows(file, max_bytes=max_bytes).of_queries(rows[:1] * 0 + 1, 2)
        with pytest.raises(FeatureFileError, match=wrong):
            decaf.rdm(file)
        # Where that row is not asked of, the others are.
        assert len(NearestRows(file, rows=[1, 2, 4], max_bytes=max_bytes).of_rows(k=2)[0]) == 3


def test_blocks_of_bad_rows_alone(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decaf.features.store.assemble.CHUNK_BYTES", 48)
    monkeypatch.setattr("decaf.features.store.layer_view.BLOCK_BYTES", 48)
    file = made_file(tmp_path / "g.h5", {"pool5": values}, bad=range(2, ROWS))
    with decaf.open_features(file) as features:
        rows, _ = NearestRows(features, "pool5", max_bytes=0).of_queries(
            values.reshape(ROWS, -1), 3
        )
    assert rows[:2].tolist() == [[0, 1, -1], [1, 0, -1]]
    lost = made_file(tmp_path / "lost.h5", {"fc6": np.ones((2, 4))}, bad=[0, 1])
    with pytest.raises(InputError, match=r"lost\.h5: none of its 2 images could be read"):
        decaf.search(lost, "a.jpg")
