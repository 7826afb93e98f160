"""An evaluation: its figures, and these as a JSON file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.images.listing.names import path_text
from decaf.images.status import BadImage
from decaf.storage import TEXT_KINDS, check_output, disk_errors, write_atomically

if TYPE_CHECKING:
    from decaf.evaluate.localisation import Localisation

__all__ = ["ClassResult", "Evaluation", "save_report"]


@dataclass(frozen=True)
class ClassResult:
    """Counts of the images of one class.

    Attributes
    ----------
    id, name : str
        Id and name of the class, as the data set has them; where it has no names, what a network
        calls it.
    images : int
        Without bad ones.
    top1 : int
        How many have the class as the first answer.
    top5 : int or None
        And among the first five; None where there are no more than five answers.
    confused_with, confused_with_name : str or None
        The most frequent wrong answer, None where there is none; of several that are equally
        frequent the first in `Evaluation.answers`. And what people call it.
    confused : int
        How often it was given.
    """

    id: str
    name: str
    images: int
    top1: int
    top5: int | None
    confused_with: str | None
    confused_with_name: str | None
    confused: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The errors of networks, alone or averaged, on labelled images.

    Attributes
    ----------
    top1_error, top5_error : float
        In percent of `images`. Five answers are all where there are no more than five classes:
        `top5_error` is None there.
    mean_per_class_accuracy : float
        In percent: the mean over the classes that have images of the share of first answers that
        are right.
    images : int
        How many were counted.
    bad : tuple of BadImage
        Those that could not be read, in order.
    ignored : int
        Images of `unknown` classes.
    unknown : tuple of str
        The data set's classes that a network does not know, where that was allowed.
    classes : tuple of ClassResult
        Those of the data set, but `unknown` ones, in the order of their labels.
    answers : tuple of str
        The classes that the networks choose from, which may be more than the data set has.
    confusion : array of int64, shape (len(classes), len(answers))
        How many images of a class got each answer.
    ranks : array of int64, shape (N,)
        Place of the right class among the answers to each image, in the order of the images and
        without `ignored` ones: 0 for the first answer, -1 for a bad image. Two evaluations on the
        same images can be compared image by image.
    networks : tuple of dict
        ``name``, ``sha256``, ``arch``, ``preprocess`` and ``classes`` (their number) of each.
    data : dict
        ``sources``, ``split``, ``classes`` (their number) and ``sha256``, the same for the same
        images with the same classes: of the sorted lines of SHA-256 of the content and class id.
    settings : dict
        ``crops``, ``precision``, ``match``, ``device``.
    versions : dict
        Versions of decaf, torch and the decoders.
    localisation : Localisation or None
        How well boxes were found, where that was asked for.
    """

    top1_error: float
    top5_error: float | None
    mean_per_class_accuracy: float
    images: int
    bad: tuple[BadImage, ...]
    ignored: int
    unknown: tuple[str, ...]
    classes: tuple[ClassResult, ...]
    answers: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    networks: tuple[dict[str, Any], ...]
    data: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    localisation: Localisation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it, without the confusion matrix and ranks."""
        return {
            "format": "decaf-evaluation",
            "top1_error": self.top1_error,
            "top5_error": self.top5_error,
            "mean_per_class_accuracy": self.mean_per_class_accuracy,
            "images": self.images,
            "bad": [
                {
                    "path": path_text(image.name),
                    "status": image.status,
                    "message": image.message,
                }
                for image in self.bad
            ],
            "ignored": self.ignored,
            "unknown": list(self.unknown),
            "per_class": [asdict(result) for result in self.classes],
            "answers": len(self.answers),
            "networks": list(self.networks),
            "data": self.data,
            "settings": self.settings,
            "versions": self.versions,
            **({"localisation": asdict(self.localisation)} if self.localisation else {}),
        }


def save_report(
    evaluation: Evaluation, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write the JSON of `Evaluation.to_dict`; the same evaluation gives the same bytes.

    Parameters
    ----------
    evaluation : Evaluation
    path : path
        The file, which is complete or as it was before, whatever happens.
    overwrite : bool
        Replace it if it is there.

    Raises
    ------
    OutputError
        If it is there, or cannot be written.
    """
    target = Path(path)
    check_output(target, *TEXT_KINDS, overwrite=overwrite)
    text = json.dumps(evaluation.to_dict(), indent=2) + "\n"
    with disk_errors(target, "nothing was written"):
        write_atomically(target, text.encode())
