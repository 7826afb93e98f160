"""The outcome for an image: the codes kept in the feature file's ``status`` column."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NO_DIGEST", "ON_ERROR", "STATUS_NAMES", "BadImage", "Outcome", "status_code"]

# The code of a status is its place in this tuple. Files store the names beside the codes, so the
# tuple may grow at its end and never changes otherwise.
STATUS_NAMES: tuple[str, ...] = (
    "ok",
    "missing",  # no such file or archive member
    "unreadable",  # the operating system or the archive would not give its bytes
    "empty",  # zero bytes
    "unsupported",  # not an image, or of a format that is not on the list
    "corrupt",  # an image whose data is damaged, truncated or contradictory
    "too_large",  # more pixels or bytes than the limit
    "decoder_failed",  # a decoder raised something unexpected
    "timeout",  # decoding took longer than the limit, twice
    "worker_died",  # decoding ended its process, each time it was tried
    "bad_value",  # numbers that are not an image (NaN, out of range, wrong shape)
    "wrong_size",  # not of the size that images must have to be taken pixel for pixel
    "bad_box",  # the box to be cut out is empty, outside of the image, or of another size of it
)


def status_code(name: str) -> int:
    """Return the code of a status name.

    Parameters
    ----------
    name : str
        One of `STATUS_NAMES`.

    Examples
    --------
    >>> status_code("ok")
    0
    """
    return STATUS_NAMES.index(name)


# What may be asked for where an image cannot be read: an error, or a record of it.
ON_ERROR = ("raise", "record")

# The digest of an image whose bytes could not be read.
NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one image.

    Attributes
    ----------
    status : str
        One of `STATUS_NAMES`.
    message : str
        Empty for ``"ok"``.
    width, height : int
        As displayed, after EXIF orientation; -1 where unknown.
    sha256 : bytes
        SHA-256 of the encoded bytes (of the pixels, for images given in memory); 32 zero bytes
        where they could not be read.
    """

    status: str
    message: str
    width: int
    height: int
    sha256: bytes


@dataclass(frozen=True)
class BadImage:
    """An image that could not be read, and is not counted.

    Attributes
    ----------
    name : str
        Its path, or the member's name in an archive.
    status : str
        One of `decaf.images.status.STATUS_NAMES`.
    message : str
    """

    name: str
    status: str
    message: str
