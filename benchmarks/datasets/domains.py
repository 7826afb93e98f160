"""Several domains with the same classes: Office-31, PACS, and any folder of domains."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import (
    Dataset,
    Origin,
    class_folders_of,
    compare_counts,
    images_of_classes,
    make_dataset,
    not_here,
)
from decaf.errors import InputError, SettingError
from decaf.images.listing.names import some_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "OFFICE31",
    "OFFICE31_CLASSES",
    "PACS",
    "PROTOCOLS",
    "DomainSet",
    "make_domain_set",
    "read_domains",
]

Rows = npt.NDArray[np.int64]

OFFICE31 = Origin(
    name="Office-31",
    reference="K. Saenko, B. Kulis, M. Fritz, T. Darrell: Adapting visual category models to new "
    "domains, ECCV 2010",
    home="https://faculty.cc.gatech.edu/~judy/domainadapt/ (domain_adaptation_images.tar.gz)",
    layout="the folders amazon/images, dslr/images and webcam/images with a folder for each of 31 "
    "classes",
)
PACS = Origin(
    name="PACS",
    reference="D. Li, Y. Yang, Y.-Z. Song, T. Hospedales: Deeper, broader and artier domain "
    "generalization, ICCV 2017",
    home="https://domaingeneralization.github.io/",
    layout="the folders art_painting, cartoon, photo and sketch with a folder for each of 7 "
    "classes",
)
_OFFICE31 = """
back_pack bike bike_helmet bookcase bottle calculator desk_chair desk_lamp desktop_computer
file_cabinet headphones keyboard laptop_computer letter_tray mobile_phone monitor mouse mug
paper_notebook pen phone printer projector punchers ring_binder ruler scissors speaker stapler
tape_dispenser trash_can
"""
OFFICE31_CLASSES = tuple(_OFFICE31.split())
_PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


@dataclass(frozen=True)
class _Known:
    """A data set with an official layout."""

    origin: Origin
    images_of: Mapping[str, int]
    classes: tuple[str, ...]
    source_per_class: Mapping[str, int] = field(default_factory=dict)
    takes_fewer: bool = False


_KNOWN = {
    # 20 labelled source images of a class, 8 from the two cameras (Saenko et al. 2010, sec. 5); one
    # class of dslr, ruler, has 7 in all.
    "office": _Known(
        OFFICE31,
        {"amazon": 2817, "dslr": 498, "webcam": 795},
        OFFICE31_CLASSES,
        {"amazon": 20, "dslr": 8, "webcam": 8},
        takes_fewer=True,
    ),
    "pacs": _Known(
        PACS,
        {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
        _PACS_CLASSES,
    ),
}

PROTOCOLS = ("auto", *_KNOWN, "folders")


@dataclass(frozen=True, eq=False)
class DomainSet(Dataset):
    """Labelled images of several domains; all domains have the same classes.

    The names of the images begin with that of their domain: ``domain/class/file``.

    Attributes
    ----------
    domains : tuple of str
        In the order of their names.
    source_per_class : mapping of str to int
        How many labelled images of each class the published protocol takes of a domain as the
        source, where it says so.
    takes_fewer : bool
        Whether the published protocol takes what there is of a class with fewer images.
    """

    domains: tuple[str, ...] = ()
    source_per_class: Mapping[str, int] = field(default_factory=dict)
    takes_fewer: bool = False

    @cached_property
    def domain_of(self) -> Rows:
        """The place in `domains` of each image's domain: (N,) int64."""
        place = {os.fsencode(name): number for number, name in enumerate(self.domains)}
        return np.array([place[name.split(b"/", 1)[0]] for name in self.names], np.int64)

    def rows_of(self, domain: str) -> Rows:
        """Return the rows of a domain, ascending.

        Parameters
        ----------
        domain : str
        """
        return np.flatnonzero(self.domain_of == self.domains.index(domain))

    def counts_of(self, domain: str) -> Rows:
        """Return how many images of each class a domain has: (K,) int64.

        Parameters
        ----------
        domain : str
        """
        return np.bincount(self.labels[self.rows_of(domain)], minlength=len(self.class_names))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All ordered pairs (source, target)."""
        return tuple((s, t) for s in self.domains for t in self.domains if s != t)

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]], note: str = "") -> Self:
        """Return the domains with some of the images.

        Parameters
        ----------
        rows : sequence of int
        note : str
            Remark for a reader of results.

        Raises
        ------
        InputError
            If the domains no longer have the same classes.
        """
        part = super().take(rows, note)
        _check_classes(part)
        return part


def make_domain_set(
    name: str,
    root: bytes,
    images: Sequence[tuple[bytes, bytes, str]],
    *,
    notes: Sequence[str] = (),
    origin: Origin | None = None,
    source_per_class: Mapping[str, int] | None = None,
    takes_fewer: bool = False,
) -> DomainSet:
    """Put domains together.

    Parameters
    ----------
    name : str
    root : bytes
    images : sequence of (name, path, class name)
        The names begin with ``domain/``.
    notes, origin
        As of `Dataset`.
    source_per_class, takes_fewer
        As of `DomainSet`.

    Raises
    ------
    InputError
        If there are no images, fewer than two domains, or a class that a domain lacks.
    """
    dataset = make_dataset(name, root, images, notes=notes, origin=origin)
    domains = tuple(sorted({os.fsdecode(each.split(b"/", 1)[0]) for each in dataset.names}))
    if len(domains) < 2:
        raise InputError(
            f"{dataset.root}: one domain alone ({domains[0]!r}); adaptation takes two or more: "
            "expected a folder for each domain, with a folder for each class"
        )
    whole = DomainSet(
        **vars(dataset),
        domains=domains,
        source_per_class=source_per_class or {},
        takes_fewer=takes_fewer,
    )
    _check_classes(whole)
    return whole


def _check_classes(domains: DomainSet) -> None:
    """Refuse domains of which one has a class that another lacks: the set of classes is closed."""
    names = domains.class_names
    wrong = []
    for domain in domains.domains:
        missing = [names[label] for label in np.flatnonzero(domains.counts_of(domain) == 0)]
        if missing:
            wrong.append(f"{domain} has no image of {some_of(missing, 3)}")
    if wrong:
        raise InputError(
            f"{domains.root}: the domains differ in their classes: {'; '.join(wrong)}. "
            "All domains must have the same classes: add the images, or remove those classes "
            "from the others"
        )


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
        recognised = [name for name, known in _KNOWN.items() if _find(top, known) is not None]
        protocol = recognised[0] if recognised else "folders"
    if protocol == "folders":
        name = os.path.basename(os.path.abspath(os.fsdecode(top)))
        domains = [os.fsdecode(each) for each in class_folders_of(top)]
        return make_domain_set(name, top, _images(top, domains))
    return _read_known(top, _KNOWN[protocol], allow_partial)


def _read_known(root: bytes, known: _Known, allow_partial: bool) -> DomainSet:
    top = _find(root, known)
    if top is None:
        raise not_here(root, known.origin)
    images = [each for each in _images(top, known.images_of) if each[2] in known.classes]
    counts = Counter(os.fsdecode(name.split(b"/", 1)[0]) for name, _, _ in images)
    notes = compare_counts(
        known.origin,
        top,
        counts,
        known.images_of,
        allow_partial=allow_partial,
        parts="domains",
    )
    missing = sorted(set(known.classes) - {each[2] for each in images})
    if missing and not allow_partial:
        raise InputError(
            f"{os.fsdecode(top)}: not the whole of {known.origin.name}: no domain has images of "
            f"{', '.join(missing[:3])}; get it anew from {known.origin.home}"
        )
    return make_domain_set(
        known.origin.name,
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


def _images(top: bytes, domains: Iterable[str]) -> list[tuple[bytes, bytes, str]]:
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
        own = [each for each in images_of_classes(place) if each[2]]
        if not own:
            raise InputError(f"{os.fsdecode(place)}: no images in its {len(folders)} class folders")
        images += [(os.path.join(os.fsencode(domain), name), path, c) for name, path, c in own]
    return images
