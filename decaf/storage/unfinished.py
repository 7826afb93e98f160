"""The folder of an unfinished run: begun, or taken up where settings and images are as they were.

Beside its shards (`decaf.storage.shards`) the folder remembers the settings of the run and each of
its images, by which a later run tells whether they have changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from decaf.errors import ImageError, OutputError, ResumeError
from decaf.images.status import NO_DIGEST, STATUS_NAMES
from decaf.runtime.wording import counted
from decaf.storage.atomic import SUFFIX, write_atomically
from decaf.storage.lock import LOCK_NAME, acquire
from decaf.storage.records import differences, fingerprint
from decaf.storage.shards import HEADER_NAME, INPUTS_NAME, OWN_FILES, ShardDirectory, ShardRows

if TYPE_CHECKING:
    import numpy as np

    from decaf.images import ImageList

__all__ = [
    "UNKNOWN_CONTENT",
    "Entry",
    "changed_content",
    "changed_image",
    "changed_list",
    "content_digest",
    "describe_images",
    "dump_inputs",
    "open_shards",
    "parse_inputs",
    "tidy_shards",
]

R = TypeVar("R", bound=ShardRows)

# Name (with surrogate escapes), size, time of change in nanoseconds, label.
Entry = Sequence[Any]

# The bytes of these were perhaps read, but what was read died with the process.
UNKNOWN_CONTENT = [STATUS_NAMES.index(name) for name in ("timeout", "worker_died")]

# What of a header may differ where a run is taken up: that of its beginning stands.
_OF_BEGINNING = ("shard_rows", "created", "run", "fingerprint")


def open_shards(
    path: Path,
    rows: type[R],
    header: dict[str, Any],
    inputs: Sequence[Entry] = (),
    digest: Callable[[int], bytes] | None = None,
    *,
    discard: bool = False,
    check: Callable[[], object] | None = None,
) -> ShardDirectory[R]:
    """Begin a run, or take up one that was left.

    Parameters
    ----------
    path : Path
        The folder of its shards.
    rows : type
        What a shard holds.
    header : dict
        Keys ``run``, ``fingerprint``, ``shard_rows``, ``created``, and whatever else determines
        the file (``decaf_version``, ``class_names``). ``shard_rows`` and ``created`` are taken
        from the run that is taken up, the others must agree with it.
    inputs : sequence of [name, size, mtime_ns, label]
        One for each row, names with surrogate escapes; none where the shards do not depend on a
        list of images.
    digest : callable, optional
        From the number of a row to the SHA-256 that its image has now.
    discard : bool
        Throw away what an earlier run left.
    check : callable, optional
        Called before each finished shard is looked at; what it raises ends this, and leaves all
        as it was.

    Returns
    -------
    ShardDirectory
        Which holds the lock of the folder until it is closed.

    Raises
    ------
    OutputError
        Where another run holds the folder, it cannot be made, or it holds something else.
    ResumeError
        Where the run that was left had other inputs or settings, or cannot be made out.
    """
    if path.is_symlink():
        raise OutputError(
            f"{path}: is needed for unfinished work and is a link; move it, or give another `out`"
        )
    shards = ShardDirectory(path, rows, header, acquire(path))
    try:
        _refuse_irregular(path)
        if (path / HEADER_NAME).exists() and not discard:
            _take_up(shards, inputs, digest, check)
        else:
            _refuse_strangers(path)
            shards.clear()
            write_atomically(path / INPUTS_NAME, dump_inputs(inputs))
            write_atomically(path / HEADER_NAME, json.dumps(header, indent=1).encode())
    except BaseException:
        shards.close()
        raise
    return shards


def _take_up(
    shards: ShardDirectory[Any],
    inputs: Sequence[Entry],
    digest: Callable[[int], bytes] | None,
    check: Callable[[], object] | None,
) -> None:
    path, header = shards.path, shards.header
    before = _parse_header(path / HEADER_NAME)
    differing = differences(before["run"], header["run"])
    for key in (key for key in header if key not in _OF_BEGINNING):
        differing += differences({key: before.get(key)}, {key: header[key]})
    if differing:
        raise ResumeError(
            f"{path}: was begun with other settings ({'; '.join(differing)}); "
            "give another `out`, or `overwrite=True` to start anew"
        )
    shards.header = before
    for name in os.listdir(path):
        if name.endswith(SUFFIX) and OWN_FILES.fullmatch(name):
            (path / name).unlink()
    shards.read_manifests(check)
    try:
        entries = parse_inputs((path / INPUTS_NAME).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise _damaged(path / INPUTS_NAME, error) from error
    changed = changed_list(entries, inputs)
    if not changed and digest is not None:
        changed = changed_content(entries, inputs, shards, digest)
    if changed:
        raise ResumeError(
            f"{path}: was begun with other images ({changed}); "
            "give another `out`, or `overwrite=True` to start anew"
        )


def tidy_shards(path: Path, run_fingerprint: str) -> None:
    """Delete what the run of a finished file left because it was killed as it deleted it.

    Parameters
    ----------
    path : Path
        The folder of its shards, which need not be there.
    run_fingerprint : str
        That of the run; shards of another one stay.
    """
    # Where another run holds it, or it cannot be made out, it is not ours to delete.
    with suppress(OutputError, ResumeError, OSError):
        if not path.is_dir():
            return
        shards = ShardDirectory[Any](path, object, lock=acquire(path))
        try:
            header = path / HEADER_NAME
            if not header.exists() or _parse_header(header)["fingerprint"] == run_fingerprint:
                shards.remove()
        finally:
            shards.close()


def _parse_header(path: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(path.read_bytes())
        if header["fingerprint"] != fingerprint(header["run"]):
            raise ValueError("its settings are not those of its fingerprint")
        if type(header["shard_rows"]) is not int or header["shard_rows"] < 1:
            raise ValueError("it has no size of shards")
        datetime.fromisoformat(header["created"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    return header


def _damaged(path: Path, error: Exception) -> ResumeError:
    return ResumeError(
        f"{path}: is damaged ({type(error).__name__}: {error}), so that nothing tells what the "
        "finished rows beside it belong to; give `overwrite=True` to start anew, or another `out`"
    )


def _refuse_irregular(path: Path) -> None:
    # A line would be written to what a link leads to, and reading a pipe would never end.
    with os.scandir(path) as entries:
        strange = [each.name for each in entries if not each.is_file(follow_symlinks=False)]
    for name in sorted(strange):
        if OWN_FILES.fullmatch(name):
            raise OutputError(
                f"{path / name}: is needed for unfinished work and is no plain file; move it, or "
                "give another `out`"
            )


def _refuse_strangers(path: Path) -> None:
    for name in sorted(os.listdir(path)):
        if name != LOCK_NAME and not OWN_FILES.fullmatch(name):
            raise OutputError(
                f"{path}: is needed for unfinished work and holds something else "
                f"({name!r}); move that, or give another `out`"
            )


def describe_images(images: ImageList) -> list[Entry]:
    """List what an unfinished run remembers of its images: name, size, time of change, label.

    The box of a part stands behind the name.

    Parameters
    ----------
    images : ImageList
    """
    entries: list[Entry] = []
    for row, name in enumerate(images.names):
        ref = None if images.refs is None else images.refs[row]
        size, changed = (-1, -1) if ref is None else ref.stat()
        if ref is not None and ref.box is not None:
            name = b"%s (%s)" % (name, ref.box_text)
        text = name.decode("utf-8", "surrogateescape")
        entries.append([text, size, changed, int(images.labels[row])])
    return entries


def dump_inputs(entries: Iterable[Entry]) -> bytes:
    """Turn entries into lines of JSON.

    Parameters
    ----------
    entries : iterable of entries
        From `describe_images`.
    """
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def parse_inputs(data: bytes) -> list[Entry]:
    """Read what `dump_inputs` returned.

    Parameters
    ----------
    data : bytes

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
    """Return the SHA-256 of an image's bytes as they are now, zeros where they cannot be read.

    Parameters
    ----------
    images : ImageList
    row : int
    """
    if images.refs is None:
        return NO_DIGEST
    try:
        ref = images.refs[row]
        return ref.digest(ref.load())
    except ImageError:
        return NO_DIGEST


