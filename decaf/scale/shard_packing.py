"""`pack_shards`: the shards of a webdataset into a training pack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from decaf.errors import InputError, SettingError
from decaf.features.store.part_folder import InputShard
from decaf.images import ImageList, ListingSettings
from decaf.images.listing.archives import archive_kind
from decaf.images.listing.folders import read_start
from decaf.runtime.names import name_text
from decaf.runtime.settings import ComputeSettings
from decaf.scale.samples import archive_samples
from decaf.scale.shard_list import MISSING, list_shards
from decaf.storage import check_output
from decaf.storage.object_store import copy_file, is_remote
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack
from decaf.train.pack.sources import find_source
from decaf.train.pack.stored_images import PackSettings

__all__ = ["are_shards", "pack_shards"]


def are_shards(source: Any) -> bool:
    """Tell whether a source of a pack is shards: a URL, or a pattern of archives.

    Parameters
    ----------
    source : str, path, or sequence of them
    """
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    names = [os.fspath(each) for each in given]
    return any(
        is_remote(name) or (not os.path.lexists(name) and any(sign in name for sign in "{*?["))
        for name in names
    )


def pack_shards(
    shards: Any,
    out: str | os.PathLike[str],
    *,
    val: Any = None,
    split_val: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    settings: PackSettings | None = None,
    listing: ListingSettings | None = None,
    compute: ComputeSettings | None = None,
) -> Pack:
    """Turn the shards of a webdataset into a training pack; see `decaf.make_pack`.

    Shards of a store are brought to the folder ``OUT.shards``, which is taken away when the pack is
    there; a run that is taken up finds them.

    Parameters
    ----------
    shards : str, path, or sequence of them
        Tars or zips, as `extract_shards` takes them; the classes are those of ``.cls``.
    out : path
        The file to write.
    val : str, path, or sequence of them, optional
        The shards of the validation images.
    split_val, seed, overwrite, settings, listing, compute
        As in `decaf.make_pack`; the labels are those of the samples.

    Raises
    ------
    InputError
        Where a shard cannot be read, or its samples have no classes.
    SettingError
        For `groups`, which are of paths.
    """
    listing = listing or ListingSettings()
    if listing.groups is not None:
        raise SettingError("`groups` of shards cannot be told; leave it out, or unpack them")
    if val is not None and split_val is not None:
        raise SettingError("`split_val` and `val` are two sources of validation images; give one")
    path = Path(name_text(out))
    check_output(path, "pack", example="data.pack")
    with _brought_folder(path) as folder:
        train = _images(shards, folder)
        held_out = None if val is None else _images(val, folder)
        data = find_source(train, listing, val=held_out, split_val=split_val, seed=seed)
        return make_pack(
            data,
            out,
            overwrite=overwrite,
            settings=settings,
            listing=replace(listing, groups=None),
            compute=compute,
        )


@contextmanager
def _brought_folder(path: Path) -> Iterator[Path]:
    """Give the folder for the shards of a store, which goes when the pack is there."""
    folder = path.with_name(path.name + ".shards")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _images(shards: Any, folder: Path) -> ImageList:
    """List the images of all shards, by their names in these."""
    lists = []
    for shard in list_shards(shards):
        if shard.version == MISSING or shard.lines:
            told = "is a list, not an archive" if shard.lines else "is not there"
            raise InputError(f"{shard.name}: {told}")
        path = _brought(shard, folder)
        try:
            kind = archive_kind(read_start(os.fsencode(path), 512), os.fsencode(shard.name))
            if kind is None:
                raise InputError("it is no tar or zip")
            samples = archive_samples(path, kind)
            images = samples.images(shard.name, kind)
        except InputError as error:
            raise InputError(f"{shard.name}: {error}") from error
        # In several shards there may be the same names.
        base = os.fsencode(shard.name.rpartition("/")[2])
        lists.append(replace(images, names=[b"%s/%s" % (base, name) for name in images.names]))
    return ImageList.join(lists)


def _brought(shard: InputShard, folder: Path) -> str:
    """Return the path of a shard; one of a store is brought here, unless it is here already."""
    if not is_remote(shard.name):
        return shard.name
    folder.mkdir(exist_ok=True)
    target = folder / shard.stem("pack")
    if not target.exists():
        half = target.with_name(target.name + ".half")
        copy_file(shard.name, half)
        half.rename(target)
    return str(target)
