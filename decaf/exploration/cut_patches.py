"""Top patches as pixels: the few images that they are of are decoded once more, and cut."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError, InputError, Stopped
from decaf.exploration.top_patches import TopPatches
from decaf.images import ImageList, PreprocessSpec
from decaf.images.status import Outcome
from decaf.images.workers.decoders import Decoders
from decaf.images.workers.pool import Job
from decaf.runtime.names import name_text
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings

__all__ = ["Patch", "cut_patches"]

# Images with the decoders at a time: enough that none of them waits.
IN_FLIGHT = 64


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch of a unit.

    Attributes
    ----------
    unit : int
    row : int
        Place of its image.
    name : bytes
        Name of its image.
    activation : float
    position : (int, int)
        Row and column in the map.
    box : (int, int, int, int)
        Left, top, right and bottom edge in the image as the network is shown it.
    pixels : array of uint8, shape (bottom - top, right - left, 3)
    importance : array of float32, shape (bottom - top, right - left), or None
        How much each pixel mattered, where that was asked for.
    """

    unit: int
    row: int
    name: bytes
    activation: float
    position: tuple[int, int]
    box: tuple[int, int, int, int]
    pixels: npt.NDArray[np.uint8]
    importance: npt.NDArray[np.float32] | None = None


Explain = Callable[[npt.NDArray[np.uint8], int, tuple[int, int]], npt.NDArray[np.float32]]


def cut_patches(
    found: TopPatches,
    *,
    explain: Explain | None = None,
    compute: ComputeSettings | None = None,
) -> list[list[Patch]]:
    """Cut the patches of units out of their images.

    Each image is decoded once, whatever the number of its patches.

    Parameters
    ----------
    found : TopPatches
        As `decaf.top_patches` returns them.
    explain : callable, optional
        Maps an image as the network is shown it (H, W, 3), a unit and a position to how much each
        pixel mattered, (H, W).
    compute : ComputeSettings, optional
        Its workers, progress and stop are used.

    Returns
    -------
    list of list of Patch
        For each unit its patches, strongest first.

    Raises
    ------
    InputError
        If an image cannot be read any more, or is another than it was.
    Stopped
        After `stop` was set.
    """
    compute = compute or ComputeSettings()
    cut: list[list[Patch]] = [[] for _ in found.units]
    places, ranks = np.nonzero(found.rows >= 0)
    of_row = found.rows[places, ranks]
    order = np.argsort(of_row, kind="stable")
    rows, starts = np.unique(of_row[order], return_index=True)
    patches_of = dict(zip(rows.tolist(), np.split(order, starts[1:]), strict=True))
    ranked: dict[tuple[int, int], Patch] = {}
    images = closing(_prepared(found.images, rows, found.preprocess, compute.workers))
    with images as prepared, progress_for(compute.progress, len(rows), 0) as shown:
        for row, crop, outcome in prepared:
            if compute.stopped:
                raise Stopped("stopped while the patches were cut; nothing is kept")
            _refuse_changed(found, row, outcome)
            for each in patches_of[row]:
                place, rank = int(places[each]), int(ranks[each])
                ranked[place, rank] = _patch(found, place, rank, crop, explain)
            shown.advance(1)
    for place, rank in sorted(ranked):
        cut[place].append(ranked[place, rank])
    return cut


def _patch(
    found: TopPatches,
    place: int,
    rank: int,
    crop: npt.NDArray[np.uint8],
    explain: Explain | None,
) -> Patch:
    left, top, right, bottom = found.boxes[place, rank].tolist()
    y, x = found.positions[place, rank].tolist()
    unit, row = int(found.units[place]), int(found.rows[place, rank])
    heat = None if explain is None else explain(crop, unit, (y, x))[top:bottom, left:right].copy()
    return Patch(
        unit=unit,
        row=row,
        name=found.images.names[row],
        activation=float(found.activations[place, rank]),
        position=(y, x),
        box=(left, top, right, bottom),
        pixels=crop[top:bottom, left:right].copy(),
        importance=heat,
    )


def _prepared(
    images: ImageList, rows: npt.NDArray[np.int64], spec: PreprocessSpec, workers: int | None
) -> Generator[tuple[int, npt.NDArray[np.uint8], Outcome], None, None]:
    """Yield rows, their images as the network is shown them, and what became of these."""
    waiting = iter(rows.tolist())
    in_work = 0
    with Decoders(images.take(rows), workers, spec, ten=False) as decoders:
        while True:
            while in_work < IN_FLIGHT and (row := next(waiting, None)) is not None:
                crop = np.empty((1, spec.crop, spec.crop, 3), np.uint8)
                decoders.submit(Job(row, images.source_of(row), crop))
                in_work += 1
            if not in_work:
                return
            for job, outcome in decoders.poll(1.0):
                in_work -= 1
                yield job.index, job.out[0], outcome


def _refuse_changed(found: TopPatches, row: int, outcome: Outcome) -> None:
    name = name_text(found.images.names[row])
    if outcome.sha256 != found.content_sha256[row].tobytes():
        if outcome.status != "ok":
            raise ImageError(outcome.status, outcome.message, name, row)
        raise InputError(
            f"{name!r}: has changed since its activations were computed (its SHA-256 is another); "
            "find the patches again"
        )
