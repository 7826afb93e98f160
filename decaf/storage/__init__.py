"""How output comes to be on a disk: whole under its name or not there, and told where it fails.

A file is written by `write_atomically` or `whole_file`; one that takes long is made of shards
(`ShardedFile`, `fill`); and a run that leaves several works in a folder of its own (`RunFolder`).
What needs numpy, HDF5 or torch is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names
from decaf.storage.atomic import disk_errors, temporary_path, whole_file, write_atomically
from decaf.storage.records import (
    canonical_json,
    changed_names,
    changed_settings,
    differences,
    differing_fields,
    field_digests,
    fingerprint,
)

if TYPE_CHECKING:
    from decaf.storage.output_path import TEXT_KINDS, check_output, output_called
    from decaf.storage.resumable import ShardedFile, fill
    from decaf.storage.run_folder import RunFolder
    from decaf.storage.shards import ShardDirectory
    from decaf.storage.unfinished import Entry

__all__ = [
    "TEXT_KINDS",
    "Entry",
    "RunFolder",
    "ShardDirectory",
    "ShardedFile",
    "canonical_json",
    "changed_names",
    "changed_settings",
    "check_output",
    "differences",
    "differing_fields",
    "disk_errors",
    "field_digests",
    "fill",
    "fingerprint",
    "output_called",
    "temporary_path",
    "whole_file",
    "write_atomically",
]

__getattr__, __dir__ = lazy_names(__name__)
