"""The page of a fit: how good the classifier is, what it mistakes, how it was chosen."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import numpy.typing as npt

from decaf.classify import Estimate, FitReport, Fitted, TestedImages
from decaf.errors import ImageError, InputError
from decaf.exploration.page import (
    Bar,
    Bars,
    ConfusionMatrix,
    Lines,
    Section,
    Series,
    check_page,
    section_environment,
    thumbnail,
    write_page,
)
from decaf.runtime.wording import counted, printable

__all__ = ["Reliability", "reliability", "write_fit_page"]

# More mistakes are counted and not shown; `TestedImages` knows as many images.
MOST_SHOWN = 240

_METHODS = {
    "held-out": "a share of the images was held out",
    "cross-validation": "all images were tested in turn, without those of their fold",
    "split": "the images came divided",
}


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often answers are right, by how probable they were said to be.

    Attributes
    ----------
    confidence, accuracy : array of float64, shape (bins,)
        Means over the answers of a bin; NaN for an empty one.
    counts : array of int64, shape (bins,)
    error : float
        Expected calibration error: the mean of the difference, weighted by the counts.
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    error: float


@dataclass(frozen=True)
class _Mistake:
    name: str
    truth: str
    answer: str
    percent: float
    picture: str | None


def reliability(confidence: npt.ArrayLike, right: npt.ArrayLike, *, bins: int = 10) -> Reliability:
    """Compare how probable answers were said to be with how often they are right.

    Parameters
    ----------
    confidence : array of float, shape (n,)
        Probability of each answer.
    right : array of bool, shape (n,)
    bins : int
        Of equal width, from 0 to 1.

    Returns
    -------
    Reliability

    References
    ----------
    Guo et al., "On calibration of modern neural networks", ICML 2017, equations 2 to 5.
    """
    chances, hits = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    # A bin has its upper edge in it.
    place = np.clip(np.ceil(chances * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, chances, bins) / counts
        accuracy = np.bincount(place, hits, bins) / counts
    apart = np.nan_to_num(np.abs(mean - accuracy))
    return Reliability(mean, accuracy, counts, float((apart * counts).sum() / max(len(chances), 1)))


def write_fit_page(fitted: Fitted, out: str | os.PathLike[str]) -> Path:
    """Write a page that reports a fit: accuracy, confusions, mistakes, choice of C, calibration.

    Parameters
    ----------
    fitted : Fitted
        As `decaf.fit` returns it.
    out : path
        The page to write; a page that is there is replaced.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the page cannot be written.

    Examples
    --------
    >>> import decaf
    >>> decaf.write_fit_page(decaf.fit("photos/"), "photos.html")  # doctest: +SKIP
    """
    check_page(out)
    report, tested = fitted.report, fitted.tested
    mistakes: list[_Mistake] = []
    if tested is not None:
        mistakes = [_mistake(report, tested, at) for at in tested.mistakes[:MOST_SHOWN].tolist()]
    estimate = report.estimate
    html = (
        _templates()
        .get_template("fit.html")
        .render(
            report=report,
            estimate=estimate,
            method="" if estimate is None else _METHODS[estimate.method],
            sections=_sections(report, tested),
            mistakes=mistakes,
            mistake_count=0 if estimate is None else len(estimate.mistakes),
            gone=sum(each.picture is None for each in mistakes),
            left_out=_left_out(report),
        )
    )
    return write_page(out, html)


@functools.cache
def _templates() -> jinja2.Environment:
    # The sections of this page have no images of their own.
    return section_environment(thumbnail=lambda _images, _name: None)


def _mistake(report: FitReport, tested: TestedImages, at: int) -> _Mistake:
    answer = int(tested.answers[at])
    digest, picture = tested.content_sha256[at], None
    if at in tested.refs:
        with suppress(ImageError, InputError):  # gone or changed since
            picture = thumbnail(tested.refs[at], sha256=digest.tobytes() if digest.any() else None)
    return _Mistake(
        name=tested.paths[at],
        truth=report.class_names[int(tested.truth[at])],
        answer=report.class_names[answer],
        percent=100 * float(tested.probabilities[at, answer]),
        picture=picture,
    )


def _sections(report: FitReport, tested: TestedImages | None) -> dict[str, Section]:
    sections: dict[str, Section] = {}
    estimate = report.estimate
    if estimate is not None:
        sections["confusion"] = ConfusionMatrix(
            "Which class is taken for which",
            report.class_names,
            tuple(map(tuple, estimate.confusion.tolist())),
        )
        sections["classes"] = _class_bars(report, estimate)
    curves = [
        Series(
            each.layer,
            tuple(C for C, _, _ in each.curve),
            tuple(100 * accuracy for _, accuracy, _ in each.curve),
            tuple(100 * std for _, _, std in each.curve),
        )
        for each in report.choice.candidates
        if each.curve
    ]
    if curves:
        on = "images for validation" if report.choice.chosen_on else "five folds, in turn"
        sections["curve"] = Lines(
            "The choice of layer and C",
            tuple(curves),
            x_label="C",
            y_label="accuracy",
            caption=f"Share of the images held out that was answered rightly ({on}), with its "
            f"standard deviation. {report.choice.layer} with C = {report.choice.C:g} was chosen.",
            log_x=True,
        )
    if tested is not None:
        sections["calibration"] = _calibration(tested)
    return sections


def _class_bars(report: FitReport, estimate: Estimate) -> Bars:
    counts = estimate.confusion.sum(axis=1)
    return Bars(
        "Accuracy class by class",
        tuple(
            Bar(name, 100 * float(right) / float(count) if count else None, n=int(count))
            for name, right, count in zip(
                report.class_names, estimate.confusion.diagonal(), counts, strict=True
            )
        ),
        n_label="tested images",
    )


def _calibration(tested: TestedImages) -> Lines:
    confidence = tested.probabilities.max(axis=1)
    found = reliability(confidence, tested.answers == tested.truth)
    filled = np.flatnonzero(found.counts)
    said = tuple(round(float(each), 1) for each in 100 * found.confidence[filled])
    return Lines(
        "Calibration",
        (
            Series("answers", said, tuple(float(each) for each in 100 * found.accuracy[filled])),
            Series("as said", (0.0, 100.0), (0.0, 100.0)),
        ),
        x_label="said to be right (%)",
        y_label="right",
        caption="Answers by their probability, in ten bins of equal width; on the diagonal they "
        f"are right as often as they say. Expected calibration error {100 * found.error:.1f} %, "
        f"from {counted(len(confidence), 'answer')}.",
    )


def _left_out(report: FitReport) -> Mapping[str, str]:
    told = {
        "Could not be read": report.bad and counted(len(report.bad), "image"),
        "Without a class": report.unlabelled and counted(report.unlabelled, "image"),
        "Exact copies": report.copies and counted(report.copies, "image"),
        "In several classes": report.conflicts and counted(len(report.conflicts), "image"),
        "Classes that are too small": ", ".join(
            f"{printable(name)} ({count})" for name, count in report.left_out.items()
        ),
        "In no split": report.outside and counted(report.outside, "image"),
        "Copies of training images": report.seen and counted(report.seen, "image"),
    }
    return {name: str(text) for name, text in told.items() if text}
