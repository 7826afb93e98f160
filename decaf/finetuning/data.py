"""The images of a fine-tuning: found, divided, packed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.finetuning.job import Job
from decaf.finetuning.settings import VAL_FRACTION
from decaf.images import ImageList, ListingSettings
from decaf.images.listing.groups import find_groups
from decaf.images.listing.names import some_of
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted
from decaf.train.pack.build import NoneReadable, make_pack
from decaf.train.pack.reader import Pack
from decaf.train.pack.sources import draw_validation, pack_entries, read_parts, source_of

__all__ = [
    "Packed",
    "divided",
    "find_images",
    "groups_by_name",
    "identity_of",
    "images_of",
    "open_data",
    "seen_in_training",
]

# Packs up to this size hold the pixels as they are; beyond, JPEGs of them.
RAW_BYTES = 4 << 30

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Packed:
    """Training and validation images, and the pack whose classes they have.

    Attributes
    ----------
    pack : Pack
    train, val : ImageList
    val_pack : Pack
        Pack of the validation images: `pack` itself, or another.
    """

    pack: Pack
    train: ImageList
    val: ImageList
    val_pack: Pack

    def counts(self) -> list[tuple[str, int, int]]:
        """List the classes with their numbers of training and validation images."""
        names = self.pack.class_names
        train, val = (
            np.bincount(images.labels, minlength=len(names)).tolist()
            for images in (self.train, self.val)
        )
        return list(zip(names, train, val, strict=True))


def find_images(
    train: Any,
    val: Any = None,
    listing: ListingSettings | None = None,
    *,
    seed: int = 0,
) -> ImageList:
    """List the images of a fine-tuning; nothing is decoded.

    Parameters
    ----------
    train : path, or whatever `decaf.extract` takes as files
        A folder or archive with a folder for each class; the same below ``train``; or a list file
        or a list of paths, whose classes are those of its labels.
    val : likewise, optional
        Validation images; of classes of `train`, though perhaps not of all. By default those that
        `train` has beside it (``val``), else a share of the training images. A split ``test`` is
        left alone.
    listing : ListingSettings, optional
        The groups are those of `read_parts`. Of the share that is drawn for validation, and of the
        rest, each class has at least one image.
    seed : int
        Seed of that draw.

    Returns
    -------
    ImageList
        Images of the splits "train" and "val".

    Raises
    ------
    InputError
        If the images cannot be listed, there are not two classes with images enough, or validation
        images have other classes.
    SettingError
        For a `val_fraction` where there are validation images.
    """
    listing = listing or ListingSettings()
    shown, kind, parts = read_parts(train, listing, val=val)
    share = listing.val_fraction
    if "val" not in parts:
        share = VAL_FRACTION if share is None else share
    elif share is not None:
        raise _not_drawn(shown)
    _check_case(shown, parts)
    source = source_of(
        shown, kind, parts, split_val=share, seed=seed, subset=True, min_images=listing.min_images
    )
    sides = [set(source.part(split).groups or ()) - {""} for split in ("train", "val")]
    if shared := sides[0] & sides[1]:
        _logger.warning(
            "%s: %s both in training and in validation (such as %r): what is measured is flattered",
            shown,
            counted(len(shared), "group", "are"),
            min(shared),
        )
    return source


def identity_of(*sources: ImageList | Pack | None) -> dict[str, Any]:
    """Return the identity of images: names, labels and sizes of files, or the hash of a pack.

    Parameters
    ----------
    *sources : ImageList, Pack or None
        Sources of training, and of validation.

    Returns
    -------
    dict
        JSON values.
    """
    digest, count = hashlib.sha256(), 0
    for source in sources:
        if isinstance(source, ImageList):
            # Not the time of change, which copying changes too.
            entries = [[name, size, label] for name, size, _, label in pack_entries(source)]
            count += len(entries)
            digest.update(json.dumps([source.class_names, source.class_titles, entries]).encode())
        elif source is not None:
            count += sum(len(split) for split in source.splits.values())
            digest.update(source.fingerprint.encode())
    return {"count": count, "sha256": digest.hexdigest()}


def images_of(train: Any, val: Any = None, val_fraction: float | None = None) -> dict[str, Any]:
    """Return the identity of the images of packs; see `identity_of`.

    Parameters
    ----------
    train : path
    val : path, optional
    val_fraction : float, optional
        Settings that were asked for.

    Raises
    ------
    SettingError
        If a share was asked for, and there are validation images.
    """
    with ExitStack() as stack:
        packs = [stack.enter_context(Pack.open(path)) for path in (train, val) if path is not None]
        if val_fraction is not None and "val" in packs[0].splits:
            raise _not_drawn(repr(name_text(train)))
        return identity_of(*packs)


def _not_drawn(shown: str) -> SettingError:
    return SettingError(
        f"`val_fraction` is for images without validation images, and {shown} has such ('val'): "
        "leave it out"
    )


def _check_case(shown: str, parts: dict[str, ImageList]) -> None:
    """Tell of classes that differ in upper and lower case alone, which are easily overlooked."""
    if "val" not in parts:
        return
    train, val = set(parts["train"].class_names), set(parts["val"].class_names)
    lower = {name.lower(): name for name in train}
    pairs = sorted((name, lower[name.lower()]) for name in val - train if name.lower() in lower)
    if pairs:
        listed = some_of(f"{there!r} is {here!r}" for there, here in pairs)
        raise InputError(
            f"{shown}: {counted(len(pairs), 'validation class', 'differ')} from those of train "
            "in upper and "
            f"lower case alone ({listed}); rename the folders"
        )


def groups_by_name(
    pack: Pack, source: ImageList | None, groups: Any
) -> dict[str, dict[bytes, str]] | None:
    """Return the groups of the images of each split by their names.

    Parameters
    ----------
    pack : Pack
    source : ImageList or None
        Images that it was made of, with their groups; None for a pack that was there, the names of
        whose training images tell.
    groups : str, path or sequence, or None
        As in `decaf.finetune`.
    """
    if source is None:
        names = pack.splits["train"].names
        group_names = find_groups(groups, names, names, None)
        return (
            None if group_names is None else {"train": dict(zip(names, group_names, strict=True))}
        )
    if source.groups is None:
        return None
    # Images of two splits may have one name: those of val may lie in a folder of their own.
    by_split: dict[str, dict[bytes, str]] = {}
    splits = source.splits or ("train",) * len(source)
    for split, name, group in zip(splits, source.names, source.groups, strict=True):
        by_split.setdefault(split, {})[name] = group
    return by_split


def _in_groups(
    images: ImageList, groups: Mapping[str, Mapping[bytes, str]], split: str
) -> ImageList:
    """Return the images of a split with their groups, if any is in one."""
    known = groups.get(split, {})
    named = tuple(known.get(name, "") for name in images.names)
    return replace(images, groups=named if any(named) else None)


def divided(
    pack: Pack,
    val_pack: Pack | None,
    val_fraction: float,
    seed: int,
    groups: Mapping[str, Mapping[bytes, str]] | None = None,
) -> Packed:
    """Return the training and validation images of packs.

    Parameters
    ----------
    pack : Pack
        Pack whose training images are taken; and its validation images, where it has such and
        there is no `val_pack`.
    val_pack : Pack, optional
        Its validation images, else its test images, else all.
    val_fraction, seed
        As in `find_images`.
    groups : mapping of str to mapping of bytes to str, optional
        The groups of the images of each split by their names, which the pack knows.

    Raises
    ------
    InputError
        If there is only one class, or `val_pack` has classes that `pack` has not.
    SettingError
        If the packs hold images of different sizes.
    """
    if len(pack.wnids) < 2:
        raise InputError(
            f"{pack.path}: has one class alone; training takes two classes or more, a folder each"
        )
    train = pack.images("train")
    if groups is not None:
        train = _in_groups(train, groups, "train")
    if val_pack is not None:
        split = next(name for name in ("val", "test", "train") if name in val_pack.splits)
        return Packed(pack, train, _renumbered(pack, val_pack, split), val_pack)
    if "val" in pack.splits:
        val = pack.images("val")
        return Packed(pack, train, val if groups is None else _in_groups(val, groups, "val"), pack)
    drawn = draw_validation(pack.path, train, val_fraction, seed=seed)
    train, val = train.take(np.flatnonzero(~drawn)), train.take(np.flatnonzero(drawn))
    alone = np.setdiff1d(train.labels, val.labels)
    if len(alone):
        names = some_of(pack.class_names[label] for label in alone.tolist())
        _logger.warning(
            "%s: %s too few images for validation, and trained on alone (%s)",
            pack.path,
            counted(len(alone), "class", "have"),
            names,
        )
    return Packed(pack, train, val, pack)


def _renumbered(pack: Pack, other: Pack, split: str) -> ImageList:
    """Return the images of a split of another pack, labelled as their classes are in `pack`."""
    if (other.size, other.resize) != (pack.size, pack.resize):
        raise SettingError(
            f"{other.path}: holds images of {other.size} pixels ({other.resize}), {pack.path} of "
            f"{pack.size} ({pack.resize}); pack both alike"
        )
    images = other.images(split)
    present = {other.wnids[label] for label in np.unique(images.labels).tolist()}
    new = sorted(present - set(pack.wnids))
    if new:
        raise InputError(
            f"{other.path}: {len(new)} of its classes are not in {pack.path} ({some_of(new)})"
        )
    return images.with_classes(pack.wnids)


def open_data(
    stack: ExitStack,
    job: Job,
    source: ImageList | None,
    path: Path,
    packs: tuple[Any, Any] | None,
) -> Packed:
    """Pack the images where they are not, and divide them.

    Parameters
    ----------
    stack : ExitStack
        Closes the packs.
    job : Job
    source : ImageList or None
        Images that `find_images` has listed, in the process that packs.
    path : Path
        Where its pack is made.
    packs : (path, path or None), or None
        Packs that are there, for training and for validation, in place of `source`.
    """
    world = job.world
    if packs is None:
        world.on_chief(lambda: _make_pack(job, source, path))
    first, second = (path, None) if packs is None else packs
    pack = stack.enter_context(Pack.open(name_text(first)))
    val_pack = None if second is None else stack.enter_context(Pack.open(name_text(second)))
    groups: Any = world.share(
        world.on_chief(lambda: groups_by_name(pack, source, job.listing.groups))
    )
    data = divided(pack, val_pack, job.val_fraction, job.settings.seed, groups)
    # What is packed here is told of as it is packed.
    if packs is not None and world.chief and (twice := seen_in_training(data)):
        _logger.warning(
            "%d of %d validation images are training images too: what is measured on them "
            "says little",
            twice,
            len(data.val),
        )
    return data


def _make_pack(job: Job, source: ImageList | None, path: Path) -> None:
    assert source is not None
    side = job.begun.preprocess.resize_to
    size = len(source) * side**2 * 3
    try:
        make_pack(
            source,
            path,
            size=side,
            resize=job.begun.preprocess.resize,
            # As they are, so that the network sees what `decaf.extract` would show it.
            encoding="raw" if size <= RAW_BYTES else "jpeg",
            on_error=job.listing.on_error,
            overwrite=job.overwrite,
            compute=replace(job.compute, device="auto"),  # of packing there is no choice
        ).close()
    except NoneReadable as error:
        # Without the way on that `decaf pack` has: the pack is not kept.
        raise InputError(error.text) from error


def seen_in_training(data: Packed) -> int:
    """Count validation images whose very files are among the training images too.

    Parameters
    ----------
    data : Packed
    """
    train, val = data.train.content_sha256, data.val.content_sha256
    assert train is not None
    assert val is not None
    known = {row.tobytes() for row in train}
    # Of images in memory the content is not known.
    return sum(row.tobytes() in known for row in val if row.any())
