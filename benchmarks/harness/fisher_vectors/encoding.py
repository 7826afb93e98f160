"""From the descriptors of an image to its Fisher vector.

Sánchez, Perronnin, Mensink and Verbeek 2013, equations 16 to 18: with γ_t(k) the probability that
descriptor x_t, one of T, was made by Gaussian k of weight w_k, mean μ_k and variance σ²_k,

    G_w,k = 1/(T √w_k)  Σ_t (γ_t(k) - w_k)                                                  (16)
    G_μ,k = 1/(T √w_k)  Σ_t γ_t(k) (x_t - μ_k) / σ_k                                        (17)
    G_σ,k = 1/(T √w_k)  Σ_t γ_t(k) [(x_t - μ_k)² / σ²_k - 1] / √2                           (18)

`skimage.feature.fisher_vector` computes these, with the sign of (18) turned round, which no linear
classifier and neither normalisation notices.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.fisher_vectors.settings import FisherVectorSettings, require
from harness.fisher_vectors.vocabulary import Vocabulary

__all__ = ["encode", "improve"]

Floats = npt.NDArray[np.float32]

BANDS = 3


def encode(
    descriptors: Floats, positions: Floats, vocabulary: Vocabulary, settings: FisherVectorSettings
) -> Floats:
    """Return the improved Fisher vector of an image.

    Parameters
    ----------
    descriptors : ndarray of shape (n, 128), float32
        As `dense_sift` gives.
    positions : ndarray of shape (n, 2), float32
    vocabulary : Vocabulary
    settings : FisherVectorSettings

    Returns
    -------
    ndarray of shape (width,), float32
        Of norm 1; with a pyramid the whole image comes first, then its bands from the top, all of
        the same norm. The part of a region without descriptors is 0.
    """
    projected = vocabulary.project(descriptors, positions)
    mixture = vocabulary.mixture()
    length = len(vocabulary.weights) * (2 * vocabulary.means.shape[1] + 1)
    fisher_vector = require("skimage.feature").fisher_vector

    def raw(rows: Floats) -> npt.NDArray[np.float64]:
        if len(rows) == 0:
            return np.zeros(length)
        vector: npt.NDArray[np.float64] = fisher_vector(rows, mixture).astype(np.float64)
        return vector

    if settings.spatial != "pyramid":
        return improve(raw(projected), settings.power).astype(np.float32)
    band = np.minimum((positions[:, 1] * BANDS).astype(np.int64), BANDS - 1)
    parts = [raw(projected[band == number]) for number in range(BANDS)]
    # (16) to (18) are means over descriptors: the whole image's is the mean of its parts', weighted
    # by their descriptors, and need not be computed again.
    counts = np.bincount(band, minlength=BANDS) / max(1, len(band))
    whole = np.tensordot(counts, np.stack(parts), axes=1)
    regions = [improve(region, settings.power) for region in (whole, *parts)]
    joined = np.concatenate(regions)
    norm = np.linalg.norm(joined)
    return (joined / norm if norm else joined).astype(np.float32)


def improve(vector: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.float64]:
    """Turn each entry z into sign(z) |z|^power, then the vector to norm 1.

    Perronnin et al. 2010, sections 3.1 and 3.2. A vector of zeros stays one.

    Examples
    --------
    >>> improve(np.array([-16.0, 9.0, 0.0]), 0.5).tolist()
    [-0.8, 0.6, 0.0]
    """
    rooted = np.sign(vector) * np.abs(vector) ** power
    norm = float(np.linalg.norm(rooted))
    return rooted / norm if norm else rooted
