"""Arguments, progress and exit codes of the benchmarks on data sets."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from command_line import (
    apart_from_full,
    file_name,
    folder,
    named_file,
    report_folder,
    shown_command,
)
from datasets import Dataset
from datasets.ready_features import named_values, read_given_features
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.exit_codes import stopped_by_signals
from decaf.errors import DecafError, Stopped
from harness.frozen_features import BASELINES, BenchmarkSettings, paper_heads, run_benchmark
from harness.protocol.run import BenchmarkRun, ProtocolSettings, short_names
from report import BenchmarkReport, report_text, write_report

__all__ = [
    "add_features",
    "add_machine_options",
    "add_run_options",
    "few_images",
    "make_parser",
    "protocol_settings",
    "run_on_dataset",
    "run_script",
    "script_parser",
    "settings_of",
]

D = TypeVar("D", bound=Dataset)
Begin = Callable[[Any], BenchmarkRun[Any]]
Measured = tuple[BenchmarkReport, str | Mapping[str, npt.NDArray[np.uint8]] | None]

# Arguments that leave out a part of the results.
_LESS = ("quick", "splits", "layer", "train", "allow_partial", "curve_layer")

# What --quick takes of a data set, and the values of C that it tries, for rows of norm 1.
QUICK_CLASSES, QUICK_IMAGES = 15, 45
QUICK_CS = (1.0, 16.0, 256.0)


def script_parser(
    doc: str | None, formatter: type[argparse.HelpFormatter] = argparse.RawTextHelpFormatter
) -> argparse.ArgumentParser:
    """Make the parser of a script, without arguments.

    Parameters
    ----------
    doc : str or None
        Docstring of the script: a title, its commands, and what the help ends with.
    formatter : type
        Of the help.
    """
    head = (doc or "").split("\n\n")
    return argparse.ArgumentParser(
        description=head[0],
        epilog="\n\n".join(head[2:]),
        formatter_class=formatter,
        allow_abbrev=False,  # the command in the report is told by whole names
    )


def make_parser(doc: str | None, *, train: int | None, splits: str) -> argparse.ArgumentParser:
    """Make the parser with what all benchmarks take.

    Parameters
    ----------
    doc : str or None
        As `script_parser` takes it.
    train : int or None
        Training images of each class by default; None for data with one split, its own, which leave
        out what is asked of drawn splits, of baselines and of other heads than logistic regression.
    splits : str
        Default of the splits, in words.
    """
    parser = script_parser(doc)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="where the data set is")
    add("--quick", action="store_true", help="one split of a few classes, in under a minute")
    add(
        "-w",
        "--weights",
        action="append",
        metavar="W",
        help=f"weights, a table each (default: {DEFAULT_WEIGHTS})",
    )
    add(
        "-l",
        "--layer",
        action="append",
        metavar="L",
        help="layers, a column each (default: the paper's)",
    )
    if train is None:
        parser.set_defaults(splits="1", train=0, seed=0, baselines="", loss="squared_hinge")
        parser.set_defaults(features=None, paths=None)
    else:
        _add_draw_options(parser, train, splits)
    add(
        "--multi-class",
        default="ovr",
        choices=("ovr", "multinomial"),
        help="logistic regression (default: %(default)s)",
    )
    add(
        "--folds",
        type=int,
        default=3,
        metavar="N",
        help="of the cross-validation that chooses C in the training images (default: %(default)s)",
    )
    add(
        "--scale",
        default="mean-norm",
        choices=("none", "mean-norm", "unit-norm", "standard"),
        help="of the features (default: %(default)s)",
    )
    add(
        "--solver",
        default="batched",
        choices=("batched", "sklearn"),
        help="of the heads (default: %(default)s)",
    )
    if train is not None:
        add_features(parser)
    add_run_options(parser)
    return parser


def add_features(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add features that are measured as they are given, and the paths of their rows.

    Parameters
    ----------
    parser : ArgumentParser
    more : str
        What else may be given, for the help.
    """
    add = parser.add_argument
    add(
        "--features",
        action="append",
        metavar="NAME=FILE",
        help="features of any network, a column NAME beside the layers: .npy, .h5 (or\n"
        f"FILE.h5:DATASET) or .parquet, a row for each image{more}",
    )
    add(
        "--paths",
        action="append",
        metavar="LIST",
        help="where FILE has none, the path of each row's image: one a line, or a table's\n"
        "column; NAME=LIST for one of several",
    )


