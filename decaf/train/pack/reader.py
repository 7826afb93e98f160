"""The training pack, read: its images lie in memory as they lie in the file."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, NoReturn

import h5py
import numpy as np

from decaf.errors import ImageError, SettingError
from decaf.images import ImageList
from decaf.images.listing.image_ref import RefList
from decaf.images.status import STATUS_NAMES
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted
from decaf.storage.hdf5 import decode_text
from decaf.storage.hdf5_checks import open_hdf5
from decaf.train.pack import schema
from decaf.train.pack.schema import PackContents, check_pack, table_digest

__all__ = ["Pack", "PackSplit"]


class Pack:
    """A training pack; `Pack.open` gives one.

    It may be read from several threads. Nothing of its images is loaded before they are asked for,
    and none of it is read through HDF5.

    Attributes
    ----------
    path : str
        As given.
    size : int
        Side of every image, in pixels.
    encoding : {"jpeg", "raw"}
    resize : {"shorter-side", "warp", "none"}
        How the images were made square: by cutting out the centre, or as a whole.
    wnids : tuple of str
        Identity of the classes, which the labels number: WordNet ids, or names of folders. Sorted.
    class_names : tuple of str
        Their names for people.
    splits : dict of str to PackSplit
        ``"train"``, and ``"val"`` and ``"test"`` where there are such.
    mean, std : ndarray of float64, shape (3,)
        Mean and standard deviation of all pixels of the training images, in [0, 1], RGB.
    mean_image : ndarray of float32, shape (3, size, size)
        In [0, 1].
    pca : tuple of ndarray of float64, shapes (3,) and (3, 3)
        Eigenvalues, falling, and in the columns the eigenvectors of the covariance of RGB over all
        pixels of the training images, in [0, 1] (Krizhevsky et al. 2012, sec. 4.1).
    bad : list of (split, name, status, message)
        Images that could not be read, and are in no split.
    fingerprint : str
        SHA-256 of all that the pack holds, and of the settings it was made with.
    run : dict
        The settings.
    """

    def __init__(self, path: str, file: h5py.File, contents: PackContents) -> None:
        self.path = path
        self.size = contents.size
        self.encoding = contents.encoding
        self.resize = contents.resize
        self.run = contents.run
        self.content = contents.content
        self.environment = contents.environment
        self.attrs = contents.attrs
        self._file: h5py.File | None = file
        self._map: mmap.mmap | None = None
        self._lock = threading.RLock()
        with schema.PACK_FILE.reading(path):
            self.wnids = _texts(file["wnid"])
            self.class_names = _texts(file["class_name"])
            self.mean, self.std = file["mean"][:], file["std"][:]
            self.mean_image = file["mean_image"][:]
            self.pca = (file["pca_values"][:], file["pca_vectors"][:])
            bad = file[schema.BAD]
            columns = [_texts(bad["split"]), bad["name"][:].tolist()]
            columns += [_texts(bad["status"]), _texts(bad["message"])]
            self.bad: list[tuple[str, bytes, str, str]] = list(zip(*columns, strict=True))
            self._check_values(contents)
            self.splits = {
                name: PackSplit(self, name, start, length)
                for name, (start, length) in contents.splits.items()
            }

    @classmethod
    def open(cls, path: str | bytes | os.PathLike[str]) -> Pack:
        """Open a training pack.

        Parameters
        ----------
        path : str, bytes or path-like
            A file that ``decaf pack`` has written.

        Returns
        -------
        Pack
            Close it after use, or use it in a ``with`` statement.

        Raises
        ------
        PackError
            Where it is not a pack, is damaged, or holds what decaf refuses to follow.
        """
        file = open_hdf5(path, schema.PACK_FILE)
        try:
            name = name_text(path)
            return cls(name, file, check_pack(file, name))
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file. Arrays that it has given before can be used on.

        While there are any, Windows lets nobody rename, replace or delete the file.
        """
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._map is not None:
            with suppress(BufferError):  # there are such arrays, and the last one closes it
                self._map.close()
            self._map = None

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        images = ", ".join(f"{name} {len(split)}" for name, split in self.splits.items())
        state = "" if self._file is not None else ", closed"
        return (
            f"<Pack {self.path!r}: {images} images of {len(self.wnids)} classes, "
            f"{self.size}×{self.size} {self.encoding}{state}>"
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the pack holds, and of the settings it was made with."""
        return str(self.attrs["fingerprint"])

    def info(self) -> dict[str, Any]:
        """Describe the pack: values that `json` can write."""
        return {
            "path": self.path,
            "bytes": os.stat(self.path).st_size,
            "size": self.size,
            "encoding": self.encoding,
            "classes": len(self.wnids),
            "splits": {
                name: {
                    "images": len(split),
                    "bytes": split.data_bytes,
                    "kept": self.content["splits"][name]["kept"],
                    "bad": sum(entry[0] == name for entry in self.bad),
                }
                for name, split in self.splits.items()
            },
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "pca_values": self.pca[0].tolist(),
            "pca_vectors": self.pca[1].tolist(),
            "decaf_version": self.attrs["decaf_version"],
            "created": self.attrs["created"],
            "fingerprint": self.fingerprint,
            "run": self.run,
            "environment": self.environment,
        }

    def verify(self, between: Callable[[], object] | None = None) -> None:
        """Read the whole pack and compare it with its checksums.

        Parameters
        ----------
        between : callable, optional
            Called again and again meanwhile; what it raises ends this.

        Raises
        ------
        PackError
            Where something in it has changed.
        """
        with self.locked() as file, schema.PACK_FILE.reading(self.path):
            for split in self.splits.values():
                split.check_data(between)
            if table_digest(file) != self.content:
                self.refuse("its tables are not those of its checksums: it has been changed")

    def mapped(self, start: int, length: int) -> np.ndarray:
        """Return bytes of the file as they lie there: 1-D uint8, read-only.

        Parameters
        ----------
        start : int
            First byte.
        length : int
            Number of bytes.
        """
        with self.locked() as file, schema.PACK_FILE.reading(self.path):
            if self._map is None:
                # Of the file that was checked, whatever its name stands for by now.
                descriptor = file.id.get_vfd_handle()
                self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            return np.frombuffer(self._map, np.uint8, count=length, offset=start)

    @contextmanager
    def locked(self) -> Iterator[h5py.File]:
        """Hold the HDF5 file, which one thread at a time may read."""
        if self._file is None:
            raise SettingError(f"{self.path}: the pack is closed")
        with self._lock:
            yield self._file

    def images(self, split: str) -> ImageList:
        """List the images of a split, which are decoded when they are asked for.

        Parameters
        ----------
        split : str
        """
        packed = self.splits[split]
        source = {
            "kind": "pack",
            "path": self.path,
            "images": len(packed),
            "fingerprint": self.fingerprint,
            "size": self.size,
            "resize": self.resize,
            "encoding": self.encoding,
        }
        return ImageList(
            packed.names,
            packed.labels,
            self.wnids,
            (source,),
            None,
            packed,
            splits=(split,) * len(packed),
            titles=self.class_names,
            content_sha256=packed.content_sha256,
        )

    def sources(self, split: str) -> tuple[ImageList, dict[int, str]]:
        """List all images that a split was made from, bad ones in their places.

        Parameters
        ----------
        split : str

        Returns
        -------
        images : ImageList
        statuses : dict of int to str
            Statuses of the images that could not be read, by their places.
        """
        good = self.splits[split]
        with self.locked() as file, schema.PACK_FILE.reading(self.path):
            bad = file[schema.BAD]
            rows = np.flatnonzero(np.array([entry[0] == split for entry in self.bad], bool))
            places = bad["row"][:][rows]
            bad_labels, bad_digests = bad["label"][:][rows], bad["content_sha256"][:][rows]
        total = len(good) + len(rows)
        if len(set(places.tolist())) != len(rows) or not ((places >= 0) & (places < total)).all():
            self.refuse(f"{split}: the places of its bad images contradict each other")
        ok = np.ones(total, bool)
        ok[places] = False
        names, statuses = [b""] * total, {}
        labels, digests = np.empty(total, np.int64), np.empty((total, 32), np.uint8)
        labels[ok], labels[places] = good.labels, bad_labels
        digests[ok], digests[places] = good.content_sha256, bad_digests
        for place, name in zip(np.flatnonzero(ok).tolist(), good.names, strict=True):
            names[place] = name
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            names[place], statuses[place] = self.bad[row][1:3]
        refs = RefList(names, {})
        images = ImageList(names, labels, self.wnids, (), refs, content_sha256=digests)
        return images, statuses

    def refuse(self, text: str) -> NoReturn:
        """Raise `PackError` naming the file.

        Parameters
        ----------
        text : str
        """
        schema.PACK_FILE.refuse(self.path, text)

    def _check_values(self, contents: PackContents) -> None:
        if list(self.wnids) != sorted(set(self.wnids)):
            self.refuse("its classes are not sorted, or one is there twice")
        values = [self.mean, self.std, self.mean_image, *self.pca]
        if not all(np.isfinite(array).all() for array in values):
            self.refuse("its statistics hold NaN or infinity")
        for split, _name, status, _message in self.bad:
            if split not in schema.SPLITS or status not in STATUS_NAMES[1:]:
                self.refuse(f"lists a bad image of split {split!r} and status {status!r}")
        counts = self.content.get("splits")
        if (
            not isinstance(counts, dict)
            or counts.keys() != contents.splits.keys()
            or not all(
                isinstance(entry, dict) and isinstance(entry.get("kept"), int)
                for entry in counts.values()
            )
        ):
            self.refuse("its attribute 'content' does not describe its splits")


class PackSplit:
    """The images of one split: ``split[i]`` is (pixels, label), as of a torch Dataset.

    Attributes
    ----------
    name : str
    labels : ndarray of int64, shape (N,)
    offsets : ndarray of int64, shape (N + 1,), or None
        Where each image's bytes begin in `data`; None in a pack of raw pixels.
    data_bytes : int
        Size of the images in the file.
    """

    def __init__(self, pack: Pack, name: str, start: int, length: int) -> None:
        self.name = name
        self.data_bytes = length
        self._pack = pack
        self._start = start
        with pack.locked() as file:
            group = file[name]
            self.labels: np.ndarray = group["label"][:]
            self.offsets: np.ndarray | None = group["offset"][:] if "offset" in group else None
            self._sums: np.ndarray = group["data_sha256"][:]
        self._checked: set[int] = set()  # the blocks whose sums were compared
        classes = len(pack.wnids)
        if (wrong := (self.labels < 0) | (self.labels >= classes)).any():
            image = int(wrong.argmax())
            pack.refuse(
                f"{name}/label, image {image}: class {self.labels[image]} found, "
                f"0 to {classes - 1} expected"
            )
        if self.offsets is not None:
            edges = self.offsets[0] == 0 and self.offsets[-1] == length
            # Compared, not subtracted: differences of forged numbers wrap around.
            if not edges or (self.offsets[1:] <= self.offsets[:-1]).any():
                pack.refuse(f"{name}/offset does not cut {length} bytes into {len(self)} images")
            self.offsets.flags.writeable = False
        self.labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<PackSplit {self.name!r} of {self._pack.path!r}: {counted(len(self), 'image')}>"

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        pixels = self.pixels(index)
        return pixels, int(self.labels[index])

    @property
    def classes(self) -> tuple[str, ...]:
        """Identity of the classes that the labels number, as torchvision's data sets call it."""
        return self._pack.wnids

    @property
    def data(self) -> np.ndarray:
        """The bytes of all images: (`data_bytes`,) uint8, read-only, mapped from the file."""
        return self._pack.mapped(self._start, self.data_bytes)

    @cached_property
    def names(self) -> list[bytes]:
        """Path of each image below the data set that was packed."""
        with self._pack.locked() as file, schema.PACK_FILE.reading(self._pack.path):
            names: list[bytes] = file[self.name]["name"][:].tolist()
        return names

    @property
    def content_sha256(self) -> np.ndarray:
        """SHA-256 of the file each image was made from: (N, 32) uint8."""
        with self._pack.locked() as file, schema.PACK_FILE.reading(self._pack.path):
            digests: np.ndarray = file[self.name]["content_sha256"][:]
        return digests

    @property
    def raw(self) -> np.ndarray | None:
        """Raw pixels, (N, size, size, 3) uint8, read-only, mapped; None in a pack of JPEGs."""
        if self.offsets is not None:
            return None
        return self.data.reshape(len(self), self._pack.size, self._pack.size, 3)

    def encoded(self, index: int) -> np.ndarray:
        """Return the bytes of an image's JPEG: 1-D uint8, read-only, mapped.

        Parameters
        ----------
        index : int

        Raises
        ------
        IndexError
        SettingError
            In a pack of raw pixels.
        """
        if self.offsets is None:
            raise SettingError(f"{self._pack.path}: holds raw pixels, no JPEGs")
        index = self._place(index)
        return self.data[self.offsets[index] : self.offsets[index + 1]]

    def pixels(self, index: int) -> np.ndarray:
        """Return an image: (size, size, 3) uint8, RGB, an array of its own.

        Parameters
        ----------
        index : int

        Raises
        ------
        IndexError
        PackError
            Where it is damaged: a block is compared with its SHA-256 when its first image is read.
        """
        index = self._place(index)
        start, stop = self._bytes_of(index)
        for number in range(start // schema.BLOCK_BYTES, (stop - 1) // schema.BLOCK_BYTES + 1):
            if number not in self._checked:
                self._check_block(number)
        if (raw := self.raw) is not None:
            return np.array(raw[index])
        from decaf.images.decoding.decode import decode

        try:
            decoded = decode(self.encoded(index).tobytes())
        except ImageError as error:
            raise schema.PACK_FILE.error(
                f"{self._pack.path}: {self.name}, image {index}: {error}"
            ) from error
        size = self._pack.size
        if (decoded.height, decoded.width) != (size, size):
            self._pack.refuse(
                f"{self.name}, image {index}: {decoded.width} × {decoded.height} pixels found, "
                f"{size} × {size} expected"
            )
        return decoded.pixels

    def check_data(self, between: Callable[[], object] | None = None) -> None:
        """Compare the data with the SHA-256 of its blocks; see `Pack.verify`.

        Parameters
        ----------
        between : callable, optional
            Called before each block.
        """
        for number in range(len(self._sums)):
            if between is not None:
                between()
            self._check_block(number)

    def _check_block(self, number: int) -> None:
        start = number * schema.BLOCK_BYTES
        stop = min(start + schema.BLOCK_BYTES, self.data_bytes)
        # No name for the block: an error would keep it, and with it the file open.
        if hashlib.sha256(self.data[start:stop].data).digest() != self._sums[number].tobytes():
            first, last = self._images_of(start, stop)
            self._pack.refuse(
                f"{self.name}, images {first} to {last}: the data is damaged; make the pack again"
            )
        self._checked.add(number)

    def _bytes_of(self, place: int) -> tuple[int, int]:
        """Return where the bytes of an image begin and end in `data`."""
        if self.offsets is None:
            each = self._pack.size**2 * 3
            return place * each, (place + 1) * each
        return int(self.offsets[place]), int(self.offsets[place + 1])

    def _images_of(self, start: int, stop: int) -> tuple[int, int]:
        if self.offsets is None:
            each = self._pack.size**2 * 3
            return start // each, (stop - 1) // each
        first = np.searchsorted(self.offsets, start, side="right") - 1
        return int(first), int(np.searchsorted(self.offsets, stop, side="left") - 1)

    def _place(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return index % len(self)


def _texts(dataset: h5py.Dataset) -> tuple[str, ...]:
    return tuple(decode_text(value) for value in dataset[:].tolist())
