"""Small networks, and images to show them."""

from __future__ import annotations

from network_fixtures import folder, images, labels, one_thread, weights

__all__ = ["folder", "images", "labels", "one_thread", "weights"]
