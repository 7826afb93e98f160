"""Boxes that a localiser predicts, right and wrong, on the images, as a page."""

from __future__ import annotations

import os
from typing import Any

from decaf.errors import ImageError, SettingError
from decaf.evaluate import BoxExample, Evaluation
from decaf.exploration.page import check_page, render_page, thumbnail, write_page
from decaf.images import ImageRef
from decaf.runtime.wording import counted
from decaf.version import __version__

__all__ = ["boxes_page", "write_boxes_page"]


def boxes_page(evaluation: Evaluation) -> str:
    """Return the boxes that were measured as a page: the errors, and examples to look at.

    Parameters
    ----------
    evaluation : Evaluation
        With its `localisation`. The examples' images are read again from their paths; of those that
        are not files, or not there any more, the boxes alone are shown.

    Returns
    -------
    str
        HTML that opens from disk.

    Raises
    ------
    SettingError
        If no boxes were measured.
    """
    boxes = evaluation.localisation
    if boxes is None:
        raise SettingError("`report` shows boxes: give `boxes` and `localiser`")
    shown = [_shown(example) for example in boxes.examples]
    errors = [
        ("class, five guesses", boxes.class_error),
        ("class and box, five guesses", boxes.error),
        ("class and box, first guess", boxes.error_of_first),
        ("box, given the class", boxes.error_given_class),
    ]
    blind = [(name.replace("_", " "), error) for name, error in boxes.blind_errors.items()]
    kinds = {"Right": True, "Wrong": False}
    values = {
        "title": "Where the objects are",
        "weights": ", ".join(network["name"] for network in evaluation.networks),
        "count": counted(boxes.images, "image"),
        "median": boxes.median_overlap,
        "errors": errors,
        "blind": blind,
        "kinds": {name: [e for e in shown if e["right"] is right] for name, right in kinds.items()},
        "gone": sum(not each["picture"] for each in shown),
        "facts": [
            *((f"weights {each['name']}", f"SHA-256 {each['sha256']}") for each in
              evaluation.networks),
            ("images", ", ".join(str(each["path"]) for each in evaluation.data["sources"])),
            ("true boxes", boxes.settings["boxes"]),
            ("crops", boxes.settings["box_crops"]),
            ("made by", f"decaf {__version__}"),
        ],
    }  # fmt: skip
    return render_page("boxes.html", values)


def write_boxes_page(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Write the page of the boxes that were measured.

    Parameters
    ----------
    evaluation : Evaluation
        With its `localisation`.
    path : path
        A page that is there is replaced, other files are not.

    Raises
    ------
    OutputError
        Where it cannot be written, or something else is there.
    SettingError
        If no boxes were measured.
    """
    check_page(path)
    write_page(path, boxes_page(evaluation))


def _shown(example: BoxExample) -> dict[str, Any]:
    try:
        picture = thumbnail(ImageRef(os.fsencode(example.path)))
    except ImageError:
        picture = ""
    return {
        "picture": picture,
        "path": example.path,
        "class_name": example.class_name,
        "overlap": f"{example.overlap:.2f}",
        "right": example.right,
        "box": _percent(example.box),
        "true": [_percent(box) for box in example.true],
    }


def _percent(box: tuple[float, ...]) -> dict[str, str]:
    left, top, right, bottom = (100 * min(max(edge, 0.0), 1.0) for edge in box)
    sides = {"left": left, "top": top, "width": right - left, "height": bottom - top}
    return {name: f"{value:.2f}" for name, value in sides.items()}
