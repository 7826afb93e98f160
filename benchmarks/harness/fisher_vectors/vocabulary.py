"""The visual vocabulary, principal axes of descriptors and Gaussians on them, and what it encodes.

Sánchez, Perronnin, Mensink and Verbeek 2013, equations 16 to 18: with γ_t(k) the probability that
descriptor x_t, one of T, was made by Gaussian k of weight w_k, mean μ_k and variance σ²_k,

    G_w,k = 1/(T √w_k)  Σ_t (γ_t(k) - w_k)                                                  (16)
    G_μ,k = 1/(T √w_k)  Σ_t γ_t(k) (x_t - μ_k) / σ_k                                        (17)
    G_σ,k = 1/(T √w_k)  Σ_t γ_t(k) [(x_t - μ_k)² / σ²_k - 1] / √2                           (18)

`skimage.feature.fisher_vector` computes these, with the sign of (18) turned round, which no linear
classifier and neither normalisation notices.
"""

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

__all__ = ["Vocabulary", "improve", "learn_vocabularies", "load_vocabulary", "save_vocabulary"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The mixture of Gaussians that descriptors are compared with.

    Attributes
    ----------
    mean : ndarray of shape (128,), float32
        Mean of the descriptors it was learned from.
    axes : ndarray of shape (D, 128), float32
        Their principal axes, of norm 1.
    weights : ndarray of shape (K,), float32
        Weights of the Gaussians; their sum is 1.
    means : ndarray of shape (K, D + 2), float32
        In the last two dimensions places in the image.
    variances : ndarray of shape (K, D + 2), float32
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

        Returns
        -------
        ndarray of shape (n, D + 2), float32
        """
        projected = descriptors @ self.axes.T - self.mean @ self.axes.T
        return np.concatenate([projected, positions - np.float32(0.5)], axis=1)

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

    def encode(self, descriptors: Floats, positions: Floats) -> Floats:
        """Return the improved Fisher vector of an image.

        Parameters
        ----------
        descriptors : ndarray of shape (n, 128), float32
            As `dense_sift` returns them.
        positions : ndarray of shape (n, 2), float32

        Returns
        -------
        ndarray of shape (K (2 D + 5),), float32
            Its norm is 1; without descriptors it is 0.
        """
        if len(descriptors) == 0:
            return np.zeros(len(self.weights) * (2 * self.means.shape[1] + 1), np.float32)
        fisher_vector = require("skimage.feature").fisher_vector
        rows = self.project(descriptors, positions)
        return improve(fisher_vector(rows, self.mixture()).astype(np.float64)).astype(np.float32)


def improve(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn each entry z into sign(z) √|z|, then the vector to norm 1.

    Perronnin et al. 2010, sections 3.1 and 3.2. A vector of zeros stays one.

    Parameters
    ----------
    vector : ndarray of float64

    Examples
    --------
    >>> improve(np.array([-16.0, 9.0, 0.0])).tolist()
    [-0.8, 0.6, 0.0]
    """
    rooted = np.sign(vector) * np.abs(vector) ** 0.5
    norm = float(np.linalg.norm(rooted))
    return rooted / norm if norm else rooted


def learn_vocabularies(
    samples: Sequence[tuple[Floats, Floats]], settings: FisherVectorSettings
) -> list[Vocabulary]:
    """Learn principal axes and Gaussians by `skimage.feature.learn_gmm`; no labels are used.

    Each is learned on one core, several at a time, so that numbers do not depend on the cores.

    Parameters
    ----------
    samples : sequence of (descriptors, positions)
        For each vocabulary, of training images alone: float32, ``(n, 128)`` and ``(n, 2)``.
    settings : FisherVectorSettings

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
            return _learn(*sample, settings)

    with warnings.catch_warnings(), threadpool_limits(1, "blas"), ThreadPoolExecutor() as threads:
        # Of convergence: a vocabulary needs to be fit for its purpose, not at the optimum.
        warnings.simplefilter("ignore")
        return list(threads.map(learn, samples))


def _learn(descriptors: Floats, positions: Floats, settings: FisherVectorSettings) -> Vocabulary:
    mean = descriptors.mean(axis=0, dtype=np.float64)
    wide = descriptors.astype(np.float64) - mean
    _, axes = np.linalg.eigh(wide.T @ wide)  # eigenvalues ascending
    chosen = np.ascontiguousarray(axes[:, ::-1][:, : settings.components].T)
    # The sign of an eigenvector differs from library to library.
    chosen *= np.sign(chosen[np.arange(len(chosen)), np.abs(chosen).argmax(axis=1)])[:, None]
    # In float64: of narrow Gaussians, float32 would make some variances negative.
    rows = np.concatenate([wide @ chosen.T, positions.astype(np.float64) - 0.5], axis=1)
    # scikit-image looks covariance_type up without asking whether it is there.
    # A whole k-means before it, scikit-learn's default, would take longer than the mixture.
    arguments = {
        "covariance_type": "diag",
        "init_params": "k-means++",
        "max_iter": settings.iterations,
        "random_state": 0,
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
    """Write a vocabulary as a .npz file that is complete or absent.

    Parameters
    ----------
    path : Path
    vocabulary : Vocabulary
    """
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(vocabulary, name) for name in _FIELDS})
    write_atomically(path, buffer.getvalue())


def load_vocabulary(path: Path) -> Vocabulary:
    """Read what `save_vocabulary` wrote.

    Parameters
    ----------
    path : Path
    """
    with np.load(path, allow_pickle=False) as file:
        return Vocabulary(*(file[name] for name in _FIELDS))
