from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from decaf.errors import InputError
from harness.fisher_vectors.settings import FisherVectorSettings
from harness.fisher_vectors.vocabulary import (
    Vocabulary,
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


def learned(frame: np.ndarray, spatial: str = "none", **settings: object) -> Vocabulary:
    made = FisherVectorSettings(components=3, modes=3, spatial=spatial, **settings)  # type: ignore[arg-type]
    return learn_vocabularies([draw(frame)], made, seed=0)[0]


def test_axes_are_the_principal_ones(frame: np.ndarray) -> None:
    pytest.importorskip("skimage")
    descriptors, _ = draw(frame)
    vocabulary = learned(frame)
    _, _, expected = np.linalg.svd(
        descriptors.astype(np.float64) - descriptors.mean(0, dtype=np.float64), full_matrices=False
    )
    cosines = np.abs((vocabulary.axes * expected[:3]).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    variances = vocabulary.project(descriptors, np.empty((0, 2))).var(axis=0)  # type: ignore[arg-type]
    assert (np.diff(variances) < 0).all()


def test_the_mixture_that_made_the_descriptors_is_found(frame: np.ndarray) -> None:
    """In the frame that they were made in, since principal axes are not those of the Gaussians."""
    pytest.importorskip("skimage")
    vocabulary = learned(frame, spatial="coordinates", iterations=200)
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
        learn_vocabularies([few], FisherVectorSettings(modes=16, components=64), seed=0)
