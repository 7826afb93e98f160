"""Where the parts are, by regression on features: trained on annotated images, asked about others.

Ridge regression from pool5 of the object's region to the place of each part in that region. A place
is learned from the images in which the part is visible, and nothing else; whether it is visible is
a regression of its own, on all images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

__all__ = ["ALPHAS", "LAYER", "locate_parts"]

Floats = npt.NDArray[np.float64]

LAYER = "pool5"
"""The last layer that knows where things are."""

ALPHAS = tuple(10.0**exponent for exponent in range(-3, 4))
"""The penalties to choose among, for rows whose mean norm is 1."""

# Fewer images than these say nothing of where a part is.
_LEAST = 5


def locate_parts(
    train: npt.NDArray[np.floating], places: Floats, test: npt.NDArray[np.floating]
) -> Floats:
    """Learn where parts are, and say it of other images.

    The penalty of each regression is chosen by leave-one-out among the training images.

    Parameters
    ----------
    train : array, shape (n, D)
        Features of the training images.
    places : array, shape (n, P, 2)
        Their parts, as shares of the regions' sides; NaN where they are not visible.
    test : array, shape (m, D)

    Returns
    -------
    array of float64, shape (m, P, 2)
        NaN for parts that are not visible, as the regression has it, and for those that were not
        visible in five training images.
    """
    factor = 1 / max(float(np.linalg.norm(train, axis=1).mean()), 1e-12)
    X: Floats = np.asarray(train, np.float64) * factor
    X_test: Floats = np.asarray(test, np.float64) * factor
    visible = np.asarray(~np.isnan(places).any(2), bool)
    located = np.full((len(test), places.shape[1], 2), np.nan)
    seen = _ridge(X, visible.astype(np.float64), X_test) >= 0.5
    for part in np.flatnonzero(visible.sum(0) >= _LEAST):
        rows = visible[:, part]
        located[:, part] = _ridge(X[rows], places[rows, part], X_test)
    located[~seen] = np.nan
    return located


def _ridge(X: Floats, Y: Floats, X_test: Floats) -> Floats:
    fitted = RidgeCV(alphas=ALPHAS).fit(X, Y)
    return np.asarray(fitted.predict(X_test), np.float64)
