"""``decaf evaluate``: the errors of networks on labelled images."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_listing,
    add_network,
    add_report,
    compute_of,
    preprocess_of,
    settings_of,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show
from decaf.runtime.wording import counted, printable

if TYPE_CHECKING:
    from decaf import Evaluation, Localisation

__all__ = ["HELP", "configure", "run"]

HELP = "measure the top-1 and top-5 error of a network, or of several averaged"

EPILOG = """\
examples:
  decaf evaluate imagenet ILSVRC2012/ --split val --match order
  decaf evaluate run/weights.safetensors tiny-imagenet-200/ --crops ten --per-class
  decaf evaluate a.safetensors b.safetensors c.safetensors val.pack -o report.json
  decaf evaluate imagenet val/ --boxes val-boxes/ --localiser boxes.safetensors
  decaf evaluate guesses.txt val/ --boxes val-boxes/ --devkit ILSVRC2012_devkit_t12.tar.gz

DATA is a training pack, or a folder, tar or zip: a folder for each class, such folders within
train and val, or Tiny-ImageNet. Images of other layouts take --labels. Classes are matched by
WordNet id or by name. The answer to an image is any class that the networks know, also where DATA
has fewer. Exit codes: 0 done; 1 done, and some images could not be read (they are not counted); 2
not done, the line on stderr says why; 130 and 143 stopped by a signal.
"""

SHOWN_BAD = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf evaluate``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "weights",
        nargs="+",
        metavar="WEIGHTS",
        help=f"imagenet, {DEFAULT_WEIGHTS}, random:SEED, or a weights file; predictions of several "
        "are averaged",
    )
    parser.add_argument("data", metavar="DATA", help="labelled images")
    parser.add_argument(
        "--crops",
        default="center",
        choices=("center", "ten"),
        help="centre crop (default), or the mean prediction over ten crops",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="split of DATA, where it has several (default: val, else test)",
    )
    add_listing(parser, bad="leave it out")
    parser.add_argument(
        "--match",
        default="identity",
        choices=("identity", "order"),
        help="which class of DATA is which of a network: the one of the same id or name (default), "
        "or the classes of DATA in sorted order, for weights without ids",
    )
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="leave out images of classes that a network does not know",
    )
    parser.add_argument("--per-class", action="store_true", help="show the figures of each class")
    add_network(parser)
    boxes = parser.add_argument_group(
        "localisation", "measure boxes besides, as task 2 of ILSVRC: five guesses, half a box"
    )
    boxes.add_argument("--boxes", metavar="BOXES", help="true boxes, as for `decaf localise`")
    boxes.add_argument(
        "--localiser", metavar="FILE", help="what predicts boxes, as `decaf localise` writes it"
    )
    boxes.add_argument(
        "--box-crops",
        default="center",
        choices=("center", "ten"),
        help="predict boxes from the centre crop (default), or merge those of ten crops",
    )
    boxes.add_argument(
        "--submission", metavar="FILE", help="write the guesses in the form of the challenge"
    )
    boxes.add_argument(
        "--devkit", metavar="PATH", help="ILSVRC2012's development kit, to number the classes by"
    )
    boxes.add_argument(
        "--report",
        metavar="PAGE.html",
        help="show right and wrong boxes on their images, as a page",
    )
    parser.add_argument("-o", "--out", metavar="REPORT.json", help="write the report as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace REPORT.json")
    add_report(parser, "report")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the figures, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import json

    import decaf
    from decaf.errors import SettingError
    from decaf.exploration import check_page
    from decaf.images import is_kind

    if len(args.weights) == 1 and is_kind(args.weights[0], "text", "list"):
        return _score(args)
    if args.report:
        check_page(args.report, args.out, args.submission)
        if args.localiser is None:
            raise SettingError("`report` shows boxes: give `boxes` and `localiser`")
    with stopped_by_signals("stopping after the images in work") as stop:
        evaluation = decaf.evaluate_network(
            args.weights,
            args.data,
            split=args.split,
            out=args.out,
            overwrite=args.overwrite,
            listing=settings_of(args, decaf.ListingSettings),
            matching=settings_of(args, decaf.MatchSettings),
            network=settings_of(
                args, decaf.NetworkSettings, ("weights",), preprocess=preprocess_of(args)
            ),
            compute=compute_of(args, stop),
            localisation=settings_of(args, decaf.LocalisationSettings),
        )
    if args.report:
        decaf.write_boxes_page(evaluation, args.report)
    if args.json:
        print(json.dumps(evaluation.to_dict(), indent=2))
    else:
        show(*_lines(evaluation, per_class=args.per_class))
    return 1 if evaluation.bad else 0


def _score(args: argparse.Namespace) -> int:
    """Score a file of guesses, and print its errors."""
    import json

    import decaf
    from decaf.errors import SettingError

    if args.boxes is None:
        raise SettingError(f"{args.weights[0]}: is a text file; `boxes` measures it as guesses")
    scores = decaf.score_submission(
        args.weights[0],
        args.data,
        args.boxes,
        split=args.split,
        devkit=args.devkit,
        labels=args.labels,
        layout=args.layout,
    )
    if args.json:
        print(json.dumps(scores, indent=2))
        return 0
    images = int(scores["images"])
    show(
        f"{args.weights[0]}: guesses for {counted(images, 'image')}",
        f"  {'class error':<22}{scores['class_error']:.2f} %",
        f"  {'localisation error':<22}{scores['error']:.2f} %",
        f"  {'of the first guess':<22}{scores['error_of_first']:.2f} %",
    )
    return 0


def _lines(evaluation: Evaluation, *, per_class: bool) -> Iterator[str]:
    where = " and ".join(str(source["path"]) for source in evaluation.data["sources"])
    if evaluation.data["split"]:
        where += f", {evaluation.data['split']}"
    yield (
        f"{where}: {counted(evaluation.images, 'image')} of "
        f"{counted(len(evaluation.classes), 'class')}"
    )
    yield f"  {'top-1 error':<22}{evaluation.top1_error:.2f} %"
    if evaluation.top5_error is not None:
        yield f"  {'top-5 error':<22}{evaluation.top5_error:.2f} %"
    yield f"  {'per-class accuracy':<22}{evaluation.mean_per_class_accuracy:.2f} % (mean)"
    if evaluation.localisation is not None:
        yield from _box_lines(evaluation.localisation)
    for network in evaluation.networks:
        yield f"  {'weights':<22}{network['name']} (SHA-256 {network['sha256']})"
    yield from _resize_lines(evaluation)
    for name in ("crops", "precision", "device"):
        yield f"  {name:<22}{evaluation.settings[name]}"
    if len(evaluation.answers) > len(evaluation.classes):
        yield f"  {'answers from':<22}{counted(len(evaluation.answers), 'class')}"
    if evaluation.ignored:
        yield (
            f"  {'left out':<22}{counted(evaluation.ignored, 'image')} of classes that are not "
            "known"
        )
    if per_class:
        yield from _class_lines(evaluation)
    if evaluation.bad:
        yield (
            f"  {'could not be read':<22}{counted(len(evaluation.bad), 'image')}, which are not "
            "counted"
        )
        for image in evaluation.bad[:SHOWN_BAD]:
            yield f"    {image.name}: {image.message} ({image.status})"
        if len(evaluation.bad) > SHOWN_BAD:
            yield f"    … and {len(evaluation.bad) - SHOWN_BAD} more"


def _box_lines(boxes: Localisation) -> Iterator[str]:
    yield f"  {'localisation error':<22}{boxes.error:.2f} % (five guesses, half a box)"
    yield f"  {'of the first guess':<22}{boxes.error_of_first:.2f} %"
    yield f"  {'given the class':<22}{boxes.error_given_class:.2f} %"
    for name, error in boxes.blind_errors.items():
        yield f"    {name.replace('_', ' '):<20}{error:.2f} %"
    if boxes.without_boxes:
        yield f"  {'without a box':<22}{counted(boxes.without_boxes, 'image')}, not counted there"


def _resize_lines(evaluation: Evaluation) -> Iterator[str]:
    """Say where the images of a pack were made square in another way than a network's own."""
    for source in evaluation.data["sources"]:
        packed = source.get("resize")
        others = [n["name"] for n in evaluation.networks if n["preprocess"]["resize"] != packed]
        if packed is not None and others:
            names = ", ".join(others)
            yield f"  {'squared by':<22}{packed} in the pack, by itself otherwise: {names}"


def _class_lines(evaluation: Evaluation) -> Iterator[str]:
    width = max(len("class"), *(len(printable(result.id)) for result in evaluation.classes))
    five = "" if evaluation.top5_error is None else f"{'top-5':>9}"
    yield f"    {'class':<{width}}  images{'top-1':>9}{five}  (accuracy)"
    for result in evaluation.classes:
        line = f"    {printable(result.id):<{width}}{result.images:>8}"
        if result.images:
            line += f"{100 * result.top1 / result.images:>7.2f} %"
            if result.top5 is not None:
                line += f"{100 * result.top5 / result.images:>7.2f} %"
        about = [result.name] if result.name != result.id else []
        if result.confused_with_name is not None:
            about.append(f"mistaken {result.confused} times for {result.confused_with_name}")
        yield (line + "  " + "; ".join(about)).rstrip()
