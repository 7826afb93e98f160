"""Small networks that know something, and drawn birds, for the tests of this folder."""

from __future__ import annotations

import pytest

from bird_fixtures import _draw_birds
from decaf.backbone.weights.load import Weights, save_weights
from network_fixtures import _features, _make_weights, folder, images, labels, one_thread, weights

__all__ = [
    "_draw_birds",
    "_features",
    "_make_weights",
    "folder",
    "images",
    "labels",
    "network",
    "one_thread",
    "weights",
]


@pytest.fixture(scope="session")
def network(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of the small network."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, weights)
    return str(path)
