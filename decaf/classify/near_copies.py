"""Near copies: images of a test that are nearly the same as images that were learnt from."""

from __future__ import annotations

import numpy as np

__all__ = ["count_near_copies", "near_copies_note"]

# Images of a test that are nearly the same as training images (bursts, frames, copies) have
# features that lie closer than those of different photographs do. These are cosines that about one
# in a hundred photographs has with the nearest other one, and half of the pictures of a burst or
# more with each other (600 photographs of four data sets, cut, turned and lit a little differently,
# with the packaged weights).
COSINES = {"pool5": 0.90, "fc6": 0.95, "fc7": 0.96}
# More say nothing new, and each is compared with all training images.
MOST_COMPARED = 1000
# They are told of from this share of the test on.
LEAST_NEAR = 0.05


def count_near_copies(layer: str, test: np.ndarray, train: np.ndarray) -> tuple[int, int]:
    """Count rows that have a row nearly like them among others.

    Parameters
    ----------
    layer : str
        Layer of the features; none are counted where the cosines of the layer are not known.
    test, train : array of float32, shapes (n, D) and (m, D)

    Returns
    -------
    near, compared : int
        Images of `test`, an even share of which is compared where there are many.
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


def near_copies_note(near: int, compared: int) -> str:
    """Say that a test is flattered by near copies; an empty text where there are few.

    Parameters
    ----------
    near, compared : int
        Sums over all tests of what `count_near_copies` has counted.
    """
    if near < max(2, LEAST_NEAR * compared):
        return ""
    return (
        f"{near} of {compared} tested images are nearly the same as an image that was learnt from: "
        "if they are of one burst, animal or site, the accuracy is flattered; say which images "
        "belong together (`groups`: FILE:COLUMN, path:REGEX, folder, time:60s)"
    )
