"""Weights of torchvision's AlexNet, from its own download or from a ``.pth`` file."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decaf.backbone.network import decaf_parameter_name
from decaf.backbone.spec import MAX_CLASSES, ArchSpec, architecture
from decaf.backbone.weights import IMAGENET
from decaf.backbone.weights.state import Weights, check_layout
from decaf.errors import WeightsError
from decaf.images.spec import named_preprocess

__all__ = ["IMAGENET_FILE", "imagenet_path", "imagenet_weights", "read_torchvision_file"]

IMAGENET_FILE = "alexnet-owt-7be5be79.pth"
"""Name of torchvision's file; by its custom, the last part is how the file's SHA-256 begins."""

_MAX_BYTES = 4 * 2**30
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def imagenet_path() -> Path:
    """Return where torchvision puts its file, whether it is there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE


def imagenet_weights() -> Weights:
    """Return torchvision's ``AlexNet_Weights.IMAGENET1K_V1``, downloading it where it is not there.

    Raises
    ------
    WeightsError
        If it can neither be found nor downloaded, with the file's name and the folder to put it
        into by hand; or if the file there is not the official one.
    """
    path = imagenet_path()
    if not path.is_file():
        from torchvision.models import AlexNet_Weights

        try:
            AlexNet_Weights.IMAGENET1K_V1.get_state_dict(
                progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
            )
        except (
            OSError,
            RuntimeError,
        ) as error:  # URLError is an OSError; a wrong hash a RuntimeError
            raise WeightsError(
                f"weights imagenet: {IMAGENET_FILE} could not be downloaded ({_line(error)}); put "
                f"that file into {path.parent}, or give its path as the weights"
            ) from None
    weights = read_torchvision_file(path)
    if not weights.class_names:
        raise WeightsError(
            f"{path}: not torchvision's file: its SHA-256 does not begin with "
            f"{_official_digits()}; delete it to download it again"
        )
    return dataclasses.replace(weights, name=IMAGENET)


def read_torchvision_file(path: str | os.PathLike[str]) -> Weights:
    """Read a state dict of torchvision's AlexNet, without running anything that is in the file.

    Plain state dicts are taken, and those under ``"state_dict"`` or ``"model"``, with or without
    the ``module.`` of `torch.nn.parallel`. The number of classes is the file's. Class names are
    known of the official ImageNet file alone.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    WeightsError
        If the file is damaged, holds other objects than tensors, is compressed or over 4 GiB, or
        is not the state dict of an AlexNet.
    """
    where = os.fspath(path)
    _check_container(where)
    state = _state_dict(where, _load(where))
    spec = _spec_of(where, state)
    preprocess = named_preprocess("shorter-side", spec.input_size)
    check_layout(where, spec, preprocess, {key: tuple(state[key].shape) for key in state})
    digest = _file_sha256(where)
    official = digest.startswith(_official_digits())
    try:
        return Weights.of(
            Path(where).name,
            spec,
            preprocess,
            # Copies, since the tensors lie in the mapped file.
            {key: tensor.to(torch.float32, copy=True) for key, tensor in state.items()},
            class_names=_imagenet_categories() if official else (),
            provenance={
                "source": "torchvision AlexNet_Weights.IMAGENET1K_V1" if official else "file",
                "file_sha256": digest,
            },
        )
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from None


def _check_container(where: str) -> None:
    """Refuse what would take more memory than the file is long."""
    try:
        size = os.path.getsize(where)
        if size > _MAX_BYTES:
            raise WeightsError(f"{where}: {size:,} bytes, at most {_MAX_BYTES:,} are read")
        if not zipfile.is_zipfile(where):
            return
        with zipfile.ZipFile(where) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise WeightsError(f"{where}: cannot be read: {_line(error)}") from None
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsError(f"{where}: its entries are compressed, which torch.save never does")
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise WeightsError(f"{where}: announces {total:,} bytes in a file of {size:,}")


def _load(where: str) -> Any:
    refused = (
        f"{where}: not a state dict that can be loaded safely (damaged, or it holds objects other "
        "than tensors, which decaf never runs)"
    )
    try:
        mapped = zipfile.is_zipfile(where)
        return torch.load(where, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, OSError, EOFError):
        raise WeightsError(refused) from None
    except Exception as error:
        # The unpickler of a stranger's file may raise anything at all, MemoryError included.
        raise WeightsError(f"{refused}: {type(error).__name__}") from None


def _state_dict(where: str, loaded: Any) -> dict[str, Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{where}: holds a {type(loaded).__name__}, not a state dict")
    state: dict[str, Tensor] = {}
    names = [decaf_parameter_name(str(key).removeprefix("module.")) for key in loaded]
    if "fc8.bias" not in names and any(name.endswith(".weight") for name in names):
        raise WeightsError(
            f"{where}: is the state dict of another network ("
            f"{', '.join(str(key)[:40] for key in list(loaded)[:4])}, …), not of torchvision's "
            f"AlexNet, which has classifier.6.bias; decaf computes with AlexNets alone"
        )
    for key, tensor in loaded.items():
        usable = isinstance(tensor, Tensor) and tensor.layout == torch.strided
        # A tensor of the meta device has a shape and no numbers.
        if not (isinstance(key, str) and usable and tensor.dtype in _FLOATS) or tensor.is_meta:
            raise WeightsError(f"{where}: {key!r:.80} is not a named tensor of floats")
        state[decaf_parameter_name(key.removeprefix("module."))] = tensor
    return state


def _spec_of(where: str, state: Mapping[str, Tensor]) -> ArchSpec:
    bias = state.get("fc8.bias")
    spec = architecture("alexnet")
    if bias is None or bias.dim() != 1 or not 1 <= len(bias) <= MAX_CLASSES:
        raise WeightsError(
            f"{where}: not a state dict of torchvision's AlexNet: no classifier.6.bias among "
            f"{', '.join(str(key)[:40] for key in list(state)[:4])}, …"
        )
    return dataclasses.replace(spec, classes=len(bias))


def _file_sha256(where: str) -> str:
    with open(where, "rb") as file:
        total = hashlib.sha256()
        while block := file.read(2**20):
            total.update(block)
    return total.hexdigest()


def _official_digits() -> str:
    return Path(IMAGENET_FILE).stem.rpartition("-")[2]


def _imagenet_categories() -> tuple[str, ...]:
    from torchvision.models import AlexNet_Weights

    return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
