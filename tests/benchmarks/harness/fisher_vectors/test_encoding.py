"""Fisher vectors against the equations of Sánchez et al. 2013, written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.fisher_vectors.encoding import encode, improve
from harness.fisher_vectors.settings import FisherVectorSettings
from harness.fisher_vectors.vocabulary import Vocabulary

K, D = 5, 6


def make_vocabulary(extra: int = 0) -> Vocabulary:
    random = np.random.default_rng(0)
    axes, _ = np.linalg.qr(random.standard_normal((128, D)))
    weights = random.random(K) + 0.2
    return Vocabulary(
        random.random(128).astype(np.float32),
        axes.T.astype(np.float32),
        (weights / weights.sum()).astype(np.float32),
        random.standard_normal((K, D + extra)).astype(np.float32),
        (random.random((K, D + extra)) + 0.5).astype(np.float32),
    )


def make_descriptors(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    positions = random.random((count, 2))
    return random.random((count, 128)).astype(np.float32), positions.astype(np.float32)


def by_the_equations(rows: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """(16), (17) and (18), a descriptor and a Gaussian at a time."""
    w, mu, var = (
        getattr(vocabulary, name).astype(np.float64) for name in ("weights", "means", "variances")
    )
    g_w, g_mu, g_sigma = np.zeros(K), np.zeros_like(mu), np.zeros_like(mu)
    for x in rows.astype(np.float64):
        density = [
            w[k] * np.prod(np.exp(-((x - mu[k]) ** 2) / (2 * var[k])) / np.sqrt(2 * np.pi * var[k]))
            for k in range(K)
        ]
        for k in range(K):
            gamma = density[k] / sum(density)
            g_w[k] += (gamma - w[k]) / np.sqrt(w[k])
            g_mu[k] += gamma * (x - mu[k]) / np.sqrt(var[k]) / np.sqrt(w[k])
            g_sigma[k] += gamma * ((x - mu[k]) ** 2 / var[k] - 1) / np.sqrt(2 * w[k])
    # Of (18) scikit-image gives the negative.
    return np.concatenate([g_w, g_mu.ravel(), -g_sigma.ravel()]) / len(rows)


def normalised(vector: np.ndarray) -> np.ndarray:
    rooted = np.sign(vector) * np.sqrt(np.abs(vector))
    return rooted / np.sqrt((rooted**2).sum())


@pytest.mark.parametrize("spatial", ["none", "coordinates"])
def test_a_vector_is_that_of_the_equations(spatial: str) -> None:
    pytest.importorskip("skimage")
    vocabulary = make_vocabulary(2 if spatial == "coordinates" else 0)
    settings = FisherVectorSettings(components=D, modes=K, spatial=spatial)
    descriptors, positions = make_descriptors(40)
    rows = (descriptors.astype(np.float64) - vocabulary.mean) @ vocabulary.axes.T
    if spatial == "coordinates":
        rows = np.hstack([rows, positions - 0.5])
    found = encode(descriptors, positions, vocabulary, settings)
    assert found.dtype == np.float32
    assert found.shape == (settings.width,)
    expected = normalised(by_the_equations(rows, vocabulary))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_a_pyramid_is_the_whole_and_three_bands_from_the_top() -> None:
    pytest.importorskip("skimage")
    vocabulary = make_vocabulary()
    settings = FisherVectorSettings(components=D, modes=K, spatial="pyramid")
    descriptors, positions = make_descriptors(60)
    positions[:4, 1] = 0.0, 1 / 3, 2 / 3, 1.0
    found = encode(descriptors, positions, vocabulary, settings).reshape(4, -1)
    rows = (descriptors.astype(np.float64) - vocabulary.mean) @ vocabulary.axes.T
    y = positions[:, 1]
    regions = [y >= 0, y < 1 / 3, (y >= 1 / 3) & (y < 2 / 3), y >= 2 / 3]
    for part, inside in zip(found, regions, strict=True):
        expected = normalised(by_the_equations(rows[inside], vocabulary)) / 2  # four of equal norm
        np.testing.assert_allclose(part, expected, atol=2e-4)


def test_a_band_without_descriptors_is_zero() -> None:
    pytest.importorskip("skimage")
    settings = FisherVectorSettings(components=D, modes=K, spatial="pyramid")
    descriptors, positions = make_descriptors(30)
    positions[:, 1] = 0.5
    found = encode(descriptors, positions, make_vocabulary(), settings).reshape(4, -1)
    assert not found[[1, 3]].any()
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_an_image_without_descriptors_is_zero() -> None:
    pytest.importorskip("skimage")
    for spatial in ("none", "pyramid"):
        settings = FisherVectorSettings(components=D, modes=K, spatial=spatial)
        nothing = np.empty((0, 128), np.float32), np.empty((0, 2), np.float32)
        found = encode(*nothing, make_vocabulary(), settings)
        assert found.shape == (settings.width,)
        assert not found.any()


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda z: round(z, 3)), min_size=1, max_size=20),
    st.floats(0.1, 1.0),
    st.floats(1e-3, 1e3),
)
def test_normalisation_keeps_signs_and_order_and_forgets_scale(
    entries: list[float], power: float, scale: float
) -> None:
    vector = np.array(entries)
    found = improve(vector, power)
    assert (np.sign(found) == np.sign(vector)).all()
    order = np.argsort(np.abs(vector), kind="stable")
    assert (np.diff(np.abs(found)[order]) >= 0).all()
    assert np.linalg.norm(found) == pytest.approx(1.0 if vector.any() else 0.0)
    np.testing.assert_allclose(improve(vector * scale, power), found, rtol=1e-9, atol=1e-12)
