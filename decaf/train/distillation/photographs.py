"""The photographs that a student sees: several packs as one, some shown more often."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images import ImageList, ListingSettings, collect
from decaf.images.spec import IMAGENET_MEAN, IMAGENET_STD
from decaf.runtime.processes import World
from decaf.runtime.settings import ComputeSettings
from decaf.runtime.wording import counted
from decaf.train.distillation.settings import DistilSettings
from decaf.train.distillation.teacher import TeacherCard
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack
from decaf.train.pack.sources import find_source

__all__ = ["PhotographSplit", "Photographs", "open_sources"]

# Side of the images that folders are packed at: what the network's preprocessing resizes to.
STORED_SIDE = 256

_logger = logging.getLogger(__name__)


class PhotographSplit:
    """Images of several packs one after the other, as a split of a pack.

    Parameters
    ----------
    parts : sequence of (Pack, str, ndarray of int)
        A pack, the name of its split, and which rows of this.
    card : TeacherCard
        Has the classes that labels are looked up in.

    Attributes
    ----------
    labels : ndarray of int64, shape (N,)
        Number of the teacher's class that an image is of, by WordNet id or name; -1 where it is of
        none.
    sides : ndarray of int64, shape (N,)
        Sides of the stored images, in pixels.
    source : ndarray of int64, shape (N,)
        Number of the part that an image is of.
    contents : ndarray of uint8, shape (N, 32)
        SHA-256 of the files that the images were made from: by these views are drawn.
    digests : ndarray of uint8, shape (N, 32)
        SHA-256 of these and of how the images are stored: by these answers are kept, since what a
        view shows depends on both.
    """

    def __init__(self, parts: Sequence[tuple[Pack, str, np.ndarray]], card: TeacherCard) -> None:
        self._splits = [pack.splits[name] for pack, name, _ in parts]
        self._rows = np.concatenate([rows for *_, rows in parts])
        counts = [len(rows) for *_, rows in parts]
        self.source = np.repeat(np.arange(len(parts)), counts)
        self.sides = np.repeat([pack.size for pack, *_ in parts], counts)
        self.labels = np.concatenate(
            [_labels_of(pack, card)[pack.splits[name].labels[rows]] for pack, name, rows in parts]
        )
        contents = [pack.splits[name].content_sha256[rows] for pack, name, rows in parts]
        self.contents = np.concatenate(contents)
        self.digests = np.concatenate(
            [_stored(pack, some) for (pack, *_), some in zip(parts, contents, strict=True)]
        )

    def __len__(self) -> int:
        return len(self._rows)

    def with_labels(self, labels: np.ndarray) -> PhotographSplit:
        """Return the same images with other labels, int64 (N,).

        Parameters
        ----------
        labels : ndarray of int64, shape (N,)
        """
        other = copy.copy(self)
        other.labels = labels
        return other

    def pixels(self, index: int) -> np.ndarray:
        """Return a stored image: uint8 (side, side, 3), RGB, an array of its own.

        Parameters
        ----------
        index : int
        """
        pixels: np.ndarray = self._splits[self.source[index]].pixels(int(self._rows[index]))
        return pixels


class Photographs:
    """Packs in one, with what a training run has to know of a pack.

    Parameters
    ----------
    packs : sequence of Pack
        Open. "train" of each is trained on; "val" of those that have it is compared on, else a part
        of "train" that is drawn by contents.
    shares : sequence of float
        How often an image of each is shown, in proportion to the others; above 0.
    card : TeacherCard
        Has the classes.
    settings : DistilSettings
    pixels : int
        Side that whole images are resized to for the student; see `Pack.size`.

    Attributes
    ----------
    splits : dict of str to PhotographSplit
        "train" and "val".
    shown : ndarray of float64, shape (packs,)
        Share of each pack in what is shown; the sum is 1.

    Raises
    ------
    InputError
        Without images to train or to compare on.
    SettingError
        If the shares do not fit.
    """

    resize = "shorter-side"
    mean_image = np.zeros((0, 0, 3))
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    pca = (np.zeros(3), np.eye(3))

    def __init__(
        self,
        packs: Sequence[Pack],
        shares: Sequence[float],
        card: TeacherCard,
        settings: DistilSettings,
        pixels: int,
    ) -> None:
        if len(shares) != len(packs) or not all(0 < share < float("inf") for share in shares):
            raise SettingError(
                f"`shares`: one number above 0 for each of {len(packs)} sources expected, got "
                f"{', '.join(f'{share:g}' for share in shares)}"
            )
        self.path = ", ".join(pack.path for pack in packs)
        self.size = pixels
        self.class_names = card.class_names
        self.wnids = card.class_ids
        self.splits = MappingProxyType(_splits(packs, card, settings))
        counts = np.bincount(self.splits["train"].source, minlength=len(packs))
        wished = counts * np.array(shares, np.float64)
        self.shown: np.ndarray = wished / wished.sum()
        self._record = {
            "classes": [list(card.class_ids), list(card.class_names)],
            "packs": [pack.fingerprint for pack in packs],
            "shares": [float(share) for share in shares],
            "held_out": [settings.held_out, settings.held_out_limit],
        }
        train = self.splits["train"]
        labelled = np.bincount(train.source[train.labels >= 0], minlength=len(packs))
        self._sources = [
            {
                "path": pack.path,
                "images": int(count),
                "of_known_class": int(known),
                "shown": round(float(part), 6),
            }
            for pack, count, known, part in zip(packs, counts, labelled, self.shown, strict=True)
        ]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what determines the images and how often each is shown."""
        text = json.dumps(self._record, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def sources(self) -> list[dict[str, Any]]:
        """Describe the packs: path, images trained on, and share in what is shown, for the record.

        ``of_known_class`` counts the images whose class is one of the teacher's.
        """
        return self._sources


def _splits(
    packs: Sequence[Pack], card: TeacherCard, settings: DistilSettings
) -> dict[str, PhotographSplit]:
    train, val = [], []
    apart = any("val" in pack.splits for pack in packs)
    for pack in packs:
        rows = np.arange(len(pack.splits["train"]))
        if apart:
            train.append((pack, "train", rows))
            if "val" in pack.splits:
                val.append((pack, "val", np.arange(len(pack.splits["val"]))))
            continue
        drawn = _hash(pack.splits["train"].content_sha256, 0) < settings.held_out
        train.append((pack, "train", rows[~drawn]))
        val.append((pack, "train", rows[drawn]))
    count = sum(len(rows) for *_, rows in val)
    if not sum(len(rows) for *_, rows in train) or not count:
        raise InputError(
            f"{', '.join(pack.path for pack in packs)}: too few images to train on and to hold "
            f"out ({count} held out); give more, a greater `held_out`, or a folder with train and "
            "val"
        )
    if count > settings.held_out_limit:
        keys = [_hash(pack.splits[name].content_sha256[rows], 1) for pack, name, rows in val]
        most = np.sort(np.concatenate(keys))[settings.held_out_limit - 1]
        val = [
            (pack, name, rows[key <= most])
            for (pack, name, rows), key in zip(val, keys, strict=True)
        ]
    return {"train": PhotographSplit(train, card), "val": PhotographSplit(val, card)}


def _hash(digests: np.ndarray, place: int) -> np.ndarray:
    """Return a number in [0, 1) for each digest, (N, 32) uint8, from some of its bytes."""
    words: np.ndarray = np.ascontiguousarray(digests).view(np.uint64)[:, place]
    return words / 2.0**64


def _stored(pack: Pack, contents: np.ndarray) -> np.ndarray:
    """Return the SHA-256 of images as a pack stores them, of those of their files: (N, 32)."""
    how = json.dumps([pack.size, pack.resize, pack.encoding, pack.run.get("quality")]).encode()
    digests = [hashlib.sha256(content.tobytes() + how).digest() for content in contents]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _labels_of(pack: Pack, card: TeacherCard) -> np.ndarray:
    """Return the teacher's number of each class of a pack, -1 for those it has not.

    A name that several of its classes have ("cardigan" is a dog and a garment) tells none of them.
    """
    number: dict[str, int] = {}
    for i, name in enumerate(map(str.casefold, card.class_names)):
        number[name] = -1 if name in number else i
    number |= {name.casefold(): i for i, name in enumerate(card.wnids)}
    labels = [
        number.get(wnid.casefold(), number.get(name.casefold(), -1))
        for wnid, name in zip(pack.wnids, pack.class_names, strict=True)
    ]
    return np.array(labels, np.int64)


def open_sources(
    sources: Sequence[str | os.PathLike[str]],
    cache: Path,
    stack: ExitStack,
    world: World,
    compute: ComputeSettings,
) -> list[Pack]:
    """Open packs; of folders and archives packs are made first, in `cache`.

    Parameters
    ----------
    sources : sequence of path
        Files that ``decaf pack`` has written; else what `decaf.extract` takes as a path: with
        ``train`` and ``val``, with a folder for each class, or neither.
    cache : Path
        Where packs are made. One that is there, of the same images, is taken.
    stack : ExitStack
        Closes them.
    world : World
        Rank 0 makes the packs, the others wait for them.
    compute : ComputeSettings
        How the packs are made.

    Raises
    ------
    InputError, PackError, OutputError
        If a source has no image, or no pack can be made of it.
    """
    if not sources:
        raise InputError("no photographs: give folders or packs to train on")
    paths = {os.fspath(source): _pack_path(os.fspath(source), cache) for source in sources}

    def make_missing() -> None:
        for source, path in paths.items():
            if path == Path(source):
                continue
            cache.mkdir(parents=True, exist_ok=True)
            made = make_pack(
                _listed(source),
                path,
                size=STORED_SIDE,
                on_error="record",
                overwrite=True,
                compute=replace(compute, device="auto"),  # of packing there is no choice
            )
            if made.bad:
                bad = counted(len(made.bad), "image")
                _logger.warning("%s: %s could not be read, left out", source, bad)
            made.close()

    world.on_chief(make_missing)
    return [stack.enter_context(Pack.open(paths[os.fspath(source)])) for source in sources]


def _pack_path(source: str, cache: Path) -> Path:
    """Return the pack that a source is, or where one is made of it."""
    path = Path(source)
    if path.is_file() and path.suffix == ".pack":
        return path
    name = hashlib.sha256(os.fsencode(os.path.abspath(source))).hexdigest()[:8]
    return cache / f"{path.resolve().name}-{name}.pack"


def _listed(source: str) -> ImageList:
    """List a source by its splits and classes; where it has none of both, as photographs alone."""
    images = collect(source)
    # A folder of several classes, or an archive of such; not a list, whatever its paths say.
    if images.layout and (images.splits is not None or len(images.class_names) > 1):
        return find_source(images, ListingSettings(min_images=1))
    photographs = images.with_labels(np.zeros(len(images), np.int64), ("photograph",))
    splits = ("train",) * len(images)
    return replace(photographs, splits=splits, layout="photographs", for_training=True)
