"""The weights registry: from a name or a path to checked weights."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from decaf.backbone.weights import (
    DEFAULT_WEIGHTS,
    FORMER,
    IMAGENET,
    REGISTRY,
    WEIGHTS_ENDINGS,
    is_random,
)
from decaf.backbone.weights.random_weights import random_weights
from decaf.backbone.weights.safetensors_file import read_weights, save_weights
from decaf.backbone.weights.state import Weights, state_sha256
from decaf.backbone.weights.torchvision_file import imagenet_weights, read_torchvision_file
from decaf.errors import WeightsError
from decaf.images.listing.recognise import not_wanted, recognise

__all__ = [
    "Weights",
    "load_weights",
    "save_weights",
    "state_sha256",
]

_PACKAGED = Path(__file__).parent / "packaged"


def load_weights(weights: str | os.PathLike[str]) -> Weights:
    """Load weights by registry name or from a file, and check them.

    Parameters
    ----------
    weights : str or path
        ``"imagenet-distilled"``, which come with decaf; ``"imagenet"`` (torchvision's AlexNet,
        downloaded by torchvision);
        ``"random:SEED"`` with optional architecture and scheme, as in
        ``"random:0:alexnet:paper"`` (by default ``alexnet-2012`` and ``he``); or the path of a
        ``.safetensors`` file of decaf or of a torchvision ``.pth`` or ``.pt`` file.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the name is unknown, or the file is missing, damaged, hostile or not one of these.
    """
    asked = os.fspath(weights)
    if not isinstance(asked, str):
        raise WeightsError(f"`weights` must be a name or a path, got {asked!r}")
    # A name is never a path: a file called "imagenet" is reached as "./imagenet".
    if asked == IMAGENET:
        return imagenet_weights()
    if asked == DEFAULT_WEIGHTS:
        return _packaged(asked)
    if is_random(asked):
        return random_weights(asked)
    if asked in FORMER:
        raise WeightsError(
            f"weights {asked} came with an earlier version of decaf, and no longer do: give the "
            f"path of its file {asked}.safetensors (SHA-256 of the weights {FORMER[asked][:12]}…) "
            f"as the weights, or make what was made with them anew with {DEFAULT_WEIGHTS}"
        )
    path = Path(asked)
    in_folder = os.path.basename(asked) != asked
    if path.suffix in WEIGHTS_ENDINGS or isinstance(weights, os.PathLike) or in_folder:
        return _read_file(path)
    if asked and path.exists():
        return _read_file(path)
    close = difflib.get_close_matches(asked, (DEFAULT_WEIGHTS, IMAGENET, "random:0"), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise WeightsError(
        f"no weights {asked!r}; there are {', '.join(REGISTRY)}, or the path of a file ending in "
        f"{', '.join(WEIGHTS_ENDINGS)}.{hint}"
    )


def _read_file(path: Path) -> Weights:
    if not path.exists():
        raise WeightsError(
            f"{path}: no such file; weights are {', '.join(REGISTRY)} or a file's path"
        )
    kind = recognise(path).name
    if kind not in ("weights", "torch", "unknown"):
        raise WeightsError(not_wanted(path, "weights"))
    if path.suffix == ".safetensors":
        return read_weights(path)
    if path.suffix in WEIGHTS_ENDINGS:
        return read_torchvision_file(path)
    raise WeightsError(f"{path}: the name of a weights file ends in {', '.join(WEIGHTS_ENDINGS)}")


def _packaged(name: str) -> Weights:
    path = _PACKAGED / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(
            f"weights {name} are not part of this version of decaf; use random:0, imagenet or the "
            "path of a weights file"
        )
    return read_weights(path, name=name)
