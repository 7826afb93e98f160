"""The visual vocabulary: principal axes of descriptors, and a mixture of Gaussians on them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.storage import write_atomically
from harness.fisher_vectors.settings import FisherVectorSettings, require

__all__ = ["Vocabulary", "learn_vocabularies", "load_vocabulary", "save_vocabulary"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What descriptors are compared with.

    Attributes
    ----------
    mean : ndarray of shape (128,), float32
        Of the descriptors it was learned from.
    axes : ndarray of shape (D, 128), float32
        Their principal axes, of norm 1.
    weights : ndarray of shape (K,), float32
        Of the Gaussians; their sum is 1.
    means : ndarray of shape (K, D'), float32
        D' is D, or D + 2 with coordinates.
    variances : ndarray of shape (K, D'), float32
        The diagonals of the covariances.
    """

    mean: Floats
    axes: Floats
    weights: Floats
    means: Floats
    variances: Floats

    def project(self, descriptors: Floats, positions: Floats) -> Floats:
        """Return descriptors in the mixture's space.

        Parameters
        ----------
        descriptors : ndarray of shape (n, 128), float32
        positions : ndarray of shape (n, 2), float32
            Used if the vocabulary is one with coordinates.

        Returns
        -------
        ndarray of shape (n, D'), float32
        """
        projected = descriptors @ self.axes.T - self.mean @ self.axes.T
        if self.means.shape[1] > len(self.axes):
            projected = np.concatenate([projected, positions - np.float32(0.5)], axis=1)
        return projected

    def mixture(self) -> Any:
        """Return the Gaussians as the `sklearn.mixture.GaussianMixture` that scikit-image takes."""
        from sklearn.mixture import GaussianMixture

        mixture = GaussianMixture(len(self.weights), covariance_type="diag")
        mixture.weights_ = self.weights
        mixture.means_ = self.means
        mixture.covariances_ = self.variances
        mixture.precisions_cholesky_ = 1 / np.sqrt(self.variances)
        mixture.n_features_in_ = self.means.shape[1]
        return mixture


def learn_vocabularies(
    samples: Sequence[tuple[Floats, Floats]], settings: FisherVectorSettings, *, seed: int
) -> list[Vocabulary]:
    """Learn principal axes and Gaussians by `skimage.feature.learn_gmm`; no labels are used.

    Each is learned on one core, several at a time, so that numbers do not depend on the cores.

    Parameters
    ----------
    samples : sequence of (descriptors, positions)
        For each vocabulary, of training images alone: float32, ``(n, 128)`` and ``(n, 2)``.
    settings : FisherVectorSettings
    seed : int
        Of the descriptors that a mixture starts from.

    Raises
    ------
    InputError
        For fewer descriptors than a mixture has Gaussians, or PCA dimensions.
    """
    least = max(settings.modes, settings.components)
    for descriptors, _ in samples:
        if len(descriptors) < least:
            raise InputError(
                f"Fisher vectors: {len(descriptors)} descriptors to learn a vocabulary from, "
                f"{least} are the least for {settings.modes} Gaussians in {settings.components} "
                "dimensions; give more or larger images, or fewer of both"
            )
    from threadpoolctl import threadpool_limits

    def learn(sample: tuple[Floats, Floats]) -> Vocabulary:
        with threadpool_limits(1, "openmp"):  # of which each thread has its own
            return _learn(sample[0], sample[1], settings, seed)

    with warnings.catch_warnings(), threadpool_limits(1, "blas"), ThreadPoolExecutor() as threads:
        # Of convergence: a vocabulary needs to be fit for its purpose, not at the optimum.
        warnings.simplefilter("ignore")
        return list(threads.map(learn, samples))


def _learn(
    descriptors: Floats, positions: Floats, settings: FisherVectorSettings, seed: int
) -> Vocabulary:
    mean = descriptors.mean(axis=0, dtype=np.float64)
    wide = descriptors.astype(np.float64) - mean
    _, axes = np.linalg.eigh(wide.T @ wide)  # eigenvalues ascending
    chosen = np.ascontiguousarray(axes[:, ::-1][:, : settings.components].T)
    # An eigenvector's sign is the library's whim.
    chosen *= np.sign(chosen[np.arange(len(chosen)), np.abs(chosen).argmax(axis=1)])[:, None]
    # In float64: of narrow Gaussians, float32 would make some variances negative.
    rows = wide @ chosen.T
    if settings.spatial == "coordinates":
        rows = np.concatenate([rows, positions.astype(np.float64) - 0.5], axis=1)
    # scikit-image looks covariance_type up without asking whether it is there.
    # A whole k-means before it, scikit-learn's default, would take longer than the mixture.
    arguments = {
        "covariance_type": "diag",
        "init_params": "k-means++",
        "max_iter": settings.iterations,
        "random_state": seed,
    }
    mixture = require("skimage.feature").learn_gmm(rows, n_modes=settings.modes, gm_args=arguments)
    return Vocabulary(
        mean.astype(np.float32),
        chosen.astype(np.float32),
        mixture.weights_.astype(np.float32),
        mixture.means_.astype(np.float32),
        mixture.covariances_.astype(np.float32),
    )


_FIELDS = ("mean", "axes", "weights", "means", "variances")


def save_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Write a vocabulary as a .npz file that is complete or absent."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(vocabulary, name) for name in _FIELDS})
    write_atomically(path, buffer.getvalue())


def load_vocabulary(path: Path) -> Vocabulary:
    """Read what `save_vocabulary` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Vocabulary(*(file[name] for name in _FIELDS))
