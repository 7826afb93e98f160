"""Whole training recipes by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

from decaf.errors import SettingError
from decaf.train.recipe import TrainSettings

__all__ = ["PRESETS", "preset", "with_changes"]


# What AdamW is used with, for networks that learn without label smoothing.
_ADAMW = TrainSettings(
    optimizer="adamw", lr=0.001, nesterov=False, weight_decay=0.05, label_smoothing=0.0
)

_PRESETS = {
    # Krizhevsky, Sutskever & Hinton 2012, sections 4 and 5. "We adjusted manually": here the
    # rate is divided by ten when validation error has not improved for five epochs.
    "alexnet-2012": TrainSettings(
        arch="alexnet-2012",
        epochs=90,
        batch_size=128,
        lr=0.01,
        nesterov=False,
        schedule="plateau",
        warmup_epochs=0,
        label_smoothing=0,
        init="paper",
        precision="fp32",
        batch_norm=False,
        average=0,
        crop="random",
        lighting=0.1,
        pixels="0-255",
        mean="auto",
    ),
    "modern": TrainSettings(),
    # What the first packaged weights were trained with. No label smoothing and no dropout: both
    # make the features of the last layers worse for other tasks (Kornblith et al. 2019, 2021).
    "small": replace(
        _ADAMW,
        arch="alexnet-127",
        epochs=9,
        batch_size=192,
        warmup_epochs=0.5,
        dropout=0.0,
        average=0.0,
        lighting=0.1,
    ),
    # For students of a teacher (`decaf.train.distillation`), whose answers are soft already.
    "distil": replace(_ADAMW, epochs=30, batch_size=256, dropout=0.5, crop_area=(0.25, 1.0)),
}

PRESETS: Mapping[str, TrainSettings] = MappingProxyType(
    {name: replace(settings, preset=name) for name, settings in _PRESETS.items()}
)
"""Whole recipes by name."""


def preset(name: str, **changes: Any) -> TrainSettings:
    """Return a preset, with some values set otherwise.

    Parameters
    ----------
    name : str
        One of `PRESETS`.
    **changes
        Fields of `TrainSettings`; one that is None keeps the preset's value. Where the epochs end
        before its warm-up would, a tenth of them is the warm-up.

    Raises
    ------
    SettingError
        If there is no such preset or field, or a value is out of its bounds.

    Examples
    --------
    >>> preset("alexnet-2012", epochs=30).batch_size
    128
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise SettingError(f"no preset {name!r}; there are {', '.join(PRESETS)}.{hint}")
    given = {field: value for field, value in changes.items() if value is not None}
    values = {**asdict(PRESETS[name]), **given}
    if "warmup_epochs" not in given and 0 < values["epochs"] <= values["warmup_epochs"]:
        values["warmup_epochs"] = values["epochs"] / 10
    return TrainSettings.from_dict(values)


def with_changes(
    settings: TrainSettings | None, changes: Mapping[str, Any], default: str
) -> TrainSettings:
    """Return settings with some values set otherwise, or where there are none a preset with them.

    Parameters
    ----------
    settings : TrainSettings, optional
    changes : mapping of str to object
        Fields of `TrainSettings`; ``preset`` names another than `default`.
    default : str

    Raises
    ------
    SettingError
        If a preset is named beside `settings`, there is no such preset, or a value is out of its
        bounds.
    """
    if settings is None:
        others = {field: value for field, value in changes.items() if field != "preset"}
        return preset(changes.get("preset", default), **others)
    if "preset" in changes:
        raise SettingError("`preset` and `settings` are given: give one of the two")
    return replace(settings, **changes)
