"""Images inside tar and zip archives, listed once and read in place, never unpacked to disk.

A member is addressed by where its bytes are, not by its name: names may repeat, and what a hostile
name points at (``../``, ``/etc``) never matters because nothing is written.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from decaf.errors import ImageError, InputError
from decaf.images.decoding.limits import MAX_FILE_BYTES, unpacked_limit
from decaf.runtime.names import name_text

__all__ = [
    "ARCHIVE_KINDS",
    "Member",
    "archive_kind",
    "close_kept_archive",
    "file_key",
    "iterate_members",
    "list_inner_tar",
    "list_members",
    "read_head",
    "read_member",
]

ARCHIVE_KINDS = ("tar", "tar.gz", "tar.bz2", "tar.xz", "zip")

_MAGIC = {b"\x1f\x8b": "tar.gz", b"BZh": "tar.bz2", b"\xfd7zXZ\0": "tar.xz"}
_OPENERS: dict[str, Any] = {"tar.gz": gzip.open, "tar.bz2": bz2.open, "tar.xz": lzma.open}

# What an archive library raises on a damaged archive.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
)

_ENCRYPTED = 0x1

# Of a zip's member, enough for its first bytes: a block of bzip2 has 900 kB at most.
_HEAD_PACKED = 1 << 20
_UTF8_NAME = 0x800


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in an archive.

    Attributes
    ----------
    name : bytes
        As stored.
    offset : int
        Offset of its data in the (decompressed) tar, or of its local header in the zip.
    size : int
        Bytes after decompression, as declared.
    packed : int
        Bytes in the zip; `size` for a tar.
    method : int
        Compression method in a zip, 0 for a tar; -1 if it is encrypted, -2 if it is stored in a
        way that cannot be read in place.
    crc : int
        CRC-32 in a zip, 0 for a tar.
    """

    name: bytes
    offset: int
    size: int
    packed: int
    method: int
    crc: int


def archive_kind(head: bytes, name: bytes) -> str | None:
    """Tell from a file's first 512 bytes (and, for old tars only, its name) what archive it is.

    Parameters
    ----------
    head : bytes
        The first 512 bytes.
    name : bytes
        The file's name.

    Returns
    -------
    str or None
        One of `ARCHIVE_KINDS`.
    """
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    # Before POSIX a tar had no magic number, and a zip may begin with anything.
    if name.lower().endswith(b".tar"):
        return "tar"
    return "zip" if name.lower().endswith(b".zip") else None


def list_members(path: bytes, kind: str) -> list[Member]:
    """List the regular files of an archive, in the order of the archive.

    For a tar that is the order of the data, for a zip that of its central directory. Hidden files
    and the resource forks that macOS adds (``__MACOSX``) are listed too; links, devices and
    folders are not.

    Parameters
    ----------
    path : bytes
    kind : str
        Kind from `archive_kind`.

    Raises
    ------
    InputError
        If the archive is damaged or cannot be opened.
    """
    return list(iterate_members(path, kind))


def iterate_members(path: bytes, kind: str) -> Iterator[Member]:
    """Do as `list_members`, one member after the other: who needs the first reads no further.

    Parameters
    ----------
    path, kind
        As in `list_members`.
    """
    try:
        yield from _zip_members(path) if kind == "zip" else _tar_members(path, kind)
    except _DAMAGE as error:
        shown = name_text(path)
        raise InputError(f"{shown!r} cannot be read as a {kind} archive: {error}") from error


