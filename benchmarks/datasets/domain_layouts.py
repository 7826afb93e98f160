"""Domains on disk: Office-31 and PACS in their official layouts, and any folder of domains."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from datasets.dataset import Origin, class_folders_of, compare_counts
from datasets.domain_set import DomainSet, make_domain_set
from decaf.errors import InputError, SettingError
from decaf.images.listing.folders import list_folder

__all__ = ["OFFICE31", "OFFICE31_CLASSES", "PACS", "PROTOCOLS", "read_domains"]

OFFICE31 = Origin(
    reference="K. Saenko, B. Kulis, M. Fritz, T. Darrell: Adapting visual category models to new "
    "domains, ECCV 2010",
    home="https://faculty.cc.gatech.edu/~judy/domainadapt/ (domain_adaptation_images.tar.gz)",
    layout="the folders amazon/images, dslr/images and webcam/images with a folder for each of 31 "
    "classes",
)
PACS = Origin(
    reference="D. Li, Y. Yang, Y.-Z. Song, T. Hospedales: Deeper, broader and artier domain "
    "generalization, ICCV 2017",
    home="https://domaingeneralization.github.io/",
    layout="the folders art_painting, cartoon, photo and sketch with a folder for each of 7 "
    "classes",
)
OFFICE31_CLASSES = (
    "back_pack",
    "bike",
    "bike_helmet",
    "bookcase",
    "bottle",
    "calculator",
    "desk_chair",
    "desk_lamp",
    "desktop_computer",
    "file_cabinet",
    "headphones",
    "keyboard",
    "laptop_computer",
    "letter_tray",
    "mobile_phone",
    "monitor",
    "mouse",
    "mug",
    "paper_notebook",
    "pen",
    "phone",
    "printer",
    "projector",
    "punchers",
    "ring_binder",
    "ruler",
    "scissors",
    "speaker",
    "stapler",
    "tape_dispenser",
    "trash_can",
)
_PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


@dataclass(frozen=True)
class _Known:
    """A data set with an official layout."""

    name: str
    origin: Origin
    images_of: Mapping[str, int]
    classes: tuple[str, ...]
    source_per_class: Mapping[str, int] = field(default_factory=dict)
    takes_fewer: bool = False


_KNOWN = {
    # 20 labelled source images of a class, 8 from the two cameras (Saenko et al. 2010, sec. 5); one
    # class of dslr, ruler, has 7 in all.
    "office": _Known(
        "Office-31",
        OFFICE31,
        {"amazon": 2817, "dslr": 498, "webcam": 795},
        OFFICE31_CLASSES,
        {"amazon": 20, "dslr": 8, "webcam": 8},
        takes_fewer=True,
    ),
    "pacs": _Known(
        "PACS",
        PACS,
        {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
        _PACS_CLASSES,
    ),
}

PROTOCOLS = ("auto", *_KNOWN, "folders")


def read_domains(
    root: str | bytes | os.PathLike[str], protocol: str = "auto", *, allow_partial: bool = False
) -> DomainSet:
    """List the images of several domains in their place.

    Parameters
    ----------
    root : path
        The folder of the domains' folders, or one above it.
    protocol : {"auto", "office", "pacs", "folders"}
        The data set. "folders" takes any folder of domains: a folder for each domain, in it, or in
        its folder ``images``, one for each class. "auto" goes by the names of the folders.
    allow_partial : bool
        Take an excerpt of Office-31 or PACS, and note that it is one.

    Returns
    -------
    DomainSet
        Office-31: 4,110 images of 31 classes in 3 domains; PACS: 9,991 of 7 in 4.

    Raises
    ------
    SettingError
        For an unknown protocol.
    InputError
        If there are no such folders, a known data set is not complete, there is one domain alone,
        or a domain lacks a class that another has.
    """
    if protocol not in PROTOCOLS:
        raise SettingError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    top = os.fsencode(root)
    if protocol == "auto":
        found = [name for name, known in _KNOWN.items() if _find(top, known) is not None]
        protocol = found[0] if found else "folders"
    if protocol == "folders":
        name = os.path.basename(os.path.abspath(os.fsdecode(top)))
        domains = [os.fsdecode(each) for each in class_folders_of(top)]
        return make_domain_set(name, top, _images(top, domains))
    return _read_known(top, _KNOWN[protocol], allow_partial)


def _read_known(root: bytes, known: _Known, allow_partial: bool) -> DomainSet:
    top = _find(root, known)
    if top is None:
        raise InputError(
            f"{os.fsdecode(root)}: no {known.name} here: expected {known.origin.layout}; get it "
            f"from {known.origin.home}"
        )
    images = [each for each in _images(top, known.images_of) if each[2] in known.classes]
    found = Counter(os.fsdecode(name.split(b"/", 1)[0]) for name, _, _ in images)
    shown = os.fsdecode(top)
    try:
        notes = compare_counts(
            known.name, shown, found, known.images_of, known.origin, allow_partial=allow_partial
        )
    except InputError as error:  # there the parts are classes
        raise InputError(str(error).replace("classes are missing", "domains are missing")) from None
    notes = tuple(note.replace("classes", "domains") for note in notes)
    missing = sorted(set(known.classes) - {each[2] for each in images})
    if missing and not allow_partial:
        raise InputError(
            f"{shown}: not the whole of {known.name}: no domain has images of "
            f"{', '.join(missing[:3])}; get it anew from {known.origin.home}"
        )
    return make_domain_set(
        known.name,
        top,
        images,
        notes=notes,
        origin=known.origin,
        source_per_class=known.source_per_class,
        takes_fewer=known.takes_fewer,
    )


def _find(root: bytes, known: _Known) -> bytes | None:
    """Find the folder that has those of all domains: this one, or one in it."""
    wanted = {os.fsencode(domain) for domain in known.images_of}
    below = [os.path.join(root, each) for each in class_folders_of(root)]
    for place in (root, *below):
        if wanted <= set(class_folders_of(place)):
            return place
    return None


def _images(top: bytes, domains: Mapping[str, int] | list[str]) -> list[tuple[bytes, bytes, str]]:
    """List the images of all class folders: name, path, class."""
    images: list[tuple[bytes, bytes, str]] = []
    for domain in domains:
        place = os.path.join(top, os.fsencode(domain))
        if class_folders_of(place) == [b"images"]:
            place = os.path.join(place, b"images")
        folders = class_folders_of(place)
        if not folders:
            raise InputError(
                f"{os.fsdecode(place)}: no class folders; expected a folder for each domain, with "
                "a folder for each class"
            )
        before = len(images)
        for folder in folders:
            name = folder.decode("utf-8", "backslashreplace")
            prefix = os.path.join(place, b"")
            for path in list_folder(os.path.join(place, folder)):
                below = os.path.join(os.fsencode(domain), path[len(prefix) :])
                images.append((below, path, name))
        if len(images) == before:
            raise InputError(f"{os.fsdecode(place)}: no images in its {len(folders)} class folders")
    return images
