"""How labelled images are listed, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from decaf.images.listing.class_folders import LAYOUTS
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
        refuse(wrong)
