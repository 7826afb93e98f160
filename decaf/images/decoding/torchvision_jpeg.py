"""torchvision's JPEG decoder, without importing torchvision.

`import torchvision` takes 1.5 s, most of it for models and transforms; what is needed is one shared
library of it, whose operators can be registered with torch directly.

Its PNG decoder is left alone: a PNG with one flipped bit in its data ends the process with a
segmentation fault (seen in torchvision 0.29), where Pillow raises.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["jpeg_decoder"]

JpegDecoder = Callable[["torch.Tensor", int, bool], "torch.Tensor"]

# What image.so is called on the systems that torchvision is built for; image_stable since 0.29.
_LIBRARIES = ("image_stable", "image")
_SUFFIXES = (".so", ".pyd", ".dylib")


@functools.cache
def jpeg_decoder() -> JpegDecoder | None:
    """Return torchvision's ``decode_jpeg`` operator, or None where there is none.

    Returns
    -------
    callable ``(data, mode, apply_exif)`` or None
        Takes a 1-D uint8 tensor and a `torchvision.io.ImageReadMode` by number; gives a
        ``(C, H, W)`` uint8 tensor, channels last.
    """
    decoder = _registered()
    for path in [] if decoder else _candidates():
        if _load(path):
            decoder = _registered()
            break
    return decoder


def _registered() -> JpegDecoder | None:
    import torch

    try:
        decoder: JpegDecoder = torch.ops.image.decode_jpeg.default
    except AttributeError:
        return None
    return decoder


def _candidates() -> list[Path]:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent
    paths = [folder / (name + suffix) for name in _LIBRARIES for suffix in _SUFFIXES]
    return [path for path in paths if path.is_file()]


def _load(library: Path) -> bool:
    import torch

    try:
        torch.ops.load_library(library)
    except (OSError, RuntimeError):  # built for another torch, or without libjpeg
        return False
    return True
