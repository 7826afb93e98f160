"""The learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

from decaf.train.recipe import TrainSettings

__all__ = ["Schedule"]

# In place of a loss: below all.
BEFORE = -1.0


class Schedule:
    """Returns the learning rate of every step, and hears of every validation.

    Parameters
    ----------
    settings : TrainSettings
    steps : int
        Steps of the whole run.
    steps_per_epoch : int

    Attributes
    ----------
    finished : bool
        Whether the plateau schedule has no lower rate left to try, or `early_stopping` has come.
    """

    def __init__(self, settings: TrainSettings, steps: int, steps_per_epoch: int) -> None:
        self._settings = settings
        # Those of the last layer alone come first, and are no part of the rest.
        self.head_steps = min(steps, round(settings.head_epochs * steps_per_epoch))
        self._steps = steps - self.head_steps
        self._warmup = round(settings.warmup_epochs * steps_per_epoch)
        self._drops = 0
        self._best = math.inf
        self._waited = 0
        self._optimum = (math.inf, math.inf)
        self._since = 0
        self.finished = False

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        Parameters
        ----------
        step : int
        """
        s = self._settings
        if step < self.head_steps:
            return s.lr
        step -= self.head_steps
        if step < self._warmup:
            return s.lr * (step + 1) / self._warmup
        done = (step - self._warmup) / max(1, self._steps - self._warmup)
        if s.schedule == "cosine":
            # Loshchilov & Hutter 2017, equation 5, to zero and without restarts.
            return s.lr * 0.5 * (1 + math.cos(math.pi * done))
        if s.schedule == "step":
            return s.lr * s.lr_factor ** min(2, int(3 * done))
        return s.lr * s.lr_factor**self._drops

    def validated(self, error: float, loss: float = math.nan, *, before: bool = False) -> bool:
        """Record a validation; lower is better.

        Parameters
        ----------
        error, loss : float
            Top-1 error and mean loss. Of equal errors the one with the lower loss is better, but
            none better than that of what was begun with: training has to name more images rightly
            to be worth it.
        before : bool
            Whether it is of what the training begins with.

        Returns
        -------
        bool
            Whether it is the best so far.
        """
        result = (error, BEFORE if before else math.inf if math.isnan(loss) else loss)
        best = result < self._optimum
        if best:
            self._optimum = result
        self._since = 0 if best else self._since + 1
        if 0 < self._settings.early_stopping <= self._since:
            self.finished = True
        if self._settings.schedule == "plateau":
            self._watch_plateau(error)
        return best

    def _watch_plateau(self, error: float) -> None:
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
        """Return what `restore` takes."""
        best = None if math.isinf(self._best) else self._best
        optimum = [None if math.isinf(value) else value for value in self._optimum]
        return {
            "drops": self._drops,
            "best": best,
            "waited": self._waited,
            "optimum": optimum,
            "since": self._since,
            "finished": self.finished,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken.

        Parameters
        ----------
        state : dict
        """
        self._drops = int(state["drops"])
        self._best = math.inf if state["best"] is None else float(state["best"])
        self._waited = int(state["waited"])
        error, loss = (math.inf if value is None else float(value) for value in state["optimum"])
        self._optimum = (error, loss)
        self._since = int(state["since"])
        self.finished = bool(state["finished"])
