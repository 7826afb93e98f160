"""The shards that a user names: paths, URLs and patterns in, a list of `InputShard` out."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from decaf.errors import InputError
from decaf.features.store.part_folder import READERS, InputShard
from decaf.images.listing.folders import has_image_ending
from decaf.runtime.names import name_text, slashed
from decaf.storage.object_store import (
    FileFacts,
    file_facts,
    is_remote,
    list_folder,
    list_pattern,
    local_path,
    read_file,
)

__all__ = ["MISSING", "SHARD_IMAGES", "expand_braces", "list_shards"]

SHARD_IMAGES = 10_000
"""Lines of a list that are one shard, where nothing else is asked for."""

MISSING = "missing"
"""Version of a shard that is not there."""

MAX_SHARDS = 2_000_000
_LISTS = (".txt", ".lst", ".list")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(\d+))?")
_INNER = re.compile(r"\{([^{}]*)\}")


def list_shards(sources: Any, *, shard_images: int = SHARD_IMAGES) -> list[InputShard]:
    """List shards, in the order in which they are named, each once.

    Parameters
    ----------
    sources : str, path, or sequence of them
        Each is a tar, zip or parquet file, or a list of images (``.txt``, ``.lst``, ``.list``: a
        path or URL a line), or an image; a path, or a URL that fsspec knows. ``{000..999}`` and
        ``{a,b}`` stand for several, ``*``, ``?``, ``[…]`` and ``**`` for those that are there.
        The images that are named one by one are cut into shards like the lines of a list.
    shard_images : int
        Lines of a list that are one shard.

    Returns
    -------
    list of InputShard
        A shard that is named without wildcards and is not there has the version `MISSING`.

    Raises
    ------
    InputError
        Where a pattern means nothing, or too much.
    """
    given = [sources] if isinstance(sources, (str, bytes, os.PathLike)) else list(sources)
    names: dict[str, None] = {}
    for source in map(name_text, given):
        # A path is the same shard from whatever folder it is named.
        names.update(dict.fromkeys(n if is_remote(n) else _absolute(n) for n in _named(source)))
        if len(names) > MAX_SHARDS:
            raise InputError(f"{source}: means more than {MAX_SHARDS} shards")
    if not names:
        raise InputError("no shards: the list is empty")
    images = [name for name in names if has_image_ending(os.fsencode(name))]
    lists = [name for name in names if name.lower().endswith(_LISTS)]
    facts = _facts_of([n for n in names if n not in set(images) and n not in set(lists)])
    shards: list[InputShard] = []
    for name in names:
        if name in facts:
            there = facts[name]
            known = FileFacts(-1, MISSING) if there is None else there
            shards.append(InputShard(name, known.size, known.version))
        elif name in lists:
            shards += _cut(name, _lines_of(name), shard_images)
    return shards + _cut("images", images, shard_images)


def expand_braces(pattern: str) -> Iterator[str]:
    """Expand ``{000..012}``, ``{0..8..2}`` and ``{a,b}`` as a shell does, from left to right.

    Parameters
    ----------
    pattern : str

    Examples
    --------
    >>> list(expand_braces("s{08..10}.{tar,zip}"))
    ['s08.tar', 's08.zip', 's09.tar', 's09.zip', 's10.tar', 's10.zip']
    """
    pieces: list[Sequence[str]] = []
    place = 0
    for match in _INNER.finditer(pattern):
        choices = _choices(match[1])
        if choices is not None:
            pieces += [[pattern[place : match.start()]], choices]
            place = match.end()
    pieces.append([pattern[place:]])
    total = 1
    for piece in pieces:
        total *= len(piece)
    if total > MAX_SHARDS:
        raise InputError(f"{pattern}: means {total} shards, at most {MAX_SHARDS} are listed")
    return ("".join(parts) for parts in itertools.product(*pieces))


class _Numbers(Sequence[str]):
    """The numbers of a range as texts, none of which is made before it is asked for."""

    def __init__(self, numbers: range, width: int) -> None:
        self._numbers, self._width = numbers, width

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        return f"{self._numbers[index]:0{self._width}d}"


def _choices(inner: str) -> Sequence[str] | None:
    """Return what stands in braces, expanded; None where it is no pattern."""
    match = _RANGE.fullmatch(inner)
    if match:
        texts = (match[1], match[2])
        first, last = map(int, texts)
        step = max(1, int(match[3] or 1))
        padded = any(re.fullmatch(r"-?0\d+", text) for text in texts)
        numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
        return _Numbers(numbers, max(map(len, texts)) if padded else 0)
    return inner.split(",") if "," in inner else None


def _named(source: str) -> Iterator[str]:
    """Return the names that a source stands for, wildcards looked up."""
    if not is_remote(source) and os.path.isdir(local_path(source)):
        raise InputError(
            f"{source!r}: is a folder; name the shards in it, such as {source.rstrip('/')}/*.tar"
        )
    for name in expand_braces(source):
        wild = any(sign in name for sign in "*?[") and not os.path.lexists(name)
        if wild and name.lower().startswith(("http://", "https://")):
            wild = False  # what follows a question mark is a query
        if not wild:
            yield name
            continue
        found = list_pattern(name)
        if not found:
            raise InputError(f"{name!r}: no file is called like this")
        yield from found


def _absolute(name: str) -> str:
    return name_text(slashed(os.fsencode(os.path.abspath(local_path(name)))))


def _facts_of(names: list[str]) -> dict[str, FileFacts | None]:
    """Return what is known of files: a folder of a store is listed once, not asked for each."""
    facts: dict[str, FileFacts | None] = {}
    folders: dict[str, list[str]] = {}
    for name in names:
        if is_remote(name) and not name.lower().startswith(("http://", "https://")):
            folders.setdefault(name.rpartition("/")[0], []).append(name)
        else:
            folders.setdefault("", []).append(name)
    alone = folders.pop("", [])
    for folder, inside in folders.items():
        try:
            listed = list_folder(folder)
        except NotImplementedError:
            alone += inside
        else:
            facts.update({name: listed.get(name.rpartition("/")[2]) for name in inside})
    with ThreadPoolExecutor(READERS) as readers:
        facts.update(zip(alone, readers.map(file_facts, alone), strict=True))
    return {name: facts[name] for name in names}


def _lines_of(name: str) -> list[str]:
    """Read a list: a path or URL a line; relative paths are below the list's folder."""
    try:
        data = read_file(name)
    except OSError as error:
        raise InputError(f"{name!r}: cannot be read: {error.strerror or error}") from error
    lines = [name_text(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]
    folder = name.rpartition("/")[0]
    named = []
    for line in lines:
        relative = line and not is_remote(line) and not os.path.isabs(local_path(line))
        if relative and (is_remote(name) or not os.path.lexists(line)):
            line = f"{folder}/{line}" if folder else line
        if line:
            named.append(line if is_remote(line) else _absolute(line))
    if not named:
        raise InputError(f"{name!r}: lists no images")
    return named


def _cut(name: str, lines: list[str], shard_images: int) -> list[InputShard]:
    shards = []
    for first in range(0, len(lines), shard_images):
        part = tuple(lines[first : first + shard_images])
        text = os.fsencode("\n".join(part))
        place = f"{name}:{first:09d}-{first + len(part):09d}"
        shards.append(InputShard(place, len(text), hashlib.sha256(text).hexdigest()[:20], part))
    return shards
