"""The learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

from decaf.train.recipe import TrainSettings

__all__ = ["Schedule"]


class Schedule:
    """Gives the learning rate of every step, and hears of every validation.

    Parameters
    ----------
    settings : TrainSettings
    steps : int
        Of the whole run.
    steps_per_epoch : int

    Attributes
    ----------
    finished : bool
        Whether the plateau schedule has no lower rate left to try.
    """

    def __init__(self, settings: TrainSettings, steps: int, steps_per_epoch: int) -> None:
        self._settings = settings
        self._steps = steps
        self._warmup = round(settings.warmup_epochs * steps_per_epoch)
        self._drops = 0
        self._best = math.inf
        self._waited = 0
        self.finished = False

    def rate(self, step: int) -> float:
        """Give the learning rate of a step, counted from 0."""
        s = self._settings
        if step < self._warmup:
            return s.lr * (step + 1) / self._warmup
        done = (step - self._warmup) / max(1, self._steps - self._warmup)
        if s.schedule == "cosine":
            # Loshchilov & Hutter 2017, equation 5, to zero and without restarts.
            return s.lr * 0.5 * (1 + math.cos(math.pi * done))
        if s.schedule == "step":
            return s.lr * s.lr_factor ** min(2, int(3 * done))
        return s.lr * s.lr_factor**self._drops

    def validated(self, error: float) -> None:
        """Take note of a validation error; lower is better."""
        if self._settings.schedule != "plateau":
            return
        if error < self._best:
            self._best, self._waited = error, 0
            return
        self._waited += 1
        if self._waited >= self._settings.patience:
            self._waited = 0
            if self._drops >= self._settings.max_drops:
                self.finished = True
            else:
                self._drops += 1

    def state(self) -> dict[str, Any]:
        """Give what `restore` takes."""
        best = None if math.isinf(self._best) else self._best
        return {
            "drops": self._drops,
            "best": best,
            "waited": self._waited,
            "finished": self.finished,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self._drops = int(state["drops"])
        self._best = math.inf if state["best"] is None else float(state["best"])
        self._waited = int(state["waited"])
        self.finished = bool(state["finished"])
