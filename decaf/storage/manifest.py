"""The list of finished shards: lines that are whole, or do not count."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Shard", "from_lines", "to_line"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard, as its manifest line names it.

    Attributes
    ----------
    start, stop : int
        Its rows.
    size : int
        Of its file, in bytes.
    sha256 : str
        Of its file.
    """

    start: int
    stop: int
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in the directory."""
        return f"{self.start:010d}-{self.stop:010d}.shard"


def to_line(shard: Shard) -> bytes:
    """Write a shard down as a line of a manifest."""
    text = f"{shard.start} {shard.stop} {shard.size} {shard.sha256}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def from_lines(data: bytes) -> Iterator[Shard]:
    """Read the lines of a manifest, passing over those that a crash has torn."""
    for line in data.split(b"\n"):
        text, _, checksum = line.rpartition(b" ")
        if f"{zlib.crc32(text):08x}".encode() != checksum:
            continue  # torn by a crash, or what follows a torn line
        start, stop, size, sha256 = text.decode().split()
        yield Shard(int(start), int(stop), int(size), sha256)
