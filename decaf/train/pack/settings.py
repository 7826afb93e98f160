"""Settings that determine the images of a training pack, beside the data set itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from decaf.errors import SettingError
from decaf.images.spec import MAX_SIDE, PreprocessSpec
from decaf.train.pack.schema import ENCODINGS, RESIZES

__all__ = ["PackSettings"]


@dataclass(frozen=True)
class PackSettings:
    """How the images of a pack are cut and stored.

    Attributes
    ----------
    size : int
        Side of the images, in pixels.
    encoding : {"jpeg", "raw"}
    quality : int
        Quality of the JPEGs, 1 to 100; without meaning for raw pixels.
    resize : {"shorter-side", "warp", "none"}
        Make the shorter side `size` and cut out the centre (Krizhevsky et al. 2012, sec. 2), or
        make the whole image square.
    """

    size: int = 256
    encoding: str = "jpeg"
    quality: int = 92
    resize: str = "shorter-side"

    def __post_init__(self) -> None:
        wrong = []
        if type(self.size) is not int or not 1 <= self.size <= MAX_SIDE:
            wrong.append(f"`size` {self.size!r}: must be a whole number from 1 to {MAX_SIDE}")
        if self.encoding not in ENCODINGS:
            wrong.append(f"`encoding` {self.encoding!r} is not one of {', '.join(ENCODINGS)}")
        if type(self.quality) is not int or not 1 <= self.quality <= 100:
            wrong.append(f"`quality` {self.quality!r}: must be a whole number from 1 to 100")
        if self.resize not in RESIZES:
            wrong.append(f"`resize` {self.resize!r} is not one of {', '.join(RESIZES)}")
        if wrong:
            raise SettingError("; ".join(wrong))

    @property
    def spec(self) -> PreprocessSpec:
        """Resizing and cropping as decoders take it."""
        resize: Any = self.resize
        return PreprocessSpec("pack", resize, resize_to=self.size, crop=self.size)

    @property
    def image_bytes(self) -> int:
        """Bytes that an image takes: exact for raw pixels, of JPEGs about what photographs do."""
        return self.size**2 * 3 // (1 if self.encoding == "raw" else 6)

    def record(self) -> dict[str, Any]:
        """Return the settings for the attribute ``run``."""
        import torch

        from decaf.images.decoding.decode import decoder_versions
        from decaf.train.pack.pixels import encoder_name

        spec = self.spec.to_dict()
        facts = ("interpolation", "background", "orientation", "color")
        jpeg = self.encoding == "jpeg"
        return {
            "size": self.size,
            "encoding": self.encoding,
            "quality": self.quality if jpeg else None,
            "encoder": encoder_name() if jpeg else None,
            "resize": self.resize,
            **{name: spec[name] for name in facts},
            "versions": {"torch": torch.__version__, **decoder_versions()},
        }
