"""The folder, or prefix of a store, of a part set: what lies in it, and how it is named.

- ``run.json``: the settings of all rows, with their fingerprint; written once;
- ``shards/ID.jsonl``: the input shards of one command, a line each;
- ``STEM-TAG.parquet`` or ``.h5``: the part of a shard, whole or not there;
- ``records/STEM-TAG.json``: what became of the shard: rows, bad images, time; or why there is no
  part of it.

The tag is a hash of the settings and of the shard's name, size and version, so that the names of
the files alone tell what is done: the part of a shard that has changed since is not there. Whoever
makes a part makes the same bytes, and a file appears whole; so several commands may work in one
folder, and what two of them do at once is done twice and not damaged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from decaf.errors import FeatureFileError, OutputError, ResumeError
from decaf.storage import canonical_json, changed_names, differences, field_digests, fingerprint
from decaf.storage.place import Place, open_place
from decaf.version import __version__

__all__ = ["FORMATS", "InputShard", "PartFolder", "ShardRecord", "run_digests"]

FORMATS = ("parquet", "h5")
FORMAT = "decaf-parts"
SCHEMA = 1
RUN = "run.json"
LISTS = "shards"
RECORDS = "records"

_PART = re.compile(r"(?P<stem>[A-Za-z0-9_.=+-]*-[0-9a-f]{20})\.(parquet|h5)")
_ODD = re.compile(r"[^A-Za-z0-9_.=+-]+")
# Small files of a store that are read at a time.
READERS = 24


@dataclass(frozen=True)
class InputShard:
    """A shard of images, as it was listed.

    Attributes
    ----------
    name : str
        Path or URL; of a piece of a list ``LIST:FIRST-LAST``.
    size : int
        In bytes; -1 where it is not known.
    version : str
        Changes when the shard does: ETag, time of change, or the hash of the lines.
    lines : tuple of str
        Of a piece of a list the paths and URLs; else empty.
    """

    name: str
    size: int
    version: str
    lines: tuple[str, ...] = ()

    def stem(self, run_fingerprint: str) -> str:
        """Return the name of its part and record, without the ending.

        Parameters
        ----------
        run_fingerprint : str
        """
        known = canonical_json([run_fingerprint, self.name, self.size, self.version])
        tag = fingerprint({"shard": known})[:20]
        last = self.name.rstrip("/").rpartition("/")[2]
        base = re.sub(r"\.(tar(\.\w+)?|tgz|zip|parquet)$", "", last, flags=re.IGNORECASE)
        return f"{_ODD.sub('_', base).strip('.')[:80]}-{tag}"


@dataclass(frozen=True)
class ShardRecord:
    """What became of a shard.

    Attributes
    ----------
    shard : str
        Its name.
    rows : int
    statuses : dict of str to int
        Rows by status.
    bytes : int
        Size of the part; 0 where there is none.
    sha256 : str
        SHA-256 of the part's bytes.
    seconds : float
        Time that it took.
    ended : float
        When, in seconds since 1970.
    failed : str
        Why there is no part; empty where there is one.
    """

    shard: str
    rows: int = 0
    statuses: dict[str, int] | None = None
    bytes: int = 0
    sha256: str = ""
    seconds: float = 0.0
    ended: float = 0.0
    failed: str = ""


def run_digests(body: dict[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each field of ``run.json`` that others do not decide.

    Parameters
    ----------
    body : dict
        What it holds.
    """
    names = ("run", "part_format", "decaf_version", "created")
    return field_digests({name: body[name] for name in names})


