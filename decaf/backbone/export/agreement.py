"""What another program computes from an exported model, held against the network itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from decaf.backbone.export.graph import INPUT
from decaf.backbone.model import Backbone
from decaf.errors import DecafError, SettingError
from decaf.images.preprocess import normalise

__all__ = ["TOLERANCE", "Agreement", "compare", "onnxruntime_is_there", "run_onnx"]

TOLERANCE = 1e-4
"""The largest relative error that is let pass; sums in another order give less than 1e-5."""

_BATCHES = (1, 3)  # two lengths, since the first axis is to be free

Run = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Agreement:
    """How far two programs agree.

    Attributes
    ----------
    program : str
        What was compared with, and its version.
    relative_errors : dict of str to float
        For each layer the largest difference, divided by the largest value of the layer.
    """

    program: str
    relative_errors: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest of the errors."""
        return max(self.relative_errors.values())


def onnxruntime_is_there() -> bool:
    """Tell whether ONNX Runtime is installed."""
    return find_spec("onnxruntime") is not None


def run_onnx(path: str | os.PathLike[str], layers: Sequence[str]) -> tuple[str, Run]:
    """Load a model into ONNX Runtime.

    Parameters
    ----------
    path : str or path
    layers : sequence of str
        The outputs to compute.

    Returns
    -------
    (str, callable)
        The program's name with its version; and a function that maps pixels, uint8
        (N, crop, crop, 3), to the values of the layers.

    Raises
    ------
    SettingError
        If ONNX Runtime is not installed.
    DecafError
        If it refuses the model.
    """
    if not onnxruntime_is_there():
        raise SettingError("to check the model, ONNX Runtime is needed: pip install 'decaf[onnx]'")
    import onnxruntime

    program = f"ONNX Runtime {onnxruntime.__version__}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only, and those are raised as well
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # Its exceptions have no base of their own.
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = " ".join(str(error).split())[:300]
        raise DecafError(f"{program} cannot read the model: {reason}") from error
    return program, lambda pixels: session.run(list(layers), {INPUT: pixels})


def compare(program: str, run: Run, backbone: Backbone, layers: Sequence[str]) -> Agreement:
    """Have a program and the network compute the same layers of the same pixels.

    Parameters
    ----------
    program : str
        Its name, for messages.
    run : callable
        Maps pixels, uint8 (N, crop, crop, 3), to the values of the layers.
    backbone : Backbone
        On the CPU.
    layers : sequence of str

    Raises
    ------
    DecafError
        If the values differ by more than `TOLERANCE`.
    """
    ours: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    theirs: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    for seed, count in enumerate(_BATCHES):
        pixels = _pixels(seed, count, backbone.preprocess.crop)
        batch = normalise(
            torch.from_numpy(pixels), backbone.preprocess, mean_image=backbone.mean_image
        )
        expected = backbone.features(batch, layers)
        for layer, found in zip(layers, run(pixels), strict=True):
            if found.shape != tuple(expected[layer].shape):
                raise DecafError(
                    f"{program} gives {layer} the shape {found.shape}, not "
                    f"{tuple(expected[layer].shape)}; the model was not written"
                )
            ours[layer].append(expected[layer].numpy())
            theirs[layer].append(found)
    errors = {}
    for layer in layers:
        right = np.concatenate(ours[layer]).astype(np.float64)
        largest = float(np.abs(right).max()) or 1.0
        errors[layer] = float(np.abs(np.concatenate(theirs[layer]) - right).max()) / largest
    for layer, error in errors.items():
        if not error <= TOLERANCE:  # or is NaN
            raise DecafError(
                f"{program} gives other values than decaf: relative error {error:.2g} in {layer}, "
                f"{TOLERANCE:g} is allowed; the model was not written"
            )
    return Agreement(program, errors)


def _pixels(seed: int, count: int, side: int) -> np.ndarray:
    """Return images of coarse and fine structure: to most filters noise alone is all the same."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 8, 8, 3))
    cell = -(-side // 8)
    blocks = coarse.repeat(cell, axis=1).repeat(cell, axis=2)[:, :side, :side]
    noise = generator.integers(-40, 41, blocks.shape)
    pixels: np.ndarray = np.clip(blocks + noise, 0, 255).astype(np.uint8)
    return pixels
