"""Training and test images: drawn by seed, taken from official lists, written out and read back.

An image's place in a draw is decided by a hash of the seed, the split and the image's name alone:
the same split comes out on every machine, with every version of every library, in whatever order
the images are listed. And images that are missing move none of the others.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset, Split
from decaf.errors import InputError, SettingError
from decaf.images.listing.draws import draw_order
from decaf.storage import disk_errors, write_atomically

__all__ = [
    "Split",
    "content_digest",
    "draw_splits",
    "load_manifest",
    "manifest",
    "official_splits",
    "read_splits",
    "salt_of",
    "sealed_manifest",
    "write_splits",
]

FORMAT = "decaf-splits"
SCHEMA = 1

Rows = npt.NDArray[np.int64]


def draw_splits(
    dataset: Dataset,
    train_per_class: int,
    *,
    test_per_class: int | None = None,
    n_splits: int = 5,
    seed: int = 0,
) -> tuple[Split, ...]:
    """Draw random splits with the same number of training images of each class.

    Parameters
    ----------
    dataset : Dataset
    train_per_class : int
    test_per_class : int, optional
        At most so many test images of each class; all that are left when not given.
    n_splits : int
    seed : int
        Split i of a seed is the same however many splits are drawn.

    Returns
    -------
    tuple of Split

    Raises
    ------
    SettingError
        For numbers that cannot be.
    InputError
        If a class has too few images for one of them to be left for the test; names it.
    """
    numbers = {"train_per_class": train_per_class, "n_splits": n_splits}
    if test_per_class is not None:
        numbers["test_per_class"] = test_per_class
    wrong = [f"{name} {value!r}" for name, value in numbers.items() if value < 1]
    if wrong:
        raise SettingError(f"{', '.join(wrong)}: must be 1 or more")
    counts = dataset.counts
    short = np.flatnonzero(counts <= train_per_class)
    if len(short):
        first = f"{dataset.class_names[short[0]]} has {counts[short[0]]}"
        more = f" (and {len(short) - 1} classes more)" if len(short) > 1 else ""
        raise InputError(
            f"{dataset.root}: {first} images{more}; {train_per_class} training images a class and "
            f"one to test on take {train_per_class + 1}: ask for fewer training images"
        )
    stop = None if test_per_class is None else train_per_class + test_per_class
    splits = []
    for number in range(n_splits):
        orders = draw_order(dataset.labels, dataset.names, salt=salt_of(seed, number))
        train = np.concatenate([order[:train_per_class] for order in orders])
        test = np.concatenate([order[train_per_class:stop] for order in orders])
        splits.append(Split(f"split {number}", train, test))
    return tuple(splits)


def salt_of(seed: int, split: int) -> bytes:
    """Return what tells a split of a seed from all other draws.

    Parameters
    ----------
    seed, split : int

    Returns
    -------
    bytes
        As `decaf.images.listing.draws.draw_order` takes it.
    """
    return b"%d/%d/" % (seed, split)


def official_splits(dataset: Dataset, n_splits: int | None = None) -> tuple[Split, ...]:
    """Return the splits that come with a data set.

    Parameters
    ----------
    dataset : Dataset
    n_splits : int, optional
        The first so many; all when not given.

    Raises
    ------
    SettingError
        If there are not so many.
    """
    there = len(dataset.official)
    if not there or (n_splits is not None and not 1 <= n_splits <= there):
        raise SettingError(
            f"{dataset.name} comes with {there} splits, {n_splits or 'some'} were asked for"
        )
    return dataset.official[:n_splits]


def manifest(
    dataset: Dataset,
    splits: Sequence[Split],
    *,
    digests: Mapping[bytes, str] | None = None,
    made_by: str = "",
) -> dict[str, Any]:
    """Describe splits so that they can be had again on any copy of the data set.

    Parameters
    ----------
    dataset : Dataset
    splits : sequence of Split
    digests : mapping of image name to hexadecimal digits, optional
        SHA-256 of the images' bytes, or the beginning of it: so that a changed image is noticed.
    made_by : str
        How they were drawn, for the reader.

    Returns
    -------
    dict
        JSON values: ``dataset``, ``images`` (how many), ``classes`` (how many images of each
        by name), ``made_by``, ``files`` (names and digests of the images that any split uses),
        ``splits`` (places in ``files``) and ``sha256`` of all this.
    """
    used = np.unique(np.concatenate([part for each in splits for part in (each.train, each.test)]))
    place = np.full(len(dataset), -1, np.int64)
    place[used] = np.arange(len(used))
    files = [
        [
            os.fsdecode(dataset.names[row]),
            dataset.class_names[dataset.labels[row]],
            (digests or {}).get(dataset.names[row], ""),
        ]
        for row in used
    ]
    listed = [
        {"name": each.name, "train": place[each.train].tolist(), "test": place[each.test].tolist()}
        for each in splits
    ]
    return sealed_manifest(
        FORMAT,
        SCHEMA,
        {
            "dataset": dataset.name,
            "images": len(dataset),
            "classes": dict(zip(dataset.class_names, dataset.counts.tolist(), strict=True)),
            "made_by": made_by,
            "files": files,
            "splits": listed,
        },
    )


def sealed_manifest(form: str, schema: int, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with its format, and a hash by which a change is noticed.

    Parameters
    ----------
    form, schema
        Arguments of `load_manifest`.
    content : mapping
        With the ``dataset``.
    """
    whole = {"format": form, "schema": schema, **content}
    return {**whole, "sha256": content_digest(whole)}


