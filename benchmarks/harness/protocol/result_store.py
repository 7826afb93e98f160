"""Finished results of a benchmark, one small file each, so that a run that was killed goes on."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from datasets.dataset import Dataset
from decaf.storage import disk_errors, write_atomically

__all__ = ["ResultStore", "code_digest", "images_digest", "versions"]

T = TypeVar("T")

# Part of every key: raise it when the meaning of what is stored changes.
SCHEMA = 1

# Where a docstring may stand.
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


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
            Value that JSON can hold.
        kind : dataclass
            Type to make of it. Lists become tuples.
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

        Parameters
        ----------
        key : mapping
            Value that JSON can hold.
        value : dataclass

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


def images_digest(dataset: Dataset, rows: Iterable[int]) -> str:
    """Hash the names and labels of images, in order.

    Parameters
    ----------
    dataset : Dataset
    rows : iterable of int

    Returns
    -------
    str
        Hexadecimal digits.
    """
    parts = (dataset.names[row] + b"\0%d\0" % dataset.labels[row] for row in rows)
    return hashlib.sha256(b"".join(parts)).hexdigest()


@functools.cache
def versions(libraries: tuple[str, ...], *packages: ModuleType) -> dict[str, str]:
    """Return the versions of what fits; of decaf's own packages the code, which says more.

    Parameters
    ----------
    libraries : tuple of str
    *packages : module

    Returns
    -------
    dict of str to str
        Name → version, or digest of the code.
    """
    own = {package.__name__.rpartition(".")[2]: code_digest(package) for package in packages}
    return {**own, **{name: version(name) for name in libraries}}


def code_digest(*packages: ModuleType) -> str:
    """Hash the code of packages: what runs, not its words and form.

    Parameters
    ----------
    *packages : module
        With all that is below their folders.

    Returns
    -------
    str
        Hexadecimal digits. Comments, docstrings and layout do not change it.
    """
    code = hashlib.sha256()
    for package in packages:
        assert package.__file__ is not None
        for file in sorted(Path(package.__file__).parent.rglob("*.py")):
            code.update(_what_runs(file.read_bytes()))
    return code.hexdigest()


def _what_runs(source: bytes) -> bytes:
    """Return the syntax tree of a module without docstrings: words and form change no result."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree).encode()
