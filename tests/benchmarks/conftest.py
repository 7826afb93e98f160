"""Small networks that know something, for the tests of this folder."""

from __future__ import annotations

from network_fixtures import _features, _make_weights, folder, images, labels, one_thread, weights

__all__ = ["_features", "_make_weights", "folder", "images", "labels", "one_thread", "weights"]
