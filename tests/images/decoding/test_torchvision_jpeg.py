from __future__ import annotations

import subprocess
import sys

import pytest

from decaf.images.decoding import torchvision_jpeg
from decaf.images.decoding.torchvision_jpeg import jpeg_decoder

IMPORTS_NOTHING = """
import sys
from decaf.images.decoding.torchvision_jpeg import jpeg_decoder
assert jpeg_decoder() is not None
assert "torchvision" not in sys.modules
import torchvision.io
assert jpeg_decoder() is not None
"""


@pytest.fixture
def _fresh() -> object:
    jpeg_decoder.cache_clear()
    yield
    jpeg_decoder.cache_clear()


@pytest.mark.slow
def test_torchvision_is_not_imported_and_can_be_afterwards() -> None:
    if jpeg_decoder() is None:
        pytest.skip("torchvision is built without its decoder")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTS_NOTHING], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("_fresh")
def test_without_torchvision_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_jpeg, "_registered", lambda: None)
    monkeypatch.setattr(torchvision_jpeg.importlib.util, "find_spec", lambda _: None)
    assert jpeg_decoder() is None


@pytest.mark.usefixtures("_fresh")
def test_a_library_for_another_torch_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    broken = tmp_path / "image.so"  # type: ignore[operator]
    broken.write_bytes(b"\x7fELF but not really")
    monkeypatch.setattr(torchvision_jpeg, "_registered", lambda: None)
    monkeypatch.setattr(torchvision_jpeg, "_candidates", lambda: [broken])
    assert jpeg_decoder() is None
