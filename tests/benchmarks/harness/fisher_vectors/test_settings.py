from __future__ import annotations

import sys

import pytest

from decaf.errors import DecafError
from harness.fisher_vectors.settings import require


@pytest.mark.parametrize("module", ["cv2", "skimage.feature"])
def test_a_missing_library_is_named_with_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DecafError, match=r"pip install 'decaf-features\[baselines\]'"):
        require(module)
