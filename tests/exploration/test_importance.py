"""Importance of pixels, where it is known: by construction, by differences, by Euler's theorem."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from decaf.backbone.model import Backbone
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.errors import ImageError, InputError, SettingError
from decaf.exploration.importance import Target, find_target, importance_map, pixel_importance
from decaf.exploration.top_patches import field_boxes
from decaf.images.normalise import normalise
from decaf.images.spec import named_preprocess
from network_fixtures import make_image, small_network
from tiny_network import TINY, TINY_2012

SIDE = 32


def backbone_of(spec, seed=0, *, change=None):
    state = random_state(spec, seed, "he")
    if change is not None:
        change(state)
    return Backbone(Weights.of("w", spec, named_preprocess("as-is", spec.input_size), state))


def pixels_of(seed=0, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def test_occlusion_finds_the_one_pixel_that_counts():
    """conv1's unit 0 is made the red of one pixel: covering that pixel costs all of its value."""

    def only_red(state):
        state["conv1.weight"][0] = 0
        state["conv1.weight"][0, 0, 2, 2] = 1
        state["conv1.bias"][0] = 0

    backbone = backbone_of(TINY, change=only_red)
    pixels = pixels_of()
    pixels[10, 20, 0] = 255
    found = pixel_importance(
        pixels, 0, "conv1", position=(10, 20), weights=backbone, square=2, stride=1
    )
    red = float(normalise(torch.from_numpy(pixels[None]), backbone.preprocess)[0, 0, 10, 20])
    assert found.value == pytest.approx(red)
    expected = np.zeros((SIDE, SIDE))
    # The kernel sees rows 8 to 12: of the squares of side 2 that cover a pixel, those that cover
    # row 10 and column 20 as well.
    starts = range(8, 12), range(18, 22)
    for y in range(8, 13):
        for x in range(18, 23):
            squares = [
                (row, column)
                for row in starts[0]
                for column in starts[1]
                if row <= y < row + 2 and column <= x < column + 2
            ]
            hits = [row <= 10 < row + 2 and column <= 20 < column + 2 for row, column in squares]
            expected[y, x] = red * np.mean(hits)
    np.testing.assert_allclose(found.heat, expected, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 500])
