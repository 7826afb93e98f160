"""Numbers from papers that stand beside ours, in columns of their own, with their citation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from harness.protocol.splits import Split

__all__ = ["PUBLISHED", "Protocol", "Published", "departures"]

Score = tuple[float, float | None]


@dataclass(frozen=True)
class Protocol:
    """The data that numbers were measured on.

    Attributes
    ----------
    classes : int
    train : int or None
        Training images of each class; None for an official split that has not as many of each.
    test : int or None
        Test images of each class; None for all others.
    images : int or None
        Images of the data set; None where the splits are of a part of it.
    n_train : int or None
        Training images of all classes, where not each class has as many.
    """

    classes: int = 0
    train: int | None = 0
    test: int | None = None
    images: int | None = None
    n_train: int | None = None


@dataclass(frozen=True)
class Published:
    """The results that were published in a protocol.

    Attributes
    ----------
    source : str
        Where `scores` are from, as it is to be cited.
    features : str
        Network and features that `scores` were measured with.
    scores : mapping of (layer, kind of head, with dropout) to (mean, standard deviation)
        Percent; the kinds are those of `harness.frozen_features.heads.HeadSettings`.
    others : tuple of (method, mean, source)
        Percent.
    protocol : Protocol
    """

    source: str = ""
    features: str = ""
    scores: Mapping[tuple[str, str, bool], Score] = field(default_factory=dict)
    others: tuple[tuple[str, float, str], ...] = ()
    protocol: Protocol = Protocol()


PUBLISHED = {
    "Caltech-101": Published(
        source="Donahue et al. 2014, sec. 4.1",
        features="trained on ILSVRC-2012",
        scores={
            ("pool5", "logreg", False): (63.29, 6.6),
            ("fc6", "logreg", False): (84.30, 1.6),
            ("fc7", "logreg", False): (84.87, 0.6),
            ("fc6", "logreg", True): (86.08, 0.8),
            ("fc7", "logreg", True): (85.68, 0.6),
            ("pool5", "svm", False): (77.12, 1.1),
            ("fc6", "svm", False): (84.77, 1.2),
            ("fc7", "svm", False): (83.24, 1.2),
            ("fc6", "svm", True): (86.91, 0.7),
            ("fc7", "svm", True): (85.51, 0.9),
        },
        others=(
            ("Group-sensitive multiple kernels", 84.3, "Yang et al. 2009"),
            ("Two-layer convolutional network", 65.5, "Jarrett et al. 2009"),
        ),
        protocol=Protocol(classes=102, train=30, images=9144),
    ),
    "SUN-397": Published(
        source="Donahue et al. 2014, sec. 4.4",
        features="trained on ILSVRC-2012",
        scores={
            ("fc6", "logreg", False): (40.94, 0.3),
            ("fc7", "logreg", False): (40.84, 0.3),
            ("fc6", "svm", False): (39.36, 0.3),
            ("fc7", "svm", False): (40.66, 0.3),
        },
        others=(("Many kernels on hand-made features", 38.0, "Xiao et al. 2010"),),
        protocol=Protocol(classes=397, train=50, test=50),
    ),
    # DPD there finds the parts in the box by itself at test time: so do localised parts.
    "CUB-200-2011": Published(
        source="Donahue et al. 2014, sec. 4.3",
        features="trained on ILSVRC-2012",
        scores={
            ("DeCAF6 of the box", "logreg", False): (58.75, None),
            ("DPD + DeCAF6, parts localised", "logreg", False): (64.96, None),
        },
        others=(
            ("DPD: deformable part descriptors", 50.98, "Zhang et al. 2013"),
            ("POOF: part-based one-vs-one features", 56.78, "Berg and Belhumeur 2013"),
        ),
        protocol=Protocol(classes=200, train=None, images=11_788, n_train=5994),
    ),
    "15-Scene": Published(
        others=(("ImageNet-CNN fc7 with a linear SVM", 84.23, "Zhou et al. 2014"),),
        protocol=Protocol(classes=15, train=100, images=4485),
    ),
}


def departures(
    protocol: Protocol, dataset: Dataset, splits: Sequence[Split], *, unread: int = 0
) -> list[str]:
    """Tell in what a run departs from a protocol; the number of splits may be any.

    Parameters
    ----------
    protocol : Protocol
    dataset : Dataset
        Without the images that could not be read.
    splits : sequence of Split
    unread : int
        How many could not: that so many are missing is no departure.

    Returns
    -------
    list of str
        A clause for each; empty where it is followed.
    """
    clauses = []
    classes = len(dataset.class_names)
    if classes != protocol.classes:
        clauses.append(f"{classes} classes, not {protocol.classes}")
    parts: dict[str, tuple[list[npt.NDArray[np.int64]], int]] = {}
    if protocol.train is not None:
        parts["training"] = ([each.train for each in splits], protocol.train)
    if protocol.test is not None:
        parts["test"] = ([each.test for each in splits], protocol.test)
    for what, (rows, expected) in parts.items():
        counts = np.stack([np.bincount(dataset.labels[r], minlength=classes) for r in rows])
        missing = expected - counts
        if (missing < 0).any() or (missing.sum(axis=1) > unread).any():
            low, high = int(counts.min()), int(counts.max())
            span = str(low) if low == high else f"{low} to {high}"
            clauses.append(f"{span} {what} images a class, not {expected}")
    if protocol.n_train is not None:
        counts = np.array([len(each.train) for each in splits])
        if (counts > protocol.n_train).any() or (counts < protocol.n_train - unread).any():
            clauses.append(f"{counts[0]:,} training images, not {protocol.n_train:,}")
    others = any(len(each.train) + len(each.test) != len(dataset) for each in splits)
    if protocol.test is None and others:
        clauses.append("not all other images are test images")
    images = len(dataset) + unread
    if protocol.images is not None and images != protocol.images:
        clauses.append(f"{images:,} images, not {protocol.images:,}")
    return clauses