def list_inner_tar(path: bytes, member: Member) -> list[Member]:
    """List the regular files of a tar that is a member of another, as ImageNet's training images.

    Parameters
    ----------
    path : bytes
        The outer tar, not compressed.
    member : Member
        The inner one, not compressed either.

    Returns
    -------
    list of Member
        With their places in the outer tar, so that `read_member` reads them from there.

    Raises
    ------
    InputError
        If it is damaged or cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            inner = io.BufferedReader(_Window(file, member.offset, member.size))
            return [
                Member(
                    entry.name,
                    member.offset + entry.offset,
                    entry.size,
                    entry.packed,
                    entry.method,
                    0,
                )
                for entry in _tar_members(path, "tar", inner)
            ]
    except _DAMAGE as error:
        shown = f"{name_text(member.name)!r} in {name_text(path)!r}"
        raise InputError(f"{shown} cannot be read as a tar archive: {error}") from error


class _Unpacked:
    """The decompressed stream of a tar, which ends in an error where it is a bomb.

    `tarfile` reads a long name or an extended header whole, whatever length it declares, and goes
    to the end of the stream; so each reading and each step ahead is checked before it is made.
    """

    def __init__(self, path: bytes, kind: str) -> None:
        self._limit = unpacked_limit(os.stat(path).st_size)
        self._file: IO[bytes] = _OPENERS[kind](path, "rb")

    def read(self, count: int) -> bytes:
        if self._file.tell() + count > self._limit:
            self._refuse()
        return self._file.read(count)

    def seek(self, offset: int) -> int:
        if offset > self._limit:
            self._refuse()
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _refuse(self) -> NoReturn:
        raise tarfile.ReadError(f"it unpacks to more than {self._limit} bytes, as no images do")


class _Window(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def read_member(path: bytes, kind: str, member: Member, limit: int = MAX_FILE_BYTES) -> bytes:
    """Read one member of an archive.

    Members of a compressed tar are quick to read in order only: going back decompresses from the
    start. Each process and thread keeps the last such archive open.

    Parameters
    ----------
    path : bytes
        The archive.
    kind : str
        Kind from `archive_kind`.
    member : Member
        Member from `list_members`.
    limit : int
        Most bytes to give.

    Raises
    ------
    ImageError
        "missing" if the archive is gone, "too_large" beyond the limit or where it unpacks to more
        than images do, "corrupt" for damaged data, else "unreadable".
    """
    if member.size > limit:
        raise ImageError("too_large", f"member of {member.size} bytes; {limit} bytes is the limit")
    if member.size > unpacked_limit(member.packed):
        raise ImageError(
            "too_large",
            f"member unpacks to {member.size} bytes from {member.packed}, as no image does",
        )
    if member.method < 0:
        why = "is encrypted" if member.method == -1 else "is stored in a way that is not read"
        raise ImageError("unreadable", f"archive member {why}")
    try:
        if kind == "zip":
            return _read_zip(path, member, limit)
        if kind == "tar":
            with open(path, "rb") as file:
                data = _read_at(file, member.offset, member.size)
        else:
            data = _read_at(_stream(path, kind), member.offset, member.size)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("missing", "its archive is gone") from None
    except _DAMAGE as error:
        close_kept_archive()  # a decompressor that has failed once is not to be asked again
        status = "unreadable" if isinstance(error, OSError) and error.errno else "corrupt"
        raise ImageError(status, f"archive: {error}") from error
    if len(data) != member.size:
        raise ImageError("corrupt", f"archive ends {member.size - len(data)} bytes too early")
    return data


def read_head(path: bytes, kind: str, member: Member, count: int) -> bytes:
    """Read the first bytes of a member, or what there is; empty where it cannot be read.

    Parameters
    ----------
    path, kind, member
        As in `read_member`.
    count : int
        How many bytes.
    """
    try:
        if kind == "zip":
            with open(path, "rb") as file:
                return _unpacked(_packed_start(file, member, _HEAD_PACKED), member.method, count)
        count = min(count, member.size)
        if kind != "tar":
            return _read_at(_stream(path, kind), member.offset, count)
        with open(path, "rb") as file:
            return _read_at(file, member.offset, count)
    except (ImageError, *_DAMAGE):
        return b""


def _tar_members(path: bytes, kind: str, inner: Any = None) -> Iterator[Member]:
    if inner is None and kind != "tar":
        with contextlib.closing(_Unpacked(path, kind)) as unpacked:
            yield from _tar_members(path, "tar", unpacked)
        return
    with tarfile.open(
        name_text(path), "r:", fileobj=inner, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info in archive:
            # Extended and GNU headers are followed by tarfile; links have no data of their own.
            if info.isreg():
                name = info.name.encode("utf-8", "surrogateescape")
                method = -2 if info.issparse() else 0
                yield Member(name, info.offset_data, info.size, info.size, method, 0)
            archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
        # tarfile takes a damaged header for the end: then what stands there is not zeros.
        file: IO[bytes] = archive.fileobj  # type: ignore[assignment]
        if _read_at(file, archive.offset, tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"the header at byte {archive.offset} is damaged")


def _zip_members(path: bytes) -> Iterator[Member]:
    with zipfile.ZipFile(name_text(path)) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or kind not in (0, stat.S_IFREG):
                continue
            # zipfile decodes names as UTF-8 or as code page 437, both of which give the raw bytes
            # back.
            utf8 = info.flag_bits & _UTF8_NAME
            name = info.orig_filename.encode("utf-8" if utf8 else "cp437")
            # A feature file pads names with NUL: one at a name's end would not come back.
            name = name.rstrip(b"\0")
            method = -1 if info.flag_bits & _ENCRYPTED else info.compress_type
            yield Member(
                name, info.header_offset, info.file_size, info.compress_size, method, info.CRC
            )


def _read_zip(path: bytes, member: Member, limit: int) -> bytes:
    """Read a zip member from its local header on (APPNOTE 6.3.10, sec. 4.3.7)."""
    if member.packed > limit:
        raise ImageError("too_large", f"member of {member.packed} packed bytes")
    with open(path, "rb") as file:
        packed = _packed_start(file, member, member.packed)
    if len(packed) != member.packed:
        raise ImageError("corrupt", "zip ends within a member")
    # One byte more than declared is asked for, never all that a bomb would give.
    data = _unpacked(packed, member.method, member.size + 1)
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise ImageError("corrupt", "zip member differs from its size or checksum")
    return data


def _packed_start(file: IO[bytes], member: Member, count: int) -> bytes:
    local = _read_at(file, member.offset, 30)
    if local[:4] != b"PK\x03\x04":
        raise ImageError("corrupt", "zip member without its local header")
    name_length, extra_length = struct.unpack_from("<HH", local, 26)
    start = member.offset + 30 + name_length + extra_length
    return _read_at(file, start, min(count, member.packed))


def _unpacked(packed: bytes, method: int, count: int) -> bytes:
    """Return at most `count` bytes of what was packed."""
    if method == zipfile.ZIP_STORED:
        return packed[:count]
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15).decompress(packed, count)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, count)
    raise ImageError("unreadable", f"zip compression method {method} is not read")


def _read_at(file: IO[bytes] | _Unpacked, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


_streams = threading.local()


def file_key(path: bytes) -> tuple[object, ...]:
    """Return what a file that is kept open is known by.

    A forked child must not share its parent's file position, and a file that was replaced meanwhile
    is another one.

    Parameters
    ----------
    path : bytes

    Raises
    ------
    OSError
        If it is not there.
    """
    status = os.stat(path)
    return os.getpid(), path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def close_kept_archive() -> None:
    """Close the archive that this thread keeps open, which on Windows nobody else could replace."""
    if hasattr(_streams, "file"):
        _streams.file.close()
    _streams.__dict__.clear()


def _stream(path: bytes, kind: str) -> _Unpacked:
    """Return the decompressed stream of a tar, kept open from one member to the next."""
    key = file_key(path)
    if getattr(_streams, "key", None) != key:
        close_kept_archive()
        _streams.file = _Unpacked(path, kind)
        _streams.key = key
    file: _Unpacked = _streams.file
    return file
