"""The settings of an extraction: how the network is run, and what determines a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decaf.images.crops import CROPS
from decaf.runtime.settings import one_of, refuse, whole_number

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.images.spec import PreprocessSpec

__all__ = ["DTYPES", "PRECISIONS", "NetworkSettings", "RunSettings"]

PRECISIONS = ("fp32", "bf16")
DTYPES = ("float32", "float16")


@dataclass(frozen=True, eq=False)
class NetworkSettings:
    """Which network is run over images, and how.

    Parameters
    ----------
    weights : str, path, Weights or Backbone, optional
        As in `decaf.extract`, whose default is taken where there are none.
    preprocess : str, mapping or PreprocessSpec, optional
        How images become the network's input, where that is not as its weights say; as in
        `decaf.extract`.
    crops : {"center", "ten", "ten-max", "ten-stack"}, optional
        As in `decaf.extract`; by default the centre crop.
    precision : {"fp32", "bf16"}, optional
        Arithmetic of the forward pass; by default "fp32".
    batch_size : int, optional
        Images a forward pass; chosen by the device when not given.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    weights: Any = None
    preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None
    crops: str | None = None
    precision: str | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        refuse(
            [
                *one_of("crops", self.crops, CROPS, optional=True),
                *one_of("precision", self.precision, PRECISIONS, optional=True),
                *whole_number("batch_size", self.batch_size, 1, optional=True),
            ]
        )


@dataclass(frozen=True)
class RunSettings:
    """Settings that determine the rows of a feature file.

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
        wrong += one_of("crops", self.crops, CROPS)
        wrong += one_of("precision", self.precision, PRECISIONS)
        refuse(wrong + one_of("dtype", self.dtype, DTYPES))

    def record(self, backbone: Backbone) -> dict[str, Any]:
        """Return the ``run`` attribute of the feature file, whose hash is its fingerprint.

        Parameters
        ----------
        backbone : Backbone
        """
        import torch

        from decaf.images.decoding.jpeg import decoder_versions

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
