"""Predictions as text, CSV or JSON, in a file or on standard output."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from decaf.backbone.weights import DEFAULT_WEIGHTS, WEIGHTS_ENDINGS, is_registry_name
from decaf.classify.classifier import Classifier, Prediction, load_classifier
from decaf.errors import InputError, SettingError, Stopped
from decaf.features.settings import NetworkSettings
from decaf.heads.saved import is_head_file
from decaf.images.listing.folders import has_image_ending, has_wildcard
from decaf.images.listing.names import path_text
from decaf.images.listing.paths import is_image_source
from decaf.images.listing.recognise import not_wanted, recognise
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.runtime.wording import printable
from decaf.storage import TEXT_KINDS, check_output, disk_errors, whole_file
from decaf.storage.spreadsheet import spreadsheet_cell

__all__ = ["FORMATS", "WrittenPredictions", "model_and_images", "write_predictions"]

FORMATS = ("text", "csv", "json")
"""The forms that `write_predictions` writes."""

_ENDINGS = {".csv": "csv", ".json": "json", ".txt": "text", "": "text"}
_OF_PARTS = ("box_x", "box_y", "box_width", "box_height", "annotation", "confidence")
_LEAST_SHOWN = 0.01  # in text; the first class is always shown


@dataclass(frozen=True)
class WrittenPredictions:
    """The result of `write_predictions`: how many images, and of which classes.

    Attributes
    ----------
    format : {"text", "csv", "json"}
    images : int
        All of them, the bad ones too.
    bad : int
        Images that could not be read.
    classes : Counter of str
        How many images each class is the first of.
    """

    format: str
    images: int
    bad: int
    classes: Counter[str]


def write_predictions(
    images: Any,
    model: str | os.PathLike[str] | Classifier = DEFAULT_WEIGHTS,
    *,
    out: str | os.PathLike[str] | None = None,
    format: str | None = None,
    top: int = 5,
    raw_text: bool = False,
    overwrite: bool = False,
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> WrittenPredictions:
    """Name the classes of images, and write a line for each, in order.

    ``csv`` has the columns path, status, message, class_1, probability_1, class_2, …; ``json`` is a
    list of objects with ``path``, ``status``, ``message`` and ``classes``; ``text`` is for people,
    and leaves out what is improbable. Of boxes that were cut out (`decaf.collect`) each has a line,
    with box_x, box_y, box_width, box_height, annotation and confidence behind the message. An image
    that cannot be read says why in status and message. Bytes of names that are not UTF-8 are
    written as ``\\xNN``.

    Parameters
    ----------
    images : path, sequence, array, torch Dataset or FeatureFile
        As in `Classifier.predict`.
    model : str, path or Classifier
        As `decaf.load_classifier` takes it.
    out : str or path, optional
        The file to write, complete under its name or not there; by default standard output.
    format : {"text", "csv", "json"}, optional
        By default that of the ending of `out` (``.csv``, ``.json``, ``.txt`` or none); on standard
        output text on a terminal, else csv.
    top : int
        How many classes are named for each image, no more than there are.
    raw_text : bool
        Write names in CSV as they are; by default see
        `decaf.storage.spreadsheet.spreadsheet_cell`.
    overwrite : bool
        Replace `out`, if it is text.
    network : NetworkSettings, optional
        How the network is run; or its fields by their names, as of the object below: weights and
        preprocess, as in `decaf.load_classifier`, for a `model` that is not loaded yet; batch_size,
        as in `decaf.extract`.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress and stop, as in `decaf.extract`.
    **named
        Fields of `network` and `compute` by their names: ``batch_size=8, device="cuda"``.

    Returns
    -------
    WrittenPredictions

    Raises
    ------
    OutputError
        If `out` is there already, or cannot be written.
    SettingError, InputError, WeightsError, HeadError
        As in `decaf.load_classifier` and `Classifier.predict`.
    Stopped
        After `stop` was set.
    """
    made = settings_from(
        write_predictions,
        named,
        Part("network", NetworkSettings, network, ("crops", "precision")),
        Part("compute", ComputeSettings, compute),
    )
    network, compute = made
    if format is not None and format not in FORMATS:
        raise SettingError(f"`format` {format!r} is not one of {', '.join(FORMATS)}")
    if out is not None:
        read = (images, model, network.weights)
        check_output(Path(out), *TEXT_KINDS, inputs=read, overwrite=overwrite)
    form = format or _format_of(out)
    classifier = model
    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier, network.weights, network.preprocess)
    counts: Counter[str] = Counter()
    predictions = _counted(
        classifier.stream(images, top=top, batch_size=network.batch_size, compute=compute),
        counts,
    )
    try:
        with _opened(out) as stream:
            if form == "csv":
                _write_csv(predictions, stream, classifier, top, raw_text=raw_text)
            elif form == "json":
                _write_json(predictions, stream, classifier.gives)
            else:
                _write_text(predictions, stream, classifier.gives)
    except Stopped as error:
        kept = "" if out is None else f"; {os.fspath(out)} was not written"
        raise Stopped(f"{error}{kept}") from None
    bad = counts.pop("", 0)
    return WrittenPredictions(form, bad + counts.total(), bad, counts)


def model_and_images(words: Sequence[str]) -> tuple[str, list[str]]:
    """Tell the model from the images, where it may come first or be left out.

    A file that is neither counts as a model, for which `decaf.load_classifier` then says what is
    wrong with it.

    Parameters
    ----------
    words : sequence of str
        A model, perhaps, and images, folders, archives, lists, patterns, or a feature file.

    Returns
    -------
    model : str
        By default the packaged network.
    images : list of str

    Raises
    ------
    SettingError
        For a model without images.
    InputError
        For a single word that is no file or folder.
    """
    first = words[0]
    if not _is_model(first):
        return DEFAULT_WEIGHTS, list(words)
    if len(words) > 1:
        return first, list(words[1:])
    kind = recognise(first).name
    if is_registry_name(first) or kind in ("head", "weights", "torch"):
        raise SettingError(f"{first}: is a model; name images too")
    if kind == "absent":
        raise InputError(f"{first}: there is no such file or folder")
    raise SettingError(not_wanted(first, "an image, nor a model with images after it"))


def _is_model(path: str) -> bool:
    if is_registry_name(path) or is_head_file(path):
        return True
    name = os.fsencode(path)
    if path.startswith(("-", "@")) or os.path.isdir(path) or has_image_ending(name):
        return False
    if path.endswith(WEIGHTS_ENDINGS):
        return True
    if not os.path.exists(path):
        return not has_wildcard(name)
    return not is_image_source(name)


def _format_of(out: str | os.PathLike[str] | None) -> str:
    if out is None:
        return "text" if sys.stdout.isatty() else "csv"
    ending = os.path.splitext(out)[1].lower()
    if ending not in _ENDINGS:
        endings = ", ".join(filter(None, _ENDINGS))
        raise SettingError(
            f"{os.fspath(out)}: answers are not written as {ending}; the endings are {endings}, or "
            f"give `format`, one of {', '.join(FORMATS)}"
        )
    return _ENDINGS[ending]


@contextmanager
def _opened(out: str | os.PathLike[str] | None) -> Iterator[TextIO]:
    """Open what is written to; a file is complete under its name, or is not there."""
    if out is None:
        yield sys.stdout
        return
    path = Path(out)
    with disk_errors(path, "nothing was written"), whole_file(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()


def _counted(predictions: Iterable[Prediction], counts: Counter[str]) -> Iterator[Prediction]:
    """Count the first classes on the way; bad images under no name."""
    for each in predictions:
        counts[each.classes[0][0] if each.classes else ""] += 1
        yield each


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _write_text(predictions: Iterable[Prediction], stream: TextIO, gives: str) -> None:
    for each in predictions:
        path = each.path
        if each.box is not None:
            path += " [" + ", ".join(f"{side:.0f}" for side in each.box) + "]"
        if not each.classes:
            line = f"{each.message} ({each.status})"
        elif gives == "probability":
            line = ", ".join(
                f"{name} {100 * chance:.1f} %"
                for place, (name, chance) in enumerate(each.classes)
                if place == 0 or chance >= _LEAST_SHOWN
            )
        else:
            line = ", ".join(f"{name} {score:.3g}" for name, score in each.classes)
        print(printable(f"{path}: {line}"), file=stream)


def _write_csv(
    predictions: Iterable[Prediction],
    stream: TextIO,
    classifier: Classifier,
    top: int,
    *,
    raw_text: bool,
) -> None:
    def cell(text: str) -> str:
        shown = printable(text) if stream.isatty() else text
        return shown if raw_text else spreadsheet_cell(shown)

    writer = csv.writer(stream, lineterminator="\n")
    places = range(1, min(top, len(classifier.class_names)) + 1)
    header = [f"{column}_{place}" for place in places for column in ("class", classifier.gives)]
    parts: tuple[str, ...] = ()
    for number, each in enumerate(predictions):
        if number == 0:  # not before: an error about the images comes instead
            parts = _OF_PARTS if each.box is not None else ()
            writer.writerow(["path", "status", "message", *parts, *header])
        cells = [text for name, value in each.classes for text in (cell(name), f"{value:.6g}")]
        cells += [""] * (len(header) - len(cells))
        box: list[str] = []
        if parts:
            sides = map(_number, each.box or (None,) * 4)
            box = [*sides, cell(each.annotation), _number(each.confidence)]
        told = [cell(path_text(each.path)), each.status, cell(each.message)]
        writer.writerow([*told, *box, *cells])


def _write_json(predictions: Iterable[Prediction], stream: TextIO, gives: str) -> None:
    started = False
    try:
        for each in predictions:
            stream.write(",\n" if started else "[\n")
            started = True
            record: dict[str, Any] = {
                "path": path_text(each.path),
                "status": each.status,
                "message": each.message,
                "classes": [{"class": name, gives: value} for name, value in each.classes],
            }
            if each.box is not None:
                known = not math.isnan(sum(each.box))
                record["box"] = list(each.box) if known else None
                record |= {"annotation": each.annotation, "confidence": each.confidence}
            stream.write(json.dumps(record))
    finally:
        if started:
            stream.write("\n]\n")
