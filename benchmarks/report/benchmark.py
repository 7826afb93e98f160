"""The record of one benchmark run: what was measured, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from decaf.errors import InputError
from report.record import from_plain, to_plain
from report.sections import Section

__all__ = ["BenchmarkReport", "SplitRecord"]

FORMAT = "decaf-benchmark"
SCHEMA = 1


@dataclass(frozen=True)
class SplitRecord:
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
        Of the manifest, in hexadecimal digits.
    """

    name: str
    n_train: int
    n_test: int
    manifest: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class BenchmarkReport:
    """All of a benchmark run that is kept; JSON, Markdown and HTML are made from it.

    Parameters
    ----------
    name : str
        Stem of the files: letters, digits, ``-``, ``_`` and ``.``.
    title : str
    what : str
        What was measured, on what, and in which protocol: a sentence or two.
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
        What → hexadecimal digits: of weights, features, the vocabulary.
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
        What a reader must know: fits that did not converge, a C at the border of its search,
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

    def __post_init__(self) -> None:
        for name in ("sections", "splits", "notes", "appendix"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        timing = {stage: float(seconds) for stage, seconds in self.timing.items()}
        object.__setattr__(self, "timing", timing)

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
        """Read what `to_dict` gave.

        Raises
        ------
        InputError
            If it is something else, with the place in it that is wrong.
        """
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise InputError(f"not a benchmark report: expected format {FORMAT!r}")
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"report: has schema {record.get('schema')!r}, and this decaf reads {SCHEMA}"
            )
        fields = {key: value for key, value in record.items() if key not in ("format", "schema")}
        return from_plain(cls, fields, "report")
