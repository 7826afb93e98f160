"""A part set, read as one feature file: `PartSet`."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from contextlib import ExitStack
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from decaf.errors import FeatureFileError
from decaf.features.store import schema
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.parquet_part import ParquetPart
from decaf.features.store.part_folder import InputShard, PartFolder
from decaf.runtime.wording import counted

__all__ = ["PartSet", "open_part"]

# Parts that are held open.
OPEN_PARTS = 8
# Rows that are read together where single ones are asked for.
CHUNK_ROWS = 1024


def open_part(folder: PartFolder, name: str) -> FeatureFile:
    """Open a part alone.

    Parameters
    ----------
    folder : PartFolder
    name : str
        Name of its file.

    Raises
    ------
    FeatureFileError
        Where it is damaged.
    """
    if name.endswith(".parquet"):
        return ParquetPart(folder.url + name, folder.place.open(name))
    # Of a store it is a copy, which goes as soon as it is open.
    with folder.place.local(name) as path:
        part = FeatureFile(path)
    part.path = folder.url + name
    return part


class PartSet(FeatureFile):
    """The parts of a part set as one feature file: row i of everything is image i; see there.

    The rows are those of the parts that are there, in the order of their shards. Opening reads
    ``run.json``, the list of shards and the names of the parts; how many rows there are is read
    from the records of the parts when it is first asked for, and a part is opened as its rows are.

    Parameters
    ----------
    url : str or path
        A folder, or a prefix of a store.

    Attributes
    ----------
    shards : tuple of InputShard
        The shards whose parts are there, in order.
    missing : tuple of str
        Names of the shards without a part; their rows are not there. There is a warning of them.

    Raises
    ------
    FeatureFileError
        Where there is no part set, or none of its parts is there.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self._folder = PartFolder(url)
        self.path = self._folder.url
        body = self._folder.read_run()
        if body is None:
            raise FeatureFileError(f"{self.path}: there is no part set (no run.json in it)")
        self.run = body["run"]
        self.attrs = {
            name: str(body[name]) for name in ("format", "decaf_version", "created", "fingerprint")
        }
        self.attrs["schema"] = int(body["schema"])
        self.layers = tuple(self.run["layers"])
        self.environment = {"part_format": body["part_format"]}
        self.content = self.attribute_digests = None
        self._columns: dict[str, np.ndarray] = {}
        self._file: Any = ExitStack()
        self._opened: OrderedDict[int, FeatureFile] = OrderedDict()
        self._ending = body["part_format"]
        present, self.missing = self._divide()
        self.shards = tuple(shard for shard, _ in present)
        self.stems = [stem for _, stem in present]
        if not present:
            raise FeatureFileError(
                f"{self.path}: none of its {counted(len(self.missing), 'part')} is there yet; "
                "`decaf status` "
                "tells how far it is"
            )
        if self.missing:
            warnings.warn(
                f"{self.path}: {len(self.missing)} of {len(present) + len(self.missing)} parts are "
                f"not there (the first is of {self.missing[0]}); the rows are those of the others",
                stacklevel=3,
            )

    def _divide(self) -> tuple[list[tuple[InputShard, str]], tuple[str, ...]]:
        """Return the shards with a part, and the names of those without; each shard once."""
        stems = self._folder.stems()
        there: dict[str, tuple[InputShard, str] | None] = {}
        for shard in self._folder.shards():
            stem = shard.stem(self.fingerprint)
            if there.get(shard.name) is None:
                there[shard.name] = (shard, stem) if stem in stems else None
        present = [pair for pair in there.values() if pair is not None]
        return present, tuple(name for name, pair in there.items() if pair is None)

    def __enter__(self) -> PartSet:
        return self

    def close(self) -> None:
        """Close the parts that are open; nothing more can be read."""
        while self._opened:
            self._opened.popitem()[1].close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return int(self.stops[-1])

    def __repr__(self) -> str:
        state = "" if self._file is not None else ", closed"
        return (
            f"<PartSet {self.path!r}: {counted(len(self.stems), 'part')} of "
            f"{', '.join(self.layers)}{state}>"
        )

    @cached_property
    def stops(self) -> np.ndarray:
        """The row after the last of each part."""
        records = self._folder.records(self.stems)
        rows = []
        for number, stem in enumerate(self.stems):
            record = records.get(stem)
            known = record is not None and not record.failed
            rows.append(record.rows if record is not None and known else len(self.part(number)))
        return np.cumsum(rows, dtype=np.int64)

    def part_name(self, number: int) -> str:
        """Return the name of the file of a part, below `path`.

        Parameters
        ----------
        number : int
            Its place in `shards`.
        """
        return f"{self.stems[number]}.{self._ending}"

    def part(self, number: int) -> FeatureFile:
        """Open a part; it is closed when others are.

        Parameters
        ----------
        number : int
            Its place in `shards`.

        Raises
        ------
        FeatureFileError
            Where it is damaged, or of other settings.
        """
        if self._file is None:
            raise FeatureFileError(f"{self.path}: the part set has been closed")
        if number not in self._opened:
            while len(self._opened) >= OPEN_PARTS:
                self._opened.popitem(last=False)[1].close()
            name = self.part_name(number)
            part = open_part(self._folder, name)
            if part.fingerprint != self.fingerprint:
                part.close()
                raise FeatureFileError(f"{self.path}{name}: is of other settings than the set")
            self._opened[number] = part
        self._opened.move_to_end(number)
        return self._opened[number]

    def foreign_attributes(self) -> list[str]:
        """Return nothing: the parts have attributes."""
        return []

    def _bytes(self) -> int:
        records = self._folder.records(self.stems).values()
        return sum(record.bytes for record in records)

    def _has(self, name: str) -> bool:
        return name in (schema.KEY, schema.TXT, schema.JSON)

    def _dataset(self, name: str) -> Any:
        first = self.part(0)._dataset(name)
        if name in (schema.CLASS_NAMES, schema.STATUS_NAMES_DATASET):
            return first
        return _Joined(self, name, first)


class _Joined:
    """A column of all parts, as `decaf.features.store.layer_view` reads a dataset of HDF5."""

    def __init__(self, parts: PartSet, name: str, first: Any) -> None:
        self._parts = parts
        self.name = name
        self.shape = (len(parts), *(int(side) for side in first.shape[1:]))
        texts = name not in schema.COLUMNS and "/" not in name
        self.dtype = np.dtype(object) if texts else first.dtype
        self.chunks = (CHUNK_ROWS,)
        self.file = SimpleNamespace(filename=parts.path)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        values = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        stops = self._parts.stops
        number = int(np.searchsorted(stops, start, side="right"))
        row = start
        while row < stop:
            first = int(stops[number - 1]) if number else 0
            last = min(stop, int(stops[number]))
            dataset = self._parts.part(number)._dataset(self.name)
            if int(dataset.shape[0]) != int(stops[number]) - first:
                raise FeatureFileError(
                    f"{self._parts.path}{self._parts.part_name(number)}: has {dataset.shape[0]} "
                    f"rows, its record says {int(stops[number]) - first}; make the part again"
                )
            piece = dataset[row - first : last - first]
            values[row - start : last - start] = piece
            row, number = last, number + 1
        return values
