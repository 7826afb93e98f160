"""torchvision's JPEG and PNG decoders, without importing torchvision.

`import torchvision` takes 1.5 s, most of it for models and transforms; a decoding process needs one
shared library of it, whose operators can be registered with torch directly.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import torch

__all__ = ["decoder_versions", "native_decoders"]

# What image.so is called on the systems that torchvision is built for; image_stable since 0.29.
_LIBRARIES = ("image_stable", "image")
_SUFFIXES = (".so", ".pyd", ".dylib")


@functools.cache
def native_decoders() -> Any | None:
    """Give the namespace of torchvision's image operators, or None where there is none.

    Returns
    -------
    object with ``decode_jpeg(data, mode, apply_exif)`` and ``decode_png``, or None
        Both take a 1-D uint8 tensor and give a ``(C, H, W)`` tensor.
    """
    if _registered() or any(_load(path) and _registered() for path in _candidates()):
        return torch.ops.image
    return None


def decoder_versions() -> dict[str, str]:
    """Tell which decoders are in use, for the record of a run.

    Returns
    -------
    dict of str to str
        Version of Pillow, and of torchvision where its decoders can be used.
    """
    names = ["pillow", *(["torchvision"] if native_decoders() is not None else [])]
    return {name: importlib.metadata.version(name) for name in names}


def _registered() -> bool:
    try:
        return bool(torch.ops.image.decode_jpeg.default and torch.ops.image.decode_png.default)
    except AttributeError:
        return False


def _candidates() -> list[Path]:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent
    paths = [folder / (name + suffix) for name in _LIBRARIES for suffix in _SUFFIXES]
    return [path for path in paths if path.is_file()]


def _load(library: Path) -> bool:
    try:
        torch.ops.load_library(library)
    except (OSError, RuntimeError):  # built for another torch, or without libjpeg and libpng
        return False
    return True
