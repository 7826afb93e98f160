"""Training: the pack that holds a data set, and the networks that are made from it.

What is named here is loaded when it is first used, as in `decaf` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.train.distillation.distil import distil
    from decaf.train.distillation.settings import DistilSettings
    from decaf.train.distillation.teacher import TeacherCard, load_teacher
    from decaf.train.localiser import Localiser, load_localiser
    from decaf.train.localiser_settings import LocaliserSettings
    from decaf.train.pack.reader import Pack
    from decaf.train.presets import PRESETS, preset
    from decaf.train.recipe import TrainSettings
    from decaf.train.train_network import Diverged
    from decaf.train.training_run import SavingSettings, TrainResult
    from decaf.train.validate import Validation

__all__ = [
    "PRESETS",
    "DistilSettings",
    "Diverged",
    "Localiser",
    "LocaliserSettings",
    "Pack",
    "SavingSettings",
    "TeacherCard",
    "TrainResult",
    "TrainSettings",
    "Validation",
    "distil",
    "load_localiser",
    "load_teacher",
    "preset",
]

__getattr__, __dir__ = lazy_names(__name__)
