"""Small networks that know something, and drawn birds, for the tests of this folder."""

from __future__ import annotations

from bird_fixtures import _draw_birds
from network_fixtures import _features, _make_weights, folder, images, labels, one_thread, weights

__all__ = [
    "_draw_birds",
    "_features",
    "_make_weights",
    "folder",
    "images",
    "labels",
    "one_thread",
    "weights",
]
