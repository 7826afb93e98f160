"""How labelled images are listed, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decaf.images.listing.class_folders import LAYOUTS
from decaf.images.listing.crops_from_boxes import BoxSettings
from decaf.images.status import ON_ERROR
from decaf.runtime.settings import one_of, refuse, whole_number

__all__ = ["ListingSettings"]


@dataclass(frozen=True, eq=False)
class ListingSettings:
    """How labelled images are listed and grouped, and what is done with those that cannot be read.

    Parameters
    ----------
    labels : "folder", path, or sequence
        As in `decaf.extract`.
    layout : {"auto", "splits", "classes"}
        As in `decaf.extract`.
    groups : str, path or sequence, optional
        As in `decaf.extract`: no group is on both sides of a split.
    min_images : int, optional
        Leave out classes with fewer training images, with a word; by default those with fewer than
        are needed.
    on_error : {"raise", "record"}
        At an image that cannot be read: raise `ImageError` (default; on the command line "record"
        is), or leave it out and write it down.
    val_labels : "folder", path, or sequence
        The labels of validation images that are given apart; `decaf.finetune` alone.
    val_fraction : float, optional
        The share drawn of each class for validation where there are no such images;
        `decaf.finetune` alone.
    splits : str, path or sequence, optional
        Which images are for training, validation and the test: ``"FILE:COLUMN"`` of a table, or one
        text for each image; as for `decaf.collect`. By default folders say it, or a table of images
        by its column split.
    crops_from : path, optional
        Boxes of the images, each of which becomes an image of its own: COCO's annotations, whose
        categories are the labels, MegaDetector's detections, or any other form that
        `decaf.localise` takes as `boxes`. Images without a box are left out, with a word.
    margin : float, optional
        How much around a box is taken along on each side, as a share of its own width or height;
        0 when not given.
    min_confidence : float, optional
        Leave out the boxes of a detector that is less sure, by default below 0.2.
    categories : sequence of str, optional
        Only boxes of these categories; by default all, of MegaDetector's the animals.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    labels: Any = "folder"
    layout: str = "auto"
    groups: Any = None
    min_images: int | None = None
    on_error: str = "raise"
    val_labels: Any = "folder"
    val_fraction: float | None = None
    splits: Any = None
    crops_from: Any = None
    margin: float | None = None
    min_confidence: float | None = None
    categories: Sequence[str] | str | None = None

    def __post_init__(self) -> None:
        wrong = [
            *one_of("layout", self.layout, LAYOUTS),
            *whole_number("min_images", self.min_images, optional=True),
            *one_of("on_error", self.on_error, ON_ERROR),
        ]
        share = self.val_fraction
        real = isinstance(share, (int, float)) and not isinstance(share, bool)
        if share is not None and not (real and 0 < share < 1):
            wrong.append(f"`val_fraction` {share!r}: must be between 0 and 1")
        for name, most in (("margin", None), ("min_confidence", 1.0)):
            wrong += _not_from_0(name, getattr(self, name), most)
        for name in ("margin", "min_confidence", "categories"):
            if self.crops_from is None and getattr(self, name) is not None:
                wrong.append(f"`{name}` is of boxes: give `crops_from` too")
        refuse(wrong)

    @property
    def boxes(self) -> BoxSettings | None:
        """Which boxes are cut out; None where images are taken whole."""
        if self.crops_from is None:
            return None
        names = self.categories
        return BoxSettings(
            self.crops_from,
            0.0 if self.margin is None else float(self.margin),
            self.min_confidence,
            None if names is None else (names,) if isinstance(names, str) else tuple(names),
        )


def _not_from_0(name: str, value: Any, most: float | None) -> list[str]:
    if value is None:
        return []
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if real and 0 <= value <= (float("inf") if most is None else most) and value != float("inf"):
        return []
    return [f"`{name}` {value!r}: must be {'0 or more' if most is None else f'from 0 to {most:g}'}"]
