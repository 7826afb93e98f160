"""The errors of networks alone and averaged, by `decaf.evaluate_network`, image by image."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import decaf
import decaf.backbone
import decaf.evaluate
from harness.ilsvrc.networks import ImageNetSettings, Trained
from harness.protocol.outcomes import Fit, Outcome
from harness.protocol.result_store import versions
from harness.protocol.run import BenchmarkRun

__all__ = ["CROPS", "Errors", "Row", "measure", "paired_difference", "rows_of"]

CROPS = ("ten", "center")
_Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Errors(Outcome):
    """The answers of one network, or of several averaged, on the test images.

    Attributes
    ----------
    ranks : tuple of int
        Place of the right class among the answers to each image, 0 for the first; -1 where the
        image could not be read.
    answers_in_all : int
        How many classes there are to choose from.
    """

    ranks: tuple[int, ...]
    answers_in_all: int

    def wrong(self, top: int) -> npt.NDArray[np.float64] | None:
        """Return 1 for each image whose class is not among the first answers, 0 for the others.

        Parameters
        ----------
        top : int

        Returns
        -------
        array of float64, shape (images that could be read,)
            Or None where the first answers are all that there are.
        """
        ranks = np.array(self.ranks)
        return None if self.answers_in_all <= top else (ranks[ranks >= 0] >= top).astype(float)


@dataclass(frozen=True)
class Row:
    """A row of the tables: the networks of each evaluation that it is the mean of.

    Attributes
    ----------
    title : str
    published : str
        What the paper calls it.
    averaged : tuple of tuple of str
        For "1 CNN" each network alone, for "5 CNNs" the one average of all.
    """

    title: str
    published: str
    averaged: tuple[tuple[str, ...], ...]

    def wrong(
        self, errors: Mapping[tuple[tuple[str, ...], str], Errors], crops: str, top: int
    ) -> list[npt.NDArray[np.float64]]:
        """Return the wrong answers of each evaluation; empty where five answers are all.

        Parameters
        ----------
        errors : mapping of (networks, crops) to Errors
        crops : str
        top : int
        """
        each = [errors[networks, crops].wrong(top) for networks in self.averaged]
        return [wrong for wrong in each if wrong is not None]


def rows_of(names: Sequence[str]) -> list[Row]:
    """Return the rows of the paper's second table, for the networks that there are.

    Parameters
    ----------
    names : sequence of str
        As `harness.ilsvrc.networks.plan` has them.

    Examples
    --------
    >>> [row.title for row in rows_of(["cnn-1", "cnn-2", "larger-1", "continued-1"])]
    ['1 CNN', '2 CNNs', '1 CNN*', '3 CNNs*']
    """
    alone = tuple(name for name in names if name.startswith("cnn-"))
    continued = tuple(name for name in names if name.startswith("continued-"))
    rows = [Row("1 CNN", "1 CNN", tuple((name,) for name in alone))]
    if len(alone) > 1:
        rows.append(Row(f"{len(alone)} CNNs", "5 CNNs", (alone,)))
    if continued:
        every = (*alone, *continued)
        rows.append(Row("1 CNN*", "1 CNN*", tuple((name,) for name in continued)))
        rows.append(Row(f"{len(every)} CNNs*", "7 CNNs*", (every,)))
    return rows


def measure(
    rows: Sequence[Row],
    trained: Mapping[str, Trained],
    split: str,
    pack_fingerprint: str,
    run: BenchmarkRun[ImageNetSettings],
) -> dict[tuple[tuple[str, ...], str], Errors]:
    """Evaluate what the rows ask for, or take what an earlier run has stored.

    Parameters
    ----------
    rows : sequence of Row
    trained : mapping of str to Trained
    split : {"val", "test"}
        Split of the pack.
    pack_fingerprint : str
    run : BenchmarkRun

    Returns
    -------
    dict of (networks, crops) to Errors
    """
    groups = dict.fromkeys(networks for row in rows for networks in row.averaged)
    wanted = [(networks, crops) for networks in groups for crops in CROPS]
    code = versions(("numpy", "torch"), decaf.backbone, decaf.evaluate)

    def fit(networks: tuple[str, ...], crops: str) -> Fit[Errors]:
        key = {
            "benchmark": "imagenet",
            "weights": [trained[name].sha256 for name in networks],
            "pack": pack_fingerprint,
            "split": split,
            "crops": crops,
            "versions": code,
        }
        weights = [trained[name] for name in networks]
        title = f"{' + '.join(networks)}, {'ten-crop' if crops == 'ten' else 'centre crop'}"
        return Fit(title, key, lambda: _evaluate(weights, split, crops, run))

    outcomes = run.outcomes([fit(*each) for each in wanted], Errors)
    return dict(zip(wanted, outcomes, strict=True))


def _evaluate(
    networks: Sequence[Trained], split: str, crops: str, run: BenchmarkRun[ImageNetSettings]
) -> Errors:
    began = time.perf_counter()
    evaluation = decaf.evaluate_network(
        [each.weights for each in networks],
        run.settings.pack,
        split=split,
        crops=crops,
        on_error="record",
        device=run.settings.device,
        workers=run.settings.workers,
        progress=run.progress,
        stop=run.stop,
    )
    return Errors(
        right=tuple(result.top1 for result in evaluation.classes),
        images=tuple(result.images for result in evaluation.classes),
        ranks=tuple(evaluation.ranks.tolist()),
        answers_in_all=len(evaluation.answers),
        seconds=time.perf_counter() - began,
    )


def paired_difference(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return how much greater the second error is, with the 95 % interval, in points of percent.

    The interval is that of the differences image by image, to which one image that each side
    alone has wrong is added, so that it is sensible where few answers differ (Bonett & Price 2012,
    "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data"). It tells what other images of the kind would change, not what other seeds would.

    Parameters
    ----------
    one, other : array of float64, shape (N,)
        Share of wrong answers to each image.

    Returns
    -------
    difference, low, high : float

    Examples
    --------
    >>> [round(x, 1) for x in paired_difference(np.ones(98), np.ones(98))]
    [0.0, -2.8, 2.8]
    """
    differences = other - one
    adjusted = np.append(differences, [1.0, -1.0])
    half = _Z * float(adjusted.std()) / math.sqrt(len(adjusted))
    middle = float(adjusted.mean())
    return 100 * float(differences.mean()), 100 * (middle - half), 100 * (middle + half)
