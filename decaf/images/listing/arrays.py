"""Arrays of images in files: ``.npy``, and datasets of HDF5 files; read one image at a time.

An image of an array is given to the decoder as a PPM of its samples, so that it goes the way of all
others. Nothing is unpickled, and of an HDF5 file, which may be a stranger's, no link is followed
that leaves it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError, InputError
from decaf.images.decoding.limits import MAX_FILE_BYTES, MAX_PIXELS
from decaf.images.listing.archives import file_key
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    import h5py

__all__ = [
    "ARRAY_KINDS",
    "are_channels_first",
    "channels_last",
    "check_images",
    "close_kept_array",
    "list_array",
    "npy_header",
    "open_any_hdf5",
    "open_dataset",
    "read_array_image",
    "refuse_holes",
]

ARRAY_KINDS = ("npy", "hdf5")

_WANTED = "expected images (N, H, W, 3), (N, H, W) or (N, 3, H, W), uint8"
# What numpy and h5py raise on damaged files.
_DAMAGE = (OSError, ValueError, KeyError, RuntimeError, TypeError, SyntaxError, EOFError)
# Objects of an HDF5 file that are looked at for one that holds images.
_MAX_OBJECTS = 10_000
# A chunk of many images is unpacked once for all of them where this holds it.
_CHUNK_CACHE = 64 << 20


def list_array(path: bytes, kind: str, dataset: str = "") -> list[bytes]:
    """Name the images of an array: ``FILE.npy[12]``, ``FILE.h5:images[12]``.

    Parameters
    ----------
    path : bytes
        The file.
    kind : {"npy", "hdf5"}
    dataset : str
        Name of a dataset in an HDF5 file; empty for the only one that holds images.

    Raises
    ------
    InputError
        If it is damaged, or there is no array of images of the shape and type that are read.
    """
    shown = name_text(path)
    try:
        if kind == "npy":
            with open(path, "rb") as file:
                shape, dtype = npy_header(file)
            check_images(shape, dtype, repr(shown))
            _refuse_large(shape, repr(shown))
            start = path
        else:
            with open_any_hdf5(path) as file:
                dataset = dataset or _only_images(file, shown)
                images = open_dataset(file, dataset, shown)
                shape = images.shape
                what = f"dataset {dataset!r} of {shown!r}"
                check_images(shape, images.dtype, what)
                _refuse_large(shape, what)
                refuse_holes(images, what)
            start = path + b":" + dataset.encode("utf-8", "surrogateescape")
    except _DAMAGE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown!r} cannot be read as an array of images: {error}") from error
    return [b"%s[%d]" % (start, row) for row in range(shape[0])]


def read_array_image(name: bytes, path: bytes, kind: str) -> bytes:
    """Read one image of an array, as a PPM or PGM.

    Parameters
    ----------
    name : bytes
        As `list_array` gave it.
    path : bytes
        The file.
    kind : {"npy", "hdf5"}

    Raises
    ------
    ImageError
        "missing" if the file is gone, "unreadable" or "corrupt" if it has changed or is damaged.
    """
    dataset, _, number = name[len(path) + 1 :].removesuffix(b"]").rpartition(b"[")
    try:
        if kind == "npy":
            samples = _npy_image(path, int(name[len(path) + 1 : -1]))
        else:
            images = _hdf5_file(path)[dataset.decode("utf-8", "surrogateescape")]
            samples = images[int(number)]
        samples = channels_last(samples[None])[0]
    except FileNotFoundError:
        raise ImageError("missing", "its array is gone") from None
    except _DAMAGE as error:
        _opened.__dict__.clear()
        status = "unreadable" if isinstance(error, OSError) and error.errno else "corrupt"
        raise ImageError(status, f"array: {error}") from error
    height, width = samples.shape[:2]
    magic = b"P6" if samples.shape[2:] == (3,) else b"P5"
    return b"%s %d %d 255\n" % (magic, width, height) + np.ascontiguousarray(samples).tobytes()


def check_images(
    shape: tuple[int, ...], dtype: np.dtype[Any], what: str, channels: Sequence[int] = (1, 3)
) -> None:
    """Refuse an array that is none of images.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    what : str
        Begins the message.
    channels : sequence of int
        How many an image may have.

    Raises
    ------
    InputError
    """
    told = f"{what} is of shape {shape} and type {dtype}; {_WANTED}"
    if len(shape) == 3 and shape[2] in (3, 4):
        raise InputError(f"{told}: it looks like one image, which array[None] makes a batch of")
    coloured = len(shape) == 4 and (shape[3] in channels or are_channels_first(shape))
    if len(shape) == 2 and dtype.kind == "f":
        raise InputError(
            f"{told}: features of another network go to `decaf fit` as `features`, with the images "
            "beside them"
        )
    if len(shape) != 3 and not coloured:
        raise InputError(told)
    if dtype != np.uint8:
        more = ": floats from 0 to 1 become that by (array * 255).round().astype(numpy.uint8)"
        raise InputError(told + (more if dtype.kind == "f" else ""))
    if 0 in shape:
        raise InputError(f"{told}: there are no images in it")
    if int(np.prod(shape[1:], dtype=object)) > MAX_FILE_BYTES:
        raise InputError(f"{told}, of at most {MAX_FILE_BYTES} bytes each")


def are_channels_first(shape: tuple[int, ...]) -> bool:
    """Tell whether the three (or one) channels of images stand before their rows and columns.

    Parameters
    ----------
    shape : tuple of int
        Of all images.

    Examples
    --------
    >>> are_channels_first((9, 3, 20, 30)), are_channels_first((9, 3, 20, 3))
    (True, False)
    """
    return len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4)


def channels_last(images: np.ndarray) -> np.ndarray:
    """Return images ``(N, 3, H, W)`` as ``(N, H, W, 3)``, which is a view; others as they are.

    Parameters
    ----------
    images : ndarray
    """
    return np.moveaxis(images, 1, -1) if are_channels_first(images.shape) else images


def _refuse_large(shape: tuple[int, ...], what: str) -> None:
    sides = shape[2:4] if are_channels_first(shape) else shape[1:3]
    if int(np.prod(sides, dtype=object)) > MAX_PIXELS:
        raise InputError(f"{what} is of shape {shape}; an image has at most {MAX_PIXELS} pixels")


def refuse_holes(rows: h5py.Dataset, what: str) -> None:
    """Refuse a dataset of which a part was never written: HDF5 reads it as zeros, black images.

    Parameters
    ----------
    rows : h5py.Dataset
    what : str
        Begins the message.

    Raises
    ------
    InputError
    """
    stored = rows.id.get_storage_size()
    if not rows.chunks:
        missing = stored < rows.nbytes
    else:
        counts = (-(-int(n) // c) for n, c in zip(rows.shape, rows.chunks, strict=True))
        missing = rows.id.get_num_chunks() < int(np.prod([*counts], dtype=object))
    if missing:
        raise InputError(
            f"{what} claims {rows.nbytes} bytes, but {stored} are stored: a part was never "
            "written, and would be read as zeros; write only the rows that there are"
        )


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and type of a ``.npy`` file, which then stands at its data.

    Parameters
    ----------
    file : binary file
        At its beginning.

    Raises
    ------
    ValueError
        If it is damaged, too short, or in Fortran order.
    """
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format")
    shape, fortran, dtype = read(file)
    if fortran:
        raise ValueError("it is in Fortran order; save numpy.ascontiguousarray(array)")
    here = file.tell()
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if not dtype.hasobject and file.seek(0, os.SEEK_END) - here < size:
        raise ValueError(f"it ends {size - (file.tell() - here)} bytes too early")
    file.seek(here)
    return shape, dtype


