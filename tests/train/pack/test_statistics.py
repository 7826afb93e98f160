"""Sums over pixels against numpy in float64, in any order and cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.train.pack.statistics import PixelSums, Statistics


def sums_of(images: np.ndarray) -> PixelSums:
    sums = PixelSums()
    for image in images:
        sums.add(image)
    return sums


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5), st.data())
def test_they_are_the_formulas_in_any_order(
    seed: int, count: int, side: int, data: st.DataObject
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    whole = Statistics.of(sums_of(images))
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(whole.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(whole.std, pixels.std(axis=0), rtol=1e-9, atol=1e-12)
    mean_image = (images / 255).mean(axis=0).transpose(2, 0, 1)
    np.testing.assert_allclose(whole.mean_image, mean_image, rtol=1e-6)
    covariance = (pixels - pixels.mean(axis=0)).T @ (pixels - pixels.mean(axis=0)) / len(pixels)
    values, vectors = whole.pca_values, whole.pca_vectors
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, covariance, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    assert (np.diff(values) <= 0).all()
    assert (vectors[np.abs(vectors).argmax(axis=0), range(3)] > 0).all()

    order = data.draw(st.permutations(range(count)))
    cut = data.draw(st.integers(0, count))
    parts = [sums_of(images[order[:cut]].reshape(-1, side, side, 3)), sums_of(images[order[cut:]])]
    merged = PixelSums()
    for part in reversed(parts):
        merged.merge(PixelSums.from_arrays(part.to_arrays()))
    for name, values in vars(Statistics.of(merged)).items():
        np.testing.assert_array_equal(values, getattr(whole, name))


def test_images_of_one_colour_have_no_deviation() -> None:
    """Where float sums would leave a rounding error, or the root of a negative number."""
    images = np.full((3, 7, 7, 3), (1, 100, 255), np.uint8)
    result = Statistics.of(sums_of(images))
    np.testing.assert_array_equal(result.std, 0)
    np.testing.assert_array_equal(result.pca_values, 0)
    np.testing.assert_allclose(result.mean, np.array([1, 100, 255]) / 255, rtol=1e-15)
