"""The settings of an extraction: everything that determines a row, and what does not."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decaf.errors import SettingError
from decaf.images.crops import CROPS

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = [
    "DTYPES",
    "PRECISIONS",
    "RunSettings",
    "environment",
]

PRECISIONS = ("fp32", "bf16")
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class RunSettings:
    """What determines the rows of a feature file.

    Attributes
    ----------
    layers : tuple of str
        In the order they were asked for.
    crops : {"center", "ten", "ten-max", "ten-stack"}
        ``"ten"`` is the mean over the ten crops.
    precision : {"fp32", "bf16"}
        Arithmetic of the forward pass.
    dtype : {"float32", "float16"}
        How rows are stored.
    """

    layers: tuple[str, ...]
    crops: str = "center"
    precision: str = "fp32"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        wrong = []
        if not self.layers:
            wrong.append("no layer asked for")
        if len(set(self.layers)) != len(self.layers):
            wrong.append(f"a layer is named twice in {', '.join(self.layers)}")
        if self.crops not in CROPS:
            wrong.append(f"`crops` {self.crops!r} is not one of {', '.join(CROPS)}")
        if self.precision not in PRECISIONS:
            wrong.append(f"`precision` {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        if self.dtype not in DTYPES:
            wrong.append(f"`dtype` {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if wrong:
            raise SettingError("; ".join(wrong))

    def record(self, backbone: Backbone) -> dict[str, Any]:
        """Return the ``run`` attribute of the feature file, whose hash is its fingerprint."""
        import torch

        from decaf.images.decoding.decode import decoder_versions

        return {
            "weights": {"name": backbone.weights_name, "sha256": backbone.sha256},
            "arch": backbone.spec.to_dict(),
            "preprocess": backbone.preprocess.to_dict(),
            "crops": self.crops,
            "layers": list(self.layers),
            "precision": self.precision,
            "dtype": self.dtype,
            "versions": {"torch": torch.__version__, **decoder_versions()},
        }


def environment(device: str, sources: Sequence[Any], threads: int) -> dict[str, Any]:
    """Describe where a run took place: recorded for the reader, no part of the fingerprint."""
    import torch

    described = {
        "device": device,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "threads": threads,
        "directory": os.getcwd(),
        "sources": list(sources),
    }
    if device.startswith("cuda"):
        described["gpu"] = torch.cuda.get_device_name(device)
    return described
