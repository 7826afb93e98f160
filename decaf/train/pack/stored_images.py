"""Images as a pack stores them: the settings, and consecutive images in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.images.spec import MAX_SIDE, PreprocessSpec
from decaf.images.status import Outcome, status_code
from decaf.runtime.settings import one_of, refuse, whole_number
from decaf.train.pack.schema import ENCODINGS, RESIZES
from decaf.train.pack.statistics import PixelSums

if TYPE_CHECKING:
    import torch

__all__ = ["PackRows", "PackSettings", "torchvision_encoder"]

# The paper's.
DEFAULT_SIZE = 256


@dataclass(frozen=True)
class PackSettings:
    """The settings by which the images of a pack are cut and stored.

    Attributes
    ----------
    size : int, optional
        Side of the images, in pixels; by default 256, and 64 for Tiny-ImageNet's layout.
    encoding : {"jpeg", "raw"}
        How images are stored. JPEGs that have the size already keep their bytes.
    quality : int
        Quality of the JPEGs, 1 to 100; without meaning for raw pixels. Their colour differences
        have half the resolution, as is usual.
    resize : {"shorter-side", "warp", "none"}
        Make the shorter side `size` and cut out the centre (Krizhevsky et al. 2012, sec. 2), or
        make the whole image square.
    """

    size: int | None = None
    encoding: str = "jpeg"
    quality: int = 92
    resize: str = "shorter-side"

    def __post_init__(self) -> None:
        refuse(
            [
                *whole_number("size", self.size, 1, MAX_SIDE, optional=True),
                *one_of("encoding", self.encoding, ENCODINGS),
                *whole_number("quality", self.quality, 1, 100),
                *one_of("resize", self.resize, RESIZES),
            ]
        )

    @property
    def side(self) -> int:
        """Side of the images, in pixels."""
        return DEFAULT_SIZE if self.size is None else self.size

    @property
    def spec(self) -> PreprocessSpec:
        """Resizing and cropping as decoders take it."""
        resize: Any = self.resize
        return PreprocessSpec("pack", resize, resize_to=self.side, crop=self.side)

    @property
    def image_bytes(self) -> int:
        """Bytes that an image takes: exact for raw pixels, of JPEGs about what photographs do."""
        return self.side**2 * 3 // (1 if self.encoding == "raw" else 6)

    def record(self) -> dict[str, Any]:
        """Return the settings for the attribute ``run``."""
        import torch

        from decaf.images.decoding.jpeg import decoder_versions

        spec = self.spec.to_dict()
        facts = ("interpolation", "background", "orientation", "color")
        jpeg = self.encoding == "jpeg"
        encoder = "pillow" if torchvision_encoder() is None else "torchvision"
        return {
            "size": self.side,
            "encoding": self.encoding,
            "quality": self.quality if jpeg else None,
            "encoder": encoder if jpeg else None,
            "resize": self.resize,
            **{name: spec[name] for name in facts},
            "versions": {"torch": torch.__version__, **decoder_versions()},
        }


def torchvision_encoder() -> Callable[[torch.Tensor, int], torch.Tensor] | None:
    """Return torchvision's encoder of JPEGs, by which they are written where it is there."""
    import torch

    from decaf.images.decoding.torchvision_jpeg import jpeg_decoder

    if jpeg_decoder() is None:  # which registers the encoder too
        return None
    try:
        encoder: Callable[[torch.Tensor, int], torch.Tensor] = torch.ops.image.encode_jpeg.default
    except AttributeError:
        return None
    return encoder


@dataclass(slots=True, eq=False)
class PackRows:
    """Consecutive images of all that go into a pack, one split after the other.

    Attributes
    ----------
    start, stop : int
        Which.
    status : ndarray of uint8, shape (stop - start,)
    content_sha256 : ndarray of uint8, shape (stop - start, 32)
    messages : list of str
    length : ndarray of int64, shape (stop - start,)
        Bytes of each in `data`; 0 for a bad one.
    kept : ndarray of uint8, shape (stop - start,)
        1 where these are the source's own.
    data : ndarray of uint8, shape (sum of length,)
    sums : PixelSums
        Over the good images of the split train.
    """

    start: int
    stop: int
    status: np.ndarray
    content_sha256: np.ndarray
    messages: list[str]
    length: np.ndarray
    kept: np.ndarray
    data: np.ndarray
    sums: PixelSums

    @classmethod
    def empty(cls, start: int, stop: int) -> PackRows:
        """Make rows without data, to be filled in.

        Parameters
        ----------
        start : int
        stop : int
        """
        count = stop - start
        return cls(
            start=start,
            stop=stop,
            status=np.zeros(count, np.uint8),
            content_sha256=np.zeros((count, 32), np.uint8),
            messages=[""] * count,
            length=np.zeros(count, np.int64),
            kept=np.zeros(count, np.uint8),
            data=np.zeros(0, np.uint8),
            sums=PixelSums(),
        )

    def record(self, row: int, outcome: Outcome) -> None:
        """Write down what became of an image.

        Parameters
        ----------
        row : int
        outcome : Outcome
        """
        place = row - self.start
        self.status[place] = status_code(outcome.status)
        self.messages[place] = outcome.message
        self.content_sha256[place] = np.frombuffer(outcome.sha256, np.uint8)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the rows as the arrays of a shard, by name."""
        messages = json.dumps(self.messages).encode()
        return {
            "status": self.status,
            "content_sha256": self.content_sha256,
            "messages": np.frombuffer(messages, np.uint8),
            "length": self.length,
            "kept": self.kept,
            "data": self.data,
            **self.sums.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, start: int, stop: int, arrays: dict[str, np.ndarray]) -> PackRows:
        """Make rows of the arrays of a shard.

        Parameters
        ----------
        start : int
        stop : int
        arrays : dict of str to ndarray
        """
        return cls(
            start=start,
            stop=stop,
            status=arrays["status"],
            content_sha256=arrays["content_sha256"],
            messages=json.loads(arrays["messages"].tobytes()),
            length=arrays["length"],
            kept=arrays["kept"],
            data=arrays["data"],
            sums=PixelSums.from_arrays(arrays),
        )
