"""Dense SIFT against Lowe's description of it, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decaf.errors import ImageError
from decaf.images import ImageRef
from harness.fisher_vectors.descriptors import dense_sift, grey_image, grid
from harness.fisher_vectors.settings import FisherVectorSettings


@given(st.integers(16, 90), st.integers(16, 90), st.integers(1, 9), st.integers(2, 4))
def test_patches_lie_within_the_image_as_many_as_fit(
    height: int, width: int, step: int, bin_size: int
) -> None:
    points = grid(height, width, FisherVectorSettings(step=step, bin_size=bin_size))
    half = 2 * bin_size
    xs, ys = (np.unique(points[:, axis]) for axis in (0, 1))
    assert len(points) == len(xs) * len(ys)
    for places, length in ((xs, width), (ys, height)):
        assert places[0] - half >= 0
        assert places[-1] + half <= length
        assert (np.diff(places) == step).all()
        assert len(places) == (length - 2 * half) // step + 1
        # The rest is shared evenly.
        assert abs((places[0] - half) - (length - half - places[-1])) <= 1


def smooth_noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image with structure of a few pixels' size: (height, width) uint8."""
    cv2 = pytest.importorskip("cv2")
    noise = np.random.default_rng(seed).standard_normal((height, width))
    image = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return (128 + 40 * image / image.std()).clip(0, 255).astype(np.uint8)


def sift_by_lowe(image: np.ndarray, x: float, y: float, bin_size: float) -> np.ndarray:
    """Section 6.1 of Lowe 2004, pixel by pixel, on an image that is smoothed already."""
    down, right = np.gradient(image.astype(np.float64))
    histogram = np.zeros((4, 4, 8))
    for row in range(1, image.shape[0] - 1):
        for column in range(1, image.shape[1] - 1):
            # Places in units of bins, the descriptor's middle being between bins 1 and 2.
            u, v = (column - x) / bin_size, (row - y) / bin_size
            weight = np.exp(-(u**2 + v**2) / (2 * 2.0**2))  # σ: half the descriptor's width
            dx, dy = right[row, column], -down[row, column]
            angle = np.arctan2(dy, dx) / (2 * np.pi) * 8
            for i in range(4):
                for j in range(4):
                    near = max(0, 1 - abs(v + 1.5 - i)) * max(0, 1 - abs(u + 1.5 - j))
                    if near == 0:
                        continue
                    low = int(np.floor(angle))
                    for o, share in ((low, 1 - (angle - low)), (low + 1, angle - low)):
                        histogram[i, j, o % 8] += near * share * weight * np.hypot(dx, dy)
    vector = histogram.ravel() / np.linalg.norm(histogram)
    return np.minimum(vector, 0.2)


