"""What a head makes of images: its mistakes, its doubts, likely wrong labels, and why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.classify.estimate import independent_images
from decaf.errors import InputError, SettingError
from decaf.exploration.contrasts import UnitContrasts, class_means, unit_contrasts
from decaf.exploration.label_errors import LabelErrors, held_out_probabilities, rank_label_errors
from decaf.features.store.feature_file import FeatureFile
from decaf.heads import FeatureIdentity, SavedHead, load_head
from decaf.heads.calibration import head_scores
from decaf.heads.metrics import wilson_interval

__all__ = ["ContrastedPair", "HeadFindings", "check_head", "head_findings"]

Rows = npt.NDArray[np.int64]

# Pairs of classes that units are told of: all of so many, else those that are confused most.
MOST_PAIRS = 400
_UNITS = 8
_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class ContrastedPair:
    """Two classes, and the units that tell them apart.

    Attributes
    ----------
    a, b : int
        Places in the head's classes.
    contrasts : UnitContrasts
    """

    a: int
    b: int
    contrasts: UnitContrasts


@dataclass(frozen=True, eq=False)
class HeadFindings:
    """What a head makes of the images of a feature file.

    Attributes
    ----------
    layer : str
    class_names : tuple of str
        The classes of `answer`.
    rows : array of int64, shape (n,)
        The rows that it was asked about.
    truth : array of int64, shape (n,)
        Their classes, -1 where there is none.
    answer : array of int64, shape (n,)
        The most probable class.
    probability : array of float64, shape (n,)
        Of the answer; NaN where the image could not be held out.
    held_out : bool
        Whether the answers are those of heads that had not seen the image.
    errors : LabelErrors or None
        Of places in `rows`; where labels are there to be wrong.
    head_classes : tuple of str
        The classes of `pairs`.
    pairs : tuple of ContrastedPair
    examples : dict of int to tuple of int
        For each unit of a pair the rows that excite it most, the first the most.
    notes : tuple of str
        What could not be done, and why.
    groups : tuple of str, or None
        The group of each row, where the images are in groups.
    """

    layer: str
    class_names: tuple[str, ...]
    rows: Rows
    truth: Rows
    answer: Rows
    probability: npt.NDArray[np.float64]
    held_out: bool
    errors: LabelErrors | None
    head_classes: tuple[str, ...]
    pairs: tuple[ContrastedPair, ...]
    examples: dict[int, tuple[int, ...]]
    notes: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    @property
    def tested(self) -> npt.NDArray[np.bool_]:
        """Which rows have both a class and an answer."""
        return (self.truth >= 0) & np.isfinite(self.probability)

    @property
    def accuracy(self) -> tuple[float, float, float] | None:
        """Share that was answered rightly, held out, with its 95 % interval (Wilson), by groups."""
        tested = self.tested
        if not (self.held_out and tested.any()):
            return None
        right = (self.truth == self.answer)[tested]
        share, count = float(right.mean()), float(len(right))
        if self.groups is not None:
            count = independent_images(right, [self.groups[at] for at in np.flatnonzero(tested)])
        return share, *wilson_interval(share * count, count)

    @property
    def mistakes(self) -> Rows:
        """Places of the wrong answers, the most confident first."""
        if not self.held_out:
            return np.empty(0, np.int64)
        wrong = np.flatnonzero(self.tested & (self.truth != self.answer))
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]

    @property
    def by_certainty(self) -> Rows:
        """Places from the least sure to the surest."""
        known = np.flatnonzero(np.isfinite(self.probability))
        return known[np.argsort(self.probability[known], kind="stable")]


def check_head(path: str | os.PathLike[str], features: FeatureFile) -> SavedHead:
    """Load a head, and refuse one that was fitted to other features.

    Parameters
    ----------
    path : path
    features : FeatureFile

    Returns
    -------
    SavedHead

    Raises
    ------
    HeadError
        For a file that is no head, or a head of other features.
    SettingError
        Where the features lack its layer.
    """
    head = load_head(path)
    layer = head.identity.layer
    if layer not in features:
        raise SettingError(
            f"{features.path}: has no layer {layer!r}, to which {os.fspath(path)} was fitted; it "
            f"has {', '.join(features.layers)}"
        )
    head.identity.check(FeatureIdentity.of(features, layer), features.path)
    return head


def head_findings(
    features: FeatureFile,
    head: SavedHead,
    rows: Rows,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> HeadFindings:
    """Find out what a head makes of the images of a feature file.

    A head that `decaf.fit` has made has seen the images that it was fitted to. So the answers are
    those of heads with its settings and its C that were fitted without them, in five folds, with
    groups and exact copies kept together.

    Parameters
    ----------
    features : FeatureFile
    head : SavedHead
        As `check_head` returns it.
    rows : array of int64
        The rows to ask about, none of a bad image.
    groups : sequence of str, optional
        The group of each image of the file, an empty text where it is in none; by default those
        that the file has.
    seed : int
        Of the folds.

    Returns
    -------
    HeadFindings
    """
    layer = head.identity.layer
    view = features[layer]
    groups = features.groups if groups is None else groups
    X = view[rows].reshape(len(rows), -1).astype(np.float32)
    notes: list[str] = []
    known, truth = _classes_of(features, rows)
    labelled = truth >= 0
    errors = None
    try:
        if len(known) < 2:
            raise InputError("the images are of fewer than two classes")
        probabilities = np.full((len(rows), len(known)), np.nan)
        probabilities[labelled] = held_out_probabilities(
            X[labelled],
            truth[labelled],
            like=head.estimator,
            groups=_kept_together(features, groups, rows[labelled]),
            seed=seed,
        )
        class_names, held_out = known, True
        places = np.flatnonzero(labelled)
        found = rank_label_errors(probabilities[labelled], truth[labelled])
        errors = LabelErrors(
            places[found.order], found.proposed, found.score, found.likely, found.method
        )
    except InputError as error:
        notes.append(f"nothing could be held out, so mistakes are not told of: {error}")
        probabilities = head_scores(head.estimator, head.calibration, X)
        class_names, held_out = head.class_names, False
        truth = _renamed(truth, known, class_names)
    finite = np.isfinite(probabilities).all(axis=1)
    answer = np.where(finite, np.nan_to_num(probabilities).argmax(axis=1), -1)
    probability = np.where(finite, np.nan_to_num(probabilities).max(axis=1), np.nan)
    pairs = _pairs(head, X, _renamed(truth, class_names, head.class_names), view.shape[1:])
    units = sorted({unit for pair in pairs for unit in pair.contrasts.units.tolist()})
    return HeadFindings(
        layer=layer,
        class_names=class_names,
        rows=rows,
        truth=truth,
        answer=answer,
        probability=probability,
        held_out=held_out,
        errors=errors,
        head_classes=head.class_names,
        pairs=pairs,
        examples=_examples(X, view.shape[1:], units, rows),
        notes=tuple(notes),
        groups=None if groups is None else tuple(groups[row] for row in rows.tolist()),
    )


def _classes_of(features: FeatureFile, rows: Rows) -> tuple[tuple[str, ...], Rows]:
    """Return the names of the classes that the rows have, and the place of each row's."""
    labels = features.labels[rows]
    present = np.unique(labels[labels >= 0])
    names = features.class_names
    shown = tuple(names[code] if names else str(code) for code in present.tolist())
    codes = np.where(labels >= 0, np.searchsorted(present, labels), -1)
    return shown, codes.astype(np.int64)


