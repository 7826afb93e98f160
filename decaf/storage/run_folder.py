"""The folder of a run: taken by one run at a time, and of one run for ever."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decaf.errors import OutputError, ResumeError
from decaf.storage.atomic import disk_errors, write_atomically
from decaf.storage.file_locks import OPEN_FILES_STAY
from decaf.storage.lock import LOCK_NAME, acquire
from decaf.storage.records import differences
from decaf.version import __version__

__all__ = ["RunFolder"]


class RunFolder:
    """A folder in which a run works, with a record in it that says which run that is.

    A kind of run derives from it: it says what its record holds, and what else lies in the folder.

    Parameters
    ----------
    path : Path
    record : str
        Name of the record in it, a file of JSON.
    format : str
        What the record calls itself.
    schema : int
        Version of what it holds.
    remedy : str
        What a user is to do with a record that cannot be read.
    """

    def __init__(self, path: Path, record: str, *, format: str, schema: int, remedy: str) -> None:
        self.path = path
        self.record_path = path / record
        self._format = format
        self._schema = schema
        self._remedy = remedy
        self._lock: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process holds the folder."""
        return self._lock is not None

    def hold(self, is_early: Callable[[str], bool]) -> None:
        """Make the folder where it is not there, and take its lock.

        Parameters
        ----------
        is_early : callable
            Tells whether a file of this name may lie in a folder without a record: what a run that
            was killed as it began has left is no hindrance.

        Raises
        ------
        OutputError
            If it is no folder, holds something else, is in use, or the disk refuses.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(
                f"{self.path}: is needed for work and is no folder; move it away, or give another "
                "`out`"
            )
        if self.path.is_dir() and not self.record_path.exists():
            for name in sorted(os.listdir(self.path)):
                if name != LOCK_NAME and not is_early(name):
                    raise OutputError(
                        f"{self.path}: is needed for work and holds something else ({name!r}); "
                        "move it away, or give another `out`"
                    )
        with disk_errors(self.path, "nothing was begun"):
            self._lock = acquire(self.path)

    def close(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Delete the folder, as far as that can be."""
        if OPEN_FILES_STAY:
            self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def write_record(self, body: Mapping[str, Any]) -> None:
        """Write the record.

        Parameters
        ----------
        body : mapping
            JSON values.

        Raises
        ------
        OSError
            Where the disk refuses; the record before it stays.
        """
        head = {"format": self._format, "schema": self._schema, "decaf_version": __version__}
        write_atomically(self.record_path, json.dumps({**head, **body}, indent=1).encode())

    def read_record(self) -> dict[str, Any]:
        """Return what `write_record` wrote.

        Raises
        ------
        ResumeError
            Where it is damaged, of another kind of run, or of another schema.
        """
        with self.reading_record():
            body: dict[str, Any] = json.loads(self.record_path.read_bytes())
            form, schema, version = (body.pop(k) for k in ("format", "schema", "decaf_version"))
            if form != self._format:
                raise ValueError(f"its format is {form!r:.60}, not {self._format!r}")
        if schema != self._schema:
            raise ResumeError(
                f"{self.record_path}: was written in schema {schema!r:.60} by decaf "
                f"{version!s:.60}, this version reads {self._schema}; go on with that version, or "
                f"{self._remedy}"
            )
        return body

    @contextmanager
    def reading_record(self) -> Iterator[None]:
        """Say that the record is damaged where something in it is not as it should be.

        Raises
        ------
        ResumeError
        """
        try:
            yield
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ResumeError(
                f"{self.record_path}: is damaged ({error}); {self._remedy}"
            ) from error

    def refuse_differences(self, before: dict[str, Any], now: dict[str, Any], remedy: str) -> None:
        """Refuse to go on with a run that was begun with other settings.

        Parameters
        ----------
        before, now : dict
            JSON values.
        remedy : str
            What a user is to do.

        Raises
        ------
        ResumeError
        """
        if differing := differences(before, now):
            raise ResumeError(
                f"{self.path}: was begun with other settings ({'; '.join(differing)}); {remedy}"
            )
