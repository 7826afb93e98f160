"""Batches from a pack: decoded, cut and normalised ahead of the step that needs them."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from decaf.train.augment import Normaliser, Views, cut, cut_batch, draw_views, lighting_shift, sent
from decaf.train.randomness import balanced_order, epoch_order
from decaf.train.recipe import TrainSettings

if TYPE_CHECKING:
    from decaf.train.distillation.soft_targets import SoftTargets

__all__ = ["Batch", "Feed", "Split", "ahead", "decoding_threads", "steps_per_epoch"]

# Images that a thread prepares at a time: enough that handing them out costs nothing.
CHUNK = 32
# Batches that are ready, or being made, beside the one in use.
AHEAD = 2


class Split(Protocol):
    """The images of a split, as training takes them: those of a pack, or some of them."""

    @property
    def labels(self) -> np.ndarray:
        """Class of each image, int64."""

    def __len__(self) -> int: ...

    def pixels(self, index: int) -> np.ndarray:
        """Return a stored image, uint8 (side, side, 3).

        Parameters
        ----------
        index : int
        """


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one step, with what they are to be named.

    Attributes
    ----------
    step : int
        Step of the run, counted from 0.
    images : Tensor of float, shape (n, 3, crop, crop), channels last
        This process's part of the global batch.
    labels : Tensor of int64, shape (n,)
        Classes that the teacher gives a student's images.
    answers : Tensor of float32, shape (n, classes), optional
        The teacher's logits.
    known : Tensor of int64, shape (n,), optional
        The images' own classes beside `answers`, -1 where there are none.
    """

    step: int
    images: Tensor
    labels: Tensor
    answers: Tensor | None = None
    known: Tensor | None = None


class Feed:
    """The training batches of a run, from any step on.

    Parameters
    ----------
    split : Split
        Training images.
    settings : TrainSettings
    side : int
        Side of the stored images, in pixels; of those that a teacher answers `targets` know them.
    pca : tuple of ndarray
        Eigenvalues (3,) and eigenvectors (3, 3) of the training pixels' covariance.
    normaliser : Normaliser
    crop : int
        Side of the network's input.
    device : torch.device
        Where the batches go. On a GPU the stored images are sent there, and cut there.
    rank, world : int
        Number of this process, and of all: they say which part of every global batch is wanted.
    workers : int
        Threads that decode.
    targets : SoftTargets, optional
        A teacher's answers: they choose images and views, and have them answered.
    """

    def __init__(
        self,
        split: Split,
        settings: TrainSettings,
        *,
        side: int,
        pca: tuple[np.ndarray, np.ndarray],
        normaliser: Normaliser,
        crop: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
        targets: SoftTargets | None = None,
    ) -> None:
        self._split = split
        self._targets = targets
        self._settings = settings
        self._side = side
        self._pca = pca
        self._normaliser = normaliser
        self._crop = crop
        self._device = device
        # Else on the device, which gets the stored images; those of several packs differ in size.
        self._cut_early = device.type == "cpu" or targets is not None
        share = settings.batch_size // world
        self._rows = slice(rank * share, (rank + 1) * share)
        self._workers = workers
        self._orders: dict[int, np.ndarray] = {}
        self.steps_per_epoch = steps_per_epoch(len(split), settings)

    @contextlib.contextmanager
    def batches(self, start: int, stop: int) -> Iterator[Iterator[Batch]]:
        """Return the batches of the steps from `start` up to `stop`, in a context.

        Parameters
        ----------
        start, stop : int
            First step, and the step after the last.

        Yields
        ------
        iterator of Batch
            Raises what went wrong while a batch was made, when its turn comes.
        """
        with decoding_threads(self._workers) as pool:
            yield ahead(
                range(start, stop),
                lambda step: self._begin(pool, step, stop),
                self._finish,
                AHEAD,
            )

    def _begin(self, pool: ThreadPoolExecutor, step: int, steps: int) -> _Work:
        indices = self._indices(step)
        side = self._settings.side_at(step / steps, self._crop)
        targets, seen = self._targets, None
        if targets is None:
            views = draw_views(self._settings, step, self._side, side)
        else:
            views = targets.views(step, indices, side)
        indices, views = indices[self._rows], views[self._rows]
        if targets is not None and targets.teacher_side is not None:
            shape = (len(indices), targets.teacher_side, targets.teacher_side, 3)
            seen = torch.empty(shape, dtype=torch.uint8)
        on_cpu = self._cut_early
        stored = side if on_cpu else self._side
        buffer = torch.empty(
            (len(indices), stored, stored, 3),
            dtype=self._normaliser.dtype if on_cpu else torch.uint8,
            pin_memory=self._device.type == "cuda",
        )
        prepare = self._prepare if on_cpu else self._load
        futures = [
            pool.submit(
                prepare,
                indices[i : i + CHUNK],
                views[i : i + CHUNK],
                buffer[i : i + CHUNK],
                None if seen is None else seen[i : i + CHUNK],
            )
            for i in range(0, len(indices), CHUNK)
        ]
        return _Work(step, side, buffer, indices, views, seen, futures)

    def _indices(self, step: int) -> np.ndarray:
        """Return the images of a global batch."""
        size, count = self._settings.batch_size, len(self._split)
        if self._settings.last_batch == "dropped":
            epoch, place = divmod(step, self.steps_per_epoch)
            return self._order(epoch)[place * size : (place + 1) * size]
        # The epochs one after the other, cut into batches wherever these end.
        places = np.arange(step * size, (step + 1) * size)
        epochs = places // count
        indices = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            there = epochs == epoch
            indices[there] = self._order(int(epoch))[places[there] % count]
        return indices

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            for old in [each for each in self._orders if each < epoch - 1]:
                del self._orders[old]
            seed = self._settings.seed
            if self._targets is not None:
                order = self._targets.order(epoch)
            elif self._settings.sampling == "balanced":
                order = balanced_order(seed, epoch, np.asarray(self._split.labels))
            else:
                order = epoch_order(seed, epoch, len(self._split))
            self._orders[epoch] = order
        return self._orders[epoch]

    def _load(self, indices: np.ndarray, views: Views, out: Tensor, seen: Tensor | None) -> None:
        del views, seen  # applied on the device
        array = out.numpy()
        for row, index in enumerate(indices):
            array[row] = self._split.pixels(int(index))

    def _prepare(self, indices: np.ndarray, views: Views, out: Tensor, seen: Tensor | None) -> None:
        # One image at a time through all of it: what lies between stays in the cache.
        side = out.shape[1]
        normaliser = self._normaliser.at(side)
        view = torch.empty((1, side, side, 3), dtype=torch.uint8)
        array = view[0].numpy()
        shift, corners = self._shift_of(views), self._corners_of(views)
        for row, index in enumerate(indices):
            pixels = self._split.pixels(int(index))
            cut(pixels, views, row, array)
            if seen is not None:
                cut(pixels, views, row, seen[row].numpy())
            one = slice(row, row + 1)
            normaliser(
                view,
                None if shift is None else torch.from_numpy(shift[one]),
                None if corners is None else corners[one],
                out[one],
            )

    def _shift_of(self, views: Views) -> np.ndarray | None:
        return lighting_shift(views.alpha, *self._pca) if self._settings.lighting else None

    def _corners_of(self, views: Views) -> np.ndarray | None:
        if self._settings.crop != "random":
            return None
        return np.stack([views.top, views.left, views.mirrored], axis=1)

    def _finish(self, work: _Work) -> Batch:
        for future in work.futures:
            future.result()
        labels = np.asarray(self._split.labels[work.indices], np.int64)
        if self._cut_early:
            images = work.buffer.permute(0, 3, 1, 2).to(self._device, non_blocking=True)
            batch = Batch(work.step, images, sent(labels, self._device))
            if self._targets is None:
                return batch
            return self._targets.answered(batch, work.indices, self._rows, work.seen)
        stored = work.buffer.to(self._device, non_blocking=True)
        pixels = cut_batch(stored, work.views, work.side)
        shift = self._shift_of(work.views)
        images = self._normaliser.at(work.side)(
            pixels,
            None if shift is None else sent(shift, self._device),
            self._corners_of(work.views),
        )
        return Batch(work.step, images, sent(labels, self._device))


