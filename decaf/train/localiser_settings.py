"""How boxes are learnt: `LocaliserSettings`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decaf.runtime.settings import one_of, refuse, whole_number

__all__ = ["LocaliserSettings"]


@dataclass(frozen=True)
class LocaliserSettings:
    """How boxes are learnt.

    Parameters
    ----------
    layer : str
        The layer whose activations the boxes are regressed on.
    per_class : bool
        Learn one box for each class instead of one for all.
    hidden : int
        Units of the hidden layer; 0 for none, which is a linear regression.
    crops : {"center", "ten"}
        Crops of each training image that are learnt from.
    epochs : int
        Passes over the training images.
    batch_size : int
    lr : float
        Peak of the learning rate, which rises over the first twentieth and falls to 0 as a cosine.
    weight_decay : float
    dropout : float
        Share of the hidden units that are left out at a time.
    held_out : float
        Share of the images that nothing is learnt from, and the boxes are measured on; 0 for none.
    seed : int

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    layer: str = "pool5"
    per_class: bool = False
    hidden: int = 1024
    crops: str = "center"
    epochs: int = 12
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.5
    held_out: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            *one_of("crops", self.crops, ("center", "ten")),
            *whole_number("hidden", self.hidden),
            *whole_number("epochs", self.epochs, 1),
            *whole_number("batch_size", self.batch_size, 1),
            *whole_number("seed", self.seed, 0, 2**32 - 1),
        ]
        for name, most in (("lr", None), ("weight_decay", None), ("dropout", 1), ("held_out", 1)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < (most or math.inf) or (name == "lr" and value == 0):
                bounds = "from 0 to below 1" if most else "0 or more" if name != "lr" else "above 0"
                wrong.append(f"`{name}` {value!r}: must be {bounds}")
        refuse(wrong)
