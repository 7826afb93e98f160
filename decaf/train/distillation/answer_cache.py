"""Answers of a teacher that are computed once and kept: by teacher, image contents and view.

They lie in a folder of shards (`decaf.storage.shards`), which only grows: a run that is stopped
goes on with the images that are missing, and photographs that are added cost their own answers
alone. A shard that was damaged is made anew.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decaf.errors import ResumeError, Stopped
from decaf.runtime.cores import cores_of_process
from decaf.runtime.disk import need_room
from decaf.runtime.processes import World
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings
from decaf.runtime.wording import counted
from decaf.storage import ShardDirectory, disk_errors, fingerprint
from decaf.storage.shards import ShardWriter
from decaf.storage.unfinished import open_shards
from decaf.train.distillation.teacher import Teacher
from decaf.train.feed import ahead, decoding_threads

__all__ = ["AnswerRows", "Answers", "Asked", "answer", "need_room_for_answers"]

SHARD_IMAGES = 512
# Images that are answered at a time.
TOGETHER = 128
# Such pieces that are decoded ahead.
AHEAD = 4
KEPT = "finished answers are kept, for the same command"


@dataclass(frozen=True, eq=False)
class Asked:
    """Views of images for the teacher: one of each.

    Parameters
    ----------
    digests : ndarray of uint8, shape (N, 32)
        Identity of the images as they are stored: `PhotographSplit.digests`.
    see : callable
        From the number of an image to its view as the teacher takes it: uint8 (side, side, 3).
    record : dict
        Settings that determine the view besides the image: JSON values.
    """

    digests: np.ndarray
    see: Callable[[int], np.ndarray]
    record: dict[str, Any]


@dataclass(slots=True, eq=False)
class AnswerRows:
    """The answers to consecutive images of a cache.

    Attributes
    ----------
    start, stop : int
        First row of the shard, and the row after its last.
    content_sha256 : ndarray of uint8, shape (stop - start, 32)
    answers : ndarray of float16, shape (stop - start, classes)
        Logits.
    """

    start: int
    stop: int
    content_sha256: np.ndarray
    answers: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the rows as the arrays of a shard, by name."""
        return {"content_sha256": self.content_sha256, "answers": self.answers}

    @classmethod
    def from_arrays(cls, start: int, stop: int, arrays: dict[str, np.ndarray]) -> AnswerRows:
        """Make rows of the arrays of a shard.

        Parameters
        ----------
        start : int
        stop : int
        arrays : mapping of str to ndarray
        """
        return cls(start, stop, arrays["content_sha256"], arrays["answers"])


