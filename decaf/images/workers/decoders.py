"""What decodes the images of a call: this process, or others, of which one is kept between calls.

To start decoding processes takes as long as to decode hundreds of photographs. So the few images of
a call, where they are JPEG or PNG of usual size, are decoded where they are; and the process that
starts decoding processes, with its libraries loaded, waits for the next call, until this one ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from decaf.errors import ImageError
from decaf.images.decoding.formats import sniff
from decaf.images.workers.child import Job
from decaf.images.workers.pool import DecodePool, InlinePool

if TYPE_CHECKING:
    from decaf.images.listing.refs import ImageRef
    from decaf.images.spec import PreprocessSpec
    from decaf.images.status import Outcome

__all__ = ["FEW", "Decoders", "is_plain"]

FEW = 16
"""Images of a call up to which they are decoded without processes, where they are plain."""

# Decoders of other formats have more ways to hang or crash, which a process of their own contains.
PLAIN = ("JPEG", "PNG")
MAX_PLAIN_PIXELS = 50_000_000
MAX_PLAIN_BYTES = 64 << 20


class Decoders:
    """Prepares the images of one call; see `decaf.images.workers.pool.Pool`.

    Parameters
    ----------
    images : int
        How many there will be: of no more than `FEW`, those that are plain (see `is_plain`) are
        prepared in this process.
    workers : int
        Processes at most.
    exact : bool
        Whether a pool with more processes, kept from another call, is not to be used, and few
        images are given to processes too.
    """

    def __init__(self, images: int, workers: int, *, exact: bool) -> None:
        self._least = min(workers, images)
        self._most = self._least if exact else workers
        self._few = images <= FEW and not exact
        self._settings: tuple[PreprocessSpec, bool] | None = None
        self._here: InlinePool | None = None
        self._pool = None if self._few else _kept.take(self._least, self._most)

    def configure(self, spec: PreprocessSpec, *, ten: bool) -> None:
        """Say how images are resized and cropped, before the first is submitted."""
        self._settings = spec, ten
        self._here = InlinePool(spec, ten=ten)
        if self._pool is not None:
            self._pool.configure(spec, ten=ten)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        assert self._here is not None
        if self._few and is_plain(job.source):
            self._here.submit(job)
        else:
            self._processes().submit(job)

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        """Return what has been finished, waiting at most `timeout` seconds, or until `also`."""
        assert self._here is not None
        if self._here.busy or self._pool is None:
            return self._here.poll(timeout, also)
        return self._pool.poll(timeout, also)

    def close(self) -> None:
        """Leave the processes to the next call, or end them where they are still at work."""
        if self._pool is not None:
            _kept.give_back(self._pool)
            self._pool = None

    def _processes(self) -> DecodePool:
        if self._pool is None:
            assert self._settings is not None
            spec, ten = self._settings
            self._pool = _kept.take(self._least, self._most)
            self._pool.configure(spec, ten=ten)
        return self._pool


def is_plain(ref: ImageRef) -> bool:
    """Tell whether an image may be decoded in this process: JPEG or PNG of usual size, or nothing.

    What cannot be read or is refused by its header reaches no decoder.
    """
    if ref.stat()[0] > MAX_PLAIN_BYTES:
        return False
    try:
        header = sniff(ref.load())
    except ImageError:
        return True
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
        found = os.stat(".")
        return os.getcwd(), found.st_dev, found.st_ino
    return None
