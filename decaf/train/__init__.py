"""Training: the pack that holds a data set, and the networks that are made from it.

What is named here is loaded when it is first used, as in `decaf` itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decaf.train.distillation.card import TeacherCard
    from decaf.train.distillation.run import distil
    from decaf.train.distillation.settings import DistilSettings
    from decaf.train.distillation.teacher import load_teacher
    from decaf.train.finetuning.classifier import FineTuneClassifier
    from decaf.train.finetuning.result import Finetuned
    from decaf.train.finetuning.run import finetune
    from decaf.train.finetuning.settings import FinetuneSettings
    from decaf.train.loop import Diverged
    from decaf.train.pack.reader import Pack
    from decaf.train.presets import PRESETS, preset
    from decaf.train.recipe import TrainSettings
    from decaf.train.run import train
    from decaf.train.session import TrainResult

__all__ = [
    "PRESETS",
    "DistilSettings",
    "Diverged",
    "FineTuneClassifier",
    "FinetuneSettings",
    "Finetuned",
    "Pack",
    "TeacherCard",
    "TrainResult",
    "TrainSettings",
    "distil",
    "finetune",
    "load_teacher",
    "preset",
    "train",
]

# Public name → the module that defines it.
_LAZY = {
    "PRESETS": "decaf.train.presets",
    "DistilSettings": "decaf.train.distillation.settings",
    "Diverged": "decaf.train.loop",
    "FineTuneClassifier": "decaf.train.finetuning.classifier",
    "FinetuneSettings": "decaf.train.finetuning.settings",
    "Finetuned": "decaf.train.finetuning.result",
    "Pack": "decaf.train.pack.reader",
    "TeacherCard": "decaf.train.distillation.card",
    "TrainResult": "decaf.train.session",
    "TrainSettings": "decaf.train.recipe",
    "distil": "decaf.train.distillation.run",
    "finetune": "decaf.train.finetuning.run",
    "load_teacher": "decaf.train.distillation.teacher",
    "preset": "decaf.train.presets",
    "train": "decaf.train.run",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