def _npy_image(path: bytes, row: int) -> np.ndarray:
    with open(path, "rb") as file:
        shape, dtype = npy_header(file)
        check_images(shape, dtype, "array")
        if row >= shape[0]:
            raise ValueError(f"it has {counted(shape[0], 'image')} now")
        size = int(np.prod(shape[1:]))
        file.seek(row * size, os.SEEK_CUR)
        return np.frombuffer(file.read(size), np.uint8).reshape(shape[1:])


_opened = threading.local()


def close_kept_array() -> None:
    """Close the HDF5 file that this thread keeps open, which on Windows nobody could replace."""
    if hasattr(_opened, "file"):
        _opened.file.close()
    _opened.__dict__.clear()


def _hdf5_file(path: bytes) -> h5py.File:
    """Open an HDF5 file, kept open from one image to the next."""
    key = file_key(path)
    if getattr(_opened, "key", None) != key:
        _opened.file = open_any_hdf5(path)
        _opened.key = key
    return _opened.file


def open_any_hdf5(path: bytes) -> h5py.File:
    """Open an HDF5 file of whatever program for reading.

    Parameters
    ----------
    path : bytes

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    import h5py

    shown = name_text(path)
    try:
        return h5py.File(shown, "r", rdcc_nbytes=_CHUNK_CACHE)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{shown}: an HDF5 file, but cut short or damaged ({reason})") from error


def _only_images(file: h5py.File, shown: str) -> str:
    """Find the dataset that holds images, where it is the only one."""
    import h5py

    fitting: list[str] = []
    others: list[str] = []
    looked_at = 0
    waiting: list[tuple[str, Any]] = [("", file)]
    while waiting:
        folder, group = waiting.pop()
        for name in group:
            looked_at += 1
            if looked_at > _MAX_OBJECTS:
                raise InputError(f"{shown!r} holds too much to look through; name it: FILE:DATASET")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item, place = group[name], f"{folder}{name}"
            if isinstance(item, h5py.Group):
                if folder.count("/") < 16:  # hard links may go round
                    waiting.append((place + "/", item))
                continue
            shape: tuple[int, ...] = getattr(item, "shape", None) or ()
            right = len(shape) == 3 or (
                len(shape) == 4 and (shape[3] in (1, 3) or are_channels_first(shape))
            )
            if right and item.dtype == np.uint8:
                fitting.append(place)
            else:
                others.append(f"{place} {shape} {getattr(item, 'dtype', '')}")
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(sorted(fitting)[:8])
        raise InputError(
            f"{shown!r} holds {len(fitting)} arrays of images; name one of {names}, as FILE:DATASET"
        )
    told = ", ".join(others[:5]) or "no dataset"
    raise InputError(f"{shown!r} holds no array of images; {_WANTED}, got {told}")


def open_dataset(file: h5py.File, name: str, shown: str) -> h5py.Dataset:
    """Open a dataset by hard links alone, whose data lie in the file.

    Parameters
    ----------
    file : h5py.File
    name, shown : str
        Names of the dataset, and of the file for errors.

    Raises
    ------
    InputError
    """
    import h5py

    item: Any = file
    for part in name.strip("/").split("/"):
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise InputError(f"{shown!r} has no dataset {name!r}")
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{shown!r}: {name!r} is a link, which is not followed")
        item = item[part]
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise InputError(f"{shown!r}: {name!r} is no array")
    if item.is_virtual or item.external:
        raise InputError(f"{shown!r}: the data of {name!r} lie in other files, which are not read")
    if item.chunks and int(np.prod(item.chunks, dtype=object)) > MAX_FILE_BYTES:
        raise InputError(f"{shown!r}: the chunks of {name!r} are too large to read")
    return item
