"""Numbers from papers that stand beside ours, in columns of their own, with their citation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["PUBLISHED", "Published"]

Score = tuple[float, float | None]


@dataclass(frozen=True)
class Published:
    """What was published in a protocol.

    Attributes
    ----------
    source : str
        Of `scores`, as it is to be cited.
    features : str
        What `scores` were measured with.
    scores : mapping of (layer, kind of head, with dropout) to (mean, standard deviation)
        Percent; the kinds are those of `decaf.evaluate.protocol.measure.HeadSettings`.
    others : tuple of (method, mean, source)
        Percent.
    """

    source: str = ""
    features: str = ""
    scores: Mapping[tuple[str, str, bool], Score] = field(default_factory=dict)
    others: tuple[tuple[str, float, str], ...] = ()


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
    ),
    "15-Scene": Published(
        others=(("ImageNet-CNN fc7 with a linear SVM", 84.23, "Zhou et al. 2014"),),
    ),
}
