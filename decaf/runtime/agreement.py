"""How far rows may differ that are to be the same: between runs, machines and devices.

A device that torch has not long known how to use is asked for a few rows first, and refused where
they are not those of the CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from decaf.errors import SettingError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["ROWS", "check_device", "check_network", "difference", "tolerance"]

CHECKED = ("mps",)
"""Types of devices whose rows are compared with the CPU's before they are used."""

ROWS = 4
"""Rows that are compared."""


def tolerance(precision: str, dtype: str, layer: str) -> tuple[str, float]:
    """Return how rows are compared, and the largest difference allowed.

    float32 rows agree to 1e-5 relative, whatever the batch, the neighbours or the machine; stored
    as float16 they carry that type's rounding, 2^-11, besides. bfloat16 rows keep a cosine of
    0.9995, probabilities one of 0.995: where two classes are about as probable, the exponential
    turns a small error of their logits into a large one. Over 1,000 photographs the smallest were
    0.99984 and 0.99905 (``benchmarks/precision.py``); float32 from fc6 on leaves the latter as it
    is, since the error is that of the convolutions.

    Parameters
    ----------
    precision : {"fp32", "bf16"}
    dtype : {"float32", "float16"}
        What rows are stored as.
    layer : str

    Examples
    --------
    >>> tolerance("fp32", "float32", "fc6")
    ('relative error', 1e-05)
    """
    if precision == "bf16":
        return "1 - cosine", 5e-3 if layer == "prob" else 5e-4
    return "relative error", 1e-5 if dtype == "float32" else 1e-3


def difference(measure: str, fresh: np.ndarray, stored: np.ndarray) -> float:
    """Return how far a row is from another one.

    Parameters
    ----------
    measure : {"relative error", "1 - cosine"}
    fresh, stored : ndarray
        Of the same shape.
    """
    a, b = fresh.astype(np.float64).ravel(), stored.astype(np.float64).ravel()
    norm = float(np.linalg.norm(b))
    if norm == 0.0 or measure == "relative error":
        return float(np.linalg.norm(a - b)) / (norm or 1.0)
    return 1.0 - float(a @ b) / (norm * float(np.linalg.norm(a)) or np.inf)


def check_device(
    device: torch.device,
    there: Callable[[], Mapping[str, np.ndarray]],
    here: Callable[[], Mapping[str, np.ndarray]],
    precision: str = "fp32",
) -> None:
    """Refuse a device that gives other rows than the CPU; others than `CHECKED` are not asked.

    Parameters
    ----------
    device : torch.device
    there, here : callable
        Return the same rows by layer, computed on the device and on the CPU.
    precision : {"fp32", "bf16"}
        What they are computed in, which says how far they may differ.

    Raises
    ------
    SettingError
        With both figures.
    """
    if device.type not in CHECKED:
        return
    expected = here()
    for layer, rows in there().items():
        measure, most = tolerance(precision, "float32", layer)
        pairs = zip(rows, expected[layer], strict=True)
        differences = [difference(measure, fresh, known) for fresh, known in pairs]
        # NaN, where a row is, is more than any tolerance.
        worst = float(np.nan_to_num(differences, nan=np.inf).max())
        if worst > most:
            raise SettingError(
                f"`device` '{device.type}': computes other values than the CPU: {layer} differs by "
                f"{worst:.1e} ({measure}), and at most {most:.0e} is let pass; use `device='cpu'`, "
                "or another version of torch or of the system"
            )


def check_network(
    device: torch.device, network: nn.Module, shape: Sequence[int], *, slopes: bool = False
) -> None:
    """Refuse a device on which a network gives other logits than on the CPU; see `check_device`.

    Parameters
    ----------
    device : torch.device
    network : Module
        It is copied to both, and stays where it is.
    shape : sequence of int
        Of what it takes of one image: (3, side, side) for normalised pixels, (side, side, 3) for
        pixels of uint8.
    slopes : bool
        Compare the slopes of its parameters too, by their directions.

    Raises
    ------
    SettingError
        With both figures.
    """
    if device.type not in CHECKED:
        return
    import torch
    from torch.nn import functional

    random = torch.Generator().manual_seed(0)
    images = torch.randn(ROWS, *shape, generator=random)
    if shape[-1] == 3:
        images = (128 + 40 * images).clamp(0, 255).to(torch.uint8)

    def answer(place: torch.device) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        copied = copy.deepcopy(network).to(place).eval()
        with torch.set_grad_enabled(slopes):
            logits = copied(images.to(place)).float()
        if slopes:
            labels = torch.arange(ROWS, device=place) % logits.shape[1]
            functional.cross_entropy(logits, labels).backward()
        return {"fc8": logits.detach().cpu().numpy()}, {
            f"the slope of {name}": each.grad.cpu().numpy()[None]
            for name, each in copied.named_parameters()
            if each.grad is not None
        }

    (logits, gradients), (expected, known) = answer(device), answer(torch.device("cpu"))
    check_device(device, lambda: logits, lambda: expected)
    check_device(device, lambda: gradients, lambda: known, "bf16")
