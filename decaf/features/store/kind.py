"""The kinds of HDF5 file that decaf writes, as far as the checks before reading differ in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from decaf.errors import FeatureFileError
from decaf.features.store import schema

__all__ = ["FEATURE_FILE", "FileKind"]


@dataclass(frozen=True)
class FileKind:
    """What errors call a file, and what its root attributes have to say.

    Attributes
    ----------
    name : str
        One of `decaf.images.listing.recognise.KINDS`.
    noun, plural : str
        What it is, for error texts.
    error : type of DecafError
        What is raised where it is not one.
    format : str
        The attribute ``format``.
    schema : int
        The attribute ``schema``.
    attributes : tuple of str
        Root attributes that must be there, ``schema`` among them; the others are text.
    json : tuple of str
        Those that are JSON objects.
    optional : tuple of str
        Text attributes that earlier versions did not write.
    """

    name: str
    noun: str
    plural: str
    error: type[Exception]
    format: str
    schema: int
    attributes: tuple[str, ...]
    json: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def refuse(self, path: str, text: str) -> NoReturn:
        """Raise the kind's error, naming the file."""
        raise self.error(f"{path}: {text}")


FEATURE_FILE = FileKind(
    name="features",
    noun="feature file",
    plural="feature files",
    error=FeatureFileError,
    format=schema.FORMAT,
    schema=schema.SCHEMA,
    attributes=schema.ATTRIBUTES,
    json=("run", "environment", "content"),
    optional=("content",),
)