def _renamed(codes: Rows, names: Sequence[str], others: Sequence[str]) -> Rows:
    """Return codes of classes as the places of their names among others, -1 where not there."""
    place = {name: at for at, name in enumerate(others)}
    table = np.array([*(place.get(name, -1) for name in names), -1], np.int64)
    return table[codes]


def _kept_together(features: FeatureFile, groups: Sequence[str] | None, rows: Rows) -> list[str]:
    """Return the group of each row, or else what its exact copies have too."""
    digests = features.content_sha256
    return [
        (groups[row] if groups is not None else "")
        or (digests[row].tobytes().hex() if digests[row].any() else "")
        for row in rows.tolist()
    ]


def _pairs(
    head: SavedHead, X: Any, truth: Rows, shape: tuple[int, ...]
) -> tuple[ContrastedPair, ...]:
    means = class_means(head.estimator, X, truth, shape)
    there = np.flatnonzero(~np.isnan(means.activations).any(axis=1)).tolist()
    pairs = [(a, b) for a in there for b in there if a < b]
    if len(pairs) > MOST_PAIRS:
        # Those that are like each other in the head's own eyes are told of.
        centred = means.activations @ means.weights.T
        margin = {
            (a, b): centred[a, a] - centred[a, b] + centred[b, b] - centred[b, a] for a, b in pairs
        }
        pairs = sorted(sorted(pairs, key=margin.__getitem__)[:MOST_PAIRS])
    return tuple(ContrastedPair(a, b, unit_contrasts(means, a, b, top=_UNITS)) for a, b in pairs)


def _examples(
    X: Any, shape: tuple[int, ...], units: Sequence[int], rows: Rows
) -> dict[int, tuple[int, ...]]:
    """Return the rows that excite each unit most, of a map at any place."""
    crops = shape[0] if len(shape) in (2, 4) else 1
    inner = shape[1:] if len(shape) in (2, 4) else shape
    by_unit = X.reshape(len(X), crops, inner[0], -1)
    examples = {}
    for unit in units:
        strongest = by_unit[:, :, unit].max(axis=(1, 2))
        order = np.argsort(-strongest, kind="stable")[:_EXAMPLES]
        examples[unit] = tuple(rows[order[strongest[order] > 0]].tolist())
    return examples
