"""15-Scene (Lazebnik et al. 2006): one folder of 15 classes, or ``train`` and ``test`` of them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np

from datasets.dataset import (
    Dataset,
    Origin,
    Split,
    class_folders_of,
    compare_counts,
    images_of_classes,
    make_dataset,
    not_here,
)

__all__ = ["IMAGES_OF_CLASS", "SCENE15", "read_scene15", "scene_of"]

SCENE15 = Origin(
    name="15-Scene",
    reference="S. Lazebnik, C. Schmid, J. Ponce: Beyond bags of features: spatial pyramid matching "
    "for recognizing natural scene categories, CVPR 2006",
    home="https://figshare.com/articles/dataset/15-Scene_Image_Dataset/7007177",
    layout="a folder for each of the 15 classes, or the folders train and test with these",
)

IMAGES_OF_CLASS = {
    "bedroom": 216,
    "coast": 360,
    "forest": 328,
    "highway": 260,
    "industrial": 311,
    "insidecity": 308,
    "kitchen": 210,
    "livingroom": 289,
    "mountain": 374,
    "office": 215,
    "opencountry": 410,
    "store": 315,
    "street": 292,
    "suburb": 241,
    "tallbuilding": 356,
}

# As the data set was first given out, its folders name who took the photographs: MITcoast.
_PHOTOGRAPHERS = ("mit", "cal", "par")
_HALVES = {b"train": "train", b"training": "train", b"test": "test", b"testing": "test"}


def read_scene15(root: str | bytes | os.PathLike[str], *, allow_partial: bool = False) -> Dataset:
    """List the images of 15-Scene in their place.

    Class folders may be called as in any of the usual copies, in upper or lower case
    (``MITcoast``, ``Coast``, ``Inside City``, ``livingRoom``).

    Parameters
    ----------
    root : path
        The folder of the class folders, or that of ``train`` and ``test``, or one above it.
    allow_partial : bool
        Take an excerpt, and note that it is one.

    Returns
    -------
    Dataset
        4,485 images of 15 classes where it is complete, with one official split where there are
        ``train`` and ``test``. Images are named ``class/file`` in either form.

    Raises
    ------
    InputError
        If there are no such folders, or a class is missing or has another number of images.
    """
    top, halves = _find(os.fsencode(root))
    images: list[tuple[bytes, bytes, str]] = []
    half_of: dict[bytes, str] = {}
    for half, folder in halves:
        for inside, path, class_name in images_of_classes(folder):
            scene = scene_of(os.fsencode(class_name))
            if scene is not None:
                below = inside.partition(b"/")[2]
                images.append((os.path.join(scene.encode(), below), path, scene))
                half_of[path] = half
    counts = Counter(scene for _, _, scene in images)
    notes = compare_counts(SCENE15, top, counts, IMAGES_OF_CLASS, allow_partial=allow_partial)
    names = [each[0] for each in images]
    if len(set(names)) < len(names):
        # A copy that numbered the images of each half anew: the half tells them apart.
        images = [(os.path.join(half_of[p].encode(), n), p, c) for n, p, c in images]
    dataset = make_dataset(SCENE15.name, top, images, notes=notes, origin=SCENE15)
    if len(halves) == 1:
        return dataset
    half_by_path = {os.path.abspath(path): half for path, half in half_of.items()}
    half_by_row = np.array([half_by_path[path] for path in dataset.files])
    train, test = (np.flatnonzero(half_by_row == each) for each in ("train", "test"))
    return replace(dataset, official=(Split("train and test folders", train, test),))


def scene_of(folder: bytes) -> str | None:
    """Return the class that a folder is of, None where it is none of the 15.

    Parameters
    ----------
    folder : bytes

    >>> scene_of(b"MITinsidecity"), scene_of(b"Inside City"), scene_of(b"garden")
    ('insidecity', 'insidecity', None)
    """
    name = os.fsdecode(folder).lower()
    name = "".join(sign for sign in name if sign.isalpha())
    for prefix in ("", *_PHOTOGRAPHERS):
        if name.startswith(prefix) and name[len(prefix) :] in IMAGES_OF_CLASS:
            return name[len(prefix) :]
    return None


def _find(root: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Find the folders of the class folders, each with the half that it is."""
    below = [os.path.join(root, each) for each in class_folders_of(root)]
    deeper = [os.path.join(folder, each) for folder in below for each in class_folders_of(folder)]
    for place in (root, *below, *deeper):
        halves = [
            (_HALVES[each.lower()], os.path.join(place, each))
            for each in class_folders_of(place)
            if each.lower() in _HALVES
        ]
        if sorted(half for half, _ in halves) == ["test", "train"] and all(
            _has_scenes(folder) for _, folder in halves
        ):
            return place, halves
        if _has_scenes(place):
            return place, [("", place)]
    raise not_here(root, SCENE15)


def _has_scenes(folder: bytes) -> bool:
    return any(scene_of(each) for each in class_folders_of(folder))
