"""Finished results of a benchmark, one small file each, so that a run that was killed goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from decaf.storage.atomic import disk_errors, write_atomically

__all__ = ["ResultStore"]

T = TypeVar("T")

# Part of every key: raise it when the meaning of what is stored changes.
SCHEMA = 1


class ResultStore:
    """Results by all that determines them.

    Parameters
    ----------
    folder : path
        Made when the first result is put there.

    Examples
    --------
    >>> store = ResultStore("/nowhere")
    >>> store.get({"layer": "fc6"}, dict) is None
    True
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, key: Mapping[str, Any], kind: type[T]) -> T | None:
        """Return what is stored, None where there is nothing or it is damaged.

        Parameters
        ----------
        key : mapping
            What JSON can hold.
        kind : dataclass
            What to make of it. Lists become tuples.
        """
        try:
            stored = json.loads(self._path(key).read_bytes())
            if stored["key"] != _plain(key):
                return None
            return kind(
                **{n: tuple(v) if isinstance(v, list) else v for n, v in stored["value"].items()}
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, key: Mapping[str, Any], value: Any) -> None:
        """Store a dataclass.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        path = self._path(key)
        text = json.dumps({"key": _plain(key), "value": dataclasses.asdict(value)})
        with disk_errors(path, "finished results are kept"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text.encode())

    def _path(self, key: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(_plain(key), sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"


def _plain(key: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps({"schema": SCHEMA, **key}))
