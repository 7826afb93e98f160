"""Which images of each domain are labelled: drawn by seed, written out and read back.

A domain's labelled images do not depend on what it is paired with: in a split, webcam as the source
has the same labelled images whatever the target, and as the target whatever the source. All images
of the target that are not labelled are both what methods see without labels and what they are
tested on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.domains import DomainSet
from decaf.errors import InputError, SettingError
from decaf.images.listing.draws import draw_order
from harness.protocol.splits import load_manifest, salt_of, sealed_manifest

__all__ = [
    "DomainSplit",
    "PairSplit",
    "domain_manifest",
    "draw_domain_splits",
    "read_domain_splits",
]

FORMAT = "decaf-domain-splits"
SCHEMA = 1

_SHOWN = 3

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PairSplit:
    """One split of a pair of domains, as rows of the data set.

    Attributes
    ----------
    name : str
    source : array of int64
        Labelled images of the source.
    labelled : array of int64
        Labelled images of the target, which only the supervised setting gives the labels of.
    test : array of int64
        The other images of the target: seen without labels, and tested on.
    """

    name: str
    source: Rows
    labelled: Rows
    test: Rows


@dataclass(frozen=True, eq=False)
class DomainSplit:
    """The labelled images of every domain, once as a source and once as a target.

    Attributes
    ----------
    name : str
    source, target : mapping of domain to array of int64
    test : mapping of domain to array of int64
        The images of a domain that are not in `target`.
    """

    name: str
    source: Mapping[str, Rows]
    target: Mapping[str, Rows]
    test: Mapping[str, Rows]

    def of_pair(self, source: str, target: str) -> PairSplit:
        """Return the rows of a pair.

        Parameters
        ----------
        source : str
        target : str
        """
        return PairSplit(self.name, self.source[source], self.target[target], self.test[target])


def draw_domain_splits(
    domains: DomainSet,
    *,
    source_per_class: int | Mapping[str, int],
    target_per_class: int = 3,
    n_splits: int = 5,
    seed: int = 0,
    take_fewer: bool = False,
) -> tuple[DomainSplit, ...]:
    """Draw the labelled images of every domain.

    Parameters
    ----------
    domains : DomainSet
    source_per_class : int, or mapping of domain to int
        Labelled images of each class of a domain as the source.
    target_per_class : int
        Labelled images of each class of a domain as the target.
    n_splits : int
    seed : int
        Split i of a seed is the same however many splits are drawn.
    take_fewer : bool
        Take what there is of a class of the source with fewer images.

    Returns
    -------
    tuple of DomainSplit

    Raises
    ------
    SettingError
        For numbers that cannot be.
    InputError
        If a class of a domain has too few images; names both.
    """
    if isinstance(source_per_class, int):
        source_per_class = dict.fromkeys(domains.domains, source_per_class)
    numbers = {f"{domain} as the source": n for domain, n in source_per_class.items()}
    numbers |= {"labelled target images a class": target_per_class, "splits": n_splits}
    wrong = [f"{name}: {value!r}" for name, value in numbers.items() if value < 1]
    if wrong:
        raise SettingError(f"{', '.join(wrong)}: must be 1 or more")
    _check_enough(domains, {} if take_fewer else source_per_class, target_per_class)
    splits = []
    for number in range(n_splits):
        parts: tuple[dict[str, Rows], ...] = ({}, {}, {})
        for domain in domains.domains:
            rows = domains.rows_of(domain)
            names, salt = [domains.names[row] for row in rows], salt_of(seed, number)
            orders = [rows[each] for each in draw_order(domains.labels[rows], names, salt=salt)]
            parts[0][domain] = np.concatenate([o[: source_per_class[domain]] for o in orders])
            parts[1][domain] = np.concatenate([o[:target_per_class] for o in orders])
            parts[2][domain] = np.setdiff1d(rows, parts[1][domain])
        splits.append(DomainSplit(f"split {number}", *parts))
    return tuple(splits)


def _check_enough(domains: DomainSet, source: Mapping[str, int], target: int) -> None:
    names = domains.class_names
    wrong = []
    for domain in domains.domains:
        for label, count in enumerate(domains.counts_of(domain).tolist()):
            if count < source.get(domain, 0):
                wrong.append(
                    f"{domain} has {count} images of {names[label]}, and as the source "
                    f"{source[domain]} are taken"
                )
            elif count <= target:
                wrong.append(
                    f"{domain} has {count} images of {names[label]}, and as the target "
                    f"{target} are taken and one is needed to test on"
                )
    if wrong:
        more = f" (and {len(wrong) - _SHOWN} more such classes)" if len(wrong) > _SHOWN else ""
        raise InputError(
            f"{domains.root}: {'; '.join(wrong[:_SHOWN])}{more}: ask for fewer labelled "
            "images by --source and --target"
        )


def domain_manifest(
    domains: DomainSet,
    splits: Sequence[DomainSplit],
    *,
    digests: Mapping[bytes, str] | None = None,
    made_by: str = "",
) -> dict[str, Any]:
    """Describe splits so that they can be had again on any copy of the data set.

    Parameters
    ----------
    domains : DomainSet
    splits : sequence of DomainSplit
    digests : mapping of image name to hexadecimal digits, optional
        Hash of the images' bytes, so that a changed image is noticed.
    made_by : str
        How they were drawn, for the reader.

    Returns
    -------
    dict
        JSON values: ``dataset``, ``made_by``, ``domains`` (of each how many images there
        are, and a hash of their names, classes and bytes), ``splits`` (of each domain the names of
        the images that are labelled when it is the ``source``, and when it is the ``target``; all
        others of the target are tested on), and ``sha256`` of all this.
    """

    def names(rows: Rows) -> list[str]:
        return [os.fsdecode(domains.names[row]) for row in rows]

    content: dict[str, Any] = {
        "dataset": domains.name,
        "made_by": made_by,
        "domains": {
            domain: {
                "images": len(domains.rows_of(domain)),
                "sha256": _digest_of_domain(domains, domain, digests or {}),
            }
            for domain in domains.domains
        },
        "splits": [
            {
                "name": split.name,
                "domains": {
                    domain: {
                        "source": names(split.source[domain]),
                        "target": names(split.target[domain]),
                    }
                    for domain in domains.domains
                },
            }
            for split in splits
        ],
    }
    return sealed_manifest(FORMAT, SCHEMA, content)


def read_domain_splits(
    path: str | os.PathLike[str],
    domains: DomainSet,
    *,
    digests: Mapping[bytes, str] | None = None,
) -> tuple[DomainSplit, ...]:
    """Read a manifest of splits for this copy of the data set.

    Parameters
    ----------
    path : path
    domains : DomainSet
    digests : mapping of image name to hexadecimal digits, optional
        As `domain_manifest` takes them.

    Returns
    -------
    tuple of DomainSplit

    Raises
    ------
    InputError
        If it is none, was changed, or is of other domains or images than these.
    """
    shown = os.fspath(path)
    content = load_manifest(shown, FORMAT, SCHEMA, domains)
    recorded = content.get("domains")
    if not isinstance(recorded, dict) or set(recorded) != set(domains.domains):
        raise InputError(f"{shown}: splits of other domains than {', '.join(domains.domains)}")
    for domain in domains.domains:
        now = _digest_of_domain(domains, domain, digests or {})
        then = recorded[domain] if isinstance(recorded[domain], dict) else {}
        if then.get("sha256") != now:
            raise InputError(
                f"{shown}: the images of {domain} are not those that it was drawn from: "
                f"{then.get('images')} then, {len(domains.rows_of(domain))} now, in name, class or "
                "content; give the same data set, or draw new splits"
            )
    row_of = {os.fsdecode(name): row for row, name in enumerate(domains.names)}
    try:
        return tuple(_split(each, domains, row_of) for each in _some(content["splits"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{shown}: no splits: each has to name labelled images of every domain, none of them "
            f"twice, with others left to test on ({error})"
        ) from None


def _split(each: Any, domains: DomainSet, row_of: Mapping[str, int]) -> DomainSplit:
    parts: tuple[dict[str, Rows], ...] = ({}, {}, {})
    for domain in domains.domains:
        rows = domains.rows_of(domain)
        for part, what in zip(parts, ("source", "target"), strict=False):
            numbers = [row_of[name] for name in _some(each["domains"][domain][what])]
            own = np.array(numbers, np.int64)
            if len(set(numbers)) < len(numbers) or not np.isin(own, rows).all():
                raise ValueError(f"{what} images of {domain}")
            part[domain] = own
        parts[2][domain] = np.setdiff1d(rows, parts[1][domain])
        if not len(parts[2][domain]):
            raise ValueError(f"all images of {domain} are labelled")
    return DomainSplit(str(each["name"]), *parts)


def _some(values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise TypeError("an empty list, or none")
    return values


def _digest_of_domain(domains: DomainSet, domain: str, digests: Mapping[bytes, str]) -> str:
    digest = hashlib.sha256()
    for row in domains.rows_of(domain):
        name = domains.names[row]
        class_name = domains.class_names[domains.labels[row]]
        digest.update(name + f"\0{class_name}\0{digests.get(name, '')}\n".encode())
    return digest.hexdigest()
