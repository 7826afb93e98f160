"""The boxes of images as images of their own: one row a box."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images.listing.annotated_boxes import read_box_rows
from decaf.images.listing.box_crop import BoxCrop
from decaf.images.listing.boxes_json import BoxRow
from decaf.images.listing.folders import has_image_ending
from decaf.images.listing.image_list import ImageList
from decaf.images.listing.image_ref import CutRefs
from decaf.images.listing.labels import labels_from_classes
from decaf.images.listing.names import nearest_name, shortened, some_of
from decaf.images.listing.table_paths import TablePaths
from decaf.runtime.names import name_text

__all__ = ["MIN_CONFIDENCE", "BoxSettings", "cut_boxes"]

MIN_CONFIDENCE = 0.2
"""Confidence below which boxes of a detector are left out, where nothing else is asked for."""

# What a detector calls animals: it finds people and vehicles too, which no class is of.
_ANIMAL = "animal"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BoxSettings:
    """Which boxes are cut out of images, and how.

    Attributes
    ----------
    source : path
        As for `decaf.images.listing.annotated_boxes.read_box_rows`.
    margin : float
    min_confidence : float or None
    categories : tuple of str or None
        As in `decaf.ListingSettings`.
    """

    source: Any
    margin: float
    min_confidence: float | None
    categories: tuple[str, ...] | None


def cut_boxes(images: ImageList, settings: BoxSettings, *, labelled: bool) -> ImageList:
    """Return the boxes of images, each as an image, in the order of the images.

    Boxes are matched with the images by their paths, as the rows of a table of labels are. Those of
    one image are one group with the group that it is in, since they show the same scene.

    Parameters
    ----------
    images : ImageList
        Of files.
    settings : BoxSettings
    labelled : bool
        Whether classes of boxes, where the annotation has them, are the labels.

    Raises
    ------
    InputError
        If no box is of an image, or one cannot be matched.
    """
    shown = name_text(settings.source)
    if images.refs is None:
        raise InputError(
            f"`crops_from` {shown!r}: boxes are found by the paths of images, and these are in "
            "memory"
        )
    if images.crops is not None:
        raise SettingError(f"`crops_from` {shown!r}: these images are parts of others already")
    every, are_classes = read_box_rows(settings.source)
    boxes = _wanted(every, settings, shown, are_classes=are_classes)
    of_image = _matched(images, boxes, shown)
    rows = [place for place, own in enumerate(of_image) for _ in own]
    cut = [box for own in of_image for box in own]
    crops = tuple(_crop(box, settings.margin) for box in cut)
    picked = np.array(rows, np.int64)
    taken = images.take(picked)
    groups = _groups(images, of_image)
    assert taken.refs is not None
    result = replace(
        taken,
        refs=CutRefs(taken.refs, crops),
        crops=crops,
        groups=None if groups is None else tuple(groups[row] for row in rows),
        sources=_sources(images, picked, settings),
        empty_folders=(),
    )
    labels = [box.label for box in cut]
    if labelled and are_classes and any(label is not None for label in labels):
        values, class_names = labels_from_classes(labels)
        result = result.with_labels(values, class_names)
    return result


def _crop(box: BoxRow, margin: float) -> BoxCrop:
    left, top, right, bottom = box.edges
    x, y, width, height = box.box or (left, top, right - left, bottom - top)
    return BoxCrop(
        x, y, width, height, margin, box.shares, box.size, box.annotation, box.confidence
    )


def _wanted(
    boxes: Sequence[BoxRow], settings: BoxSettings, shown: str, *, are_classes: bool
) -> list[BoxRow]:
    """Leave out boxes of low confidence, and of other categories than those asked for."""
    there = Counter(box.label for box in boxes if box.label is not None)
    categories = settings.categories
    if categories is not None:
        strange = sorted(set(categories) - there.keys())
        if strange:
            raise InputError(
                f"`categories` {', '.join(map(repr, strange))}: {shown} has "
                f"{some_of(there, 12) or 'none'}"
            )
    elif not are_classes and _ANIMAL in there:
        categories = (_ANIMAL,)
    kept = [box for box in boxes if categories is None or box.label in categories]
    if len(kept) < len(boxes):
        others = ", ".join(
            f"{count} of {name}" for name, count in there.items() if name not in (categories or ())
        )
        _logger.warning(
            "%s: %d of %d boxes are left out as of other categories (%s)",
            shown, len(boxes) - len(kept), len(boxes), others,
        )  # fmt: skip
    least = settings.min_confidence
    if not any(box.confidence is not None for box in boxes):
        if least is not None:
            raise InputError(f"`min_confidence` {least}: the boxes of {shown} have no confidence")
        return kept
    least = MIN_CONFIDENCE if least is None else least
    sure = [box for box in kept if box.confidence is None or box.confidence >= least]
    if len(sure) < len(kept):
        _logger.warning(
            "%s: %d of %d boxes have a confidence below %g and are left out "
            "(`min_confidence=0` takes all)",
            shown, len(kept) - len(sure), len(kept), least,
        )  # fmt: skip
    return sure


def _matched(images: ImageList, boxes: Sequence[BoxRow], shown: str) -> list[list[BoxRow]]:
    """Return the boxes of each image."""
    names, relative = images.names, images.relative or images.names
    by_name: dict[str, list[BoxRow]] = {}
    for box in boxes:
        by_name.setdefault(box.name, []).append(box)
    cells = [os.fsencode(name) for name in by_name]
    found = TablePaths(names, relative).find(cells, shown)
    if not any(found) and not any(map(has_image_ending, cells)):
        # As ILSVRC's and PASCAL's annotations are named.
        stems = ([os.path.splitext(each)[0] for each in some] for some in (names, relative))
        found = TablePaths(*stems).find(cells, shown)
    of_image: list[list[BoxRow]] = [[] for _ in names]
    strangers = []
    for cell, own, places in zip(cells, by_name.values(), found, strict=True):
        if not places:
            strangers.append(cell)
        for place in places:
            of_image[place] += own
    if not any(of_image):
        first = f" such as {shortened(cells[0])}" if cells else ""
        near = nearest_name(name_text(cells[0]), relative) if cells else ""
        raise InputError(
            f"{shown}: none of its {len(boxes)} boxes is of one of the {len(names)} images: it has "
            f"{len(cells)} images with boxes{first}{near}"
        )
    if strangers:
        _logger.warning(
            "%s: %d images with boxes are none of those given, such as %s%s",
            shown, len(strangers), shortened(strangers[0]),
            nearest_name(name_text(strangers[0]), relative),
        )  # fmt: skip
    without = [place for place, own in enumerate(of_image) if not own]
    if without:
        _logger.warning(
            "%s: %d of %d images have no box and are left out, such as %s",
            shown, len(without), len(names), shortened(images.names[without[0]]),
        )  # fmt: skip
    return of_image


def _groups(images: ImageList, of_image: Sequence[Sequence[BoxRow]]) -> list[str] | None:
    """Return the groups, with the name of each image that has several boxes and no group."""
    several = [len(own) > 1 for own in of_image]
    if images.groups is None and not any(several):
        return None
    given = images.groups or ("",) * len(images)
    if images.groups is None:
        _logger.info("the boxes of an image are one group, which is on one side of every split")
    texts = [name.decode("utf-8", "backslashreplace") for name in images.names]
    return [
        group or (text if many else "")
        for group, text, many in zip(given, texts, several, strict=True)
    ]


def _sources(
    images: ImageList, rows: np.ndarray, settings: BoxSettings
) -> tuple[dict[str, Any], ...]:
    """Return the record of the sources, each with the number of boxes that are in its images."""
    sources, first = [], 0
    for source in images.sources:
        stop = first + int(source["images"])
        count = int(((rows >= first) & (rows < stop)).sum())
        sources.append({**source, "images": count, "boxes": name_text(settings.source)})
        first = stop
    return tuple(sources)
