"""How images are listed, as data: what cannot be is told at once."""

from __future__ import annotations

import pytest

from decaf.errors import SettingError
from decaf.images import ListingSettings


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SettingError) as caught:
        ListingSettings(layout="tree", min_images=-1, on_error="skip", val_fraction=1.0)
    assert str(caught.value) == (
        "`layout` 'tree' is not one of auto, splits, classes; `min_images` -1: must be a whole "
        "number from 0 on; `on_error` 'skip' is not one of raise, record; `val_fraction` 1.0: must "
        "be between 0 and 1"
    )
    ListingSettings(min_images=0, on_error="record", val_fraction=0.5)
