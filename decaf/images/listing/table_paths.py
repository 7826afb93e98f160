"""Which images the paths of a table name.

A path that names another folder is never matched by its file name alone: the label of another image
would be taken without a word. So what the paths of a table mean is told from the whole table.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence

from decaf.errors import InputError
from decaf.images.listing.folders import has_image_ending
from decaf.images.listing.names import common_folder, shortened
from decaf.images.listing.tables import decoded
from decaf.runtime.names import slashed
from decaf.runtime.wording import counted

__all__ = ["TablePaths", "spellings"]

_logger = logging.getLogger(__name__)


class TablePaths:
    """Images, to be found by the paths that a table has for them.

    Parameters
    ----------
    names : sequence of bytes
        Paths of the images as given.
    relative : sequence of bytes
        The same below their sources.
    """

    def __init__(self, names: Sequence[bytes], relative: Sequence[bytes]) -> None:
        self.names = [*map(slashed, names)]
        self.relative = relative
        self._by_name = _places(self.names)
        self._below = _places(relative)
        self._by_base = _places(_base(name) for name in self.names)

    def may_be(self, cell: bytes) -> bool:
        """Tell whether a cell may name an image, which tells the column of the paths.

        Parameters
        ----------
        cell : bytes
        """
        return any(
            key in self._by_name or key in self._below or _base(key) in self._by_base
            for key in spellings(cell)
            if key
        )

    def find(self, cells: Sequence[bytes], shown: str) -> list[list[int]]:
        """Find the images that each cell of a table names.

        A cell names an image by its path as given or below its source. Without a folder it names
        the only image whose file is called so, and with folders the only one whose path ends with
        it. Where no cell with folders names an image so, the folders that these cells share, as
        of another machine, may stand for the source's.

        Parameters
        ----------
        cells : sequence of bytes
        shown : str
            How errors name the table.

        Returns
        -------
        list of list of int
            Places of the images, several only where one is listed several times; empty for a cell
            that names none.

        Raises
        ------
        InputError
            Where a cell names several images.
        """
        keys = [spellings(cell) if cell else [] for cell in cells]
        found = [self._exactly(each) for each in keys]
        folders = [row for row, each in enumerate(keys) if any(b"/" in key for key in each)]
        without = [row for row in folders if not found[row]]
        ends = self._ends({key for row in without for key in keys[row] if b"/" in key})
        for row in without:
            found[row] = next((ends[key] for key in keys[row] if key in ends), [])
        if not any(found[row] for row in folders):
            below = self._below_shared_folders([keys[row][-1] for row in folders], shown)
            for row, images in zip(folders, below, strict=True):
                found[row] = images
        for cell, images in zip(cells, found, strict=True):
            if len({self.names[image] for image in images}) > 1:
                raise InputError(
                    f"{shown}: {shortened(decoded(cell))} names {counted(len(images), 'image')}; "
                    "give their "
                    "paths below the source"
                )
        return found

    def cells_ending_in(
        self, images: Iterable[int], cells: Iterable[bytes]
    ) -> dict[int, list[bytes]]:
        """List the cells that end with the path of an image below its source, and its folder.

        Parameters
        ----------
        images : iterable of int
            The images that are asked for.
        cells : iterable of bytes

        Returns
        -------
        dict of int to list of bytes
            For the images that there are such cells for.
        """
        wanted = {self.relative[image]: image for image in images if b"/" in self.relative[image]}
        ending: dict[int, list[bytes]] = {}
        for cell in cells:
            end = spellings(cell)[-1]
            while b"/" in end:
                if end in wanted:
                    ending.setdefault(wanted[end], []).append(cell)
                end = end.partition(b"/")[2]
        return ending

    def of_base(self, image: int) -> tuple[bytes, int]:
        """Return the file name of an image, and how many images have it.

        Parameters
        ----------
        image : int
        """
        base = _base(self.names[image])
        return base, len({self.names[each] for each in self._by_base[base]})

    def _exactly(self, keys: Sequence[bytes]) -> list[int]:
        """Find what a cell names by a whole path, or by the name of a file alone."""
        for places in (self._by_name, self._below):
            for key in keys:
                if key in places:
                    return places[key]
        return next((self._by_base[key] for key in keys if key in self._by_base), [])

    def _ends(self, wanted: set[bytes]) -> dict[bytes, list[int]]:
        """Find the images whose path ends with one that is wanted."""
        ends: dict[bytes, list[int]] = {}
        for image, name in enumerate(self.names if wanted else ()):
            end = slashed(os.path.abspath(name))
            while b"/" in end:
                if end in wanted:
                    ends.setdefault(end, []).append(image)
                end = end.partition(b"/")[2]
        return ends

    def _below_shared_folders(self, paths: Sequence[bytes], shown: str) -> list[list[int]]:
        """Find the images of paths whose shared folders are not the images'; see `find`."""
        # A header, and a cell such as "n/a", shares no folder with the paths.
        shared = common_folder([path for path in paths if has_image_ending(path)] or paths)
        starts = [common_folder([shared], depth + 1) for depth in range(shared.count(b"/"))]
        best: list[list[int]] = [[] for _ in paths]
        root, count = b"", 0
        for start in starts:
            found = [self._below.get(rest, []) for rest in _rests(paths, start)]
            if sum(map(len, found)) > count:
                best, root, count = found, start, sum(map(len, found))
        if not count and starts:  # the source may be one folder of those that the table is of
            rests, root = _rests(paths, starts[-1]), starts[-1]
            ends = self._ends({rest for rest in rests if b"/" in rest})
            best = [ends.get(rest, []) for rest in rests]
        # File names alone agree by chance, where cameras number them: then all have to.
        bare = not any(b"/" in path[len(root) :] for path in paths)
        rows = sum(map(bool, best))
        if not rows or (bare and rows < len(paths) and count < len(self.names)):
            return [[] for _ in paths]
        _logger.warning(  # a guess: what the table says of other images may be taken for these
            "%s: what its paths have below %s is taken for paths below the source",
            shown,
            shortened(decoded(root)),
        )
        return best


def _rests(paths: Sequence[bytes], start: bytes) -> list[bytes]:
    """Return what paths have below a folder, an empty path for those that lie outside."""
    return [path[len(start) :] if path.startswith(start) else b"" for path in paths]


def _base(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _places(paths: Iterable[bytes]) -> dict[bytes, list[int]]:
    places: dict[bytes, list[int]] = {}
    for place, path in enumerate(paths):
        places.setdefault(path, []).append(place)
    return places


def spellings(cell: bytes) -> list[bytes]:
    """List the paths that a cell may mean, the likeliest first.

    As it is, in UTF-8 where it was Windows-1252, with slashes for backslashes, and without a
    leading ``./`` or the apostrophe that keeps a spreadsheet from computing it.

    Parameters
    ----------
    cell : bytes
    """
    paths = [cell]
    for each in (cell, decoded(cell).encode()):
        slashed = each.replace(b"\\", b"/")
        paths += [each, each.removeprefix(b"./"), slashed, slashed.removeprefix(b"./")]
    if cell[:1] == b"'" and cell[1:2] in (b"=", b"+", b"-", b"@", b"\t", b"\r"):
        paths.append(cell[1:])
    return list(dict.fromkeys(paths))
