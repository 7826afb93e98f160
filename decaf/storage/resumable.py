"""A durable output: a file that is made of shards, complete under its name or not there.

A kind of file derives from `ShardedFile`, which asks it what a shard is, what determines the rows,
and how the file is made of its shards. `fill` does the rest, whatever the kind: it locks the folder
of shards beside the file, begins it or takes it up, refuses what was begun with other settings or
images, has the missing shards made, has the file made of them, and deletes them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from decaf.errors import DecafError, OutputError, ResumeError, Stopped
from decaf.runtime.progress import progress_for
from decaf.runtime.wording import counted
from decaf.storage.atomic import disk_errors, remove_leftover
from decaf.storage.records import fingerprint
from decaf.storage.shards import ShardDirectory, ShardRows, ShardWriter
from decaf.storage.unfinished import (
    Entry,
    content_digest,
    describe_images,
    open_shards,
    tidy_shards,
)
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.images import ImageList
    from decaf.runtime.processes import World

__all__ = ["ShardedFile", "fill"]

R = TypeVar("R", bound=ShardRows)


class ShardedFile(ABC, Generic[R]):
    """A file that is made of shards of rows; a kind of file says here what is its own.

    Parameters
    ----------
    path : Path
        The file.
    images : ImageList
        One for each row.
    overwrite : bool
        Replace a file, or the shards of a run, that differ from what is asked for now.
    raise_bad : bool
        Whether a bad image is an error.
    stop : threading.Event, optional
        Set it to end the run early.

    Attributes
    ----------
    noun : str
        What the file is, for error texts.
    error : type of DecafError
        What reading the file raises where it is not one.
    rows : type
        What a shard holds; its arrays ``status`` and ``content_sha256`` tell what became of each
        image.
    shards_path : Path
        The folder of its shards.
    """

    noun: str
    error: type[DecafError]
    rows: type[R]

    def __init__(
        self,
        path: Path,
        images: ImageList,
        *,
        overwrite: bool,
        raise_bad: bool,
        stop: threading.Event | None,
    ) -> None:
        self.path = path
        self.images = images
        self.overwrite = overwrite
        self.raise_bad = raise_bad
        self.stop = stop
        self.shards_path = path.with_name(path.name + ".parts")

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Return what determines the file, in JSON values.

        Its ``run`` is what the fingerprint stands for, ``shard_rows`` how many rows a shard has;
        all else has to be the same where a run is taken up.
        """

    def entries(self) -> list[Entry]:
        """List what an unfinished run remembers of its images."""
        return describe_images(self.images)

    @abstractmethod
    def compare(self) -> tuple[list[str], bool]:
        """Compare the finished file, which is there, with what is asked for now.

        Returns
        -------
        differing : list of str
            What differs, a phrase each.
        again : bool
            Whether it is to be made again though nothing differs.
        """

    @abstractmethod
    def compute(
        self, ranges: list[tuple[int, int]], shards: ShardDirectory[R]
    ) -> Generator[R, None, None]:
        """Make shards.

        Parameters
        ----------
        ranges : list of (int, int)
            First row of each, and row after the last.
        shards : ShardDirectory
            Those that are there.

        Yields
        ------
        ShardRows
            In any order.
        """

    @abstractmethod
    def assemble(self, shards: ShardDirectory[R]) -> None:
        """Make the file of its shards, which are all there, and give it its name.

        Parameters
        ----------
        shards : ShardDirectory
        """

    def check_room(self, shards: ShardDirectory[R]) -> None:
        """Refuse to begin what the disk has no room for.

        Parameters
        ----------
        shards : ShardDirectory
            Those that are there.
        """

    def check_stop(self) -> None:
        """Raise `Stopped` where the run is to end."""
        if self.stop is not None and self.stop.is_set():
            raise Stopped(f"{self.path}: stopped; run the same command again to go on")


def fill(
    output: ShardedFile[Any],
    world: World,
    progress: bool | Callable[[int, int], Any] | None = None,
) -> None:
    """Make a file, or what is missing of it; nothing where it is there as it is asked for.

    Parameters
    ----------
    output : ShardedFile
    world : World
        The processes that share the work; all of them call this.
    progress : bool, callable or None
        As `decaf.extract` has it.

    Raises
    ------
    Stopped
        Where `output.stop` was set before the last shard was begun.
    ResumeError
        Where the shards that are there are of other settings or images.
    OutputError
        Where the file is there and is another, or cannot be written.
    """
    entries = output.entries()
    images = hashlib.sha256(json.dumps([entry[::3] for entry in entries]).encode()).hexdigest()
    taken = world.on_chief(lambda: _take_folder(output, entries))
    agreed = world.share(None if taken is None else images)
    if agreed is None:  # it is complete
        return
    if agreed != images:
        raise OutputError(f"{output.path}: rank {world.rank} sees other images than rank 0")
    shards = taken or ShardDirectory(output.shards_path, output.rows, rank=world.rank)
    try:
        _compute(output, shards, world, progress)
        world.on_chief(lambda: _assemble(output, shards, world))
    finally:
        shards.close()


