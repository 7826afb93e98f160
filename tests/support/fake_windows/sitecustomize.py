"""Loaded by every Python that has this folder on its path; see `tests/support/fake_windows`."""

import windows

windows.pretend()
