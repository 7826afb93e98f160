"""Errors that a user of decaf can cause, as exception types.

Everything decaf raises on purpose derives from `DecafError`; its text is one line a user can act
on. It names arguments of the library in backticks, with a value where there is one (as in "give
another `out`, or `overwrite=True`"). The command line prints that line, with its own flags in their
place (`decaf.cli.arguments.in_flags`), and exits with 2.
"""

from __future__ import annotations

__all__ = [
    "DecafError",
    "DiskError",
    "FeatureFileError",
    "HeadError",
    "ImageError",
    "InputError",
    "OutputError",
    "PackError",
    "ResumeError",
    "SettingError",
    "Stopped",
    "WeightsError",
]


class DecafError(Exception):
    """Base of all errors that decaf raises on purpose."""


class SettingError(DecafError, ValueError):
    """A setting (layer name, crops, precision, architecture field, …) that cannot be used."""


class InputError(DecafError, ValueError):
    """The images or labels that were asked for cannot be listed: missing, empty, contradictory."""


class ImageError(DecafError, ValueError):
    """One image that cannot be read.

    Parameters
    ----------
    status : str
        One of `decaf.images.status.STATUS_NAMES`, never ``"ok"``.
    message : str
        The error, in one line.
    name : str, optional
        Name of the image, where that is known.
    row : int, optional
        Its place among the images.
    remedy : str
        Remedy, or nothing.
    """

    def __init__(
        self,
        status: str,
        message: str,
        name: str | None = None,
        row: int | None = None,
        remedy: str = "",
    ) -> None:
        text = message
        if name is not None:
            place = "" if row is None else f" (image {row})"
            text = f"{name!r}{place}: {message} ({status})"
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.status = status
        self.message = message
        self.name = name
        self.row = row
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str | None, int | None, str]]:
        return type(self), (self.status, self.message, self.name, self.row, self.remedy)


class WeightsError(DecafError, ValueError):
    """A weights file or name that is unknown, damaged, of the wrong shape, or not to be trusted."""


class FeatureFileError(DecafError, ValueError):
    """A feature file that is not one, is damaged, or holds what decaf refuses to follow."""


class HeadError(DecafError, ValueError):
    """A head's file that is not one, is damaged, or belongs to other features than those given."""


class PackError(DecafError, ValueError):
    """A training pack that is not one, is damaged, or holds what decaf refuses to follow."""


class ResumeError(DecafError, ValueError):
    """An unfinished run whose inputs or settings differ from those now asked for."""


class OutputError(DecafError, OSError):
    """The output cannot be written: it exists, is in use by another run, or the disk failed."""


class DiskError(OutputError):
    """The disk failed while output was written: it is full, or broken."""


class Stopped(DecafError):
    """A run that was asked to stop, and did: all finished work is kept."""
