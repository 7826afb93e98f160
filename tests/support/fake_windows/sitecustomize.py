"""Loaded by every Python that has this folder on its path; see `windows.py` beside it."""

import os

if os.environ.get("DECAF_TEST_FAKE_WINDOWS"):
    import windows

    windows.pretend()
