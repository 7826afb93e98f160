"""Exact nearest rows of a layer by cosine, held in memory or read through by blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import FeatureFileError, SettingError
from decaf.exploration.sketch import COLUMNS, Sketch
from decaf.features.store.feature_file import FeatureFile
from decaf.runtime.memory import available_memory
from decaf.runtime.settings import refuse, whole_number
from decaf.runtime.wording import counted

__all__ = ["NearestRows", "check_finite", "chosen_layer"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# Of the memory that is left, what a layer may take that is held.
_SHARE = 0.5
# Where the system does not tell what is left.
_USUAL_MEMORY = 4 << 30
# Bytes of the cosines of some queries with a block of rows, and of the queries of one pass.
_COSINE_BYTES = 64 << 20
_QUERY_BYTES = 256 << 20
# Of rows that are held: from this size on a sketch is worth its making, for this few queries.
_SKETCHED_BYTES = 256 << 20
_SKETCHED_QUERIES = 16


def chosen_layer(file: FeatureFile, layer: str | None) -> str:
    """Return the layer that is asked for, by default the last that the file holds.

    Parameters
    ----------
    file : FeatureFile
    layer : str, optional

    Raises
    ------
    SettingError
        If the file does not hold it.
    """
    return file[file.layers[-1] if layer is None else layer].name


def check_finite(file: FeatureFile, layer: str, rows: Rows, values: npt.NDArray[Any]) -> None:
    """Refuse values of good rows that are not finite, and name the first.

    Parameters
    ----------
    file : FeatureFile
    layer : str
    rows : array of int64, shape (n,)
    values : array, shape (n, D)
        Of these rows.

    Raises
    ------
    FeatureFileError
    """
    if np.isfinite(values).all():
        return
    first = int(rows[(~np.isfinite(values).all(axis=1)).argmax()])
    raise FeatureFileError(
        f"{file.path}: {layer} of row {first}, {file.paths[first]!r}, holds NaN or infinity; "
        "extract the images anew, in float32"
    )


class NearestRows:
    """The rows of a layer, to be asked which of them are nearest to a query.

    Nearness is the cosine, computed in float32 with every row: nothing is approximated. Rows of
    images that could not be read are never returned; a row of zeros, which has no direction, has
    cosine 0 with everything. Of rows that are equally near, the first comes first.

    Rows of length 1 are held in memory where they fit. A query then takes one pass over them, or,
    of many rows, over a `Sketch` of them, which tells which rows cannot be among the nearest. Else
    each call reads the file through once for every few hundred MiB of queries, by blocks.

    Parameters
    ----------
    file : FeatureFile
        Has to stay open where the rows are not held.
    layer : str, optional
        By default the last that the file holds; maps are flattened.
    rows : array of int, optional
        Rows that can be returned, where that is not all of them.
    max_bytes : int, optional
        Memory that the rows may take; by default half of what is left. 0 holds none.

    Attributes
    ----------
    file : FeatureFile
    layer : str
    rows : ndarray of int64, shape (n,)
        The rows of the file that can be returned, in order.
    held : bool
        Whether they are in memory.

    Raises
    ------
    SettingError
        If the file does not hold the layer.
    FeatureFileError
        Here or later, where a row of an image that could be read is not finite.
    """

    def __init__(
        self,
        file: FeatureFile,
        layer: str | None = None,
        *,
        rows: npt.ArrayLike | None = None,
        max_bytes: int | None = None,
    ) -> None:
        refuse(whole_number("max_bytes", max_bytes, optional=True))
        self.file, self.layer = file, chosen_layer(file, layer)
        self._view = file[self.layer]
        self._kept = file.ok
        if rows is not None:
            self._kept = np.isin(np.arange(len(file)), rows) & file.ok
        self.rows: Rows = np.flatnonzero(self._kept)
        if max_bytes is None:
            max_bytes = int(_SHARE * (available_memory() or _USUAL_MEMORY))
        self._units: Floats | None = None
        if len(self.rows) * self.dimensions * 4 <= max_bytes:
            units = np.empty((len(self.rows), self.dimensions), np.float32)
            for start, block in self.unit_blocks():
                units[start : start + len(block)] = block
            self._units = units

    @cached_property
    def _sketch(self) -> Sketch | None:
        """The sketch of the rows held, made when the first few queries come."""
        if self._units is None or self._units.nbytes < _SKETCHED_BYTES:
            return None
        return Sketch(self._units) if self.dimensions > 2 * COLUMNS else None

    @property
    def held(self) -> bool:
        """Whether the rows are in memory."""
        return self._units is not None

    @property
    def dimensions(self) -> int:
        """Number of values in a row."""
        return int(np.prod(self._view.shape[1:]))

    def __len__(self) -> int:
        """Count the rows that can be returned."""
        return len(self.rows)

    def of_queries(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        least: float = -np.inf,
        without: npt.ArrayLike | None = None,
    ) -> tuple[Rows, Floats]:
        """Find the nearest rows of some queries.

        Parameters
        ----------
        queries : array, shape (m, D)
            Finite values. A query of zeros has no nearest rows.
        k : int
            How many rows to return for each.
        least : float
            Smallest cosine of a row that is returned.
        without : array of int, shape (m,), optional
            A row of the file that is not returned for each query, such as its own; -1 for none.

        Returns
        -------
        rows : ndarray of int64, shape (m, k)
            Rows of the file, the nearest first; -1 where there are no more.
        cosines : ndarray of float32, shape (m, k)
            NaN where there are no more.

        Raises
        ------
        SettingError
            For queries of another width, or that are not finite, and for a `k` that is no number
            from 1 on.
        """
        refuse(whole_number("k", k, 1))
        given = np.atleast_2d(np.asarray(queries, np.float32))
        if given.ndim != 2 or given.shape[1] != self.dimensions:
            raise SettingError(
                f"queries of shape {np.shape(queries)}; {self.layer} of {self.file.path} has rows "
                f"of {self.dimensions}"
            )
        if not np.isfinite(given).all():
            raise SettingError("queries hold NaN or infinity; leave out images that are not ok")
        own = np.full(len(given), -1) if without is None else np.asarray(without, np.int64)
        rows = np.full((len(given), k), -1, np.int64)
        cosines = np.full((len(given), k), np.nan, np.float32)
        step = max(1, _QUERY_BYTES // (4 * self.dimensions))
        for start in range(0, len(given), step):
            part = slice(start, start + step)
            best = _Best(len(given[part]), k, least)
            units = _unit_rows(given[part])
            if len(given) > _SKETCHED_QUERIES or self._sketch is None:
                for first, block in self.unit_blocks():
                    some = self.rows[first : first + len(block)]
                    self._compare(units, some, block, own[part], best)
            else:
                self._compare_few(units, own[part], best)
            rows[part], cosines[part] = best.rows_and_cosines()
            rows[part][~units.any(axis=1)] = -1
            cosines[part][~units.any(axis=1)] = np.nan
        return rows, cosines

    def of_rows(
        self, rows: npt.ArrayLike | None = None, *, k: int, least: float = -np.inf
    ) -> tuple[Rows, Floats]:
        """Find the nearest rows of some rows, each without itself.

        Parameters
        ----------
        rows : array of int, optional
            Rows of the file, none of a bad image; by default all that can be returned.
        k, least
            As `of_queries` takes them.

        Returns
        -------
        rows, cosines : ndarray, shape (m, k)
            As `of_queries` returns them.

        Raises
        ------
        SettingError
            For a row that is not there or holds no features, and as `of_queries`.
        """
        wanted = self.rows if rows is None else np.atleast_1d(np.asarray(rows, np.int64))
        self._refuse_bad(wanted)
        nearest = np.full((len(wanted), k), -1, np.int64)
        cosines = np.full((len(wanted), k), np.nan, np.float32)
        step = max(1, _QUERY_BYTES // (4 * self.dimensions))
        for start in range(0, len(wanted), step):
            part = slice(start, start + step)
            nearest[part], cosines[part] = self.of_queries(
                self.values(wanted[part]), k, least=least, without=wanted[part]
            )
        return nearest, cosines

    def values(self, rows: npt.ArrayLike) -> Floats:
        """Return rows of the file as they are in it, flattened; of held ones those of length 1.

        Parameters
        ----------
        rows : array of int
            Rows that can be returned.
        """
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        if self._units is not None:
            return self._units[np.searchsorted(self.rows, wanted)]
        values: Floats = self._view[wanted].reshape(len(wanted), -1).astype(np.float32, copy=False)
        check_finite(self.file, self.layer, wanted, values)
        return values

    def _refuse_bad(self, rows: Rows) -> None:
        wrong = rows[~np.isin(rows, self.rows)]
        if not len(wrong):
            return
        row = int(wrong[0])
        if not 0 <= row < len(self.file):
            raise SettingError(
                f"{self.file.path}: has no row {row}; it has {counted(len(self.file), 'row')}"
            )
        raise SettingError(
            f"{self.file.path}: row {row} has no features: {self.file.messages[row]} "
            f"({self.file.status_names[self.file.status[row]]})"
        )

    def unit_blocks(self) -> Iterator[tuple[int, Floats]]:
        """Go through the rows that can be returned, scaled to length 1.

        Yields
        ------
        place : int
            Place in `rows` of the first row of a block.
        units : ndarray of float32, shape (n, D)
        """
        if self._units is not None:
            yield 0, self._units
            return
        place = 0
        for start, values in self._view.blocks():
            block = values[self._kept[start : start + len(values)]]
            block = block.reshape(len(block), self.dimensions).astype(np.float32)
            check_finite(self.file, self.layer, self.rows[place : place + len(block)], block)
            yield place, _unit_rows(block)
            place += len(block)

    def _compare_few(self, units: Floats, own: Rows, best: _Best) -> None:
        """Compare queries one by one with the rows that the sketch leaves."""
        assert self._units is not None
        assert self._sketch is not None
        for query, unit in enumerate(units):
            # One more, which may be its own row.
            places = self._sketch.candidates(unit, best.k + 1)
            one = best.of(query)
            if places is None:
                self._compare(unit[None], self.rows, self._units, own[query : query + 1], one)
            else:
                some = self._units[places]
                self._compare(unit[None], self.rows[places], some, own[query : query + 1], one)

    def _compare(self, units: Floats, rows: Rows, block: Floats, own: Rows, best: _Best) -> None:
        """Compare queries with a block of rows, as many at a time as their cosines allow."""
        step = max(1, _COSINE_BYTES // (4 * len(units)))
        for start in range(0, len(block), step):
            some, places = block[start : start + step], rows[start : start + step]
            cosines = units @ some.T if len(units) > 1 else (some @ units[0])[None]
            at = np.searchsorted(places, own)
            there = np.flatnonzero((at < len(places)) & (own >= 0))
            there = there[places[at[there]] == own[there]]
            cosines[there, at[there]] = -np.inf
            best.take(cosines, places)


class _Best:
    """The nearest rows so far of some queries.

    Parameters
    ----------
    queries, k : int
    least : float
        Smallest cosine that is taken.
    """

    def __init__(self, queries: int, k: int, least: float) -> None:
        self.k = k
        self._rows = np.full((queries, k), -1, np.int64)
        self._cosines = np.full((queries, k), -np.inf, np.float32)
        self._least = least

    def of(self, query: int) -> _Best:
        """Return that of one query alone, which fills in its place here.

        Parameters
        ----------
        query : int
        """
        one = _Best(1, self.k, self._least)
        part = slice(query, query + 1)
        one._rows, one._cosines = self._rows[part], self._cosines[part]
        return one

    def take(self, cosines: Floats, rows: Rows) -> None:
        """Take a block's rows in, which come after all before.

        Parameters
        ----------
        cosines : array of float32, shape (queries, n)
        rows : array of int64, shape (n,)
        """
        queries, n = cosines.shape
        # What a row must have: no less than the k-th so far, and than the k-th of this block.
        bar = np.maximum(self._cosines[:, -1], self._least)
        if n > self.k:
            bar = np.maximum(bar, np.partition(cosines, n - self.k, axis=1)[:, n - self.k])
        query, column = np.nonzero((cosines >= bar[:, None]) & (cosines > -np.inf))
        of_query = np.concatenate([np.repeat(np.arange(queries), self.k), query])
        cosine = np.concatenate([self._cosines.ravel(), cosines[query, column]])
        row = np.concatenate([self._rows.ravel(), rows[column]])
        # Rows of equal cosines in their order; places that are still free come last.
        order = np.lexsort((np.where(row < 0, np.iinfo(np.int64).max, row), -cosine, of_query))
        counts = np.bincount(of_query, minlength=queries)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        kept = order[starts[:, None] + np.arange(self.k)]
        self._rows[:], self._cosines[:] = row[kept], cosine[kept]

    def rows_and_cosines(self) -> tuple[Rows, Floats]:
        """Return what was found, as `NearestRows.of_queries` does."""
        found = self._rows >= 0
        # Rounding may carry the cosine of a row with itself over 1.
        cosines = np.where(found, np.clip(self._cosines, -1, 1), np.nan).astype(np.float32)
        return self._rows, cosines


def _unit_rows(values: Any) -> Floats:
    """Return rows of length 1; rows of zeros stay."""
    values = np.asarray(values, np.float32)
    # Of the greatest value first: squares of values beyond 1e19 would not be finite.
    scale = np.abs(values).max(axis=1, keepdims=True, initial=0)
    scaled = values / np.where(scale > 0, scale, 1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    units: Floats = scaled / np.where(norms > 0, norms, 1)
    return units