def write_splits(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a manifest; the file is complete, or as it was before.

    Parameters
    ----------
    path : path
    content : dict
        As `sealed_manifest` returns it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with disk_errors(Path(path), "nothing was written"):
        write_atomically(Path(path), (json.dumps(content, separators=(",", ":")) + "\n").encode())


def read_splits(
    path: str | os.PathLike[str],
    dataset: Dataset,
    *,
    digests: Mapping[bytes, str] | None = None,
) -> tuple[Split, ...]:
    """Read a manifest that `write_splits` wrote, for this copy of the data set.

    Parameters
    ----------
    path : path
    dataset : Dataset
    digests : mapping of image name to hexadecimal digits, optional
        As `manifest` takes them; images that both have digests of are compared.

    Returns
    -------
    tuple of Split

    Raises
    ------
    InputError
        If it is none, was changed, is of other data, or names images that are missing, have
        changed, or are of another class now.
    """
    shown = os.fspath(path)
    content = load_manifest(shown, FORMAT, SCHEMA, dataset)
    _check_places(shown, content)
    row_of = {os.fsdecode(name): row for row, name in enumerate(dataset.names)}
    files: list[tuple[str, str, str]] = content["files"]
    missing = [name for name, _, _ in files if name not in row_of]
    _refuse(shown, missing, len(files), f"not below {dataset.root}")
    rows = np.array([row_of[name] for name, _, _ in files], np.int64)
    classes = [dataset.class_names[label] for label in dataset.labels[rows]]
    moved = [f[0] for f, now in zip(files, classes, strict=True) if f[1] != now]
    _refuse(shown, moved, len(files), "of another class now")
    known = digests or {}
    now = [known.get(dataset.names[row], "") for row in rows]
    changed = [f[0] for f, own in zip(files, now, strict=True) if f[2] and own and f[2] != own]
    _refuse(shown, changed, len(files), "no longer what they were")
    return tuple(
        Split(each["name"], rows[each["train"]], rows[each["test"]]) for each in content["splits"]
    )


def _refuse(shown: str, names: Sequence[str], count: int, what: str) -> None:
    if names:
        raise InputError(
            f"{shown}: {len(names)} of its {count} images are {what}, the first is {names[0]!r}; "
            "give the splits with the data set that they were drawn from, or draw new ones"
        )


def load_manifest(
    path: str | os.PathLike[str], form: str, schema: int, dataset: Dataset
) -> dict[str, Any]:
    """Read a manifest that a benchmark wrote, and check that nobody changed it.

    Parameters
    ----------
    path : path
    form, schema
        Expected ``format`` and ``schema``.
    dataset : Dataset
        Expected data set.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If it cannot be read, is of another format, schema or data set, or was changed.
    """
    shown = os.fspath(path)
    try:
        content = json.loads(Path(shown).read_bytes())
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown}: no splits: not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != form:
        of_domains = " of domains" if form.startswith("decaf-domain") else ""
        raise InputError(f"{shown}: no splits{of_domains}: expected a file that a benchmark wrote")
    if content.get("schema") != schema:
        raise InputError(f"{shown}: schema {content.get('schema')!r} found, {schema} expected")
    if content.pop("sha256", None) != content_digest(content):
        raise InputError(f"{shown}: was changed after it was written: its SHA-256 does not agree")
    if (name := content.get("dataset")) != dataset.name:
        raise InputError(f"{shown}: splits of {name!r}, and this is {dataset.name!r}")
    return content


def _check_places(shown: str, content: Mapping[str, Any]) -> None:
    """Check what a hash does not: anybody can write a file that agrees with itself."""
    try:
        files = content["files"]
        good = all(len(each) == 3 and all(isinstance(p, str) for p in each) for each in files)
        # One image under two places could be trained on and tested on.
        good &= len({name for name, _, _ in files}) == len(files)
        for split in content["splits"]:
            train, test = split["train"], split["test"]
            good &= isinstance(split["name"], str) and bool(train) and bool(test)
            good &= all(type(p) is int and 0 <= p < len(files) for p in (*train, *test))
            good &= len({*train, *test}) == len(train) + len(test)
        good &= bool(content["splits"])
    except (KeyError, TypeError):
        good = False
    if not good:
        raise InputError(
            f"{shown}: no splits: each has to name training and test images, none of them twice"
        )


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its own ``sha256``, in hexadecimal digits.

    Parameters
    ----------
    content : dict
        As `sealed_manifest` returns it.
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