def test_a_descriptor_is_the_root_of_the_sift_of_its_patch() -> None:
    cv2 = pytest.importorskip("cv2")
    image = smooth_noise(40, 48)
    settings = FisherVectorSettings(step=8, bin_size=4, scales=(1.0,))
    found, positions = dense_sift(image, settings)
    points = grid(40, 48, settings)
    np.testing.assert_allclose(positions, (points + 0.5) / [48, 40], atol=1e-6)
    smoothed = cv2.GaussianBlur(image.astype(np.float64), (0, 0), np.sqrt((4 / 6) ** 2 - 0.25))
    for number in (0, 7, len(points) // 2, len(points) - 1):
        expected, other = (
            np.sqrt(v / v.sum())
            for v in (sift_by_lowe(smoothed, *points[number], size) for size in (4, 5))
        )
        assert found[number] @ expected > 0.99
        assert found[number] @ other < found[number] @ expected


def test_all_descriptors_have_norm_one_and_flat_patches_none() -> None:
    image = np.concatenate([smooth_noise(40, 40), np.full((40, 80), 200, np.uint8)], axis=1)
    found, positions = dense_sift(image, FisherVectorSettings())
    assert found.dtype == positions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert 0 < positions[:, 0].max() < 0.7  # patches of the flat right side are left out
    assert len(dense_sift(np.full((50, 50), 90, np.uint8), FisherVectorSettings())[0]) == 0


def test_patches_of_little_contrast_are_left_out() -> None:
    """As the mean of numpy's gradient over each patch says."""
    cv2 = pytest.importorskip("cv2")
    fade = np.linspace(0.02, 1, 90)
    image = (128 + (smooth_noise(60, 90) - 128.0) * fade).round().astype(np.uint8)
    settings = FisherVectorSettings(bin_size=4, scales=(1.0,), contrast=3.0)
    smoothed = cv2.GaussianBlur(image.astype(np.float64), (0, 0), 0.6)
    gradient = np.hypot(*np.gradient(smoothed))
    points = grid(60, 90, settings)
    means = np.array(
        [
            gradient[y - 8 : y + 8, x - 8 : x + 8].mean()
            for x, y in points.astype(int)  # patches of 16 by 16 pixels
        ]
    )
    assert (np.abs(means - 3) > 0.005).all()  # none is at the limit
    _, positions = dense_sift(image, settings)
    expected = (points[means >= 3] + 0.5) / [90, 60]
    assert 0 < len(expected) < len(points)
    np.testing.assert_allclose(positions, expected, atol=1e-6)


def test_scales_are_those_of_reduced_images() -> None:
    cv2 = pytest.importorskip("cv2")
    image = smooth_noise(64, 80)
    both, places = dense_sift(image, FisherVectorSettings(scales=(1.0, 0.5)))
    large, _ = dense_sift(image, FisherVectorSettings(scales=(1.0,)))
    half = cv2.resize(image, (40, 32), interpolation=cv2.INTER_AREA)
    small, small_places = dense_sift(half, FisherVectorSettings(scales=(1.0,)))
    assert (both == np.concatenate([large, small])).all()
    assert (places[len(large) :] == small_places).all()


def test_a_sample_is_a_part_of_all_and_that_of_its_seed() -> None:
    image, settings = smooth_noise(60, 60), FisherVectorSettings()
    every = {row.tobytes() for row in dense_sift(image, settings)[0]}

    def drawn(seed: int, count: int) -> np.ndarray:
        return dense_sift(image, settings, sample=count, random=np.random.default_rng(seed))[0]

    assert len(drawn(0, 25)) == 25
    assert {row.tobytes() for row in drawn(0, 25)} < every
    assert (drawn(0, 25) == drawn(0, 25)).all()
    assert (drawn(0, 25) != drawn(1, 25)).any()
    assert len(drawn(0, 10**6)) == len(every)


def reference(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> ImageRef:
    path = tmp_path_factory.mktemp("grey") / "image.png"
    Image.fromarray(pixels).save(path)
    return ImageRef(str(path).encode())


@pytest.mark.parametrize(
    ("given_size", "expected"),
    [((50, 90), (50, 90)), ((640, 480), (320, 240)), ((1, 9), (24, 24)), ((800, 8), (320, 24))],
)
def test_an_image_is_reduced_to_the_side_and_holds_a_patch(
    given_size: tuple[int, int],
    expected: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).integers(0, 256, (*given_size, 3), dtype=np.uint8)
    grey = grey_image(reference(tmp_path_factory, pixels), FisherVectorSettings(side=320))
    assert grey.shape == expected
    assert len(dense_sift(grey, FisherVectorSettings())[0]) > 0


def test_grey_is_luma(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    grey = grey_image(reference(tmp_path_factory, pixels), FisherVectorSettings())
    assert np.abs(grey - pixels @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_what_is_no_image_is_told() -> None:
    pytest.importorskip("cv2")
    with pytest.raises(ImageError, match="no such file"):
        grey_image(ImageRef(b"/nowhere/a.jpg"), FisherVectorSettings())
