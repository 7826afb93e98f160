"""An extraction made ready: images, decoders, network and batches, but no word of where rows go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.features.pipeline import stream
from decaf.features.rows import Rows
from decaf.features.run import RunSettings
from decaf.images.workers.decoders import Decoders
from decaf.images.workers.pool import InlinePool, Pool, processes_available
from decaf.runtime.cores import available_cores, cores_of_process
from decaf.runtime.progress import progress_for

if TYPE_CHECKING:
    import torch

    from decaf.backbone.model import Backbone
    from decaf.images.listing.sources import ImageList

__all__ = ["Session", "start_decoders"]

CPU_BATCH = 32
CUDA_BATCH = 256
MAX_THREADS = 16


def start_decoders(images: ImageList, workers: int | None) -> Decoders | None:
    """Start the decoding processes, if it takes any, or take those that were kept.

    Call it before torch is loaded: the processes load theirs at the same time.

    Parameters
    ----------
    images : ImageList
        What will be decoded. Images in memory are prepared in this process.
    workers : int or None
        How many; None for one a core, or none for few images; 0 for decoding in this process.

    Returns
    -------
    Decoders or None
        To be configured and, in the end, closed.
    """
    if images.in_memory or workers == 0 or not processes_available():
        return None
    most = cores_of_process() if workers is None else workers
    return Decoders(len(images), most, exact=workers is not None)


class Session:
    """Turns rows of an image list into features.

    Parameters
    ----------
    images : ImageList
    backbone : Backbone
    settings : RunSettings
    device : torch.device
    pool : Decoders or None
        From `start_decoders`; None to prepare images in this process.
    batch_size : int or None
        Images a forward pass; None for 32 on a CPU and 256 on a GPU. It changes the rows by no
        more than rounding.
    in_one_go : bool
        All rows are wanted at once: small lists are then spread over the cores.
    engine : callable, optional
        What maps crops to rows, where that is not the backbone's own `Engine`. The backbone then
        says no more than how images are prepared.
    """

    def __init__(
        self,
        images: ImageList,
        backbone: Backbone,
        settings: RunSettings,
        *,
        device: torch.device,
        pool: Decoders | None,
        batch_size: int | None,
        in_one_go: bool,
        engine: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None,
    ) -> None:
        import torch

        from decaf.backbone.engine import Engine, Halving

        self.images = images
        self.settings = settings
        self.device = device
        self._spec = backbone.preprocess
        self._ten = settings.crops != "center"
        self._pool: Pool
        if pool is None:
            self._pool = InlinePool(backbone.preprocess, ten=self._ten)
        else:
            pool.configure(backbone.preprocess, ten=self._ten)
            self._pool = pool
        self.threads, self.torch_threads = 1, torch.get_num_threads()
        if device.type == "cpu":
            cores = min(available_cores(), torch.get_num_threads())
            self.threads = min(cores, MAX_THREADS)
            self.torch_threads = cores // self.threads
        self.batch_size = batch_size or self._default_batch(in_one_go)
        self._engine = Halving(
            engine
            or Engine(
                backbone,
                settings.layers,
                crops=settings.crops,
                precision=settings.precision,
                device=device,
            )
        )

    def _default_batch(self, in_one_go: bool) -> int:
        size = CPU_BATCH if self.device.type == "cpu" else CUDA_BATCH
        if self._ten:
            size = max(1, size // 8)
        if in_one_go:
            size = min(size, max(1, -(-len(self.images) // self.threads)))
        return size

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
            for rows in self.rows(self.ranges(), stop=stop, raise_bad=raise_bad):
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

    def ranges(self) -> list[tuple[int, int]]:
        """Cut all rows into ranges of one batch each."""
        step, count = self.batch_size, len(self.images)
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def rows(
        self,
        ranges: Iterable[tuple[int, int]],
        *,
        stop: threading.Event | None = None,
        raise_bad: bool = False,
        dtype: str | None = None,
    ) -> Generator[Rows, None, None]:
        """Compute ranges of rows, by default as the settings' type.

        See `decaf.features.pipeline.stream`.
        """
        from decaf.runtime.device import strict_float32

        with strict_float32(self.device):
            yield from stream(
                self.images,
                ranges,
                pool=self._pool,
                engine=self._engine,
                crop=self._spec.crop,
                ten=self._ten,
                batch_size=self.batch_size,
                threads=self.threads,
                torch_threads=self.torch_threads,
                dtype=dtype or self.settings.dtype,
                stop=stop,
                raise_bad=raise_bad,
            )
