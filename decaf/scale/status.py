"""How far a part set is: `shard_status`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

from decaf.errors import InputError
from decaf.features.store.part_folder import PartFolder, ShardRecord

__all__ = ["ShardStatus", "record_of_part", "shard_status"]

# The speed is that of the last hour of work.
RECENT = 3600.0


@dataclass(frozen=True)
class ShardStatus:
    """How far a part set is.

    Attributes
    ----------
    url : str
        Its folder or prefix.
    shards : int
        Shards of all commands.
    done : int
        Shards whose part is there.
    failed : dict of str to str
        Why there is no part of them, by the names of the shards.
    rows : int
        Rows of the parts that are there.
    bad : dict of str to int
        Rows of images that could not be read, by status.
    bytes : int
        Size of the parts.
    images_per_second : float
        Of the last hour of work, all workers together; 0 where it is not known.
    seconds_left : float or None
        How long the rest takes at this speed, with shards as large as those that are done.
    """

    url: str
    shards: int
    done: int
    failed: dict[str, str]
    rows: int
    bad: dict[str, int]
    bytes: int
    images_per_second: float
    seconds_left: float | None

    @property
    def left(self) -> int:
        """Shards that are neither done nor failed."""
        return self.shards - self.done - len(self.failed)

    @property
    def complete(self) -> bool:
        """Whether every shard has a part."""
        return self.done == self.shards


def shard_status(out: str | os.PathLike[str]) -> ShardStatus:
    """Return how far a part set is, from the names in its folder and the records of its shards.

    Parameters
    ----------
    out : str or path
        A folder or URL that `extract_shards` has written to, or is writing to.

    Raises
    ------
    InputError
        Where there is none.
    FeatureFileError
        Where what lies there is damaged.
    """
    folder = PartFolder(out)
    body = folder.read_run()
    if body is None:
        raise InputError(f"{folder.url}: there is no part set (no run.json in it)")
    stems = folder.stems()
    shards = {shard.stem(body["fingerprint"]): shard for shard in folder.shards()}
    records = folder.records(shards)
    done = {stem: records.get(stem) for stem in shards if stem in stems}
    failed = {
        record.shard: record.failed
        for stem, record in records.items()
        if stem not in done and record.failed
    }
    made = [record for record in done.values() if record is not None and not record.failed]
    bad: Counter[str] = Counter()
    for record in made:
        bad.update(record.statuses or {})
    bad.pop("ok", None)
    speed = _speed(made)
    rows = sum(record.rows for record in made)
    left = len(shards) - len(done) - len(failed)
    return ShardStatus(
        url=folder.url,
        shards=len(shards),
        done=len(done),
        failed=dict(sorted(failed.items())),
        rows=rows,
        bad=dict(sorted(bad.items())),
        bytes=sum(record.bytes for record in made),
        images_per_second=round(speed, 2),
        seconds_left=0.0 if not left else left * (rows / len(made)) / speed if speed else None,
    )


def _speed(records: list[ShardRecord]) -> float:
    """Return the images a second of the last hour of work."""
    if not records:
        return 0.0
    last = max(record.ended for record in records)
    recent = [record for record in records if record.ended > last - RECENT]
    first = max(min(record.ended - record.seconds for record in recent), last - RECENT)
    rows = 0.0
    for record in recent:
        # Of a part that was begun before, what falls into the hour.
        share = min(1.0, (record.ended - first) / max(record.seconds, 1e-9))
        rows += record.rows * share
    return rows / max(last - first, 1e-9)


def record_of_part(part: Any, shard: str) -> ShardRecord:
    """Return the record of a part whose run was killed before it wrote one.

    Parameters
    ----------
    part : FeatureFile
    shard : str
        Name of its shard.
    """
    names = part.status_names
    counts = Counter(names[code] for code in part.status.tolist())
    return ShardRecord(shard, rows=len(part), statuses=dict(sorted(counts.items())))
