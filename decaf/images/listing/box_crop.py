"""The part of an image that a box of an annotation stands for: `BoxCrop`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decaf.errors import ImageError

__all__ = ["BoxCrop"]

_SHARES, _NOT_TOLD = "shares", "-"


@dataclass(frozen=True, slots=True)
class BoxCrop:
    """A box as an annotation has it, and how much around it is taken along.

    Parameters
    ----------
    x, y, width, height : float
        Left and top edge, and the sides, in pixels of the upright image; or as shares of its sides.
    margin : float
        Taken along on each side, as a share of the box's own width or height.
    relative : bool
        Whether the four are shares.
    size : (int, int) or None
        Width and height of the image that it was drawn on, where the annotation tells.
    annotation : str
        What the annotation calls it; no part of what is cut out.
    confidence : float or None
        Of a detector, likewise.
    """

    x: float
    y: float
    width: float
    height: float
    margin: float = 0.0
    relative: bool = False
    size: tuple[int, int] | None = None
    annotation: str = ""
    confidence: float | None = None

    @property
    def text(self) -> str:
        """All that determines what is cut out, in a form that `from_text` reads.

        >>> BoxCrop(10.5, 20, 30, 40, 0.1, size=(640, 480)).text
        '10.5 20.0 30.0 40.0 0.1 640x480'
        """
        of = "{}x{}".format(*self.size) if self.size else _SHARES if self.relative else _NOT_TOLD
        numbers = (self.x, self.y, self.width, self.height, self.margin)
        return " ".join([*(repr(float(number)) for number in numbers), of])

    @classmethod
    def from_text(cls, text: str, annotation: str = "", confidence: float | None = None) -> BoxCrop:
        """Make the crop whose `text` this is.

        Parameters
        ----------
        text : str
        annotation : str
        confidence : float or None

        Raises
        ------
        ValueError
            For anything else.
        """
        *numbers, of = text.split(" ")
        x, y, width, height, margin = map(float, numbers)
        size = None
        if of not in (_SHARES, _NOT_TOLD):
            columns, rows = map(int, of.split("x"))
            size = columns, rows
        return cls(x, y, width, height, margin, of == _SHARES, size, annotation, confidence)

    def in_pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return the box without its margin: left, top, width and height in pixels.

        Parameters
        ----------
        width, height : int
            Of the image; below 1 where they are not known, and shares are NaN then.
        """
        across = down = 1.0
        if self.relative:
            across, down = (float(n) if n > 0 else math.nan for n in (width, height))
        return self.x * across, self.y * down, self.width * across, self.height * down

    def edges(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return what is cut out, with its margin: left, top, right and bottom edge in pixels.

        Rounded to whole pixels, of which one is left at least, and cut off at the image's edges.

        Parameters
        ----------
        width, height : int
            Of the image, upright.

        Raises
        ------
        ImageError
            "bad_box" for a box with nothing inside, one that lies outside of the image, and one
            that was drawn on an image of another size.

        Examples
        --------
        >>> BoxCrop(10, 20, 30, 40, margin=0.1).edges(640, 480)
        (7, 16, 43, 64)
        """
        if self.size is not None and self.size != (width, height):
            raise ImageError(
                "bad_box",
                f"its box was drawn on an image of {self.size[0]} x {self.size[1]} pixels, and it "
                f"has {width} x {height}",
            )
        x, y, across, down = self.in_pixels(width, height)
        told = f"its box (left {x:g}, top {y:g}, width {across:g}, height {down:g})"
        if not (across > 0 and down > 0):
            raise ImageError("bad_box", f"{told} is empty")
        if x >= width or y >= height or x + across <= 0 or y + down <= 0:
            raise ImageError(
                "bad_box", f"{told} lies outside of the {width} x {height} pixels of the image"
            )
        left, right = _whole(x, across, self.margin, width)
        top, bottom = _whole(y, down, self.margin, height)
        return left, top, right, bottom


def _whole(start: float, side: float, margin: float, most: int) -> tuple[int, int]:
    first = math.floor(start - margin * side + 0.5)
    last = math.floor(start + side + margin * side + 0.5)
    first = min(max(first, 0), most - 1)
    return first, min(max(last, first + 1), most)
