"""The paper's table of domain adaptation, Amazon → Webcam of Office-31, in columns of its own."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PAIR", "PUBLISHED", "PUBLISHED_COLUMNS", "SOURCE"]

SOURCE = "Donahue et al. 2014, table 1"
PAIR = ("amazon", "webcam")

# The last: Chopra et al. 2013 learn features of their own from the images.
PUBLISHED_COLUMNS = ("SURF", "DeCAF₆", "DeCAF₇", "own features")

Score = tuple[float, float | None]


def _three(*numbers: float) -> dict[str, Score]:
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return dict(zip(PUBLISHED_COLUMNS[:3], pairs, strict=True))


# Key of the method → column → (mean, standard deviation over 5 splits), in percent.
PUBLISHED: Mapping[str, Mapping[str, Score]] = {
    "logreg-s": _three(9.63, 1.4, 48.58, 1.3, 53.56, 1.5),
    "svm-s": _three(11.05, 2.3, 52.22, 1.7, 53.90, 2.2),
    "logreg-t": _three(24.33, 2.1, 72.56, 2.1, 74.19, 2.8),
    "svm-t": _three(51.05, 2.0, 78.26, 2.6, 78.72, 2.3),
    "logreg-st": _three(19.89, 1.7, 75.30, 2.0, 76.32, 2.0),
    "svm-st": _three(23.19, 3.5, 80.66, 2.3, 79.12, 2.1),
    "daume": _three(40.26, 1.1, 82.14, 1.9, 81.65, 2.4),
    "mmdt": _three(37.66, 2.2, 80.06, 2.7, 80.37, 2.0),
    # The paper does not say with which classifier; Gong et al. use the nearest neighbour.
    "gfk-1nn": _three(39.80, 2.3, 75.21, 1.2, 77.55, 1.9),
    "dlid": {"own features": (58.85, None)},
}
