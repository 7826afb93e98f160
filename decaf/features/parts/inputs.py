"""The images of a run, as it remembers them: by which a later run tells whether they changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError
from decaf.images.status import NO_DIGEST, STATUS_NAMES

if TYPE_CHECKING:
    from decaf.features.rows import ShardRows
    from decaf.features.store.file import FeatureFile
    from decaf.images.listing.sources import ImageList

__all__ = [
    "UNKNOWN_CONTENT",
    "Entry",
    "changed_content",
    "changed_list",
    "content_digest",
    "describe",
    "differs_from_file",
    "dump",
    "parse",
]

# Name (with surrogate escapes), size, time of change in nanoseconds, label.
Entry = Sequence[Any]

# The bytes of these were perhaps read, but what was read died with the process.
UNKNOWN_CONTENT = [STATUS_NAMES.index(name) for name in ("timeout", "worker_died")]


def describe(images: ImageList) -> list[Entry]:
    """List what an unfinished run remembers of its images: name, size, time of change, label."""
    entries: list[Entry] = []
    for row, name in enumerate(images.names):
        size, changed = (-1, -1) if images.refs is None else images.refs[row].stat()
        text = name.decode("utf-8", "surrogateescape")
        entries.append([text, size, changed, int(images.labels[row])])
    return entries


def dump(entries: Iterable[Entry]) -> bytes:
    """Turn entries into lines of JSON."""
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def parse(data: bytes) -> list[Entry]:
    """Read what `dump` gave.

    Raises
    ------
    ValueError
        For anything else.
    """
    entries = [json.loads(line) for line in data.splitlines()]
    for entry in entries:
        kinds = [type(value) for value in entry] if isinstance(entry, list) else []
        if kinds != [str, int, int, int]:
            raise ValueError(f"{entry!r} is not name, size, time and label")
    return entries


def content_digest(images: ImageList, row: int) -> bytes:
    """Return the SHA-256 of an image's bytes as they are now, zeros where they cannot be read."""
    if images.refs is None:
        return NO_DIGEST
    try:
        return hashlib.sha256(images.refs[row].load()).digest()
    except ImageError:
        return NO_DIGEST


def changed_list(before: Sequence[Entry], now: Sequence[Entry]) -> str:
    """Say in what the images or labels of two runs differ; an empty text if in nothing."""
    names_before, names_now = [entry[0] for entry in before], [entry[0] for entry in now]
    if names_before != names_now:
        gone = set(names_before) - set(names_now)
        new = set(names_now) - set(names_before)
        parts = [f"{len(names_before)} images there, {len(names_now)} now"]
        parts += [f"{len(new)} new (such as {min(new)!r})"] if new else []
        parts += [f"{len(gone)} gone (such as {min(gone)!r})"] if gone else []
        parts += ["in another order"] if not new and not gone else []
        return "; ".join(parts)
    relabelled = [e[0] for e, other in zip(before, now, strict=True) if e[3] != other[3]]
    if relabelled:
        return f"{len(relabelled)} other labels (such as of {relabelled[0]!r})"
    return ""


def changed_content(
    before: Sequence[Entry],
    now: Sequence[Entry],
    done: Mapping[tuple[int, int], Callable[[], ShardRows]],
    digest: Callable[[int], bytes],
) -> str:
    """Say which images have changed since their rows were made; an empty text if none.

    A file that was only touched is told from one that changed by its bytes.

    Parameters
    ----------
    before, now : sequence of entries
        Of the same images in the same order.
    done : dict of (int, int) to callable
        The ranges of rows that were made, and what gives them.
    digest : callable
        Gives the SHA-256 that the image of a row has now.
    """
    touched = {
        row
        for row, (entry, other) in enumerate(zip(before, now, strict=True))
        if list(entry[1:3]) != list(other[1:3])
    }
    changed = []
    for (start, stop), read in done.items():
        suspects = sorted(touched.intersection(range(start, stop)))
        if not suspects:
            continue
        rows = read()
        for row in suspects:
            known = rows.status[row - start] not in UNKNOWN_CONTENT
            if known and rows.content_sha256[row - start].tobytes() != digest(row):
                changed.append(before[row][0])
    if not changed:
        return ""
    return f"{len(changed)} images changed since their rows were made (such as {changed[0]!r})"


def differs_from_file(file: FeatureFile, images: ImageList) -> str:
    """Say in what the images of a finished file are not these ones; an empty text if in nothing."""
    if list(file.path_bytes) != list(images.names):
        return f"{len(file)} images there, {len(images.names)} now, or others"
    if not np.array_equal(file.labels, images.labels):
        return "other labels"
    for what, there, now in (
        ("splits", file.splits, images.splits),
        ("groups", file.groups, images.groups),
    ):
        if there != now:
            with_them = "without" if there is None else "with other"
            return f"a file {with_them} {what}"
    if images.in_memory:
        return "images in memory, which cannot be compared with its rows"
    digests = file.content_sha256
    for row in np.flatnonzero(~np.isin(file.status, UNKNOWN_CONTENT)):
        if digests[row].tobytes() != content_digest(images, int(row)):
            return f"the content of {images.names[row].decode(errors='backslashreplace')!r}"
    return ""
