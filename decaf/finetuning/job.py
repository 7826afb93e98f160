"""One call of `decaf.finetune`, as its stages see it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from decaf.backbone.weights.state import Weights
from decaf.finetuning.settings import FinetuneSettings
from decaf.runtime.cores import cores_of_process
from decaf.runtime.device import bf16_is_native
from decaf.runtime.processes import World
from decaf.train.recipe import TrainSettings
from decaf.train.training_run import SavingSettings

__all__ = ["Job"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What all stages of one call of `decaf.finetune` have to know.

    Parameters
    ----------
    begun : Weights
        To start from.
    settings : FinetuneSettings
    val_fraction : float
        The share drawn of each class where there are no validation images.
    groups, on_error, overwrite, workers, progress
        As `decaf.finetune` takes them.
    world : World
    saving : SavingSettings
    stop : threading.Event
    """

    begun: Weights
    settings: FinetuneSettings
    val_fraction: float
    groups: Any
    on_error: str
    overwrite: bool
    world: World
    saving: SavingSettings
    workers: int | None
    progress: bool | Callable[[int, int], Any] | None
    stop: threading.Event

    @property
    def threads(self) -> int:
        """Threads that decode."""
        return self.workers or cores_of_process()

    @property
    def precision(self) -> str:
        """Of the steps."""
        if self.settings.precision != "auto":
            return self.settings.precision
        return "bf16" if bf16_is_native(self.world.device) else "fp32"

    def training(self, images: int) -> TrainSettings:
        """Return the settings of the training run on so many images.

        Parameters
        ----------
        images : int
            For training.
        """
        return self.settings.training(images, self.precision, self.world.size)

    def record(self) -> dict[str, Any]:
        """Return all that was asked for, for the work folder."""
        return {
            "weights": self.begun.sha256,
            "preprocess": self.begun.preprocess.to_dict(),
            "settings": self.settings.to_dict(),
            "precision": self.precision,
            "val_fraction": self.val_fraction,
            **({} if self.groups is None else {"groups": _groups_record(self.groups)}),
        }


def _groups_record(groups: Any) -> str:
    """Return what was asked for as JSON can hold it; of one for each image, a hash."""
    if isinstance(groups, (str, bytes, os.PathLike)):
        return os.fsdecode(groups)
    return hashlib.sha256(repr(list(groups)).encode()).hexdigest()
