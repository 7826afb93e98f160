"""Mean, deviation, mean image and principal components of the training pixels, exact.

All sums are of whole numbers, so that the result depends neither on the order of the images nor on
how they were cut into shards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["PixelSums", "Statistics", "moments_of"]

Moments = tuple[np.ndarray, np.ndarray]


def moments_of(pixels: np.ndarray) -> Moments:
    """Return the sums of an image, (size, size, 3) uint8: Σ x of shape (3,), Σ x xᵀ of (3, 3).

    Parameters
    ----------
    pixels : ndarray of uint8, shape (size, size, 3)
    """
    # Exact in float64: all sums are whole numbers, at most 4096² 255² < 2⁵³.
    flat = pixels.reshape(-1, 3).astype(np.float64)
    return flat.sum(axis=0).astype(np.int64), (flat.T @ flat).astype(np.int64)


class PixelSums:
    """Sums over the pixels of images of one size; at first of none.

    Attributes
    ----------
    images : int
    channel_sum : ndarray of int64, shape (3,)
        Σ x over all pixels x = (R, G, B), 0 to 255.
    products : ndarray of int64, shape (3, 3)
        Σ x xᵀ.
    image_sum : ndarray of int64, shape (size, size, 3), or None
        Over images, at each place; None before the first, since it may take 400 MB.
    """

    def __init__(self) -> None:
        self.images = 0
        self.channel_sum = np.zeros(3, np.int64)
        self.products = np.zeros((3, 3), np.int64)
        self.image_sum: np.ndarray | None = None

    def add(self, pixels: np.ndarray, moments: Moments | None = None) -> None:
        """Count an image, (size, size, 3) uint8, whose moments may be computed in advance.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (size, size, 3)
        moments : Moments, optional
        """
        channel_sum, products = moments or moments_of(pixels)
        self.images += 1
        self.channel_sum += channel_sum
        self.products += products
        if self.image_sum is None:
            self.image_sum = pixels.astype(np.int64)
        else:
            self.image_sum += pixels

    def merge(self, other: PixelSums) -> None:
        """Count the images of other sums.

        Parameters
        ----------
        other : PixelSums
        """
        self.images += other.images
        self.channel_sum += other.channel_sum
        self.products += other.products
        if other.image_sum is None:
            return
        if self.image_sum is None:
            self.image_sum = other.image_sum.copy()
        else:
            self.image_sum += other.image_sum

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the sums as arrays, by name, for a shard; of at most 16 million images."""
        return {
            "images": np.array([self.images], np.int64),
            "channel_sum": self.channel_sum,
            "products": self.products,
            "image_sum": (
                np.zeros((0, 0, 3), np.uint32)
                if self.image_sum is None
                else self.image_sum.astype(np.uint32)
            ),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> PixelSums:
        """Make sums of what `to_arrays` returned.

        Parameters
        ----------
        arrays : dict of str to ndarray
        """
        sums = cls()
        sums.images = int(arrays["images"][0])
        sums.channel_sum, sums.products = arrays["channel_sum"], arrays["products"]
        if sums.images:
            sums.image_sum = arrays["image_sum"].astype(np.int64)
        return sums


@dataclass(frozen=True)
class Statistics:
    """Statistics of pixels in [0, 1], RGB.

    Attributes
    ----------
    mean, std : ndarray of float64, shape (3,)
        The deviation is that of the pixels, not an estimate from them (divided by n).
    mean_image : ndarray of float32, shape (3, size, size)
    pca_values : ndarray of float64, shape (3,)
        Eigenvalues of the covariance of RGB, falling.
    pca_vectors : ndarray of float64, shape (3, 3)
        Its eigenvectors, in the columns; the largest entry of each is positive.

    References
    ----------
    Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
    section 4.1.
    """

    mean: np.ndarray
    std: np.ndarray
    mean_image: np.ndarray
    pca_values: np.ndarray
    pca_vectors: np.ndarray

    @classmethod
    def of(cls, sums: PixelSums) -> Statistics:
        """Compute the statistics of at least one image.

        Parameters
        ----------
        sums : PixelSums
        """
        assert sums.image_sum is not None
        n = sums.images * sums.image_sum.shape[0] * sums.image_sum.shape[1]
        total = [int(value) for value in sums.channel_sum]
        # n Σ x xᵀ - Σ x Σ xᵀ in whole numbers of any size: nothing is lost where it cancels.
        covariance = np.array(
            [
                [
                    (n * int(sums.products[i, j]) - total[i] * total[j]) / (n * n * 255 * 255)
                    for j in range(3)
                ]
                for i in range(3)
            ]
        )
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        largest = np.abs(vectors).argmax(axis=0)
        vectors = vectors * np.sign(vectors[largest, range(3)])
        mean_image = sums.image_sum.transpose(2, 0, 1) / (sums.images * 255)
        return cls(
            mean=np.array([value / (n * 255) for value in total]),
            std=np.sqrt(np.diag(covariance)),
            mean_image=mean_image.astype(np.float32),
            pca_values=values,
            pca_vectors=np.ascontiguousarray(vectors),
        )
