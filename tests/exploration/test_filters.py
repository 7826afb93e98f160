"""The picture of the filters, against its rule, filter by filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decaf.backbone.model import Backbone, load_backbone
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.errors import SettingError, WeightsError
from decaf.exploration.filters import GAP, filters_picture
from decaf.images.spec import named_preprocess
from tiny_network import TINY


@pytest.mark.parametrize("name", ["alexnet-2012", "alexnet", "alexnet-64"])
def test_every_filter_has_its_tile_in_the_picture(name):
    backbone = load_backbone(f"random:3:{name}")
    kernels = backbone.network.conv1.weight.detach().numpy()
    zoom, columns = 3, 7
    picture = filters_picture(backbone, columns=columns, zoom=zoom)
    side = kernels.shape[-1]
    step = side * zoom + GAP
    rows = -(-len(kernels) // columns)
    assert picture.shape == (GAP + rows * step, GAP + columns * step, 3)
    for number, kernel in enumerate(kernels):
        top, left = (GAP + step * place for place in divmod(number, columns))
        tile = picture[top : top + side * zoom, left : left + side * zoom]
        for y in range(side):
            for x in range(side):
                square = tile[y * zoom : (y + 1) * zoom, x * zoom : (x + 1) * zoom]
                assert (square == square[0, 0]).all()
        peak = np.abs(kernel).max()
        expected = 128 + 127 * kernel.transpose(1, 2, 0).astype(np.float64) / peak
        assert np.abs(tile[::zoom, ::zoom] - expected).max() <= 0.5
        assert 1 in tile or 255 in tile
    assert (picture[:GAP] == 255).all()


def test_the_default_is_about_a_square():
    height, width, _ = filters_picture("random:0:alexnet-2012").shape
    assert height == width == 10 * (44 + GAP) + GAP


def test_a_filter_of_zeros_is_grey_and_the_contrast_is_each_filters_own():
    state = random_state(TINY, 0, "he")
    state["conv1.weight"][0] = 0
    state["conv1.weight"][1] *= 1e-6
    backbone = Backbone(Weights.of("w", TINY, named_preprocess("as-is", 32), state))
    picture = filters_picture(backbone, columns=8, zoom=1)
    tiles = [picture[2:7, 2 + 7 * number : 7 + 7 * number] for number in range(8)]
    assert (tiles[0] == 128).all()
    assert np.ptp(tiles[1]) > 127
    assert torch.equal(backbone.network.conv1.weight[0], torch.zeros(3, 5, 5))


def test_mistakes_are_told():
    with pytest.raises(SettingError, match="`columns` 0: must be a whole number from 1 on"):
        filters_picture("random:0:alexnet-64", columns=0)
    with pytest.raises(WeightsError):
        filters_picture("no/such.safetensors")