def _take_folder(output: ShardedFile[R], entries: list[Entry]) -> ShardDirectory[R] | None:
    """Begin the folder of shards, or take it up; None where the file is complete."""
    described = output.header()
    header = {
        **described,
        "fingerprint": fingerprint(described["run"]),
        "decaf_version": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if _is_complete(output):
        tidy_shards(output.shards_path, header["fingerprint"])
        remove_leftover(output.path)
        return None

    def digest(row: int) -> bytes:
        output.check_stop()
        return content_digest(output.images, row)

    opened = partial(
        open_shards,
        output.shards_path,
        output.rows,
        header,
        entries,
        digest,
        check=output.check_stop,
    )
    with disk_errors(output.shards_path, "nothing was begun"):
        try:
            # Nothing tells whether images in memory are the same as before.
            shards = opened(discard=output.images.in_memory)
        except ResumeError:
            if not output.overwrite:
                raise
            shards = opened(discard=True)
    try:
        # Again, under the lock: another run may have finished a moment ago.
        if _is_complete(output):
            shards.remove()
            shards.close()
            return None
        # Of a run that was killed as it assembled: the room it takes may be needed.
        remove_leftover(output.path)
        if output.raise_bad:
            _forget_bad(shards)
        output.check_room(shards)
    except BaseException:
        shards.close()
        raise
    return shards


def _is_complete(output: ShardedFile[Any]) -> bool:
    """Tell whether the file is there and is what was asked for.

    Another one is refused, or with `overwrite` taken for none.
    """
    if not output.path.exists():
        return False
    try:
        differing, again = output.compare()
    except output.error as error:
        if output.overwrite:
            return False
        raise OutputError(
            f"{output.path}: exists and is no {output.noun} that can be read ({error}); "
            "give another `out`, or `overwrite=True`"
        ) from error
    if differing and not output.overwrite:
        raise OutputError(
            f"{output.path}: exists and differs from this run ({'; '.join(differing)}); "
            "give another `out`, or `overwrite=True`"
        )
    return not differing and not again


def _forget_bad(shards: ShardDirectory[Any]) -> None:
    """Have bad images looked at again where they are an error now."""
    for start, shard in list(shards.finished.items()):
        if shards.peek(shard, ["status"])["status"].any():
            del shards.finished[start]


def _compute(
    output: ShardedFile[R],
    shards: ShardDirectory[R],
    world: World,
    progress: bool | Callable[[int, int], Any] | None,
) -> None:
    """Make the shards that are missing, of which this process takes its share."""
    count = len(output.images)
    # Of one mind about what is missing: a rank that looked for itself would see what a faster one
    # had finished meanwhile, and the shares would not fit together.
    missing = world.share(shards.missing(count) if world.chief else [])
    ranges = missing[world.rank :: world.size]
    left, all_left = (sum(stop - start for start, stop in each) for each in (ranges, missing))
    total = count - all_left + left  # without what other ranks will do
    kept = f"finished images are kept in {output.shards_path}"
    with progress_for(progress if world.chief else False, total, total - left) as bar:
        try:
            with (
                ShardWriter(shards, bar, disk_path=output.path, kept=kept) as writer,
                # Closed by hand, so that its threads have ended when an error leaves here.
                closing(output.compute(ranges, shards)) as computed,
            ):
                for rows in computed:
                    writer.put(rows)
            _wait(output, world)
        except Stopped:
            raise Stopped(
                f"{output.path}: stopped after {bar.done} of {counted(count, 'image')}; they are "
                "kept in "
                f"{output.shards_path}; run the same command again to go on"
            ) from None


def _wait(output: ShardedFile[Any], world: World) -> None:
    try:
        world.wait()
    except DecafError:
        output.check_stop()  # a rank that waits when all of them are stopped sees the others go
        raise


def _assemble(output: ShardedFile[R], shards: ShardDirectory[R], world: World) -> None:
    """Make the file of its shards, and delete them."""
    count = len(output.images)
    if world.size > 1:
        shards.read_manifests()
    if missing := shards.missing(count):
        raise OutputError(
            f"{output.path}: images {missing[0][0]} to {missing[0][1] - 1} are not in "
            f"{output.shards_path}; run the same command again to make them anew"
        )
    with disk_errors(
        output.path, f"all {counted(count, 'image', 'are')} kept in {output.shards_path}"
    ):
        output.assemble(shards)
    shards.remove()
