"""ImageNet's classification data as it is given out for ILSVRC 2012: tars that stay tars.

The training images are a tar for each class within one tar, the validation images one tar without
classes; these stand in the development kit, by numbers that its ``meta.mat`` explains. Nothing is
unpacked: images are read from where they lie in the outer tar.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decaf.errors import ImageError, InputError
from decaf.images import ImageList, ImageRef
from decaf.images.listing.archives import (
    Member,
    archive_kind,
    iterate_members,
    list_inner_tar,
    list_members,
    read_member,
)
from decaf.images.listing.folders import has_image_ending, is_hidden, read_start
from decaf.images.listing.image_ref import LazyRefs
from decaf.images.listing.trees import FolderTree
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted
from decaf.storage.matlab import read_matlab

__all__ = [
    "DEVKIT_NAME",
    "TRAIN_NAME",
    "VAL_NAME",
    "Devkit",
    "are_validation_images",
    "is_tar_of_tars",
    "read_devkit",
    "read_train",
    "read_val",
]

TRAIN_NAME = "ILSVRC2012_img_train.tar"
VAL_NAME = "ILSVRC2012_img_val.tar"
DEVKIT_NAME = "ILSVRC2012_devkit_t12.tar.gz"

_META = b"data/meta.mat"
_TRUTH = b"data/ILSVRC2012_validation_ground_truth.txt"
_MAX_BYTES = 64 << 20
_MAX_META_BYTES = 256 << 20
_VAL_START = b"ILSVRC2012_val_"
# Of a validation image: its number, which is the line of its class.
_NUMBER = re.compile(rb"_(\d{8})\.[A-Za-z]+$")


@dataclass(frozen=True)
class Devkit:
    """The content of the development kit.

    Attributes
    ----------
    path : str
    wnids : dict of int to str
        The WordNet id of each ILSVRC2012_ID.
    words : dict of str to str
        Meaning of each WordNet id.
    truth : tuple of int
        The ILSVRC2012_ID of each validation image.
    """

    path: str
    wnids: dict[int, str]
    words: dict[str, str]
    truth: tuple[int, ...]


def is_tar_of_tars(path: str) -> bool:
    """Tell whether a file is a tar whose members are tars.

    Parameters
    ----------
    path : str
    """
    name = os.fsencode(path)
    if not os.path.isfile(path) or archive_kind(read_start(name, 512), name) != "tar":
        return False
    # Gone through only as far as needed: another tar may hold a million images.
    shown = (member for member in iterate_members(name, "tar") if not is_hidden(member.name))
    with closing(shown):
        first = next(shown, None)
        if first is None or not first.name.endswith(b".tar"):
            return False
        return all(member.name.endswith(b".tar") for member in shown)


def are_validation_images(images: ImageList) -> bool:
    """Tell whether images are ImageNet's own validation images, as they are given out.

    Parameters
    ----------
    images : ImageList
    """
    return all(os.path.basename(name).startswith(_VAL_START) for name in images.names) and bool(
        (images.labels < 0).all()
    )


def read_train(path: str, words: dict[str, str]) -> ImageList:
    """List the training images in a tar of ``<wnid>.tar``.

    Parameters
    ----------
    path : str
    words : dict of str to str
        Names of the classes by their ids; a class of no name goes by its id.

    Raises
    ------
    InputError
        If it or a tar within it is damaged, or a class is there twice.
    """
    archive = os.fsencode(path)
    # By their ids, which stand in the order of their labels, wherever in the tar they lie.
    pairs = sorted(
        ((_class_id(member), member) for member in _shown_members(archive)),
        key=lambda pair: pair[0],
    )
    ids = [class_id for class_id, _ in pairs]
    tars = [member for _, member in pairs]
    if len(set(ids)) != len(ids):
        twice = next(a for a, b in itertools.pairwise(ids) if a == b)
        raise InputError(f"{path!r}: holds {twice}.tar twice")
    names: list[bytes] = []
    places: list[np.ndarray] = []
    counts = []
    for tar, class_id in zip(tars, ids, strict=True):
        members = [member for member in list_inner_tar(archive, tar) if _is_image(member.name)]
        members.sort(key=lambda member: member.name)
        names += [os.fsencode(class_id) + b"/" + member.name for member in members]
        places.append(_places(members))
        counts.append(len(members))
    refs = _TarRefs(archive, names, np.concatenate(places) if places else _places([]))
    labels = np.repeat(np.arange(len(ids)), counts)
    return _labelled(path, names, labels, ids, words, refs)


def read_val(path: str, devkit: Devkit, class_ids: Sequence[str]) -> ImageList:
    """List the validation images in a tar or folder, with the classes of the development kit.

    Parameters
    ----------
    path : str
    devkit : Devkit
    class_ids : sequence of str
        Classes of the training images.

    Raises
    ------
    InputError
        If images and classes do not fit, or a class is none of the training images'.
    """
    archive = os.fsencode(path)
    refs: Sequence[ImageRef]
    if os.path.isdir(path):
        listed = FolderTree(archive).images
        refs = [ImageRef(image.name) for image in listed]
        names = [image.relative for image in listed]
    else:
        kind = archive_kind(read_start(archive, 512), archive)
        if kind != "tar":
            raise InputError(f"{path!r}: is no tar, as the validation images are given out in")
        members = [member for member in list_members(archive, kind) if _is_image(member.name)]
        members.sort(key=lambda member: os.path.basename(member.name))
        names = [posixpath.normpath(member.name) for member in members]
        refs = _TarRefs(archive, names, _places(members))
    numbers = []
    for name in names:
        number = _NUMBER.search(name)
        if number is None:
            raise InputError(
                f"{path!r}: {name_text(name)!r} has no number as ILSVRC2012_val_00000001.JPEG has"
            )
        numbers.append(int(number[1]))
    expected = set(range(1, len(devkit.truth) + 1))
    if len(numbers) != len(expected) or set(numbers) != expected:
        raise InputError(
            f"{path!r}: holds {counted(len(numbers), 'image')}, and {devkit.path!r} has classes "
            "for "
            f"{len(devkit.truth)}, numbered from 1; they do not belong together"
        )
    place = {name: label for label, name in enumerate(class_ids)}
    wnids = [devkit.wnids.get(devkit.truth[number - 1], "") for number in numbers]
    strangers = sorted(set(wnids) - set(place))
    if strangers:
        raise InputError(
            f"{path!r}: {counted(len(strangers), 'class')} of its images "
            f"{'is' if len(strangers) == 1 else 'are'} not among the training "
            "images "
            f"({', '.join(name or 'one that meta.mat does not explain' for name in strangers[:5])})"
        )
    labels = np.array([place[name] for name in wnids], np.int64)
    return _labelled(path, names, labels, class_ids, devkit.words, refs)


def read_devkit(path: str) -> Devkit:
    """Read the development kit: its tar, or the folder that it was unpacked to.

    Parameters
    ----------
    path : str

    Raises
    ------
    InputError
        If it cannot be read, lacks one of the two files, or these are damaged.
    """
    meta, truth = _kit_file(path, _META), _kit_file(path, _TRUTH)
    try:
        synsets = read_matlab(meta, ["synsets"], max_bytes=_MAX_META_BYTES).get("synsets")
        if not isinstance(synsets, list):
            raise InputError("a MATLAB file without the structures 'synsets'")
    except InputError as error:
        raise InputError(f"{path!r}: its data/meta.mat is {error}") from error
    wnids, words = {}, {}
    for synset in synsets:
        number, wnid, text = (synset.get(key) for key in ("ILSVRC2012_ID", "WNID", "words"))
        if not isinstance(number, list) or len(number) != 1 or not isinstance(wnid, str):
            raise InputError(f"{path!r}: its data/meta.mat has a synset without id or WNID")
        if not number[0].is_integer():
            raise InputError(f"{path!r}: its data/meta.mat has a synset of id {number[0]}")
        wnids[int(number[0])] = wnid
        words[wnid] = text if isinstance(text, str) and text else wnid
    try:
        numbers = tuple(int(line) for line in truth.split())
    except ValueError as error:
        raise InputError(f"{path!r}: its ground truth is not a number a line: {error}") from error
    return Devkit(path, wnids, words, numbers)


def _kit_file(path: str, ending: bytes) -> bytes:
    try:
        if os.path.isdir(path):
            for folder in (Path(path), *sorted(Path(path).iterdir())):
                file = folder / name_text(ending)
                if file.is_file():
                    return file.read_bytes()
        else:
            archive = os.fsencode(path)
            kind = archive_kind(read_start(archive, 512), archive)
            if kind is None:
                raise InputError(f"{path!r}: is neither an archive nor a folder")
            for member in list_members(archive, kind):
                if member.name.endswith(ending):
                    return read_member(archive, kind, member, _MAX_BYTES)
    except (OSError, ImageError) as error:
        raise InputError(f"{path!r}: cannot be read: {error}") from error
    raise InputError(f"{path!r}: has no {name_text(ending)}, as ImageNet's development kit has")


def _shown_members(archive: bytes) -> list[Member]:
    return [member for member in list_members(archive, "tar") if not is_hidden(member.name)]


def _class_id(tar: Member) -> str:
    return os.path.basename(tar.name)[: -len(".tar")].decode("utf-8", "backslashreplace")


def _is_image(name: bytes) -> bool:
    return has_image_ending(name) and not is_hidden(name)


def _labelled(
    path: str,
    names: list[bytes],
    labels: np.ndarray,
    ids: Sequence[str],
    words: dict[str, str],
    refs: Sequence[ImageRef],
) -> ImageList:
    source = {"kind": "ilsvrc", "path": path, "images": len(names)}
    titles = tuple(words.get(name, name) for name in ids)
    return ImageList(
        names,
        labels.astype(np.int64),
        tuple(ids),
        (source,),
        refs,
        titles=titles,
        layout="ilsvrc",
    )


def _places(members: Sequence[Member]) -> np.ndarray:
    numbers = [(member.offset, member.size, member.method) for member in members]
    return np.array(numbers, np.int64).reshape(-1, 3)


class _TarRefs(LazyRefs):
    """References to members of a tar, kept as numbers."""

    def __init__(self, archive: bytes, names: list[bytes], places: np.ndarray) -> None:
        self._archive, self._names, self._places = archive, names, places

    def __len__(self) -> int:
        return len(self._names)

    def one(self, index: int) -> ImageRef:
        offset, size, method = (int(number) for number in self._places[index])
        name = self._names[index]
        return ImageRef(name, self._archive, "tar", Member(name, offset, size, size, method, 0))
