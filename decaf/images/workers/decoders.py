"""The decoders of the images of a call: this process, or others, one of which is kept for the next.

To start decoding processes takes as long as to decode hundreds of photographs. So the few images of
a call, where they are JPEG or PNG of usual size, are decoded where they are; and the process that
starts decoding processes, with its libraries loaded, waits for the next call, until this one ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from decaf.errors import ImageError
from decaf.images.decoding.formats import sniff
from decaf.images.listing.archives import close_kept_archive
from decaf.images.listing.arrays import close_kept_array
from decaf.images.preprocess import prepare
from decaf.images.workers.pool import DecodePool, Job
from decaf.runtime.cores import cores_of_process

if TYPE_CHECKING:
    from decaf.images.listing.image_list import ImageList
    from decaf.images.listing.image_ref import ImageRef
    from decaf.images.spec import PreprocessSpec
    from decaf.images.status import Outcome

__all__ = ["FEW", "Decoders", "is_plain", "is_plain_data", "warm_decoders"]

FEW = 16
"""Images of a call up to which they are decoded without processes, where they are plain."""

# Decoders of other formats have more ways to hang or crash, which a process of their own contains.
PLAIN = ("JPEG", "PNG")
MAX_PLAIN_PIXELS = 50_000_000
MAX_PLAIN_BYTES = 64 << 20


class Decoders:
    """Prepares the images of one call: jobs go in by `submit`, and come out of `poll`.

    A context manager: on leaving, the processes are left to the next call, or ended where they are
    still at work. Nobody can end a decoder that hangs in this process; what an image may take is
    bounded by its header (see `decaf.images.decoding.limits`).

    Parameters
    ----------
    images : ImageList
        Images that will be submitted. Images in memory are prepared in this process.
    workers : int or None
        Processes, 0 to prepare all images in this process. None for as many as there are cores;
        of no more than `FEW` images those that are plain (see `is_plain`) are then prepared here.
    spec : PreprocessSpec
        Resizing and cropping.
    ten : bool
        Five crops instead of one.
    """

    def __init__(
        self, images: ImageList, workers: int | None, spec: PreprocessSpec, *, ten: bool
    ) -> None:
        self._spec, self._ten = spec, ten
        self._least, self._most, self._few = _processes(images, workers)
        self._here: deque[Job] = deque()
        self._pool: DecodePool | None = None
        if self._most and not self._few:
            self._start()

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the processes to the next call, or end them where they are still at work.

        Files that this thread has kept open from one image to the next are closed.
        """
        close_kept_archive()
        close_kept_array()
        if self._pool is not None:
            _kept.give_back(self._pool)
            self._pool = None

    def submit(self, job: Job) -> None:
        """Queue a job.

        Parameters
        ----------
        job : Job
            Job of one of the images.
        """
        if not self._most or (self._few and is_plain(job.source)):
            self._here.append(job)
        else:
            (self._pool or self._start()).submit(job)

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        """Return what has been finished: the next image of this process, or what processes gave.

        Parameters
        ----------
        timeout : float
            In seconds; where no image is to be prepared here, the longest wait.
        also : sequence of objects with a ``fileno``
            That wait ends when one of them can be read.
        """
        if self._here:
            job = self._here.popleft()
            return [(job, prepare(job.source, self._spec, ten=self._ten, out=job.out))]
        if self._pool is None:
            wait(also, timeout)
            return []
        return self._pool.poll(timeout, also)

    def _start(self) -> DecodePool:
        self._pool = _kept.take(self._least, self._most)
        self._pool.configure(self._spec, ten=self._ten)
        return self._pool


def warm_decoders(images: ImageList, workers: int | None) -> None:
    """Start the process that starts decoders, which loads its libraries while this one loads torch.

    The `Decoders` of the same images then find it waiting.

    Parameters
    ----------
    images : ImageList
    workers : int or None
        As `Decoders` has them.
    """
    least, most, few = _processes(images, workers)
    if most and not few:
        _kept.give_back(_kept.take(least, most))


def _processes(images: ImageList, workers: int | None) -> tuple[int, int, bool]:
    """Return how many processes it takes at least and at most, and whether only for odd images."""
    if images.in_memory or workers == 0 or not sys.executable or hasattr(sys, "frozen"):
        return 0, 0, False
    if workers is not None:
        exactly = min(workers, len(images))
        return exactly, exactly, False
    most = cores_of_process()
    return min(most, len(images)), most, len(images) <= FEW


def is_plain(ref: ImageRef) -> bool:
    """Tell whether an image may be decoded in this process: JPEG or PNG of usual size, or nothing.

    An image that cannot be read, or is refused by its header, reaches no decoder.

    Parameters
    ----------
    ref : ImageRef
    """
    if ref.stat()[0] > MAX_PLAIN_BYTES:
        return False
    try:
        return is_plain_data(ref.load())
    except ImageError:
        return True


def is_plain_data(data: bytes) -> bool:
    """Tell whether the bytes of an image may be decoded in this process, as `is_plain`.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    ImageError
        For what is no image.
    """
    header = sniff(data)
    return header.format in PLAIN and header.width * header.height <= MAX_PLAIN_PIXELS


class _Kept:
    """The pool that waits for the next call: one at most, of this process and its folder.

    Names of images are relative to the folder that the processes were started in.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: DecodePool | None = None
        self._watched = False

    def take(self, least: int, most: int) -> DecodePool:
        """Return a pool of so many processes, which is the caller's until it is given back."""
        here = _folder()
        with self._lock:
            self._watch()
            pool, self._pool = self._pool, None
        if pool is not None:
            if here is not None and pool.folder == here and least <= pool.workers <= most:
                return pool
            pool.close()
        return DecodePool(least, folder=here)

    def give_back(self, pool: DecodePool) -> None:
        """Keep a pool that has nothing to do, where none is kept yet; end it otherwise."""
        with self._lock:
            if self._pool is None and pool.idle:
                pool.rest()
                self._pool = pool
                return
        pool.close()

    def close(self) -> None:
        """End the processes that are kept."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            atexit.register(self.close)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Leave the pool to the process that this one was forked from."""
        self._lock = threading.Lock()  # perhaps held by a thread that is not here
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.disown()


_kept = _Kept()


def _folder() -> tuple[Any, ...] | None:
    with contextlib.suppress(OSError):
        here = os.stat(".")
        return os.getcwd(), here.st_dev, here.st_ino
    return None