def steps_per_epoch(images: int, settings: TrainSettings) -> int:
    """Return the steps of an epoch: its whole batches, or where the last is wrapped the nearest.

    Parameters
    ----------
    images : int
    settings : TrainSettings
    """
    if settings.last_batch == "dropped":
        return images // settings.batch_size
    return max(1, round(images / settings.batch_size))


@dataclass(frozen=True, eq=False)
class _Work:
    step: int
    side: int
    buffer: Tensor
    indices: np.ndarray
    views: Views
    seen: Tensor | None
    futures: Sequence[Future[Any]]


@contextlib.contextmanager
def decoding_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Return threads that decode, each with torch to itself; they end with the context.

    Parameters
    ----------
    count : int
    """
    pool = ThreadPoolExecutor(count, "decaf-feed", _use_one_thread)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # torch gives new threads what was last set, by whichever thread: put back what the
        # caller's own has.
        torch.set_num_threads(torch.get_num_threads())


def _use_one_thread() -> None:
    # The threads are the parallelism; torch keeps this setting for each thread of Python's.
    torch.set_num_threads(1)


def ahead(
    places: Sequence[int], begin: Callable[[int], Any], finish: Callable[[Any], Any], depth: int
) -> Iterator[Any]:
    """Finish what was begun `depth` places before, in order.

    Parameters
    ----------
    places : sequence of int
    begin : callable
        Starts the work of a place, without waiting.
    finish : callable
        Waits for it, and returns what is yielded.
    depth : int
        Works under way beside the one that is finished.
    """
    waiting: deque[Any] = deque()
    for place in places:
        waiting.append(begin(place))
        if len(waiting) > depth:
            yield finish(waiting.popleft())
    while waiting:
        yield finish(waiting.popleft())
