"""A shard, opened: brought to this machine where it lies elsewhere, hashed, its images listed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from decaf.errors import ImageError, InputError
from decaf.features.store.parquet_part import is_parquet
from decaf.features.store.part_folder import READERS, InputShard
from decaf.images import ImageList, ImageRef
from decaf.images.decoding.limits import MAX_FILE_BYTES
from decaf.images.listing.archives import Member, archive_kind
from decaf.images.listing.folders import read_start
from decaf.scale.parquet_images import ImageSpool, parquet_samples
from decaf.scale.samples import Samples, archive_samples
from decaf.scale.shard_list import MISSING
from decaf.storage.object_store import (
    FileFacts,
    StoreError,
    copy_file,
    file_facts,
    is_remote,
    list_folder,
    local_path,
    read_file,
)

__all__ = ["OpenShard", "ShardChanged", "open_shard"]

_READ_BYTES = 4 << 20
# Of the images of a list that are brought here: what a scratch disk is asked for at most.
_MAX_FETCHED = 1 << 40


class ShardChanged(InputError):
    """A shard that became another while it was read."""


@dataclass(frozen=True)
class OpenShard:
    """A shard on this machine.

    Attributes
    ----------
    samples : Samples
    images : ImageList
    kind : str
        What it is: of `decaf.images.listing.archives.ARCHIVE_KINDS`, "parquet" or "list".
    sha256 : str
        SHA-256 of its bytes; of a piece of a list that of its lines.
    """

    samples: Samples
    images: ImageList
    kind: str
    sha256: str


@contextmanager
def open_shard(shard: InputShard) -> Iterator[OpenShard]:
    """Open a shard; what is brought to this machine for it is taken away on leaving.

    Parameters
    ----------
    shard : InputShard

    Yields
    ------
    OpenShard

    Raises
    ------
    InputError
        Where it is missing, damaged, holds no images, or is no shard; the message does not name it.
    ShardChanged
        Where it is not the file that was listed any more.
    StoreError
        Where the store went on failing.
    """
    with tempfile.TemporaryDirectory(prefix="decaf-shard-") as scratch:
        spool = Path(scratch, "images")
        if shard.lines:
            samples, kind = _listed(shard, spool), "list"
            text = os.fsencode("\n".join(shard.lines))
            sha256 = hashlib.sha256(text).hexdigest()
        else:
            path, sha256 = _brought(shard, Path(scratch))
            if is_parquet(path):
                samples, kind = parquet_samples(path, spool), "parquet"
            else:
                start = read_start(os.fsencode(path), 512)
                name = os.fsencode(shard.name)
                known = archive_kind(start, name) if start else None
                if known is None:
                    told = "is empty" if not start else "is no tar, zip or Parquet file"
                    raise InputError(f"it {told}")
                samples, kind = archive_samples(path, known), known
        yield OpenShard(samples, samples.images(shard.name, kind), kind, sha256)


def _brought(shard: InputShard, scratch: Path) -> tuple[str, str]:
    """Return the path of a shard on this machine, and its hash; it must be as it was listed."""
    if shard.version == MISSING:
        raise InputError("it is not there")
    try:
        if not is_remote(shard.name):
            path = local_path(shard.name)
            _refuse_changed(shard)
            if not os.path.isfile(path):
                raise InputError("it is no regular file")
            with open(path, "rb") as file:
                digest = hashlib.sha256()
                while block := file.read(_READ_BYTES):
                    digest.update(block)
            return path, digest.hexdigest()
        copy = scratch / "shard"
        sha256 = copy_file(shard.name, copy)
        if shard.size >= 0 and copy.stat().st_size != shard.size:
            _refuse_changed(shard)
            raise StoreError(f"gave {copy.stat().st_size} bytes of {shard.size}")
        _refuse_changed(shard)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("it is not there any more") from None
    except StoreError:
        raise
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror or error}") from error
    return str(copy), sha256


def _refuse_changed(shard: InputShard) -> None:
    now = file_facts(shard.name)
    if now is None:
        raise InputError("it is not there any more")
    listed = FileFacts(shard.size, shard.version)
    if now != listed and is_remote(shard.name):
        # A store may tell less of a file in a list than where it is asked for the file alone.
        folder, _, name = shard.name.rpartition("/")
        with suppress(NotImplementedError):
            now = list_folder(folder).get(name, now)
    if now != listed:
        raise ShardChanged(
            "it has changed since it was listed; run the same command again for it as it is now"
        )


def _listed(shard: InputShard, spool_path: Path) -> Samples:
    """List the images of paths and URLs; those that are elsewhere are brought to a scratch file."""
    samples = Samples()
    with (
        ImageSpool(spool_path, _MAX_FETCHED) as spool,
        ThreadPoolExecutor(READERS, "decaf-fetch") as readers,
    ):
        # By pieces, so that no more of them than these are in memory.
        for start in range(0, len(shard.lines), 4 * READERS):
            piece = shard.lines[start : start + 4 * READERS]
            for line, data in zip(piece, readers.map(_fetch, piece), strict=True):
                name = os.fsencode(line)
                if data is None:
                    samples.add(name, ImageRef(os.fsencode(local_path(line))), line)
                elif isinstance(data, bytes):
                    samples.add(name, spool.add(name, data), line)
                else:
                    nothing = ImageRef(name, b"", "tar", Member(name, 0, 0, 0, 0, 0))
                    row = samples.add(name, nothing, line)
                    samples.problems[row] = (data.status, data.message)
    return samples


def _fetch(line: str) -> bytes | ImageError | None:
    """Return the bytes of an image of a store, or why there are none; None for one of this disk."""
    if not is_remote(line):
        return None
    try:
        known = file_facts(line)
        if known is not None and known.size > MAX_FILE_BYTES:
            return ImageError(
                "too_large", f"{known.size} bytes; {MAX_FILE_BYTES} bytes is the limit"
            )
        return read_file(line)
    except (FileNotFoundError, IsADirectoryError):
        return ImageError("missing", "no such file")
    except Exception as error:
        return ImageError("unreadable", " ".join(f"{error}".split())[:300])
