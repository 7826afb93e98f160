from __future__ import annotations

import sys

import pytest

from decaf.errors import DecafError, SettingError
from harness.fisher_vectors.settings import FisherVectorSettings, require


def test_everything_out_of_range_is_told_at_once() -> None:
    with pytest.raises(SettingError) as caught:
        FisherVectorSettings(step=0, components=200, scales=(2.0,), spatial="grid", contrast=-1)
    text = str(caught.value)
    assert "\n" not in text
    for part in (
        "step is 0, expected an integer of at least 1",
        "components is 200, of 128 that a descriptor has",
        "scales is (2.0,), expected a tuple of numbers in (0, 1]",
        "spatial is 'grid', expected one of none, pyramid, coordinates",
        "contrast is -1, expected grey levels a pixel, 0 for no limit",
    ):
        assert part in text


@pytest.mark.parametrize("value", [True, 2.0, "3", None])
def test_counts_are_integers(value: object) -> None:
    with pytest.raises(SettingError, match=r"modes is .*, expected an integer"):
        FisherVectorSettings(modes=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", ["cv2", "skimage.feature"])
def test_a_missing_library_is_named_with_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DecafError, match=r"pip install 'decaf\[baselines\]'"):
        require(module)
