"""Views against torchvision's transforms, and the filter of batches against that of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import v2

from decaf.train.augment import Views, cut, cut_batch, draw_views, lighting_shift
from decaf.train.presets import preset
from decaf.train.recipe import TrainSettings


def views_of(boxes: list[tuple[int, int, int, int, bool]]) -> Views:
    top, left, height, width, mirrored = (np.array(each) for each in zip(*boxes, strict=True))
    return Views(top, left, height, width, mirrored, np.zeros((len(boxes), 3), np.float32))


def image(side: int, seed: int = 0) -> np.ndarray:
    """Noise over a slope: both edges and long waves."""
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 200, side)[:, None, None] + random.integers(0, 56, (side, side, 3))
    return slope.astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_view_is_torchvisions(data: st.DataObject) -> None:
    side = data.draw(st.integers(8, 90))
    crop = data.draw(st.integers(4, 64))
    height, width = data.draw(st.integers(1, side)), data.draw(st.integers(1, side))
    top, left = data.draw(st.integers(0, side - height)), data.draw(st.integers(0, side - width))
    mirrored = data.draw(st.booleans())
    pixels, out = image(side), np.empty((crop, crop, 3), np.uint8)
    cut(pixels, views_of([(top, left, height, width, mirrored)]), 0, out)
    expected = v2.functional.resized_crop(
        torch.from_numpy(pixels).permute(2, 0, 1), top, left, height, width, [crop, crop]
    )
    if mirrored:
        expected = v2.functional.hflip(expected)
    np.testing.assert_array_equal(out, expected.permute(1, 2, 0))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_batch_is_cut_as_its_images_are(data: st.DataObject) -> None:
    side, crop = data.draw(st.integers(8, 70)), data.draw(st.integers(4, 50))
    boxes = []
    for _ in range(3):
        height, width = data.draw(st.integers(1, side)), data.draw(st.integers(1, side))
        top = data.draw(st.integers(0, side - height))
        left = data.draw(st.integers(0, side - width))
        boxes.append((top, left, height, width, data.draw(st.booleans())))
    pixels = np.stack([image(side, seed) for seed in range(3)])
    expected = np.empty((3, crop, crop, 3), np.uint8)
    for row in range(3):
        cut(pixels[row], views_of(boxes), row, expected[row])
    result = cut_batch(torch.from_numpy(pixels), views_of(boxes), crop)
    # Half a step for each of the two roundings of `cut`, and what its weights of 16 bits lose.
    assert np.abs(result.numpy() - expected.astype(float)).max() < 1.1


def test_a_batch_of_plain_crops_is_exact() -> None:
    boxes = [(0, 0, 24, 24, False), (3, 8, 24, 24, True), (8, 1, 24, 24, True)]
    pixels = np.stack([image(32, seed) for seed in range(3)])
    expected = np.empty((3, 24, 24, 3), np.uint8)
    for row in range(3):
        cut(pixels[row], views_of(boxes), row, expected[row])
    result = cut_batch(torch.from_numpy(pixels), views_of(boxes), 24)
    np.testing.assert_array_equal(result, expected)


def many(count: int = 20_000, **changes: object) -> tuple[TrainSettings, Views]:
    chosen = preset("modern", batch_size=count, **changes)
    return chosen, draw_views(chosen, 5, 96, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("area", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.35, 1.0), (3 / 4, 4 / 3))]
)
def test_boxes_are_drawn_as_torchvision_draws_them(
    area: tuple[float, float], ratio: tuple[float, float]
) -> None:
    _, views = many(crop_area=area, crop_ratio=ratio)
    torch.manual_seed(0)
    blank = torch.zeros(3, 96, 96)
    params = [
        v2.RandomResizedCrop(64, scale=area, ratio=ratio).make_params([blank]) for _ in range(6_000)
    ]
    for name in ("top", "left", "height", "width"):
        ours, theirs = getattr(views, name), [each[name] for each in params]
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3, name
    ours_area = views.height * views.width
    theirs_area = [each["height"] * each["width"] for each in params]
    assert stats.ks_2samp(ours_area, theirs_area).pvalue > 1e-3
    assert (views.top + views.height <= 96).all()
    assert (views.left + views.width <= 96).all()


def test_where_no_box_fits_the_whole_is_taken() -> None:
    _, views = many(50, crop_area=(1.0, 1.0), crop_ratio=(3.0, 3.0))
    assert set(views.height) == set(views.width) == {96}


def test_plain_crops_and_mirrors_are_uniform() -> None:
    _, views = many(crop="random")
    assert set(views.height) == set(views.width) == {64}
    for corner in (views.top, views.left):
        counts = np.bincount(corner, minlength=33)
        assert len(counts) == 33
        assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.binomtest(int(views.mirrored.sum()), 20_000).pvalue > 1e-3
    assert not many(50, mirror=False)[1].mirrored.any()


def test_alpha_is_normal() -> None:
    _, views = many(lighting=0.1)
    assert stats.kstest(views.alpha.ravel() / 0.1, "norm").pvalue > 1e-3
    assert not many(50, lighting=0.0)[1].alpha.any()


def test_views_depend_on_the_step_alone() -> None:
    chosen, views = many(50)
    assert (draw_views(chosen, 5, 96, 64).top == views.top).all()
    assert (draw_views(chosen, 6, 96, 64).top != views.top).any()
    assert (views[10:20].left == views.left[10:20]).all()


def test_lighting_is_the_papers_sum() -> None:
    """[p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T with l the standard deviations, in float64."""
    random = np.random.default_rng(0)
    pixels = random.random((500, 3)) @ random.random((3, 3))
    values, vectors = np.linalg.eigh(np.cov(pixels.T))
    alpha = random.standard_normal((7, 3)).astype(np.float32)
    result = lighting_shift(alpha, values, vectors)
    for row in range(7):
        expected = sum(vectors[:, i] * float(alpha[row, i]) * np.sqrt(values[i]) for i in range(3))
        np.testing.assert_allclose(result[row], expected, rtol=1e-5, atol=1e-7)
    # So that with alpha from N(0, 1) the shift is distributed as the pixels are.
    many_shifts = lighting_shift(
        random.standard_normal((200_000, 3)).astype(np.float32), values, vectors
    )
    np.testing.assert_allclose(np.cov(many_shifts.T), np.cov(pixels.T), rtol=0.05, atol=1e-3)
    assert result.dtype == np.float32


def test_lighting_bears_an_eigenvalue_just_below_zero() -> None:
    shift = lighting_shift(np.ones((1, 3), np.float32), np.array([1.0, 0.0, -1e-18]), np.eye(3))
    np.testing.assert_array_equal(shift, [[1, 0, 0]])
