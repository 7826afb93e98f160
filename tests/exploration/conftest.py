"""Small networks, images to show them, and a browser to look at pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from browsers import CHROMIUM
from network_fixtures import folder, images, labels, one_thread, weights

__all__ = ["browser", "folder", "images", "labels", "one_thread", "weights"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, through Playwright (``pip install playwright``), with a camera of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *camera]
        )
        yield started
        started.close()
