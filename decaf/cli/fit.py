"""``decaf fit``: labelled images to a classifier."""

from __future__ import annotations

import argparse

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_crops,
    add_listing,
    add_network,
    add_report,
    compute_of,
    in_flags,
    preprocess_of,
    settings_of,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show

__all__ = ["HELP", "configure", "run"]

HELP = "make a classifier of labelled images, and tell how good it is"

EPILOG = """\
examples:
  decaf fit photos/ -o photos.head             photos/ holds a folder of images for each class
  decaf predict photos.head new/               what is in new images
  decaf fit photos/ -o photos.head -w imagenet --keep-features photos.h5
  decaf fit photos.h5 -o svm.head --head svm   the same images again, without their extraction
  decaf fit photos/ -o photos.head --groups table.csv:animal
  decaf fit photos/ -o photos.head --report photos.html
  decaf fit photos/ -o clip.head --features clip.npy --paths paths.txt

A share of the images is held out. Layer and C are chosen by cross-validation on the others, and
the classifier is tested on those held out. What is written is then chosen and fitted anew on all
images. Where there are few, all of them are tested in turn. Exact copies of an image count once.
Images in folders train and val or test come divided: the classifier is fitted to the first, tested
on the second, and of three chosen on val.

An interrupted extraction is resumed by the same command. Exit codes: 0 done; 1 done, and some
images could not be read (they are left out); 2 not done, the line on stderr says why; 130 and 143
stopped by a signal.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf fit``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SRC",
        help="a folder with a folder of images for each class; archives, lists and so on as `decaf "
        "extract` takes them; or a feature file",
    )
    parser.add_argument("-o", "--out", required=True, metavar="HEAD", help="the file to write")
    parser.add_argument(
        "--head",
        default="logreg",
        choices=("logreg", "svm"),
        help="logistic regression (default), or a linear SVM",
    )
    parser.add_argument(
        "-l",
        "--layer",
        default="auto",
        metavar="LAYER",
        help="whose features are used (default: the best of pool5, fc6 and fc7)",
    )
    parser.add_argument(
        "-w",
        "--weights",
        help=f"imagenet, random:SEED, {DEFAULT_WEIGHTS} (default), or a weights file; of a feature "
        "file only those that it was made with",
    )
    parser.add_argument(
        "-C",
        type=_regularisation,
        default="cv",
        metavar="cv|NUMBER",
        help="inverse of the strength of regularisation (default: cv, chosen by cross-validation)",
    )
    parser.add_argument(
        "--dropout",
        type=float,
        default=0.0,
        metavar="P",
        help="share of the activations dropped while the head is trained (default: 0)",
    )
    parser.add_argument(
        "--scale",
        default="mean-norm",
        choices=("mean-norm", "none", "unit-norm", "standard"),
        help="how features are scaled: by one factor for all, so that rows have norm 1 in the mean "
        "(default); not at all; each row to norm 1; or each feature to mean 0 and variance 1",
    )
    parser.add_argument(
        "--class-weight",
        choices=("balanced",),
        help="balanced: all classes count alike, however many images they have",
    )
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the images kept for the test (default: 0.2; 0: no test)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all random draws (default: 0)"
    )
    add_listing(
        parser, bad="leave it out", groups="never on both sides of a split", min_images=True
    )
    add_crops(parser, None)
    parser.add_argument(
        "--keep-features",
        metavar="F.h5",
        help="keep the features in this file; they are used where it is there",
    )
    parser.add_argument(
        "--features",
        metavar="FILE",
        help="features of SRC's images by any other network, a row each, in place of decaf's own: "
        ".npy, .h5 (or FILE.h5:DATASET) or .parquet; HEAD then takes such features, no images",
    )
    parser.add_argument(
        "--paths",
        metavar="LIST",
        help="where FILE has none, the path of each row's image: one a line, or a table's column",
    )
    add_network(parser, precision=None)
    parser.add_argument(
        "--report",
        metavar="PAGE.html",
        help="write a page, too: accuracy, confusions, the mistakes with their images, the choice "
        "of C, calibration",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace HEAD, if it is one, and F.h5 where it differs",
    )
    add_report(parser, "report")


def run(args: argparse.Namespace) -> int:
    """Fit, print the report, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import json

    import decaf
    from decaf.cli.fit_report import report_lines
    from decaf.exploration import check_page

    if args.report is not None:
        check_page(args.report, args.out, args.keep_features)

    def write_page(fitted: decaf.Fitted) -> None:
        if args.report is not None:
            decaf.write_fit_page(fitted, args.report)

    with stopped_by_signals("stopping after what is in work") as stop:
        fitted = decaf.fit(
            args.source,
            features=args.features,
            paths=args.paths,
            out=args.out,
            keep_features=args.keep_features,
            overwrite=args.overwrite,
            before_writing=write_page,
            settings=settings_of(args, decaf.FitSettings),
            listing=settings_of(args, decaf.ListingSettings),
            network=settings_of(args, decaf.NetworkSettings, preprocess=preprocess_of(args)),
            compute=compute_of(args, stop),
        )
    report = fitted.report
    if args.json:
        print(json.dumps({"path": args.out, **report.to_dict()}, indent=2))
    else:
        show(*report_lines(report, args.out, lambda text: in_flags(text, args.parser)))
        if args.report is not None:
            show(f"page: {args.report}")
    return 1 if report.bad else 0


def _regularisation(text: str) -> float | str:
    if text == "cv":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither cv nor a number") from None
