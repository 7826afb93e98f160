"""How a network is run, as data: what cannot be is told at once."""

from __future__ import annotations

import pytest

from decaf.errors import SettingError
from decaf.features.settings import NetworkSettings, RunSettings


def test_all_that_is_wrong_is_told_at_once() -> None:
    crops = "`crops` 'five' is not one of center, ten, ten-max, ten-stack"
    precision = "`precision` 'fp8' is not one of fp32, bf16"
    with pytest.raises(SettingError) as caught:
        NetworkSettings(crops="five", precision="fp8", batch_size=0)
    assert str(caught.value) == (
        f"{crops}; {precision}; `batch_size` 0: must be a whole number from 1 on"
    )
    with pytest.raises(SettingError) as caught:
        RunSettings(("fc6", "fc6"), "five", "fp8", "int8")
    assert str(caught.value) == (
        f"a layer is named twice in fc6, fc6; {crops}; {precision}; `dtype` 'int8' is not one of "
        "float32, float16"
    )
    NetworkSettings("imagenet", {"crop": 192}, "ten-max", "bf16", 8)