def changed_list(before: Sequence[Entry], now: Sequence[Entry]) -> str:
    """Say in what the images or labels of two runs differ; an empty text if in nothing.

    Parameters
    ----------
    before, now : sequence of entries
        From `describe_images`.
    """
    names_before, names_now = [entry[0] for entry in before], [entry[0] for entry in now]
    if names_before != names_now:
        gone = set(names_before) - set(names_now)
        new = set(names_now) - set(names_before)
        parts = [f"{counted(len(names_before), 'image')} there, {len(names_now)} now"]
        parts += [f"{len(new)} new (such as {min(new)!r})"] if new else []
        parts += [f"{len(gone)} gone (such as {min(gone)!r})"] if gone else []
        parts += ["in another order"] if not new and not gone else []
        return "; ".join(parts)
    relabelled = [e[0] for e, other in zip(before, now, strict=True) if e[3] != other[3]]
    if relabelled:
        return f"{counted(len(relabelled), 'other label')} (such as of {relabelled[0]!r})"
    return ""


def changed_content(
    before: Sequence[Entry],
    now: Sequence[Entry],
    shards: ShardDirectory[Any],
    digest: Callable[[int], bytes],
) -> str:
    """Say which images have changed since their rows were made; an empty text if none.

    A file that was only touched is told from one that changed by its bytes.

    Parameters
    ----------
    before, now : sequence of entries
        Records of the same images in the same order.
    shards : ShardDirectory
        The finished rows, with the arrays ``status`` and ``content_sha256``.
    digest : callable
        From the number of a row to the SHA-256 that its image has now.
    """
    touched = {
        row
        for row, (entry, other) in enumerate(zip(before, now, strict=True))
        if list(entry[1:3]) != list(other[1:3])
    }
    changed = []
    for shard in shards.finished.values():
        suspects = sorted(touched.intersection(range(shard.start, shard.stop)))
        if not suspects:
            continue
        rows = shards.peek(shard, ["status", "content_sha256"])
        for row in suspects:
            known = rows["status"][row - shard.start] not in UNKNOWN_CONTENT
            if known and rows["content_sha256"][row - shard.start].tobytes() != digest(row):
                changed.append(before[row][0])
    if not changed:
        return ""
    return (
        f"{counted(len(changed), 'image')} changed since their rows were made (such as "
        f"{changed[0]!r})"
    )


def changed_image(
    images: ImageList,
    rows: Iterable[int],
    digests: np.ndarray,
    check: Callable[[], object] | None = None,
) -> str:
    """Say which image of a finished file has changed since; an empty text if none.

    Parameters
    ----------
    images : ImageList
    rows : iterable of int
        Those of them to look at.
    digests : ndarray of uint8, shape (len(images), 32)
        SHA-256 of each, as the file has it.
    check : callable, optional
        Called before each image is read; what it raises ends this.
    """
    for row in rows:
        if check is not None:
            check()
        if digests[row].tobytes() != content_digest(images, int(row)):
            return f"the content of {images.names[row].decode(errors='backslashreplace')!r}"
    return ""
