"""Two domains in a plane, before and after adaptation: what a method does, for the eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from decaf.errors import DecafError
from decaf.exploration.page import Panel, Points, Scatter
from harness.adaptation.measure import FeatureColumn
from harness.adaptation.methods import MethodSettings

__all__ = ["PICTURED", "domains_picture", "first_components"]

# Of these, where they are measured, there is a panel each.
PICTURED = ("coral", "gfk-1nn")

_CLASSES = 8
_EACH = 15

Rows = npt.NDArray[np.int64]


def first_components(X: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the first two principal components of rows.

    Parameters
    ----------
    X : array of float, shape (n, d)

    Returns
    -------
    array of float64, shape (n, 2)
        Centred; the largest absolute number is 1, and in each column the number that is largest in
        absolute value is positive, so that the picture is the same everywhere.
    """
    centred = np.asarray(X, np.float64)
    centred = centred - centred.mean(axis=0)
    # The Gram matrix of the few rows has the components' scores as its scaled eigenvectors.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    scores = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0))
    extremes = scores[np.abs(scores).argmax(axis=0), [0, 1]]
    scores *= np.where(extremes < 0, -1.0, 1.0)
    places: npt.NDArray[np.float64] = scores / max(float(np.abs(scores).max()), 1e-300)
    return places


def domains_picture(
    column: FeatureColumn,
    pair: tuple[str, str],
    methods: Sequence[MethodSettings],
    *,
    seed: int = 0,
) -> Scatter | None:
    """Draw the first split of a pair, before and after methods that see no target label.

    Parameters
    ----------
    column : FeatureColumn
    pair : (source, target)
    methods : sequence of MethodSettings
        Those of `PICTURED` are drawn.
    seed : int

    Returns
    -------
    Scatter or None
        A panel of the rows brought to norm 1, and one for each method; None where none of
        `PICTURED` is among the methods.
    """
    pictured = [method for method in methods if method.key in PICTURED]
    if not pictured:
        return None
    features, dataset = column.read(), column.domains
    split = column.splits[0].of_pair(*pair)
    source, target = (_few(part, dataset.labels) for part in (split.source, split.test))
    labels = dataset.labels[np.concatenate([source, target])]
    markers = np.repeat([0, 1], [len(source), len(target)])
    rows = features[np.concatenate([source, target])].astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    panels = [_panel("Before: features of norm 1", rows, labels, markers)]
    unlabelled = features[np.concatenate([split.labelled, split.test])]
    for method in pictured:
        estimator = method.make(C=1.0, seed=seed)
        try:
            estimator.fit(features[split.source], dataset.labels[split.source], unlabelled)
        except DecafError:  # the table's own fit has told why
            continue
        parts = [
            estimator.transform(features[source], domain="source"),
            estimator.transform(features[target], domain="target"),
        ]
        panels.append(_panel(f"After: {method.name}", np.concatenate(parts), labels, markers))
    names = dataset.class_names
    some = f"{_CLASSES} of {len(names)} classes" if len(names) > _CLASSES else "all classes"
    return Scatter(
        f"{pair[0]} and {pair[1]} before and after adaptation, {column.title}",
        tuple(panels),
        colours=names[:_CLASSES],
        markers=tuple(pair),
        caption=(
            f"The first two principal components of both domains' images together: {some}, up to "
            f"{_EACH} images of each from either domain, in {split.name}. The methods saw the "
            "classes of the source alone."
        ),
    )


def _few(rows: Rows, labels: Rows) -> Rows:
    """Take a few rows of each of the first classes."""
    return np.concatenate([rows[labels[rows] == each][:_EACH] for each in range(_CLASSES)])


def _panel(title: str, rows: npt.NDArray[np.floating], labels: Rows, markers: Rows) -> Panel:
    """Draw rows, a group of points for each domain (its marker) and class (its colour)."""
    places = first_components(rows).round(3)
    points = []
    for marker in (0, 1):
        for label in np.unique(labels):
            own = places[(markers == marker) & (labels == label)]
            if len(own):
                points.append(
                    Points(tuple(own[:, 0]), tuple(own[:, 1]), colour=int(label), marker=marker)
                )
    return Panel(title, tuple(points))
