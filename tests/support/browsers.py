"""Chromium, for tests that look at a page as its reader does."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="the page is shown in Chromium, which this machine has not"
)
