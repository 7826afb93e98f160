"""Proving a part set: every part is read, and sampled rows are computed anew from their shards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.model import Backbone
from decaf.errors import DecafError, FeatureFileError, SettingError, WeightsError
from decaf.features.recorded_run import recorded_backbone
from decaf.features.store.opening import open_features
from decaf.features.store.part_folder import InputShard, PartFolder
from decaf.features.store.part_set import PartSet
from decaf.features.verify import Verification, verify
from decaf.runtime.progress import progress_for
from decaf.runtime.wording import counted
from decaf.scale.open_shard import open_shard

__all__ = ["PartsVerification", "verify_parts"]


@dataclass(frozen=True)
class PartsVerification:
    """The result of `verify_parts`.

    Attributes
    ----------
    parts, rows : int
        Parts and rows that were read through.
    missing : tuple of str
        Names of shards without a part.
    damaged : dict of str to str
        What is wrong with parts, by their names.
    compared : int
        Rows that were computed anew.
    measure : str
        As `decaf.Verification` has it; empty where no row was compared.
    tolerance, worst : dict of str to float
        For each layer, the largest difference allowed and found.
    failed : list of (part, row, layer, difference)
        Rows that do not agree.
    unavailable : dict of str to str
        Why sampled rows of some parts were not compared, by the name of the part.
    notes : list of str
        Differences between the settings of the parts and this machine's.
    """

    parts: int
    rows: int
    missing: tuple[str, ...]
    damaged: dict[str, str]
    compared: int
    measure: str
    tolerance: dict[str, float]
    worst: dict[str, float]
    failed: list[tuple[str, int, str, float]]
    unavailable: dict[str, str]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing disagrees (which says little where nothing could be compared)."""
        return not self.failed and not self.damaged


def verify_parts(
    out: str | os.PathLike[str],
    *,
    rows: int = 1000,
    seed: int = 0,
    weights: str | os.PathLike[str] | Backbone | None = None,
    device: str = "auto",
    progress: bool | Callable[[int, int], Any] | None = None,
) -> PartsVerification:
    """Check a part set against its checksums, its weights and its shards.

    Parameters
    ----------
    out : str or path
        A folder or URL.
    rows : int
        How many rows, drawn at random from all, to compute anew; 0 for none.
    seed : int
        Seed of the draw.
    weights : str, path or Backbone, optional
        Where the weights are now; by default the name that the parts give.
    device : str
        Where to compute.
    progress : bool or callable, optional
        True, False, or a function of (parts done, parts in all); by default a bar on terminals.

    Returns
    -------
    PartsVerification

    Raises
    ------
    FeatureFileError
        Where there is no part set, or none of its parts is there.
    WeightsError
        Where the weights are not those of the parts.
    SettingError
        For a negative number of rows or seed.
    """
    for name, number in (("rows", rows), ("seed", seed)):
        if number < 0:
            raise SettingError(f"`{name}` {number}: must be 0 or more")
    folder = PartFolder(out)
    with PartSet(out) as parts:
        records = folder.records(parts.stems)
        drawn = _draw(np.diff(parts.stops, prepend=0), rows, seed)
        result = PartsVerification(
            parts=len(parts.stems),
            rows=len(parts),
            missing=parts.missing,
            damaged={},
            compared=0,
            measure="",
            tolerance={},
            worst={},
            failed=[],
            unavailable={},
            notes=[],
        )
        found = _Found(result, seed, weights, device)
        with progress_for(progress, len(parts.stems), 0, "parts") as bar:
            for number, (shard, stem) in enumerate(zip(parts.shards, parts.stems, strict=True)):
                name = parts.part_name(number)
                with folder.place.local(name) as path:
                    record = records.get(stem)
                    if record is not None and record.bytes not in (0, os.path.getsize(path)):
                        result.damaged[name] = (
                            f"has {os.path.getsize(path)} bytes, its record says {record.bytes}"
                        )
                    else:
                        try:
                            found.prove(name, path, shard, int(drawn[number]))
                        except FeatureFileError as error:
                            result.damaged[name] = str(error)
                bar.advance(1)
        return found.result()


def _draw(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return how many rows are drawn of each part, when so many are of all."""
    total = int(rows.sum())
    generator = np.random.default_rng(seed)
    drawn: np.ndarray = generator.multivariate_hypergeometric(
        rows, min(count, total), method="marginals"
    )
    return drawn


class _Found:
    """What has been found so far."""

    def __init__(self, result: PartsVerification, seed: int, weights: Any, device: str) -> None:
        self._result, self._seed, self._weights, self._device = result, seed, weights, device
        self._compared = 0
        self._measure = ""

    def prove(self, name: str, path: Path, shard: InputShard, count: int) -> None:
        """Read a part through, and compute rows of it anew from its shard, as it is now."""
        if not count:
            self._take(name, verify(path, rows=0))
            return
        if not isinstance(self._weights, Backbone):
            with open_features(path) as part:
                self._weights = recorded_backbone(part, self._weights)
        try:
            with open_shard(shard) as opened:
                result = verify(
                    path,
                    rows=count,
                    seed=self._seed,
                    weights=self._weights,
                    images=opened.images,
                    device=self._device,
                )
        except (FeatureFileError, WeightsError):
            raise
        except DecafError as error:
            self._result.unavailable[name] = f"its shard: {error}"
            result = verify(path, rows=0)
        self._take(name, result)

    def _take(self, name: str, found: Verification) -> None:
        total = self._result
        if found.changed:
            total.damaged[name] = f"not what was written: {', '.join(found.changed)}"
        self._compared += found.compared
        self._measure = found.measure if found.compared else self._measure
        total.tolerance.update(found.tolerance)
        for layer, worst in found.worst.items():
            total.worst[layer] = max(total.worst.get(layer, 0.0), worst)
        total.failed.extend((name, row, layer, by) for row, layer, by in found.failed)
        if found.unavailable:
            row, reason = found.unavailable[0]
            total.unavailable[name] = (
                f"{counted(len(found.unavailable), 'row')}; row {row}: {reason}"
            )
        total.notes.extend(note for note in found.notes if note not in total.notes)

    def result(self) -> PartsVerification:
        """Return what has been found."""
        return replace(self._result, compared=self._compared, measure=self._measure)
