"""The record of one benchmark run: what was measured, when, where and with what."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import decaf
from decaf.errors import InputError, SettingError
from decaf.exploration.page import Record, Section, from_plain, to_plain
from decaf.runtime.cores import available_cores
from decaf.runtime.machine import processor

__all__ = ["BenchmarkReport", "SplitRecord", "machine", "now", "versions"]

FORMAT = "decaf-benchmark"
SCHEMA = 1


@dataclass(frozen=True)
class SplitRecord(Record):
    """One split of a data set into training and test images.

    Parameters
    ----------
    name : str
        "split 0", say.
    n_train, n_test : int
        Images of each part that were used.
    manifest : str
        Where the list of images is, below the folder of the report.
    sha256 : str
        SHA-256 of the manifest, in hexadecimal digits.
    """

    name: str
    n_train: int
    n_test: int
    manifest: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class BenchmarkReport(Record):
    """All of a benchmark run that is kept; JSON, Markdown and HTML are made from it.

    Parameters
    ----------
    name : str
        Stem of the files: letters, digits, ``-``, ``_`` and ``.``.
    title : str
    what : str
        Measurement, data and protocol: a sentence or two.
    sections : sequence of Section
        The results, in the order in which they are to be read; the main table first.
    headline : str
        The result in one line: "SVM on fc6: 84.3 ± 0.6 %".
    command : str
        The command line that makes it again.
    date : str
        ISO 8601, with its zone.
    machine : str
        Processor, accelerator and memory, in words.
    versions : mapping
        Library → version.
    fingerprints : mapping
        Name → hexadecimal digits: of weights, features, the vocabulary.
    splits : sequence of SplitRecord
    settings : mapping
        Settings that a reader asks for first, by name, as text.
    timing : mapping
        Stage → seconds, in the order of the run.
    peak_memory : int, optional
        Bytes of resident memory at the most.
    peak_device_memory : int, optional
        The same, on the accelerator.
    notes : sequence of str
        Remarks for a reader: fits that did not converge, a C at the border of its search,
        images that could not be read.
    appendix : sequence of Section
        Shown after how it was made: the chosen Cs, say.
    """

    name: str
    title: str
    what: str
    sections: tuple[Section, ...]
    headline: str = ""
    command: str = ""
    date: str = ""
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    splits: tuple[SplitRecord, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    peak_memory: int | None = None
    peak_device_memory: int | None = None
    notes: tuple[str, ...] = ()
    appendix: tuple[Section, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, in an order that does not change.

        Returns
        -------
        dict
            The fields, headed by ``format`` and ``schema``; every section says its ``kind``.
        """
        return {"format": FORMAT, "schema": SCHEMA, **to_plain(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> BenchmarkReport:
        """Read what `to_dict` returned.

        Parameters
        ----------
        record : mapping

        Raises
        ------
        InputError
            If it is something else.
        """
        try:
            fields = dict(record)
            if fields.pop("format") != FORMAT:
                raise InputError(f"not a benchmark report: expected format {FORMAT!r}")
            if (schema := fields.pop("schema")) != SCHEMA:
                raise InputError(f"report: has schema {schema!r}, and this decaf reads {SCHEMA}")
            report: BenchmarkReport = from_plain(cls, fields)
        except (KeyError, TypeError, ValueError, AttributeError, SettingError) as error:
            raise InputError(f"not a benchmark report: {error!r}") from None
        return report


def now() -> str:
    """Return the time, as ISO 8601 with its zone."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def machine() -> str:
    """Return the processor and the accelerator in words."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{available_cores()} cores of {processor()}, {gpu}"


def versions() -> dict[str, str]:
    """Return the versions of decaf, Python and the libraries that results depend on."""
    names = ("torch", "torchvision", "scikit-learn", "numpy")
    own = {"decaf": decaf.__version__, "python": platform.python_version()}
    return {**own, **{name: version(name) for name in names}}