def _add_draw_options(parser: argparse.ArgumentParser, train: int, splits: str) -> None:
    """Add what is asked of splits that are drawn, and of what is measured on them."""
    add = parser.add_argument
    add(
        "--splits",
        default="5",
        metavar="N|FILE",
        help=f"{splits}, or a manifest of an earlier run (default: 5)",
    )
    add(
        "--train",
        type=int,
        default=train,
        metavar="N",
        help="training images a class in drawn splits (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="of drawn splits (default: %(default)s)")
    add(
        "--baselines",
        default="",
        metavar="NAMES",
        help=f"of {', '.join(BASELINES)}, separated by commas, or all",
    )
    add(
        "--loss",
        default="squared_hinge",
        choices=("squared_hinge", "hinge"),
        help="of the SVM (default: %(default)s)",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add how features are extracted, and what `add_machine_options` adds.

    Parameters
    ----------
    parser : ArgumentParser
    """
    add = parser.add_argument
    add(
        "--crops",
        default="center",
        choices=("center", "ten", "ten-max"),
        help="of each image (default: %(default)s)",
    )
    add(
        "--precision",
        default="fp32",
        choices=("fp32", "bf16"),
        help="of the network (default: %(default)s)",
    )
    add(
        "--allow-partial",
        "--partial",
        action="store_true",
        help="go on with an excerpt of the data set",
    )
    add_machine_options(parser)


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Add where things are kept, and on what machine they are computed.

    Parameters
    ----------
    parser : ArgumentParser
    """
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="for the report (default: benchmarks/results, of a run that is not the full one\n"
        "benchmarks/other_runs)",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="for features and results (default: $DECAF_CACHE, ~/.cache/decaf)",
    )
    add("--recompute", action="store_true", help="compute all again, whatever the cache has")
    add("-d", "--device", default="auto", help="(default: %(default)s)")
    add("-j", "--workers", type=int, metavar="N", help="decoding processes (default: one a core)")


def settings_of(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    name: str,
    layers: Sequence[str],
    **more: Any,
) -> BenchmarkSettings:
    """Make the settings that the arguments ask for.

    Parameters
    ----------
    parser : ArgumentParser
    args : Namespace
    name : str
        Stem of the report's files, for all that is measured by default.
    layers : sequence of str
        The default.
    **more
        Further fields of `BenchmarkSettings`.
    """
    search: dict[str, Any] = {"folds": args.folds}
    if args.quick and args.scale in ("mean-norm", "unit-norm"):
        search["Cs"] = QUICK_CS
    heads = paper_heads(
        multi_class=args.multi_class,
        loss=args.loss,
        scale=args.scale,
        solver=args.solver,
        **search,
    )
    if args.solver == "sklearn":  # it has no loss for dropout
        heads = tuple(head for head in heads if not head.dropout)
    common = protocol_settings(
        parser,
        args,
        name,
        args.layer or layers,
        less=_LESS,
        alike=("baselines", "dataset", "images", "paths"),
        given=args.features,
    )
    names = BASELINES if args.baselines == "all" else tuple(filter(None, args.baselines.split(",")))
    own = {"heads": heads, "train_per_class": args.train, "baselines": names}
    return BenchmarkSettings(**vars(common), **own, **more)


def protocol_settings(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    name: str,
    layers: Sequence[str],
    *,
    less: Collection[str],
    alike: Collection[str],
    given: Sequence[str] | None = None,
    several: Collection[str] = (),
) -> ProtocolSettings:
    """Make the settings that all benchmarks have.

    Parameters
    ----------
    parser : ArgumentParser
    args : Namespace
    name : str
        Stem of the report's files, for all that is measured by default.
    layers : sequence of str
    less, alike : collection of str
        As `apart_from_full` takes them; the weights make no other run.
    given : sequence of str, optional
        Features that are not extracted, as NAME=FILE.
    several : collection of str
        As `shown_command` takes it.
    """
    apart = apart_from_full(parser, args, less=less, alike=(*alike, "weights"))
    splits = int(args.splits) if args.splits.isdecimal() else args.splits
    name_of = short_names(args.weights or ()).__getitem__
    without_folders = {
        "--data": folder,
        "--features": named_file if given else folder,
        "--paths": named_file,
        "--images": folder,
        "--out": None,
        "--cache": None,
        "--splits": file_name,
        "--weights": name_of,
        "-w": name_of,
    }
    return ProtocolSettings(
        name=f"{name}{apart[0]}",
        title=apart[1],
        layers=tuple(layers),
        given=tuple(named_values("--features", given)),
        weights=tuple(args.weights or (DEFAULT_WEIGHTS,)),
        splits=1 if args.quick and isinstance(splits, int) else splits,
        seed=args.seed,
        crops=args.crops,
        precision=args.precision,
        device=args.device,
        workers=args.workers,
        cache=args.cache,
        recompute=args.recompute,
        command=shown_command(without_folders, several=several),
    )


def run_on_dataset(
    args: argparse.Namespace,
    read: Callable[..., Dataset],
    settings: Callable[[Dataset], BenchmarkSettings],
) -> int:
    """Read a data set, measure linear heads on it, print the tables and write the report.

    Parameters
    ----------
    args : Namespace
    read : callable
        Reads the data set.
    settings : callable
        Returns the settings for it.

    Returns
    -------
    int
        The exit code, as of `run_script`.
    """

    def measured(begin: Begin) -> Measured:
        dataset = read(args.data, allow_partial=args.allow_partial or args.quick)
        chosen = settings(dataset)
        files = named_values("--features", args.features)
        given = read_given_features(files, args.paths, dataset)
        run = begin(chosen)
        if args.quick:
            labels = range(min(QUICK_CLASSES, len(dataset.class_names)))
            classes = [np.flatnonzero(dataset.labels == label) for label in labels]
            dataset = few_images(dataset, classes, QUICK_IMAGES, f"{len(classes)} classes")
        run.tell(f"{dataset.name}: {len(dataset):,} images of {len(dataset.class_names)} classes")
        return run_benchmark(dataset, run, given), dataset.root

    return run_script(args.out, measured)


def run_script(out: Path | None, measured: Callable[[Begin], Measured]) -> int:
    """Run a benchmark, print its tables and write its report.

    Parameters
    ----------
    out : Path or None
        Folder for the report; see `report_folder`.
    measured : callable
        Takes what makes a `BenchmarkRun` of settings. Returns the report, and the folder that its
        images are below, or these by their names.

    Returns
    -------
    int
        The exit code: 0; 1 where images could not be read; 2 for the user's mistake; 130 or 143
        stopped by a signal.
    """
    began, name = time.perf_counter(), Path(sys.argv[0]).name

    def tell(line: str) -> None:
        print(f"[{time.perf_counter() - began:6.0f} s] {line}", file=sys.stderr, flush=True)

    with stopped_by_signals("finishing what is begun, which is kept") as stop:

        def begin(settings: ProtocolSettings) -> BenchmarkRun[Any]:
            progress = None if sys.stderr.isatty() else True
            place = report_folder(out, settings.title)
            run = BenchmarkRun[Any](settings, place, tell=tell, progress=progress, stop=stop.event)
            folders.append(place)
            return run

        folders: list[Path] = []
        try:
            report, images = measured(begin)
            files = write_report(report, folders[-1], images=images)
        except Stopped as error:
            print(f"{name}: {error}", file=sys.stderr)
            return stop.exit_code or 130
        except DecafError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
    print(report_text(report))
    print()
    print("\n".join(f"wrote {path}" for path in files))
    return 1 if any("could not be read" in note for note in report.notes) else 0


def few_images(dataset: D, groups: Sequence[npt.NDArray[np.int64]], most: int, what: str) -> D:
    """Take the first images of each group for ``--quick``, where there are more.

    Parameters
    ----------
    dataset : Dataset
    groups : sequence of array of int64
        Rows of the data set.
    most : int
        Images of a group.
    what : str
        The groups, for the report.
    """
    kept = np.concatenate([rows[:most] for rows in groups])
    if len(kept) == len(dataset):
        return dataset
    return dataset.take(kept, f"--quick: the first {most} images of {what} at most")
