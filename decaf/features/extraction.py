"""`Extraction`: the one way in which a network is run over images.

Images are decoded in processes while the forward pass runs in threads. What is in flight is
bounded, whatever the number of images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError, Stopped
from decaf.features.batches import Feed, Passes
from decaf.features.rows import Rows
from decaf.features.settings import RunSettings
from decaf.images.workers.decoders import Decoders, warm_decoders
from decaf.runtime.cores import available_cores
from decaf.runtime.names import name_text
from decaf.runtime.progress import progress_for

if TYPE_CHECKING:
    import torch

    from decaf.backbone.model import Backbone
    from decaf.images import ImageList

__all__ = ["Extraction"]

CPU_BATCH = 32
GPU_BATCH = 256
MAX_THREADS = 16


class Extraction:
    """A network that is run over the images of a list: the decoders, the engine and the batches.

    A context manager: leaving it ends what is still being computed, and leaves the decoding
    processes to the next extraction. Who loads torch or a network before, calls
    `decaf.images.workers.decoders.warm_decoders` first: the processes load theirs meanwhile.

    Parameters
    ----------
    images : ImageList
    backbone : Backbone
    settings : RunSettings
    device : torch.device
    workers : int or None
        Decoding processes, as `decaf.extract` has them.
    batch_size : int or None
        Images a forward pass; None for 32 on a CPU and 256 on a GPU. It changes the rows by no
        more than rounding.
    in_one_go : bool
        All rows are wanted at once: small lists are then spread over the cores.
    engine : callable, optional
        Function that maps crops (n, 1 or 5, crop, crop, 3) to a dict of rows, where that is not the
        backbone's own `Engine`. It is called from several threads. The backbone then says no more
        than how images are prepared.

    Attributes
    ----------
    images, backbone, settings, device
        As given.
    batch_size : int
        Images a forward pass, at most.
    threads, torch_threads : int
        Forward passes at a time, and cores each of them uses.
    """

    def __init__(
        self,
        images: ImageList,
        backbone: Backbone,
        settings: RunSettings,
        *,
        device: torch.device,
        workers: int | None = None,
        batch_size: int | None = None,
        in_one_go: bool = True,
        engine: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None,
    ) -> None:
        warm_decoders(images, workers)
        import torch

        from decaf.backbone.engine import Engine, SplittingEngine

        self.images, self.backbone, self.settings, self.device = images, backbone, settings, device
        self.threads, self.torch_threads = 1, torch.get_num_threads()
        if device.type == "cpu":
            cores = min(available_cores(), torch.get_num_threads())
            self.threads = min(cores, MAX_THREADS)
            self.torch_threads = cores // self.threads
        ten = settings.crops != "center"
        size = CPU_BATCH if device.type == "cpu" else GPU_BATCH
        if ten:
            size = max(1, size // 8)
        if in_one_go:
            size = min(size, max(1, -(-len(images) // self.threads)))
        self.batch_size = batch_size or size
        self._engine = SplittingEngine(
            engine
            or Engine(
                backbone,
                settings.layers,
                crops=settings.crops,
                precision=settings.precision,
                device=device,
            )
        )
        side = backbone.preprocess.crop
        self._shape = (5 if ten else 1, side, side, 3)
        self._workers = workers

    def __enter__(self) -> Extraction:
        spec, ten = self.backbone.preprocess, self.settings.crops != "center"
        with ExitStack() as stack:
            self._decoders = stack.enter_context(
                Decoders(self.images, self._workers, spec, ten=ten)
            )
            self._passes = Passes(self._engine, self.threads, self.torch_threads)
            stack.callback(self._passes.close)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def rows(
        self,
        ranges: Iterable[tuple[int, int]] | None = None,
        *,
        stop: threading.Event | None = None,
        raise_bad: bool = False,
        dtype: str | None = None,
    ) -> Generator[Rows, None, None]:
        """Compute ranges of rows, each given out when it is whole.

        Parameters
        ----------
        ranges : iterable of (int, int), optional
            First row and row after the last. They are begun in this order; by default all rows, a
            batch at a time.
        stop : threading.Event, optional
            Once set, no further range is begun.
        raise_bad : bool
            Raise at the first bad image.
        dtype : str, optional
            Type of the rows; by default that of the settings.

        Yields
        ------
        Rows
            In the order in which they are finished.

        Raises
        ------
        Stopped
            After `stop` was set, when what had been begun has been given out.
        ImageError
            With `raise_bad`, for the first bad image seen.
        SettingError
            For values that are not finite as `dtype`.
        """
        from decaf.runtime.device import strict_float32

        passes, decoders = self._passes, self._decoders
        feed = Feed(
            self.images,
            self.ranges(0, len(self.images)) if ranges is None else ranges,
            self._shape,
            self.batch_size,
            dtype or self.settings.dtype,
            stop,
        )
        # One batch a thread at work, one waiting for each, and one being filled.
        most = 2 * self.threads + 1
        with strict_float32(self.device):
            while True:
                while feed.open_batches < most and (jobs := feed.next_batch()):
                    for job in jobs:
                        decoders.submit(job)
                if feed.open_batches == 0:
                    break
                busy = feed.decoding > 0
                for job, outcome in decoders.poll(1.0 if busy else 0.0, [passes] if busy else []):
                    if raise_bad and outcome.status != "ok":
                        raise self.bad_image(job.index, outcome.status, outcome.message)
                    batch = feed.decoded(job.index, outcome)
                    if batch is not None:
                        passes.put(batch)
                for batch in passes.take(block=feed.decoding == 0):
                    rows = feed.computed(batch)
                    if rows is not None:
                        yield rows
        if feed.stopped:
            raise Stopped("stopped before the last images were begun")

    def ranges(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Cut rows into ranges of one batch each.

        Parameters
        ----------
        start, stop : int
            First row and row after the last.
        """
        step = self.batch_size
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def all_rows(
        self,
        *,
        progress: bool | Callable[[int, int], Any] | None = None,
        stop: threading.Event | None = None,
        raise_bad: bool = False,
    ) -> Rows:
        """Compute all rows into memory, maps flattened.

        Parameters
        ----------
        progress, stop
            As `decaf.extract` has them.
        raise_bad : bool
            Raise at the first bad image.

        Returns
        -------
        Rows
            From 0 on; its features have shape (N, D), of a ten-crop stack (N, 10, D).
        """
        count, stacked = len(self.images), self.settings.crops == "ten-stack"
        whole = Rows.empty(0, count)
        with progress_for(progress, count, 0) as shown:
            for rows in self.rows(stop=stop, raise_bad=raise_bad):
                part = slice(rows.start, rows.stop)
                for name in self.settings.layers:
                    values = rows.features[name]
                    flat = values.reshape(*values.shape[: 2 if stacked else 1], -1)
                    if name not in whole.features:
                        whole.features[name] = np.empty((count, *flat.shape[1:]), flat.dtype)
                    whole.features[name][part] = flat
                whole.status[part] = rows.status
                whole.source_size[part] = rows.source_size
                whole.content_sha256[part] = rows.content_sha256
                whole.messages[part] = rows.messages
                shown.advance(rows.stop - rows.start)
        return whole

    def bad_image(self, row: int, status: str, message: str) -> ImageError:
        """Return the error of an image that cannot be read, with the way on.

        Parameters
        ----------
        row : int
        status : str
            One of `decaf.images.status.STATUS_NAMES`.
        message : str
        """
        name = name_text(self.images.names[row])
        remedy = "`on_error='record'` goes on without its features"
        return ImageError(status, message, name, row, remedy=remedy)