class PartFolder:
    """The folder of a part set.

    Parameters
    ----------
    url : str or path

    Attributes
    ----------
    place : Place
    url : str
    """

    def __init__(self, url: Any) -> None:
        self.place: Place = open_place(url)
        self.url = self.place.url

    def read_run(self) -> dict[str, Any] | None:
        """Return what ``run.json`` holds; None where there is none.

        Raises
        ------
        FeatureFileError
            Where it is damaged, or of something else.
        """
        try:
            data = self.place.read(RUN)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            body: dict[str, Any] = json.loads(data)
            if body["format"] != FORMAT or body["schema"] != SCHEMA:
                raise ValueError(f"it is {body['format']!r:.40}, schema {body['schema']!r:.20}")
            stored = body.get("attributes")  # early versions wrote none
            changed = [] if stored is None else changed_names(stored, run_digests(body))
            told = f"not what was written: {', '.join(changed)}"
            if fingerprint(body["run"]) != body["fingerprint"]:
                problem = "its fingerprint is not that of its settings"
                raise ValueError(f"{problem}; {told}" if changed else problem)
            if changed:
                raise ValueError(told)
            if body["part_format"] not in FORMATS:
                raise ValueError(f"parts of the format {body['part_format']!r:.20}")
            str(body["created"]).encode()
            tuple(body["run"]["layers"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FeatureFileError(
                f"{self.url}{RUN}: is damaged, or not of a part set ({error})"
            ) from error
        return body

    def begin(self, run: dict[str, Any], part_format: str, *, overwrite: bool) -> dict[str, Any]:
        """Begin a part set, or go on with one; of two that begin at once the first decides.

        Parameters
        ----------
        run : dict
            What determines a row.
        part_format : {"parquet", "h5"}
        overwrite : bool
            Where there is one of other settings, begin anew.

        Returns
        -------
        dict
            What ``run.json`` holds.

        Raises
        ------
        OutputError
            Where something else lies there.
        ResumeError
            Where it was begun with other settings.
        """
        body = {
            "format": FORMAT,
            "schema": SCHEMA,
            "decaf_version": __version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "part_format": part_format,
            "run": run,
            "fingerprint": fingerprint(run),
        }
        body["attributes"] = run_digests(body)
        data = json.dumps(body, indent=1).encode()
        there = self.read_run()
        if there is None:
            others = sorted(name for name in self.place.names() if not name.startswith("."))
            if others and RUN not in others:  # another run may have begun it in between
                raise OutputError(
                    f"{self.url}: holds something else ({others[0]!r}); give another `out`"
                )
            if self.place.create(RUN, data):
                return body
            there = self.read_run()
        if there is None:
            raise OutputError(f"{self.url}{RUN}: was taken away while this run began")
        now = {"format": part_format, **run}
        differing = differences({"format": there["part_format"], **there["run"]}, now)
        if not differing:
            return there
        if not overwrite:
            raise ResumeError(
                f"{self.url}: was begun with other settings ({'; '.join(differing)}); give another "
                "`out`, or `overwrite=True`"
            )
        self.place.write(RUN, data)
        return body

    def write_list(self, shards: Sequence[InputShard]) -> None:
        """Write the shards of a command down; the same names take the place of those before.

        Parameters
        ----------
        shards : sequence of InputShard
        """
        number = fingerprint({"names": [shard.name for shard in shards]})[:20]
        lines = [canonical_json(asdict(shard)) for shard in shards]
        self.place.write(f"{LISTS}/{number}.jsonl", "".join(f"{x}\n" for x in lines).encode())

    def shards(self) -> list[InputShard]:
        """Return the shards of all commands, each once, in the order of their lists."""
        lists = []
        for name in sorted(self.place.names(LISTS)):
            try:
                entries = [json.loads(x) for x in self.place.read(f"{LISTS}/{name}").splitlines()]
                lists.append([InputShard(**{**e, "lines": tuple(e["lines"])}) for e in entries])
            except (ValueError, KeyError, TypeError) as error:
                raise FeatureFileError(
                    f"{self.url}{LISTS}/{name}: is damaged ({error}); run the command again"
                ) from error
        lists.sort(key=lambda listed: listed[0].name if listed else "")
        return [shard for listed in lists for shard in listed]

    def stems(self) -> set[str]:
        """Return the stems of the parts that are there."""
        matches = (_PART.fullmatch(name) for name in self.place.names())
        return {match["stem"] for match in matches if match}

    def write_record(self, stem: str, record: ShardRecord) -> None:
        """Write down what became of a shard.

        Parameters
        ----------
        stem : str
        record : ShardRecord
        """
        self.place.write(f"{RECORDS}/{stem}.json", json.dumps(asdict(record)).encode())

    def recorded(self) -> set[str]:
        """Return the stems of which there is a record."""
        return {name.removesuffix(".json") for name in self.place.names(RECORDS)}

    def records(self, stems: Iterable[str]) -> dict[str, ShardRecord]:
        """Read the records of some shards; one that is damaged or not there is left out.

        Parameters
        ----------
        stems : iterable of str
        """
        recorded = self.recorded()
        wanted = [stem for stem in stems if stem in recorded]

        def read(stem: str) -> ShardRecord | None:
            try:
                return ShardRecord(**json.loads(self.place.read(f"{RECORDS}/{stem}.json")))
            except (FileNotFoundError, ValueError, TypeError):
                return None

        with ThreadPoolExecutor(READERS) as readers:
            read_ones = zip(wanted, readers.map(read, wanted), strict=True)
            return {stem: record for stem, record in read_ones if record is not None}

    def remove_stale(self, shards: Sequence[InputShard], run_fingerprint: str) -> None:
        """Take away parts and records of shards that have changed since, or of other settings.

        Parameters
        ----------
        shards : sequence of InputShard
            As they are now; the parts of others stay.
        run_fingerprint : str
        """
        parts, records = self.place.names(), self.place.names(RECORDS)
        # Read after them: who has made a part had written its list before.
        known = {shard.stem(run_fingerprint) for shard in (*shards, *self.shards())}
        for name in sorted(parts):
            match = _PART.fullmatch(name)
            if match and match["stem"] not in known:
                self.place.remove(name)
        for name in sorted(records):
            if name.removesuffix(".json") not in known:
                self.place.remove(f"{RECORDS}/{name}")
