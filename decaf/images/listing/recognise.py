"""The kind of a path: which file or folder it is, among all those that decaf reads or writes.

Everything that has to say "this is a head, a feature file was wanted" asks here. A kind is told
from a few bytes of a file, and no library opens it: it may be a stranger's.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import stat
import zipfile
from dataclasses import dataclass
from typing import Any

from decaf.images.decoding.formats import HEAD_BYTES, guess_format
from decaf.images.listing.archives import archive_kind
from decaf.images.listing.folders import WORK_RECORDS, read_start, work_of
from decaf.runtime.names import name_text, slashed

__all__ = [
    "KINDS",
    "LIST_ENDINGS",
    "TABLE_ENDINGS",
    "PathKind",
    "is_kind",
    "not_wanted",
    "recognise",
    "safetensors_metadata",
    "told_closed",
]

LIST_ENDINGS = frozenset((b".txt", b".lst", b".list"))
TABLE_ENDINGS = frozenset((b".csv", b".tsv"))

_START_BYTES = 512
# In the head of every page of decaf (`decaf/exploration/page/templates/base.html`).
_PAGE_POLICY = b"""Content-Security-Policy" content="default-src 'none'; img-src data:"""
_OLE = b"\xd0\xcf\x11\xe0"  # of Excel before 2007
_END_BYTES = 2**20  # of an HDF5 file, at each end, where its root's attributes are
_MAX_JSON_BYTES = 32 * 2**20
_HDF5_FORMAT = re.compile(rb"format\0.{0,64}?decaf-(features|pack)", re.DOTALL)
_OWN_FORMATS = ("decaf-head", "decaf-weights", "decaf-checkpoint", "decaf-localiser")


@dataclass(frozen=True)
class PathKind:
    """A kind of file or folder.

    Attributes
    ----------
    name : str
        Its key in `KINDS`.
    noun : str
        Its name for people, with its article.
    made : str
        How one comes to have one, as a clause; empty where decaf does not make it.
    used : str
        Its use, as a sentence without a full stop; empty where decaf has no use for it.
    """

    name: str
    noun: str
    made: str = ""
    used: str = ""


_ALL = (
    PathKind(
        "features",
        "a feature file",
        "as `decaf extract` writes it",
        "`decaf fit`, `decaf verify`, `decaf export` and `decaf predict HEAD` take it",
    ),
    PathKind(
        "pack",
        "a training pack",
        "as `decaf pack` writes it",
        "`decaf train`, `decaf finetune` and `decaf evaluate` take it",
    ),
    PathKind(
        "head",
        "a head",
        "as `decaf fit` writes it",
        "`decaf predict` takes it, with the images after it",
    ),
    PathKind(
        "localiser",
        "a regression of boxes",
        "as `decaf localise` writes it",
        "`decaf evaluate --localiser` takes it",
    ),
    PathKind(
        "weights",
        "a weights file",
        "as `decaf finetune`, `decaf train` and `decaf import` write it",
        "`decaf predict`, `decaf summary` and `decaf extract --weights` take it",
    ),
    PathKind(
        "checkpoint",
        "a checkpoint of a training run",
        "",
        "the network is weights.safetensors in the folder of the run, and `decaf train --resume` "
        "goes on with the run",
    ),
    PathKind("safetensors", "a safetensors file of another program"),
    PathKind(
        "hdf5", "an HDF5 file of another program", "", "`decaf extract` takes one with images in it"
    ),
    PathKind(
        "torch",
        "a file of torch",
        "",
        "where it holds torchvision's AlexNet, `decaf import` and `decaf extract --weights` take "
        "it",
    ),
    PathKind("torch-program", "a program of torch.export", "as `decaf export` writes it"),
    PathKind("onnx", "an ONNX model", "", "`decaf distil --teacher` takes it"),
    PathKind("caffe", "a network of Caffe", "", "`decaf import` takes it"),
    PathKind("array", "a NumPy array", "", "`decaf extract` takes one of images"),
    PathKind(
        "arrays", "a file of NumPy arrays", "", "`decaf extract` takes one of them as a .npy file"
    ),
    PathKind(
        "matlab",
        "a MATLAB file",
        "",
        "`decaf extract` takes images of H × W × 3 × N that MATLAB wrote to an .h5 with h5write of "
        "permute(images, [3 2 1 4]), since it turns the axes round",
    ),
    PathKind("parquet", "a Parquet table", "as `decaf export` writes it"),
    PathKind("faiss", "a FAISS index", "as `decaf export` writes it"),
    PathKind("image", "an image", "", "`decaf predict` and `decaf extract` take it"),
    PathKind("archive", "an archive", "", "`decaf extract` and `decaf fit` take one of images"),
    PathKind("list", "a text file", "", "`decaf extract` takes one that lists images"),
    PathKind("table", "a table", "", "`decaf extract` takes one of images, or of their labels"),
    PathKind(
        "spreadsheet",
        "a spreadsheet",
        "",
        "save it as CSV: `decaf extract` takes that as a table of images, or of their labels",
    ),
    PathKind("page", "a page of decaf's", "as `decaf explore` makes it"),
    PathKind("html", "a page of HTML of another program"),
    PathKind("text", "a text file"),
    PathKind(
        "run",
        "the folder of a training run",
        "as `decaf train` makes it",
        "its network is weights.safetensors in it, and `decaf train --resume` goes on with it",
    ),
    PathKind(
        "finetuning",
        "the folder in which a network was fine-tuned",
        "",
        "the network is the .safetensors file beside it",
    ),
    PathKind(
        "part-set",
        "a part set",
        "as `decaf extract` writes it of shards",
        "`decaf status`, `decaf verify`, `decaf fit` and `decaf predict HEAD` take it",
    ),
    PathKind(
        "parts", "a folder of unfinished work", "", "the command that was stopped goes on with it"
    ),
    PathKind(
        "folder",
        "a folder",
        "",
        "`decaf fit`, `decaf extract`, `decaf finetune` and `decaf pack` take one of images",
    ),
    PathKind("empty", "a file of zero bytes"),
    PathKind("special", "neither a file nor a folder"),
    PathKind("absent", "not there"),
    PathKind("unknown", "a file of no kind that decaf knows, or damaged"),
)

KINDS = {kind.name: kind for kind in _ALL}
"""All kinds, by name."""


def recognise(path: str | bytes | os.PathLike[Any]) -> PathKind:
    """Tell what a path is.

    Parameters
    ----------
    path : str, bytes or path-like

    Returns
    -------
    PathKind
        One of `KINDS`; what is behind a file's first bytes may still be damaged.

    Examples
    --------
    >>> recognise(os.devnull).name, recognise(os.curdir).name
    ('special', 'folder')
    """
    return KINDS[_name_of(os.fsencode(path))]


def is_kind(path: str | bytes | os.PathLike[Any], *names: str) -> bool:
    """Tell whether a path is of one of some kinds, given by name.

    Parameters
    ----------
    path : str, bytes or path-like
    *names : str
    """
    return recognise(path).name in names


def told_closed(path: str | bytes | os.PathLike[Any]) -> str | None:
    """Word the refusal of a file or folder whose permissions keep it from being read.

    Parameters
    ----------
    path : str, bytes or path-like

    Returns
    -------
    str or None
        None where it can be read, or is not there.
    """
    if not os.path.exists(path) or os.access(path, os.R_OK):
        return None
    return f"{name_text(path)}: cannot be read: {os.strerror(errno.EACCES)}"


def not_wanted(path: str | bytes | os.PathLike[Any], wanted: str) -> str:
    """Word the refusal of a path that is of another kind than the one that was wanted.

    Parameters
    ----------
    path : str, bytes or path-like
    wanted : str
        The name of a kind, or other words for what was wanted.

    Returns
    -------
    str
        Names the path, what it is, what was wanted, and what the path is for; or says that it
        cannot be read.

    Examples
    --------
    >>> not_wanted(os.devnull, "features")
    '/dev/null: is neither a file nor a folder, not a feature file, as `decaf extract` writes it'
    """
    if closed := told_closed(path):
        return closed
    given, expected = recognise(path), KINDS.get(wanted, PathKind("", wanted))
    made = f", {expected.made}" if expected.made else ""
    used = f"; {given.used}" if given.used else ""
    return f"{name_text(path)}: is {given.noun}, not {expected.noun}{made}{used}"


def safetensors_metadata(path: str | bytes | os.PathLike[Any]) -> dict[str, Any] | None:
    """Read what the header of a safetensors file says of it; None where it is no such file.

    Parameters
    ----------
    path : str, bytes or path-like
    """
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for its writer
            return None
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_JSON_BYTES, os.fstat(file.fileno()).st_size - 8):
                return None
            header = json.loads(file.read(length))
            metadata = header.get("__metadata__", {})
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return metadata if isinstance(metadata, dict) else None


def _name_of(path: bytes) -> str:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "absent"
    if stat.S_ISDIR(mode):
        return _name_of_folder(path)
    if not stat.S_ISREG(mode):
        return "special"
    start = read_start(path, _START_BYTES)
    if not start:
        return "empty" if os.path.getsize(path) == 0 else "unknown"
    ending = os.path.splitext(path)[1].lower()
    return _by_magic(path, start, ending) or _by_ending(start, ending) or "unknown"


def _by_magic(path: bytes, start: bytes, ending: bytes) -> str | None:
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _name_of_hdf5(path)
    if start[8:9] == b"{" and (metadata := safetensors_metadata(path)) is not None:
        form = metadata.get("format")
        own = str(form).removeprefix("decaf-")
        return own if form in _OWN_FORMATS else "safetensors"
    if start.startswith(b"\x93NUMPY"):
        return "array"
    if start.startswith((b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file")):
        return "matlab"
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"IxM2", b"IxMp", b"IxFI")):
        return "faiss"
    if guess_format(start[:HEAD_BYTES]) is not None:
        return "image"
    if start.startswith(b"PK\x03\x04") and (program := _name_of_zip(path)) is not None:
        return program
    if start.startswith(_OLE) and ending == b".xls":
        return "spreadsheet"
    if start[:1] == b"\x80" and ending in (b".pth", b".pt"):
        return "torch"  # as torch wrote it before 1.6
    return "archive" if archive_kind(start, path) is not None else None


def _by_ending(start: bytes, ending: bytes) -> str | None:
    """Tell what begins with no sign of its own: protocol buffers, text, and pages of it."""
    if ending == b".onnx" and start[:1] == b"\x08":  # the version, a number, comes first
        return "onnx"
    if ending == b".caffemodel":
        return "caffe"
    if ending in TABLE_ENDINGS:
        return "table"  # in any encoding
    if ending in LIST_ENDINGS:
        return "list"
    if b"\0" in start or not _is_utf8(start):
        return None
    if start[:15].lower() != b"<!doctype html>":
        return "text"
    return "page" if _PAGE_POLICY in start else "html"


def _is_utf8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def _name_of_hdf5(path: bytes) -> str:
    """Find the attribute ``format``, which HDF5 keeps near the beginning or near the end."""
    try:
        with open(path, "rb") as file:
            ends = [file.read(_END_BYTES)]
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
            ends.append(file.read(_END_BYTES))
    except OSError:
        return "hdf5"
    for piece in ends:
        if match := _HDF5_FORMAT.search(piece):
            return match[1].decode("ascii")
    return "hdf5"


def _name_of_zip(path: bytes) -> str | None:
    """Tell the files of other programs, which are zip archives, from archives of images."""
    try:
        with zipfile.ZipFile(name_text(path)) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return None
    if any(name.startswith("xl/workbook.") for name in names):
        return "spreadsheet"
    if {"content.xml", "styles.xml"} <= set(names):
        return "spreadsheet" if path.lower().endswith(b".ods") else None
    if any(name.endswith("/archive_format") for name in names):
        return "torch-program"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    return "arrays" if names and all(name.endswith(".npy") for name in names) else None


def _name_of_folder(path: bytes) -> str:
    for record in WORK_RECORDS:
        if name := work_of(read_start(os.path.join(path, record), _MAX_JSON_BYTES)):
            return name
    return "parts" if slashed(path).rstrip(b"/").endswith(b".parts") else "folder"
