"""Boxes in JSON: the annotations of COCO, and what MegaDetector has found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from decaf.errors import InputError
from decaf.images.listing.names import shortened, some_of

__all__ = ["BoxRow", "read_json_boxes"]

_FORMS = (
    "expected COCO's images, annotations and categories, or MegaDetector's images with detections"
)


@dataclass(frozen=True, slots=True)
class BoxRow:
    """One box as a file has it.

    Attributes
    ----------
    name : str
        Path of its image; of some forms without the ending.
    edges : (float, float, float, float)
        Left, top, right and bottom.
    size : (int, int) or None
        Width and height of the image that it was drawn on, where that is told.
    label : str or None
        Its class; of a detector what it takes it for.
    shares : bool
        Whether the edges are shares of the image's sides.
    annotation : str
        What the file calls it.
    confidence : float or None
        Of a detector.
    box : (float, float, float, float) or None
        Left, top, width and height where the file has these, since they cannot be had exactly from
        the edges.
    """

    name: str
    edges: tuple[float, float, float, float]
    size: tuple[int, int] | None = None
    label: str | None = None
    shares: bool = False
    annotation: str = ""
    confidence: float | None = None
    box: tuple[float, float, float, float] | None = None


def read_json_boxes(content: bytes, shown: str) -> tuple[list[BoxRow], bool]:
    """Read the boxes of a JSON file.

    Parameters
    ----------
    content : bytes
    shown : str
        How messages name the file.

    Returns
    -------
    rows : list of BoxRow
    are_classes : bool
        Whether their labels are classes that somebody has given them: COCO's categories are, a
        detector's are not.

    Raises
    ------
    InputError
        If it is no JSON, or of neither form.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown}: is no JSON: {error}") from None
    images = body.get("images") if isinstance(body, Mapping) else None
    if not isinstance(images, list) or not all(isinstance(each, Mapping) for each in images):
        there = some_of(map(repr, body)) if isinstance(body, Mapping) else type(body).__name__
        raise InputError(f"{shown}: has no list of images, but {there}; {_FORMS}")
    if isinstance(body.get("annotations"), list):
        return _coco(body, shown), True
    if not any("detections" in each or "failure" in each for each in images):
        raise InputError(
            f"{shown}: its images have no detections, nor has it annotations; {_FORMS}"
        )
    return list(_detections(body, shown)), False


def _coco(body: Mapping[str, Any], shown: str) -> list[BoxRow]:
    images = {
        _field(each, "id", f"{shown}: an image"): (
            _text(each, "file_name", f"{shown}: image {each.get('id')!r}"),
            _size(each),
        )
        for each in body["images"]
    }
    names = {
        _field(each, "id", f"{shown}: a category"): _text(each, "name", f"{shown}: a category")
        for each in body.get("categories") or ()
        if isinstance(each, Mapping)
    }
    rows = []
    for number, each in enumerate(body["annotations"]):
        if not isinstance(each, Mapping):
            raise InputError(f"{shown}: annotation {number} is no object")
        if each.get("iscrowd"):  # the box of many at once
            continue
        called = str(each.get("id", number))
        where = f"{shown}: annotation {called}"
        image = _field(each, "image_id", where)
        if image not in images:
            raise InputError(f"{where}: its image {image!r} is none of the {len(images)} images")
        label = None
        if "category_id" in each:
            label = names.get(each["category_id"])
            if label is None:
                raise InputError(
                    f"{where}: its category {each['category_id']!r} is none of the "
                    f"{len(names)} categories ({some_of(names.values())})"
                )
        name, size = images[image]
        box = _box(each.get("bbox"), where)
        score = each.get("score")
        confidence = float(score) if _is_number(score) else None
        rows.append(BoxRow(name, _edges(box), size, label, False, called, confidence, box))
    return rows


def _detections(body: Mapping[str, Any], shown: str) -> Iterator[BoxRow]:
    names = body.get("detection_categories")
    names = names if isinstance(names, Mapping) else {}
    for each in body["images"]:
        name = _text(each, "file", f"{shown}: an image")
        # None where the image could not be read.
        for number, found in enumerate(each.get("detections") or ()):
            where = f"{shown}: detection {number} of {shortened(name)}"
            if not isinstance(found, Mapping):
                raise InputError(f"{where} is no object")
            box = _box(found.get("bbox"), where)
            confidence = found.get("conf")
            if not _is_number(confidence):
                raise InputError(f"{where}: has no confidence `conf`, but {confidence!r:.40}")
            category = str(found.get("category"))
            yield BoxRow(
                name,
                _edges(box),
                None,
                str(names.get(category, category)),
                True,
                str(number),
                float(confidence),
                box,
            )


def _edges(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, width, height = box
    return left, top, left + width, top + height


def _box(value: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise InputError(
            f"{where}: its bbox is {value!r:.60}; expected four numbers: left, top, width, height"
        )
    left, top, width, height = (float(number) for number in value)
    return left, top, width, height


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (width, height) if type(width) is int and type(height) is int else None


def _field(value: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in value or not isinstance(value[name], (int, str)):
        raise InputError(f"{where}: has no {name}; {_FORMS}")
    return value[name]


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    return str(_field(value, name, where))
