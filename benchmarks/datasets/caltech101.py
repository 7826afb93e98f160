"""Caltech-101, as it is given out: ``101_ObjectCategories/<class>/image_NNNN.jpg``."""

from __future__ import annotations

import os
from collections import Counter

from datasets.dataset import (
    Dataset,
    Origin,
    class_folders_of,
    compare_counts,
    images_of_classes,
    make_dataset,
    not_here,
)

__all__ = ["CALTECH101", "IMAGES_OF_CLASS", "read_caltech101"]

CALTECH101 = Origin(
    name="Caltech-101",
    reference="L. Fei-Fei, R. Fergus, P. Perona: Learning generative visual models from few "
    "training examples, CVPR workshop on generative-model based vision, 2004",
    home="https://data.caltech.edu/records/mzrjq-6wc02",
    layout="the folder 101_ObjectCategories with a folder for each class, such as accordion",
)

_COUNTS = """
BACKGROUND_Google 467, Faces 435, Faces_easy 435, Leopards 200, Motorbikes 798, accordion 55,
airplanes 800, anchor 42, ant 42, barrel 47, bass 54, beaver 46, binocular 33, bonsai 128,
brain 98, brontosaurus 43, buddha 85, butterfly 91, camera 50, cannon 43, car_side 123,
ceiling_fan 47, cellphone 59, chair 62, chandelier 107, cougar_body 47, cougar_face 69,
crab 73, crayfish 70, crocodile 50, crocodile_head 51, cup 57, dalmatian 67, dollar_bill 52,
dolphin 65, dragonfly 68, electric_guitar 75, elephant 64, emu 53, euphonium 64, ewer 85,
ferry 67, flamingo 67, flamingo_head 45, garfield 34, gerenuk 34, gramophone 51,
grand_piano 99, hawksbill 100, headphone 42, hedgehog 54, helicopter 88, ibis 80,
inline_skate 31, joshua_tree 64, kangaroo 86, ketch 114, lamp 61, laptop 81, llama 78,
lobster 41, lotus 66, mandolin 43, mayfly 40, menorah 87, metronome 32, minaret 76,
nautilus 55, octopus 35, okapi 39, pagoda 47, panda 38, pigeon 45, pizza 53, platypus 34,
pyramid 57, revolver 82, rhino 59, rooster 49, saxophone 40, schooner 63, scissors 39,
scorpion 84, sea_horse 57, snoopy 35, soccer_ball 64, stapler 45, starfish 86, stegosaurus 59,
stop_sign 64, strawberry 35, sunflower 85, tick 49, trilobite 86, umbrella 75, watch 239,
water_lilly 37, wheelchair 59, wild_cat 34, windsor_chair 56, wrench 39, yin_yang 60
"""

# Number of images of each of the 102 folders; the background, and `Faces` and `Faces_easy`, count
# as classes (Donahue et al. 2014, section 4.1: "including the background class").
IMAGES_OF_CLASS = {
    name: int(count) for name, count in (each.split() for each in _COUNTS.strip().split(","))
}

_FOLDER = b"101_ObjectCategories"


def read_caltech101(
    root: str | bytes | os.PathLike[str], *, allow_partial: bool = False
) -> Dataset:
    """List the images of Caltech-101 in their place.

    Parameters
    ----------
    root : path
        ``101_ObjectCategories`` itself, or a folder above it.
    allow_partial : bool
        Take an excerpt, and note that it is one.

    Returns
    -------
    Dataset
        9,144 images of 102 classes, the background among them, where it is complete.

    Raises
    ------
    InputError
        If there is no such folder, or a class is missing or has another number of images.
    """
    top = _find(os.fsencode(root))
    # The data set comes with a JPEG BACKGROUND_Google/tmp that is none of its 9,144 images.
    images = [
        (name, path, class_name)
        for name, path, class_name in images_of_classes(top)
        if class_name in IMAGES_OF_CLASS and os.path.splitext(name)[1]
    ]
    counts = Counter(class_name for _, _, class_name in images)
    notes = compare_counts(CALTECH101, top, counts, IMAGES_OF_CLASS, allow_partial=allow_partial)
    return make_dataset(CALTECH101.name, top, images, notes=notes, origin=CALTECH101)


def _find(root: bytes) -> bytes:
    """Find the folder of the class folders: the one given, or up to two below it."""
    known = {os.fsencode(name) for name in IMAGES_OF_CLASS}
    places = [root, os.path.join(root, _FOLDER)]
    places += [os.path.join(root, each, _FOLDER) for each in class_folders_of(root)]
    for place in places:
        if os.path.isdir(place) and known.intersection(class_folders_of(place)):
            return place
    raise not_here(root, CALTECH101)
