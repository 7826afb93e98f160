"""The vocabulary, and Fisher vectors against the equations of Sánchez et al. 2013 in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import InputError
from harness.fisher_vectors.settings import FisherVectorSettings
from harness.fisher_vectors.vocabulary import (
    Vocabulary,
    improve,
    learn_vocabularies,
    load_vocabulary,
    save_vocabulary,
)

CENTRES = np.array([[-9.0, 0, 0], [9, 0, 3], [0, 5, -3]])
WEIGHTS = np.array([0.5, 0.2, 0.3])
SPREAD = np.array([[1.0, 0.5, 0.7], [0.6, 1.2, 0.4], [0.9, 0.8, 1.1]])


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """Three orthogonal directions in the space of descriptors."""
    q, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((128, 3)))
    return q.T


def draw(frame: np.ndarray, count: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    which = random.choice(3, count, p=WEIGHTS)
    rows = CENTRES[which] + SPREAD[which] * random.standard_normal((count, 3))
    noise = 0.01 * random.standard_normal((count, 128))
    descriptors = (rows @ frame + noise + 4).astype(np.float32)
    return descriptors, random.random((count, 2)).astype(np.float32)


def learned(frame: np.ndarray, iterations: int = 15) -> Vocabulary:
    made = FisherVectorSettings(components=3, modes=3, iterations=iterations)
    return learn_vocabularies([draw(frame)], made)[0]


def test_axes_are_the_principal_ones(frame: np.ndarray) -> None:
    pytest.importorskip("skimage")
    descriptors, _ = draw(frame)
    vocabulary = learned(frame)
    _, _, expected = np.linalg.svd(
        descriptors.astype(np.float64) - descriptors.mean(0, dtype=np.float64), full_matrices=False
    )
    cosines = np.abs((vocabulary.axes * expected[:3]).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    places = np.zeros((len(descriptors), 2), np.float32)
    variances = vocabulary.project(descriptors, places).var(axis=0)
    assert (np.diff(variances[:3]) < 0).all()


def test_the_mixture_that_made_the_descriptors_is_found(frame: np.ndarray) -> None:
    """In the frame that they were made in, since principal axes are not those of the Gaussians."""
    pytest.importorskip("skimage")
    vocabulary = learned(frame, iterations=200)
    order = np.argsort(vocabulary.weights)[::-1]
    np.testing.assert_allclose(vocabulary.weights[order], [0.5, 0.3, 0.2], atol=0.02)
    back = vocabulary.means[order][:, :3] @ vocabulary.axes + vocabulary.mean
    np.testing.assert_allclose((back - 4) @ frame.T, CENTRES[[0, 2, 1]], atol=0.15)
    # Places are spread evenly, whatever the descriptor: variance 1/12, around the middle.
    np.testing.assert_allclose(vocabulary.means[:, 3:], 0, atol=0.05)
    np.testing.assert_allclose(vocabulary.variances[:, 3:], 1 / 12, atol=0.01)


def test_the_mixture_given_to_scikit_image_is_the_one_kept(frame: np.ndarray) -> None:
    pytest.importorskip("skimage")
    vocabulary = learned(frame)
    rows = vocabulary.project(*draw(frame, 20))
    d = rows[:, None, :] - vocabulary.means
    joint = vocabulary.weights * np.exp(-0.5 * (d**2 / vocabulary.variances).sum(axis=2))
    joint /= np.sqrt(vocabulary.variances.prod(axis=1))
    expected = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(vocabulary.mixture().predict_proba(rows), expected, atol=1e-4)


def test_a_seed_gives_the_same_vocabulary_and_a_file_keeps_it(
    frame: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("skimage")
    one, two = learned(frame), learned(frame)
    save_vocabulary(tmp_path / "v.npz", one)
    kept = load_vocabulary(tmp_path / "v.npz")
    for name in ("mean", "axes", "weights", "means", "variances"):
        assert getattr(one, name).dtype == np.float32
        assert (getattr(one, name) == getattr(two, name)).all()
        assert (getattr(one, name) == getattr(kept, name)).all()


def test_too_few_descriptors_are_refused() -> None:
    few = np.ones((10, 128), np.float32), np.ones((10, 2), np.float32)
    with pytest.raises(InputError, match="10 descriptors to learn a vocabulary from, 64 are the"):
        learn_vocabularies([few], FisherVectorSettings(modes=16, components=64))


K, D = 5, 6


def make_vocabulary() -> Vocabulary:
    random = np.random.default_rng(0)
    axes, _ = np.linalg.qr(random.standard_normal((128, D)))
    weights = random.random(K) + 0.2
    return Vocabulary(
        random.random(128).astype(np.float32),
        axes.T.astype(np.float32),
        (weights / weights.sum()).astype(np.float32),
        random.standard_normal((K, D + 2)).astype(np.float32),
        (random.random((K, D + 2)) + 0.5).astype(np.float32),
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


def test_a_vector_is_that_of_the_equations() -> None:
    pytest.importorskip("skimage")
    vocabulary = make_vocabulary()
    descriptors, positions = make_descriptors(40)
    rows = (descriptors.astype(np.float64) - vocabulary.mean) @ vocabulary.axes.T
    rows = np.hstack([rows, positions - 0.5])
    vector = vocabulary.encode(descriptors, positions)
    assert vector.dtype == np.float32
    assert vector.shape == (FisherVectorSettings(components=D, modes=K).width,)
    expected = normalised(by_the_equations(rows, vocabulary))
    np.testing.assert_allclose(vector, expected, atol=2e-4)


def test_an_image_without_descriptors_is_zero() -> None:
    nothing = np.empty((0, 128), np.float32), np.empty((0, 2), np.float32)
    vector = make_vocabulary().encode(*nothing)
    assert vector.shape == (FisherVectorSettings(components=D, modes=K).width,)
    assert not vector.any()


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda z: round(z, 3)), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
)
def test_normalisation_keeps_signs_and_order_and_forgets_scale(
    entries: list[float], scale: float
) -> None:
    vector = np.array(entries)
    result = improve(vector)
    assert (np.sign(result) == np.sign(vector)).all()
    order = np.argsort(np.abs(vector), kind="stable")
    assert (np.diff(np.abs(result)[order]) >= 0).all()
    assert np.linalg.norm(result) == pytest.approx(1.0 if vector.any() else 0.0)
    np.testing.assert_allclose(improve(vector * scale), result, rtol=1e-9, atol=1e-12)