class Answers:
    """The answers to one view of each image of a split, by their numbers in it.

    Parameters
    ----------
    shards : list of ndarray of float16, shape (images, classes)
    where : ndarray of int64, shape (N, 2)
        Shard and row of each image.
    """

    def __init__(self, shards: list[np.ndarray], where: np.ndarray) -> None:
        self._shards = shards
        self._where = where

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the logits of an image: float16 (classes,)."""
        shard, row = self._where[index]
        logits: np.ndarray = self._shards[shard][row]
        return logits

    def classes(self) -> np.ndarray:
        """Return the class that each image is given: int64 (N,)."""
        best = [np.argmax(shard, axis=1) for shard in self._shards]
        return np.array([best[shard][row] for shard, row in self._where.tolist()], np.int64)


def answer(
    teacher: Teacher,
    asked: Asked,
    cache: Path,
    world: World,
    compute: ComputeSettings,
) -> Answers:
    """Look up the teacher's answers, and compute those that are missing.

    Parameters
    ----------
    teacher : Teacher
    asked : Asked
    cache : Path
        Folder in which each teacher and kind of view has a folder of its own.
    world : World
        The processes of the run share the work.
    compute : ComputeSettings
        Its `workers` are the threads that decode; its `stop` ends this with `Stopped`, and what is
        finished is kept.

    Raises
    ------
    OutputError
        If the disk has no room for them, or refuses.
    ResumeError
        If the folder holds answers of another teacher or other views.
    SettingError
        If the teacher's answers are not one finite vector for each view.
    """
    run = {"teacher": teacher.identity(), "views": asked.record}
    folder = cache / f"answers-{fingerprint(run)[:16]}"
    shards = world.on_chief(lambda: _opened(folder, run))
    try:
        if shards is None:
            shards = ShardDirectory(folder, AnswerRows, rank=world.rank)
            shards.read_manifests()
        known = _known(shards)
        _, first = np.unique(asked.digests, axis=0, return_index=True)
        missing = [int(i) for i in np.sort(first) if asked.digests[i].tobytes() not in known]
        begin = max((shard.stop for shard in shards.finished.values()), default=0)
        chunks = [
            (begin + start, missing[start : start + SHARD_IMAGES])
            for start in range(0, len(missing), SHARD_IMAGES)
        ]
        # No process may write before all have read what is there: they share out the same rest.
        world.any([False])
        mine = chunks[world.rank :: world.size]
        _compute(teacher, asked, shards, mine, world, compute)
        (stopped,) = world.any([compute.stopped])
        if stopped and missing:
            raise Stopped(
                f"stopped while the teacher answered; {shards.path} keeps its answers: run the "
                "same again with `resume=True` to go on"
            )
        if missing:
            shards.read_manifests()
        return _answers(shards, asked.digests)
    finally:
        if shards is not None:
            shards.close()


def _opened(folder: Path, run: dict[str, Any]) -> ShardDirectory[AnswerRows]:
    header = {
        "run": run,
        "fingerprint": fingerprint(run),
        "shard_rows": SHARD_IMAGES,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    with disk_errors(folder, "nothing was begun"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            return open_shards(folder, AnswerRows, header)
        except ResumeError as error:
            raise ResumeError(
                f"{folder}: holds answers of another teacher or of other views, or is damaged "
                f"({error}); give another cache, or remove it"
            ) from error


def _known(shards: ShardDirectory[AnswerRows]) -> dict[bytes, tuple[int, int]]:
    """Find where the answers to each image are: number of the shard, in order, and row."""
    known: dict[bytes, tuple[int, int]] = {}
    for number, start in enumerate(sorted(shards.finished)):
        digests = shards.peek(shards.finished[start], ["content_sha256"])["content_sha256"]
        known |= {digest.tobytes(): (number, row) for row, digest in enumerate(digests)}
    return known


def _answers(shards: ShardDirectory[AnswerRows], digests: np.ndarray) -> Answers:
    known = _known(shards)
    paths = [shards.path / shards.finished[start].file_name for start in sorted(shards.finished)]
    where = np.array([known[digest.tobytes()] for digest in digests], np.int64)
    return Answers([_mapped(path) for path in paths], where)


def _mapped(path: Path) -> np.ndarray:
    """Return the answers of a shard, mapped from the file."""
    # A safetensors file: the length of its header, the header, and the arrays as they are.
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        layout = json.loads(file.read(size))["answers"]
    begin, end = layout["data_offsets"]
    # Not numpy's map, which keeps a file open for each shard: of those there are thousands.
    whole = torch.from_file(str(path), False, 8 + size + end, dtype=torch.uint8).numpy()
    mapped: np.ndarray = whole[8 + size + begin :].view(np.float16).reshape(layout["shape"])
    return mapped


def need_room_for_answers(cache: Path, images: int, views: int, classes: int) -> None:
    """Refuse, before the work begins, more answers than the disk has room for.

    Parameters
    ----------
    cache : Path
        Need not be there yet; what is in it already is counted as done.
    images : int
        Number of images; `views` views of each are answered, with `classes` numbers of two bytes.
    views, classes : int

    Raises
    ------
    OutputError
        With the figure.
    """
    there = sum(path.stat().st_size for path in cache.glob("answers-*/*.shard"))
    needed = max(0, images * views * (classes * 2 + 64) - there)
    need_room(
        cache,
        round(needed * 1.02) + (1 << 20),
        f"the answers to {counted(views, 'view')} of {images:,} images take",
        "take fewer views, or none (0), where the teacher answers in every step",
    )


def _compute(
    teacher: Teacher,
    asked: Asked,
    shards: ShardDirectory[AnswerRows],
    mine: list[tuple[int, list[int]]],
    world: World,
    compute: ComputeSettings,
) -> None:
    total = sum(len(images) for _, images in mine)
    if not mine:
        return
    pieces = [
        (start, images[i : i + TOGETHER])
        for start, images in mine
        for i in range(0, len(images), TOGETHER)
    ]
    sizes = {start: len(images) for start, images in mine}
    with (
        progress_for(compute.progress if world.chief else False, total, 0) as bar,
        ShardWriter(shards, bar, disk_path=shards.path, kept=KEPT) as writer,
        decoding_threads(compute.workers or cores_of_process()) as pool,
    ):
        seen = ahead(
            range(len(pieces)),
            lambda i: [pool.submit(asked.see, image) for image in pieces[i][1]],
            lambda futures: np.stack([future.result() for future in futures]),
            AHEAD,
        )
        rows = zip(pieces, _answered(teacher, seen, compute), strict=False)
        for start, group in itertools.groupby(rows, key=lambda row: row[0][0]):
            shard = list(group)
            images = [image for (_, some), _ in shard for image in some]
            count = sizes[start]
            if len(images) < count:
                return  # stopped amid a shard
            writer.put(
                AnswerRows(
                    start,
                    start + count,
                    np.ascontiguousarray(asked.digests[images]),
                    np.concatenate([answers for _, answers in shard]),
                )
            )


def _answered(
    teacher: Teacher, seen: Iterator[np.ndarray], compute: ComputeSettings
) -> Iterator[np.ndarray]:
    """Answer views, uint8 (n, side, side, 3), in float16 (n, classes), until asked to stop."""
    for views in seen:
        if compute.stopped:
            return
        logits = teacher.answers(torch.from_numpy(views)).clamp(-65504, 65504)
        yield logits.to(torch.float16).numpy()
