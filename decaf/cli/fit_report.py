"""The report of a fit as lines on a terminal."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from decaf.backbone.weights import WEIGHTS_ENDINGS
from decaf.runtime.wording import counted, printable

if TYPE_CHECKING:
    from decaf.classify import Choice, Estimate, FitReport, GroupReport

__all__ = ["report_lines"]

HEADS = {"logreg": "logistic regression", "svm": "linear SVM"}
MATRIX_CLASSES = 15  # more are no matrix that can be read
SHOWN_CLASSES = 20
SHOWN_MISTAKES = 5
SHOWN_CONFUSIONS = 10
SHOWN_BAD = 5
NARROWEST = 60
LONGEST_NAME = 28


def report_lines(report: FitReport, out: str, worded: Callable[[str], str] = str) -> Iterator[str]:
    """Yield the lines of a report.

    Parameters
    ----------
    report : FitReport
    out : str
        The classifier's file.
    worded : callable
        Returns a message of the library in the words of the command line.

    Yields
    ------
    str
    """
    width = max(NARROWEST, shutil.get_terminal_size((100, 24)).columns)
    yield from _data_lines(report, width)
    yield ""
    yield from _choice_lines(report.choice, report.split is not None)
    if report.estimate is not None:
        yield ""
        yield from _estimate_lines(report.estimate, grouped=report.groups is not None)
        if report.groups is not None and report.groups.ungrouped is not None:
            claimed = report.groups.ungrouped
            yield (
                f"  {'without groups':<20}{_percent(claimed.accuracy)}  is what a split through "
                "the groups would have claimed"
            )
        yield ""
        if len(report.class_names) <= MATRIX_CLASSES:
            yield from _matrix_lines(report.estimate, report.class_names, width)
        else:
            yield from _confusion_lines(report.estimate, report.class_names)
        if report.estimate.mistakes:
            yield ""
            yield from _mistake_lines(report.estimate)
    yield ""
    for note in report.notes:
        yield from textwrap.wrap(f"note: {printable(worded(note))}", width, subsequent_indent="  ")
    what, choice = HEADS[report.settings["head"]], report.choice
    dropout = f", dropout {report.settings['dropout']:g}" if report.settings["dropout"] else ""
    weights = report.features["weights"]["name"]
    yield (
        f"{out}: {what} on {choice.layer} of {weights} (C = {choice.C:g}{dropout}), "
        f"fitted to {'the' if report.split else 'all'} {counted(report.images, _kind(report))}"
    )
    if not report.features["weights"]["sha256"]:
        yield f"next: decaf predict {shlex.quote(out)} FEATURES, of other images made as these were"
        return
    more = ""
    if weights.endswith(WEIGHTS_ENDINGS) and not report.features["weights_file"]:
        more = f" -w {shlex.quote(weights)}"  # a file, and nobody knows where
    yield f"next: decaf predict {shlex.quote(out)}{more} IMAGES"


def _kind(report: FitReport) -> str:
    return "training image" if report.split else "image"


def _data_lines(report: FitReport, width: int) -> Iterator[str]:
    yield (
        f"{report.source}: {counted(report.images, _kind(report))} of "
        f"{counted(len(report.class_names), 'class')}"
    )
    counts = list(zip(report.class_names, report.class_counts, strict=True))
    if len(counts) > SHOWN_CLASSES:
        by_size = sorted(counts, key=lambda each: each[1])
        (small, fewest), (large, most) = by_size[0], by_size[-1]
        yield f"  from {fewest} ({small}) to {most} ({large})"
    else:
        yield from _wrapped([f"{printable(name)} {count}" for name, count in counts], width, "")
    if report.bad:
        yield f"  left out: {counted(len(report.bad), 'image')} that could not be read"
        for image in report.bad[:SHOWN_BAD]:
            yield f"    {image.name}: {image.message} ({image.status})"
        if len(report.bad) > SHOWN_BAD:
            yield f"    … and {len(report.bad) - SHOWN_BAD} more; --json lists them all"
    if report.unlabelled:
        yield f"  left out: {counted(report.unlabelled, 'image')} without a class"
    if report.copies:
        what = "that are exact copies of others in their class"
        if report.copies == 1:
            what = "that is an exact copy of another in its class"
        yield f"  left out: {counted(report.copies, 'image')} {what}"
    if report.seen:
        yield f"  left out: {counted(report.seen, 'image')} of the test, copies of training images"
    if report.outside:
        outside = counted(report.outside, "image")
        yield f"  left out: {outside} in none of the folders train, val and test"
    if report.split:
        parts = ", ".join(f"{name} {count}" for name, count in report.split.items())
        yield f"  divided as it came: {parts} (--layout classes takes such folders for classes)"
    if report.groups is not None:
        yield from _group_lines(report.groups, width)
    if report.left_out:
        small_ones = [f"{printable(name)} {count}" for name, count in report.left_out.items()]
        yield from _wrapped(small_ones, width, "left out: classes with too few images: ")
    if report.conflicts:
        what = counted(len(report.conflicts), "image", "are")
        yield f"  warning: {what} in several classes at once (not tested on)"
        for conflict in report.conflicts[:SHOWN_BAD]:
            yield "    " + " = ".join(conflict.paths)
        if len(report.conflicts) > SHOWN_BAD:
            yield f"    … and {len(report.conflicts) - SHOWN_BAD} more; --json lists them all"


def _group_lines(groups: GroupReport, width: int) -> Iterator[str]:
    kept = "" if groups.shared else "; none is on both sides of a split"
    yield f"  groups: {groups.count}, by {groups.source}{kept}"
    if groups.single:
        names = [printable(name) for name in groups.single]
        yield from _wrapped(names, width, "not tested, with one group each: ")
    if groups.shared:
        shared = counted(groups.shared, "group")
        yield f"  warning: in several of train, val and test: {shared}; the test is flattered"


def _choice_lines(choice: Choice, divided: bool) -> Iterator[str]:
    if choice.chosen_on:
        on = f"the {counted(choice.chosen_on, 'image')} of val"
        yield f"chosen on {on}, fitted to the {choice.images} of train"
    else:
        images = counted(choice.images, "image")
        which = f"the {images} of train" if divided else f"all {images}"
        yield f"chosen by cross-validation on {which}"
    yield f"  {'layer':<10}{'C':>10}{'accuracy':>12}"
    for each in choice.candidates:
        line = f"  {each.layer:<10}{each.C:>10.4g}{100 * each.accuracy:>10.1f} %"
        line += f" ± {100 * each.std:.1f}"
        if len(choice.candidates) > 1 and each.layer == choice.layer:
            line += "  chosen"
        yield line


def _estimate_lines(estimate: Estimate, *, grouped: bool) -> Iterator[str]:
    if estimate.method == "held-out":
        choice = estimate.choices[0]
        yield (
            f"tested on {counted(estimate.images, 'image')} held out "
            f"({choice.layer}, C = {choice.C:g} chosen and fitted on {choice.images} others)"
        )
    elif estimate.method == "split":
        tested = counted(estimate.images, "image")
        yield f"tested on the {tested} of the split that is not trained on"
    else:
        yield (
            f"tested on {counted(estimate.images, 'image')} in turn, in {estimate.folds} folds "
            "(for each, layer and C were chosen and fitted on the others)"
        )
    low, high = (100 * end for end in estimate.interval)
    about = "about " if estimate.method == "cross-validation" else ""
    yield (
        f"  {'accuracy':<20}{_percent(estimate.accuracy)}  {estimate.right} of {estimate.images}; "
        f"95 % interval {about}{low:.1f} to {high:.1f} %{', by groups' if grouped else ''}"
    )
    mean = _percent(estimate.mean_per_class_accuracy)
    yield f"  {'per-class accuracy':<20}{mean}  mean over classes"
    baseline = f"always answering {estimate.baseline_class}"
    yield f"  {'for comparison':<20}{_percent(estimate.baseline)}  {baseline}"
    if estimate.untested:
        names = ", ".join(estimate.untested[:SHOWN_BAD])
        more = len(estimate.untested) - SHOWN_BAD
        yield f"  not tested: {names}" + (f" and {more} more" if more > 0 else "") + " (too few)"


def _matrix_lines(estimate: Estimate, class_names: Sequence[str], width: int) -> Iterator[str]:
    """Show the matrix, its columns named in full where the line has room, else by number."""
    names = [printable(name) for name in class_names]
    names = [
        name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in names
    ]
    longest = max(len(name) for name in names)
    digits = len(str(estimate.confusion.max()))
    columns = [f"  {name:>{max(3, digits)}}" for name in names]
    if 2 + longest + sum(map(len, columns)) + 9 > width:
        names = [f"{number:>2} {name}" for number, name in enumerate(names, 1)]
        columns = [f"  {number:>{max(2, digits)}}" for number in range(1, len(names) + 1)]
        longest += 3
    yield "confusion: a row for each true class, a column for each answer"
    yield f"  {'':<{longest}}" + "".join(columns) + "    right"
    for name, row, place in zip(names, estimate.confusion.tolist(), range(len(names)), strict=True):
        cells = "".join(
            f"{count or '·':>{len(column)}}" for count, column in zip(row, columns, strict=True)
        )
        tested = sum(row)
        right = f"{100 * row[place] / tested:>7.0f} %" if tested else f"{'–':>9}"
        yield f"  {name:<{longest}}{cells}{right}"


def _confusion_lines(estimate: Estimate, class_names: Sequence[str]) -> Iterator[str]:
    """Name the most frequent confusions, where a matrix would be too large."""
    names = [printable(name) for name in class_names]
    counts = estimate.confusion.copy()
    tested = counts.sum(axis=1)
    for place in range(len(names)):
        counts[place, place] = 0
    order = (-counts).ravel().argsort(kind="stable")[:SHOWN_CONFUSIONS]
    pairs = [(place // len(names), place % len(names)) for place in order.tolist()]
    pairs = [(true, answer) for true, answer in pairs if counts[true, answer]]
    if not pairs:
        yield "no image was given a wrong class"
        return
    yield "most frequent confusions"
    longest = max(len(names[true]) for true, _ in pairs)
    for true, answer in pairs:
        share = f"{counts[true, answer]} of {tested[true]}"
        yield f"  {names[true]:<{longest}}  {share:>10} taken for {names[answer]}"


def _mistake_lines(estimate: Estimate) -> Iterator[str]:
    total = len(estimate.mistakes)
    head = "1 mistake" if total == 1 else f"{total} mistakes, the most confident first"
    yield f"{head} (wrong labels, too, are found here)"
    for each in estimate.mistakes[:SHOWN_MISTAKES]:
        yield f"  {each.path}: taken for {each.answer}, {100 * each.probability:.0f} %"
    if total > SHOWN_MISTAKES:
        yield f"  … and {total - SHOWN_MISTAKES} more; --json lists them all"


def _wrapped(items: Sequence[str], width: int, begin: str) -> Iterator[str]:
    """Yield lines of items with commas between; no item is broken."""
    line = f"  {begin}"
    for number, item in enumerate(items, 1):
        piece = item + ("," if number < len(items) else "")
        if number > 1 and len(line) + 1 + len(piece) > width:
            yield line
            line = "  " + piece
        else:
            line += (" " if number > 1 else "") + piece
    yield line


def _percent(share: float) -> str:
    return f"{100 * share:>5.1f} %"
