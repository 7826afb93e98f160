"""``decaf predict``: images to the names of their classes."""

from __future__ import annotations

import argparse
import codecs
import functools
import io
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from decaf.backbone.weights import DEFAULT_WEIGHTS, is_registry_name
from decaf.cli.arguments import add_device, add_preprocess, add_workers, preprocess_of
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import printable, show, tell

if TYPE_CHECKING:
    from decaf.classify.classifier import Classifier, Prediction

__all__ = ["HELP", "configure", "run"]

HELP = "name the classes of images"

EPILOG = """\
examples:
  decaf predict IMG_0815.jpg                      what the packaged network sees
  decaf predict photos.head new/ IMG_0815.jpg
  decaf predict photos.head new/ -o answers.csv
  decaf predict photos.head new/ --top 1 --format json | jq .
  decaf predict photos.safetensors new/           a network's own classes

CSV has the columns path, status, message, class_1, probability_1, class_2, … Every image has its
line, in order; one that cannot be read says why in status and message. Exit codes: 0 done; 1 done,
and some images could not be read; 2 not done, the line on stderr says why; 130 and 143 stopped by a
signal.
"""

FORMATS = ("text", "csv", "json")
_ENDINGS = {".csv": "csv", ".json": "json", ".txt": "text", "": "text"}
_LOOKED_AT = 1 << 16  # bytes of a file that decide whether it is text
LEAST_SHOWN = 0.01  # in text; the first answer is always shown


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf predict``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.usage = "%(prog)s [-h] [options] [MODEL] IMAGE [IMAGE ...]"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="MODEL, IMAGE",
        help="MODEL, where it is given, comes first: a head, as `decaf fit` writes it; or a "
        "network (a name, or a weights file such as `decaf finetune` writes), whose own classes "
        f"are the answers (default: {DEFAULT_WEIGHTS}). IMAGE: image, folder, glob, archive, list "
        "of paths, or - for a list on standard input; or a feature file",
    )
    # Words may stand on both sides of flags, which argparse has another method for.
    parser.parse_known_args = functools.partial(_intermixed, parser)  # type: ignore[method-assign,assignment]
    parser.add_argument(
        "--top", type=int, default=5, metavar="K", help="classes an image (default: 5)"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="default: by the ending of -o FILE; else text on a terminal, csv elsewhere",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="write there, not to standard output: .csv, .json or .txt",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE, if it is text")
    parser.add_argument(
        "--raw-text",
        action="store_true",
        help="in CSV, write names as they are; by default an apostrophe stands before those that a "
        "spreadsheet would take for a formula",
    )
    parser.add_argument(
        "-w",
        "--weights",
        metavar="FILE",
        help="the weights that a head was fitted on, where they are not where they were",
    )
    parser.add_argument(
        "-b", "--batch-size", type=int, metavar="N", help="images a forward pass (default: auto)"
    )
    add_preprocess(parser)
    add_workers(parser)
    add_device(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _intermixed(
    parser: argparse.ArgumentParser, args: list[str], namespace: argparse.Namespace | None = None
) -> tuple[argparse.Namespace, list[str]]:
    own = parser.__dict__.pop("parse_known_args")
    try:
        return parser.parse_known_intermixed_args(args, namespace)
    finally:
        parser.__dict__["parse_known_args"] = own


def run(args: argparse.Namespace) -> int:
    """Predict, print line by line, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    if args.out is not None:
        _check_out(Path(args.out), overwrite=args.overwrite)
    form = args.format or _form_of(args.out)
    model, sources = _model_and_images(args.words)
    classifier = decaf.load_classifier(model, args.weights, preprocess_of(args))
    seen: Counter[str] = Counter()
    # A bar and lines of text on one terminal would be in each other's way.
    apart = args.out is not None or not sys.stdout.isatty()
    with stopped_by_signals("stopping after the images in work") as stop:
        predictions = _counted(
            classifier.stream(
                sources[0] if len(sources) == 1 else sources,
                top=args.top,
                device=args.device,
                batch_size=args.batch_size,
                workers=args.workers,
                progress=apart and not args.quiet,
                stop=stop.event,
            ),
            seen,
        )
        try:
            with _opened(args.out) as stream:
                if form == "csv":
                    _write_csv(predictions, stream, classifier, args.top, raw_text=args.raw_text)
                else:
                    write = _write_text if form == "text" else _write_json
                    write(predictions, stream, classifier, args.top)
        except decaf.Stopped as error:
            kept = "" if args.out is None else f"; {args.out} was not written"
            raise decaf.Stopped(f"{error}{kept}") from None
    bad = seen.pop("", 0)
    images = bad + sum(seen.values())
    if args.out is not None or (form == "text" and images > 1):
        where = sys.stdout if args.out is not None or form == "text" else sys.stderr
        show(_summary(images, seen, bad, args.out), where)
    elif bad:
        tell(f"{bad} of {images} images could not be read")
    return 1 if bad else 0


def _model_and_images(words: list[str]) -> tuple[str, list[str]]:
    """Tell whether the first word is a model; without one the packaged network answers."""
    from decaf.classify.classifier import is_model
    from decaf.errors import InputError, SettingError
    from decaf.images.listing.recognise import not_wanted, recognise

    if not is_model(words[0]):
        return DEFAULT_WEIGHTS, words
    if len(words) > 1:
        return words[0], words[1:]
    kind = recognise(words[0]).name
    if is_registry_name(words[0]) or kind in ("head", "weights", "torch"):
        raise SettingError(f"{words[0]}: is a model; name images too")
    if kind == "absent":
        raise InputError(f"{words[0]}: there is no such file or folder")
    raise SettingError(not_wanted(words[0], "an image, nor a model with images after it"))


def _form_of(out: str | None) -> str:
    if out is None:
        return "text" if sys.stdout.isatty() else "csv"
    ending = os.path.splitext(out)[1].lower()
    if ending not in _ENDINGS:
        from decaf.errors import SettingError

        known = ", ".join(filter(None, _ENDINGS))
        raise SettingError(
            f"{out}: answers are not written as {ending}; the endings are {known}, or give "
            f"--format {', '.join(FORMATS)}"
        )
    return _ENDINGS[ending]


def _check_out(path: Path, *, overwrite: bool) -> None:
    from decaf.errors import OutputError

    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")
    if not path.exists():
        return
    if not path.is_file():
        raise OutputError(f"{path}: is no file; leave --out out to write to standard output")
    if not _is_text(path):
        raise OutputError(
            f"{path}: exists and is no text, so answers do not replace it; give another --out, or "
            "move it away"
        )
    if not overwrite:
        raise OutputError(f"{path}: exists; give another --out, or --overwrite")


def _is_text(path: Path) -> bool:
    """Tell whether a file begins with text, as the output of an earlier run does."""
    try:
        with open(path, "rb") as file:
            head = file.read(_LOOKED_AT)
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except (OSError, UnicodeDecodeError):
        return False
    return b"\0" not in head


@contextmanager
def _opened(out: str | None) -> Iterator[TextIO]:
    """Open what is written to; a file is complete under its name, or is not there."""
    if out is None:
        yield sys.stdout
        return
    from decaf.storage import disk_errors, whole_file

    path = Path(out)
    with disk_errors(path, "nothing was written"), whole_file(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()


def _counted(predictions: Iterable[Prediction], seen: Counter[str]) -> Iterator[Prediction]:
    """Count the first answers on the way; bad images under no name."""
    for each in predictions:
        seen[each.classes[0][0] if each.classes else ""] += 1
        yield each


def _write_text(
    predictions: Iterable[Prediction], stream: TextIO, classifier: Classifier, top: int
) -> None:
    for each in predictions:
        path = printable(each.path)
        if not each.classes:
            line = f"{path}: {printable(each.message)} ({each.status})"
        elif classifier.gives == "probability":
            shown = [
                f"{printable(name)} {100 * chance:.1f} %"
                for place, (name, chance) in enumerate(each.classes)
                if place == 0 or chance >= LEAST_SHOWN
            ]
            line = f"{path}: {', '.join(shown)}"
        else:
            line = f"{path}: " + ", ".join(
                f"{printable(name)} {score:.3g}" for name, score in each.classes
            )
        print(line, file=stream)


def _write_csv(
    predictions: Iterable[Prediction],
    stream: TextIO,
    classifier: Classifier,
    top: int,
    *,
    raw_text: bool,
) -> None:
    import csv

    from decaf.features.store.export import spreadsheet_cell
    from decaf.images.listing.names import path_text

    def cell(text: str) -> str:
        shown = printable(text) if stream.isatty() else text
        return shown if raw_text else spreadsheet_cell(shown)

    writer = csv.writer(stream, lineterminator="\n")
    places = range(1, min(top, len(classifier.class_names)) + 1)
    header = [f"{column}_{place}" for place in places for column in ("class", classifier.gives)]
    for number, each in enumerate(predictions):
        if number == 0:  # not before: an error about the images comes instead
            writer.writerow(["path", "status", "message", *header])
        cells = [text for name, value in each.classes for text in (cell(name), f"{value:.6g}")]
        cells += [""] * (len(header) - len(cells))
        writer.writerow([cell(path_text(each.path)), each.status, cell(each.message), *cells])


def _write_json(
    predictions: Iterable[Prediction], stream: TextIO, classifier: Classifier, top: int
) -> None:
    import json

    from decaf.images.listing.names import path_text

    started = False
    try:
        for each in predictions:
            stream.write(",\n" if started else "[\n")
            started = True
            record = {
                "path": path_text(each.path),
                "status": each.status,
                "message": each.message,
                "classes": [
                    {"class": name, classifier.gives: value} for name, value in each.classes
                ],
            }
            stream.write(json.dumps(record))
    finally:
        if started:
            stream.write("\n]\n")


def _summary(images: int, seen: Counter[str], bad: int, out: str | None) -> str:
    parts = [f"{count} {printable(name)}" for name, count in seen.most_common(10)]
    others = sum(seen.values()) - sum(count for _, count in seen.most_common(10))
    parts += [f"{others} others"] if others else []
    parts += [f"{bad} could not be read"] if bad else []
    prefix = "" if out is None else f"{printable(out)}: "
    return f"{prefix}{images} images: {', '.join(parts)}"
