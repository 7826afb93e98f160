"""The samples of an archive: images, the keys that they have, and what stands beside them.

The samples of a webdataset are members of a tar with the same name up to the first dot, one
behind the other: ``0001.jpg``, ``0001.json``, ``0001.cls``. Where the members of a sample are not
adjacent, a reader that streams sees two samples; so the shard is refused, and the member named.
Archives of images alone have a sample for each, whose key is its name without the ending.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from decaf.errors import ImageError, InputError
from decaf.images import ImageList, ImageRef, path_text
from decaf.images.listing.archives import Member, iterate_members, read_member
from decaf.images.listing.folders import has_image_ending, is_hidden
from decaf.images.listing.names import refuse_long, shortened
from decaf.storage import canonical_json

__all__ = ["MAX_TEXT_BYTES", "Samples", "archive_samples", "json_text"]

# Of a shard, and of what stands beside one image.
MAX_MEMBERS = 5_000_000
MAX_TEXT_BYTES = 16_384
SIDECARS = (b"cls", b"txt", b"json")

_LABELS = 2**53


@dataclass
class Samples:
    """The images of a shard, in order, and what came with them.

    Attributes
    ----------
    names : list of bytes
        Names of the images: of members, as stored; of a list, the paths and URLs.
    refs : list of ImageRef
        Where each lies on this machine.
    keys : list of str
        The sample that each is of.
    labels : list of int
        -1 where there is none.
    txt, json : list of str
        Texts that came with the sample, and JSON in its one form; empty where nothing did.
    problems : dict of int to (str, str)
        Status and message of images that are not there at all, by row.
    notes : dict of int to str
        Messages on rows whose image is as it should be: what came with it was not taken.
    """

    names: list[bytes] = field(default_factory=list)
    refs: list[ImageRef] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    txt: list[str] = field(default_factory=list)
    json: list[str] = field(default_factory=list)
    problems: dict[int, tuple[str, str]] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def add(
        self, name: bytes, ref: ImageRef, key: str, label: int = -1, txt: str = "", json: str = ""
    ) -> int:
        """Add an image, and return its row.

        Parameters
        ----------
        name, ref, key, label, txt, json
            As the lists have them.
        """
        self.names.append(name)
        self.refs.append(ref)
        self.keys.append(key)
        self.labels.append(label)
        self.txt.append(txt)
        self.json.append(json)
        return len(self.names) - 1

    def images(self, source: str, kind: str) -> ImageList:
        """Return the images as everything else in decaf takes them.

        Parameters
        ----------
        source : str
            Name of the shard.
        kind : str
            What it is.
        """
        refuse_long(self.names, "image")
        refuse_long((key.encode("utf-8", "replace") for key in self.keys), "sample")
        return ImageList(
            self.names,
            np.array(self.labels, np.int64),
            (),
            ({"kind": kind, "path": source, "images": len(self)},),
            self.refs,
        )


def archive_samples(path: str, kind: str) -> Samples:
    """List the samples of a tar or zip.

    Parameters
    ----------
    path : str
        On this machine.
    kind : str
        Its kind, from `decaf.images.listing.archives.archive_kind`.

    Returns
    -------
    Samples

    Raises
    ------
    InputError
        Where it is damaged, holds no image, or the members of a sample are not adjacent.
    """
    where = os.fsencode(path)
    members: list[Member] = []
    for member in iterate_members(where, kind):
        wanted = has_image_ending(member.name) or _ending(member.name) in SIDECARS
        if wanted and not is_hidden(member.name):
            members.append(member)
            if len(members) > MAX_MEMBERS:
                raise InputError(f"it has more than {MAX_MEMBERS} members")
    if not any(has_image_ending(member.name) for member in members):
        raise InputError("there are no images in it")
    beside = any(not has_image_ending(member.name) for member in members)
    samples = Samples()
    for key, group in _grouped(members, kind, first_dot=beside):
        _add_sample(samples, where, kind, key, group)
    return samples


def _ending(name: bytes) -> bytes:
    return name.rpartition(b".")[2].lower()


def _key_of(name: bytes, first_dot: bool) -> bytes:
    folder, slash, base = name.rpartition(b"/")
    # A dot at the beginning belongs to the key.
    end = base.find(b".", 1) if first_dot else base.rfind(b".", 1)
    stem = base if end < 0 else base[:end]
    return folder + slash + stem


def _grouped(
    members: Sequence[Member], kind: str, *, first_dot: bool
) -> list[tuple[bytes, list[Member]]]:
    """Put the members of each sample together, in the order of their first; refuse what is torn."""
    groups: dict[bytes, list[Member]] = {}
    last = None
    for member in members:
        key = _key_of(member.name, first_dot)
        group = groups.setdefault(key, [])
        if any(member.name == other.name for other in group[-16:]):
            raise InputError(f"the member {shortened(member.name)} is there twice")
        if group and key != last and kind != "zip":
            raise InputError(
                f"the members of the sample {shortened(key)} are not adjacent: "
                f"{shortened(member.name)} stands apart from {shortened(group[0].name)}; write the "
                "members of a sample one behind the other"
            )
        group.append(member)
        last = key
    return list(groups.items())


def _add_sample(samples: Samples, path: bytes, kind: str, key: bytes, group: list[Member]) -> None:
    label, notes = -1, []
    texts = {"txt": "", "json": ""}
    for member in group:
        ending = _ending(member.name)
        if ending not in SIDECARS:
            continue
        try:
            text = read_member(path, kind, member, MAX_TEXT_BYTES).decode("utf-8").strip("\0")
            if ending == b"cls":
                label = _label(text)
            elif ending == b"json":
                texts["json"] = json_text(json.loads(text))
            else:
                texts["txt"] = text
        except (ImageError, ValueError, RecursionError) as error:
            notes.append(f"{path_text(member.name)} was not taken: {error}")
    images = [member for member in group if has_image_ending(member.name)]
    shown = path_text(key)
    for member in images:
        ref = ImageRef(member.name, path, kind, member)
        row = samples.add(member.name, ref, shown, label, texts["txt"], texts["json"])
        if notes:
            samples.notes[row] = "; ".join(notes)[:400]
    if not images:
        # Its row stays, so that no sample is lost without a word.
        nothing = ImageRef(key, path, "tar", Member(key, 0, 0, 0, 0, 0))
        row = samples.add(key, nothing, shown, label, texts["txt"], texts["json"])
        samples.problems[row] = ("missing", "the sample has no image")


def _label(text: str) -> int:
    label = int(text)
    if not 0 <= label < _LABELS:
        raise ValueError(f"{label} is no class index")
    return label


def json_text(value: Any) -> str:
    """Return JSON in its one form, of a length that a row can hold.

    Parameters
    ----------
    value : object

    Raises
    ------
    ValueError
        Where it is too long, or holds what JSON has not.
    """
    text = canonical_json(value)
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"{len(text)} bytes of JSON; {MAX_TEXT_BYTES} are kept")
    return text
