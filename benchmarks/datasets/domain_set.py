"""Several domains with the same classes: labelled images, each of one domain."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset, Origin, make_dataset
from decaf.errors import InputError

__all__ = ["DomainSet", "make_domain_set"]

Rows = npt.NDArray[np.int64]

_SHOWN = 3


@dataclass(frozen=True, eq=False)
class DomainSet:
    """Labelled images of several domains; all domains have the same classes.

    Attributes
    ----------
    dataset : Dataset
        The images of all domains. Their names begin with that of their domain:
        ``domain/class/file``.
    domains : tuple of str
        In the order of their names.
    source_per_class : mapping of str to int
        How many labelled images of each class the published protocol takes of a domain as the
        source, where it says so.
    takes_fewer : bool
        Whether the published protocol takes what there is of a class with fewer images.
    """

    dataset: Dataset
    domains: tuple[str, ...]
    source_per_class: Mapping[str, int]
    takes_fewer: bool = False

    def __len__(self) -> int:
        """Count the images."""
        return len(self.dataset)

    @cached_property
    def domain_of(self) -> Rows:
        """The place in `domains` of each image's domain: (N,) int64."""
        place = {os.fsencode(name): number for number, name in enumerate(self.domains)}
        return np.array([place[name.split(b"/", 1)[0]] for name in self.dataset.names], np.int64)

    def rows_of(self, domain: str) -> Rows:
        """Return the rows of a domain, ascending."""
        return np.flatnonzero(self.domain_of == self.domains.index(domain))

    def counts(self, domain: str) -> Rows:
        """Return how many images of each class a domain has: (K,) int64."""
        found: Rows = np.bincount(
            self.dataset.labels[self.rows_of(domain)], minlength=len(self.dataset.class_names)
        )
        return found

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All ordered pairs (source, target)."""
        return tuple((s, t) for s in self.domains for t in self.domains if s != t)

    def take(self, rows: Sequence[int] | Rows, note: str = "") -> DomainSet:
        """Return the domains with some of the images.

        Parameters
        ----------
        rows : sequence of int
        note : str
            What a reader of results has to know of it.

        Raises
        ------
        InputError
            If the domains no longer have the same classes.
        """
        found = replace(self, dataset=self.dataset.take(rows, note))
        _check_classes(found)
        return found


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
    domains = sorted({os.fsdecode(each.split(b"/", 1)[0]) for each in dataset.names})
    if len(domains) < 2:
        raise InputError(
            f"{dataset.root}: one domain alone ({domains[0]!r}); adaptation takes two or more: "
            "expected a folder for each domain, with a folder for each class"
        )
    found = DomainSet(dataset, tuple(domains), source_per_class or {}, takes_fewer)
    _check_classes(found)
    return found


def _check_classes(domains: DomainSet) -> None:
    """Refuse domains of which one has a class that another lacks: the set of classes is closed."""
    names = domains.dataset.class_names
    wrong = []
    for domain in domains.domains:
        missing = [names[label] for label in np.flatnonzero(domains.counts(domain) == 0)]
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            wrong.append(f"{domain} has no image of {', '.join(missing[:_SHOWN])}{more}")
    if wrong:
        raise InputError(
            f"{domains.dataset.root}: the domains differ in their classes: {'; '.join(wrong)}. "
            "All domains must have the same classes: add the images, or remove those classes "
            "from the others"
        )
