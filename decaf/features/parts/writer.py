"""Shards on their way to the disk while the next ones are computed."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Generic, TypeVar

from decaf.errors import Stopped
from decaf.features.parts.directory import ShardDirectory
from decaf.features.rows import ShardRows
from decaf.runtime.progress import Progress
from decaf.storage.atomic import disk_errors

__all__ = ["ShardWriter"]

R = TypeVar("R", bound=ShardRows)

# Shards that wait for the disk before the computing waits too.
WRITE_AHEAD = 2


class ShardWriter(Generic[R]):
    """Writes shards in a thread of its own, since a sync to disk takes as long as it takes.

    As a context manager: leaving it waits until all is written.

    Parameters
    ----------
    parts : ShardDirectory
        Where to.
    bar : Progress
        Told of each shard that is safe.
    disk_path : Path
        The file that the shards are for, named where the disk fails.
    kept : str
        What is safe then, as a clause.

    Raises
    ------
    OutputError
        From `put` and on leaving, where an earlier shard could not be written.
    """

    def __init__(
        self, parts: ShardDirectory[R], bar: Progress, *, disk_path: Path, kept: str
    ) -> None:
        self._parts = parts
        self._bar = bar
        self._disk_path = disk_path
        self._kept = kept
        self._queue: queue.Queue[R | None] = queue.Queue(WRITE_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="decaf-writer", daemon=True)

    def __enter__(self) -> ShardWriter[R]:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and (kind is None or kind is Stopped):
            raise self._error

    def put(self, rows: R) -> None:
        """Hand over a finished shard; raises what went wrong with an earlier one."""
        self._queue.put(rows)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (rows := self._queue.get()) is not None:
            if self._error is not None:
                continue  # the queue is emptied, so that nobody waits on it
            try:
                with disk_errors(self._disk_path, self._kept):
                    self._parts.write(rows)
                self._bar.advance(rows.stop - rows.start)
            except BaseException as error:
                self._error = error
