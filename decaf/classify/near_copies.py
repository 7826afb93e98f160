"""Images of the test that are nearly the same as images of the training: bursts, frames, copies.

Their features are at hand, and lie closer than those of different photographs do.
"""

from __future__ import annotations

import numpy as np

__all__ = ["count_near_copies"]

# Cosines that about one in a hundred photographs has with the nearest other one, and half of the
# pictures of a burst or more with each other (600 photographs of four data sets, cut, turned and
# lit a little differently, with the packaged weights).
COSINES = {"pool5": 0.90, "fc6": 0.95, "fc7": 0.96}
# More say nothing new, and each is compared with all training images.
MOST_COMPARED = 1000


def count_near_copies(layer: str, test: np.ndarray, train: np.ndarray) -> tuple[int, int]:
    """Count rows that have a row nearly like them among others.

    Parameters
    ----------
    layer : str
        Whose features they are; none are counted of layers whose cosines are not known.
    test, train : array of float32, shapes (n, D) and (m, D)

    Returns
    -------
    near, compared : int
        Of `test`, an even share of which is compared where there are many.
    """
    least = COSINES.get(layer)
    if least is None or not (len(test) and len(train)):
        return 0, 0
    some = test[:: -(-len(test) // MOST_COMPARED)]
    wanted = least * np.linalg.norm(some, axis=1)
    near = np.zeros(len(some), bool)
    for start in range(0, len(train), 4096):
        block = train[start : start + 4096]
        norms = np.linalg.norm(block, axis=1)
        near |= (some @ block.T > wanted[:, None] * norms).any(axis=1)
    return int(near.sum()), len(some)
