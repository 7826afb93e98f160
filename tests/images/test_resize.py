"""torch's filter without torch: the same bytes, and torch itself where that cannot be had."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from decaf.images import resize as module
from decaf.images.resize import load_filter, resize

ALONE = """
import json, sys
import numpy as np
from decaf.images.resize import load_filter, resize
pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
alone = resize(pixels, 20, 33)
print(json.dumps([load_filter() is not None, "torch" in sys.modules]))
import torch
assert np.array_equal(resize(pixels, 20, 33), alone)
assert float(torch.ones(3) @ torch.ones(3)) == 3
"""


def by_torch(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    resized = interpolate(image, size=(height, width), mode="bilinear", antialias=True)
    rows: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return rows


@pytest.fixture
def _anew() -> Iterator[None]:
    load_filter.cache_clear()
    yield
    load_filter.cache_clear()


@pytest.fixture
def library() -> Any:
    loaded = load_filter()
    if loaded is None and sys.platform != "linux":
        pytest.skip("torch is imported for the resize where its library cannot be called alone")
    assert loaded is not None
    return loaded


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_torch_is_not_imported_and_can_be_afterwards() -> None:
    there, imported = json.loads(run(ALONE))
    assert there or imported  # where it cannot be had torch is imported
    if sys.platform == "linux":
        assert there
        assert not imported


def test_any_size_to_any_other(library: Any, rng: np.random.Generator) -> None:
    for _ in range(60):
        height, width = rng.integers(1, 300, 2).tolist()
        pixels = rng.integers(0, 256, (*rng.integers(1, 300, 2), 3), dtype=np.uint8)
        expected = by_torch(pixels, height, width)
        np.testing.assert_array_equal(library.resize(pixels, height, width), expected)
        np.testing.assert_array_equal(resize(pixels, height, width), expected)


def test_read_only_pixels_are_resized_without_a_warning(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    expected = by_torch(pixels, 4, 4)
    pixels.setflags(write=False)
    np.testing.assert_array_equal(resize(pixels, 4, 4), expected)


def test_what_torch_refuses_is_raised(library: Any) -> None:
    with pytest.raises(RuntimeError, match="torch_call_dispatcher"):
        library.resize(np.zeros((4, 4, 3), np.uint8), 0, 0)


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("fault", ["no such file", "no library", "no interface", "other pixels"])
def test_where_it_cannot_be_had(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if fault == "no such file":
        monkeypatch.setattr(module, "_LIBRARIES", {sys.platform: "none.so"})
    elif fault == "no library":
        monkeypatch.setattr(module, "_LIBRARIES", {})
    elif fault == "no interface":
        monkeypatch.setattr(module, "_LIBRARIES", {"linux": "libc10.so"})
    else:
        monkeypatch.setattr(module, "_RAMP", [0] * 12)
    assert load_filter() is None