def test_occlusion_is_the_same_whatever_the_batch(batch_size):
    backbone, target = backbone_of(TINY_2012), Target("fc8", 1)
    value, heat = importance_map(backbone, pixels_of(), target, "occlusion")
    other, again = importance_map(backbone, pixels_of(), target, "occlusion", batch_size=batch_size)
    assert other == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(again, heat, atol=1e-5 * np.abs(heat).max())
    assert (heat != 0).mean() > 0.9


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("layer", ["conv3", "conv5_pre", "prob"])
def test_the_gradient_is_that_of_finite_differences(layer, activation):
    """In float64, where a ReLU or a maximum hardly ever changes its side within the step."""
    backbone = backbone_of(dataclasses.replace(TINY_2012, activation=activation), 1)
    backbone.network.double()
    pixels = pixels_of(3)
    target = find_target(backbone, pixels, layer)
    value, heat = importance_map(backbone, pixels, target, "gradient")
    _, times = importance_map(backbone, pixels, target, "gradient-times-input")
    batch = normalise(torch.from_numpy(pixels[None]), backbone.preprocess).double()
    step = 1e-7
    left, top, right, bottom = field_boxes(backbone, target.layer, np.array(target.position))
    for y, x in [(top, left), ((top + bottom) // 2, (left + right) // 2), (bottom - 2, right - 3)]:
        slopes = []
        for colour in range(3):
            both = batch.repeat(2, 1, 1, 1)
            both[0, colour, y, x] += step
            both[1, colour, y, x] -= step
            values = target.of(backbone.features(both, target.layer)[target.layer])
            slopes.append(float(values[0] - values[1]) / (2 * step))
        size = float(np.abs(heat).max())
        assert heat[y, x] == pytest.approx(np.abs(slopes).max(), abs=1e-5 * size, rel=1e-4)
        product = float(np.dot(slopes, batch[0, :, y, x].numpy()))
        assert times[y, x] == pytest.approx(
            product, abs=1e-5 * float(np.abs(times).max()), rel=1e-4
        )
    assert heat.max() > 0
    assert value == pytest.approx(
        float(target.of(backbone.features(batch, target.layer)[target.layer])[0])
    )


def test_gradient_times_input_adds_up_to_the_value_where_there_are_no_biases():
    """Euler: ReLUs, maxima and products are homogeneous, so the value is its slope's product."""

    def no_biases(state):
        for name in state:
            if name.endswith("bias"):
                state[name][:] = 0

    backbone = backbone_of(TINY, 2, change=no_biases)
    found = pixel_importance(
        pixels_of(5), layer="fc8", method="gradient-times-input", weights=backbone
    )
    assert found.value != 0
    assert found.heat.sum(dtype=np.float64) == pytest.approx(found.value, rel=1e-4)


@pytest.mark.parametrize("method", ["occlusion", "gradient", "gradient-times-input"])
def test_pixels_that_are_not_seen_do_not_matter(method):
    backbone = backbone_of(TINY_2012)
    target = Target("conv2", 3, (2, 5))
    _, heat = importance_map(backbone, pixels_of(), target, method)
    left, top, right, bottom = field_boxes(backbone, "conv2", np.array([2, 5]))
    inside = np.zeros(heat.shape, bool)
    inside[top:bottom, left:right] = True
    assert (heat[~inside] == 0).all()
    assert (heat[inside] != 0).any()


def test_the_class_and_the_position_are_the_strongest(weights):
    backbone = Backbone(weights)
    image = make_image(4, 51)
    found = pixel_importance(image, weights=backbone, method="gradient")
    (answer,) = backbone.classify(image, top=1)
    assert backbone.class_names[found.target.unit] == answer[0][0]
    assert found.value == pytest.approx(answer[0][1], rel=1e-5)
    assert found.heat.shape == found.pixels.shape[:2] == (64, 64)
    map_found = pixel_importance(image, 2, "conv3", weights=backbone)
    batch = normalise(torch.from_numpy(found.pixels[None]), backbone.preprocess)
    own = backbone.features(batch, "conv3")["conv3"][0, 2]
    assert map_found.value == pytest.approx(float(own.max()), rel=1e-5)
    assert float(own[map_found.target.position]) == float(own.max())
    any_unit = pixel_importance(image, layer="conv3", weights=backbone, method="gradient")
    everything = backbone.features(batch, "conv3")["conv3"][0]
    assert any_unit.value == pytest.approx(float(everything.max()), rel=1e-5)


def test_the_network_is_left_as_it_was(weights):
    backbone = Backbone(weights)
    backbone.network.fc6.train()
    pixel_importance(make_image(1, 1), 1, weights=backbone, method="gradient")
    assert backbone.network.fc6.training
    assert not backbone.network.conv1.training
    assert not any(each.requires_grad for each in backbone.network.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"unit": 7}, "`units` 7: prob of alexnet-64 has the units 0 to 6"),
        ({"method": "guided"}, "`method` 'guided' is not one of occlusion, gradient"),
        ({"layer": "conv3", "position": (7, 0)}, r"`position` \(7, 0\): conv3"),
        ({"square": 0}, "`square` 0: must be a whole number from 1"),
        ({"layer": "mixed5"}, "`layer` 'mixed5' is not one of"),
    ],
)
def test_what_cannot_be_asked_for_is_told(arguments, text, weights):
    with pytest.raises(SettingError, match=text):
        pixel_importance(make_image(0, 0), weights=weights, **arguments)


def test_one_image_that_can_be_read_is_wanted(tmp_path, folder, weights):
    with pytest.raises(InputError, match="28 images; give one"):
        pixel_importance(folder, weights=weights)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"a\.png"):
        pixel_importance(tmp_path / "a.png", weights=weights)


def test_a_mean_image_is_what_grey_is():
    """Covered pixels are those of the mean image, so an image that equals it loses nothing."""
    import hashlib

    spec = small_network(7)
    mean = torch.full((3, 64, 64), 0.25)
    mean[:, 10:20, 30:50] = 0.75
    digest = hashlib.sha256(mean.numpy().tobytes()).hexdigest()
    preprocess = dataclasses.replace(named_preprocess("as-is", 64), mean_image_sha256=digest)
    weights = Weights.of("w", spec, preprocess, random_state(spec, 0, "he"), mean_image=mean)
    pixels = (mean.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    found = pixel_importance(pixels, 1, "fc8", weights=weights)
    usual = pixel_importance(make_image(0, 0)[:64, :64], 1, "fc8", weights=weights)
    assert np.abs(found.heat).max() < 0.02 * np.abs(usual.heat).max()
