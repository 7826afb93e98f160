"""One call of `decaf.finetune`, as its stages see it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

from decaf.backbone.weights.state import Weights
from decaf.finetuning.settings import VAL_FRACTION, FinetuneSettings
from decaf.images import ListingSettings
from decaf.runtime.cores import cores_of_process
from decaf.runtime.device import bf16_is_native
from decaf.runtime.names import name_text
from decaf.runtime.processes import World
from decaf.runtime.settings import ComputeSettings
from decaf.train.recipe import TrainSettings
from decaf.train.training_run import SavingSettings

__all__ = ["Job"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """Facts that all stages of one call of `decaf.finetune` have to know.

    Parameters
    ----------
    begun : Weights
        To start from.
    settings : FinetuneSettings
    listing : ListingSettings
    saving : SavingSettings
        How the training run is saved.
    compute : ComputeSettings
    overwrite : bool
        As `decaf.finetune` takes it.
    world : World
    """

    begun: Weights
    settings: FinetuneSettings
    listing: ListingSettings
    saving: SavingSettings
    compute: ComputeSettings
    overwrite: bool
    world: World

    @property
    def val_fraction(self) -> float:
        """The share drawn of each class where there are no validation images."""
        share = self.listing.val_fraction
        return VAL_FRACTION if share is None else share

    @property
    def threads(self) -> int:
        """Threads that decode."""
        return self.compute.workers or cores_of_process()

    @property
    def precision(self) -> str:
        """Arithmetic of the steps."""
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
        groups = self.listing.groups
        return {
            "weights": self.begun.sha256,
            "preprocess": self.begun.preprocess.to_dict(),
            "settings": self.settings.to_dict(),
            "precision": self.precision,
            "val_fraction": self.val_fraction,
            **({} if groups is None else {"groups": _groups_record(groups)}),
        }


def _groups_record(groups: Any) -> str:
    """Return what was asked for as JSON can hold it; of one for each image, a hash."""
    if isinstance(groups, (str, bytes, os.PathLike)):
        return name_text(groups)
    return hashlib.sha256(repr(list(groups)).encode()).hexdigest()
