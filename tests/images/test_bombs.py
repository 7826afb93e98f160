"""Files that are small and ask for much: refused before they take memory or time.

Each is decoded in a process of its own, since the peak of memory is a process's.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decaf.errors import ImageError, InputError
from decaf.images import collect
from decaf.images.decoding.formats import Header, sniff
from decaf.images.decoding.limits import MAX_PIXELS, refuse_costly
from decaf.images.listing.archives import read_head
from decaf.runtime.memory import peak_memory

# A process that has decoded an image of 64 pixels is as large as one that has refused a bomb.
MEGABYTES = 120
SECONDS = 20.0

MEASURE = """
import sys, time
import numpy as np
from decaf.images.preprocess import prepare
from decaf.images import ImageRef
from decaf.images import collect
from decaf.images.spec import named_preprocess
from decaf.runtime.memory import peak_memory

spec = named_preprocess("decaf", 64)
out = np.empty((1, 64, 64, 3), np.uint8)
prepare(ImageRef(sys.argv[1].encode()), spec, ten=False, out=out)
before = peak_memory()
for path in sys.argv[2:]:
    began = time.process_time()
    outcome = prepare(collect(path).refs[0], spec, ten=False, out=out)
    peak = peak_memory()
    print(outcome.status, (peak - before) >> 20, time.process_time() - began, outcome.message)
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int = 8, more: bytes = b"") -> bytes:
    """A blank grey PNG, as small as it can be."""
    packer, left, parts = zlib.compressobj(9), height * (1 + (width * bits + 7) // 8), []
    while left:
        parts.append(packer.compress(bytes(min(left, 1 << 20))))
        left -= min(left, 1 << 20)
    parts.append(packer.flush())
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", head), more, chunk(b"IDAT", b"".join(parts)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def webp_of_a_header_alone() -> bytes:
    size = (16383 - 1).to_bytes(3, "little") + (10922 - 1).to_bytes(3, "little")
    return (
        b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + size + b"\0\0"
    )


def saved(format: str, size: tuple[int, int], mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(before: bytes = b"", scans: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    data = saved("JPEG", size, progressive=scans > 0)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:2] + before + data[2:-2] + last * scans + data[-2:]


def tiff(tags: list[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    """Tags of (number, type, count, value or place); `data` lies behind the directory."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


TIFF = [(256, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]


def tiff_of_a_million_strips() -> bytes:
    n, behind = 1_000_000, 8 + 2 + 12 * 9 + 4
    tags = [(257, 4, 1, n), (278, 4, 1, 1), (273, 4, n, behind), (279, 4, n, behind + 4 * n)]
    return tiff([*TIFF, *tags], struct.pack("<I", 8) * n + struct.pack("<I", 1) * n)


def tiff_of_tags_over_each_other() -> bytes:
    size = 1 << 20
    tags = [(257, 4, 1, 8), (273, 4, 1, 8), (278, 4, 1, 8), (279, 4, 1, 64)]
    return tiff([*TIFF, *tags, *((40000 + i, 7, size, 0) for i in range(2000))], bytes(size))


def gif_of_comments() -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return head + b"!\xfe\1a\0" * (2 << 20) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


BOMBS: dict[str, Callable[[], bytes]] = {
    "a WebP of 34 bytes, without its image": webp_of_a_header_alone,
    "a WebP of one colour": lambda: saved("WEBP", (16383, 10922), lossless=True, method=0),
    "an AVIF of one colour": lambda: (
        b"\0\0\0\x18ftypavif" + b"\0\0\0\x14ispe" + struct.pack(">III", 0, 16000, 11000)
    ),
    "a PNG of one bit": lambda: png(13377, 13377, bits=1),
    "a PNG of one bit and a transparent colour": lambda: png(
        13377, 13377, bits=1, more=chunk(b"tRNS", b"\0\0")
    ),
    "a PNG of one column": lambda: png(1, MAX_PIXELS),
    "a PNG of one row": lambda: png(MAX_PIXELS, 1),
    "a PNG of a million chunks": lambda: png(1, 1, more=chunk(b"teXt", b"") * 1_000_000),
    "a GIF of one colour": lambda: saved("GIF", (13377, 13377)),
    "a GIF of two million comments": gif_of_comments,
    "a BMP without its pixels": lambda: (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 13377, 13377, 1, 24, 0, 0, 0, 0, 0, 0)
    ),
    "a TIFF of a million strips": tiff_of_a_million_strips,
    "a TIFF of tags that lie over each other": tiff_of_tags_over_each_other,
    "a JPEG of a million segments": lambda: jpeg(b"\xff\xfe\0\2" * 1_000_000),
    "a JPEG of ten million fill bytes": lambda: jpeg(b"\xff" * 10_000_000),
    "a JPEG of 90 scans": lambda: jpeg(scans=90, size=(13000, 13000)),
    "a PPM of comments": lambda: b"P5 " + b"#\r" * (5 << 20) + b" 1 1 255\n\0",
    "a PPM of one comment": lambda: b"P5 #" + b"a" * (10 << 20) + b"\n1 1 255\n\0",
    "a PPM of blanks": lambda: b"P5 " + b" " * (10 << 20) + b"1 1 255\n\0",
    "a PPM whose text is comments": lambda: b"P2 1 1 255\n" + b"#\r" * (5 << 20) + b" 1 ",
    "a PPM that is one long text": lambda: b"P2 1 1 255\n" + b" " * (17 << 20) + b" 1 ",
}


def zip_member(size: int, method: int = zipfile.ZIP_BZIP2) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", method) as archive,
        archive.open("a.ppm", "w", force_zip64=True) as member,
    ):
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    return buffer.getvalue()


def measured(tmp_path: Path, files: dict[str, bytes]) -> dict[str, tuple[str, int, float, str]]:
    """Status, megabytes, seconds of processor and message of each, in one process."""
    seed = tmp_path / "seed.png"
    seed.write_bytes(png(64, 64))
    paths = []
    for number, data in enumerate(files.values()):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(seed), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ", 3) for line in done.stdout.splitlines()]
    return {
        name: (status, int(size), float(seconds), message)
        for name, (status, size, seconds, message) in zip(files, rows, strict=True)
    }


@pytest.mark.slow
def test_bombs_are_refused_before_they_go_off(tmp_path: Path) -> None:
    files = {name: make() for name, make in BOMBS.items()}
    files["a zip of bzip2"] = zip_member(300 << 20)
    result = measured(tmp_path, files)
    assert {
        name: row for name, row in result.items() if row[0] not in ("too_large", "corrupt")
    } == {}
    assert {name: row for name, row in result.items() if row[1] > MEGABYTES} == {}
    assert {name: row for name, row in result.items() if row[2] > SECONDS} == {}
    assert "is the limit of a side" in result["a PNG of one column"][3]
    assert "2.5 GB to decode; 1.8 GB is the limit" in result["an AVIF of one colour"][3]
    assert "in a file of 21840 bytes: it is blank or made" in result["a PNG of one bit"][3]
    assert result["a WebP of 34 bytes, without its image"][3] == "WebP without image data"
    assert "unpacks to 314572800 bytes from" in result["a zip of bzip2"][3]


@pytest.mark.slow
def test_a_large_scan_takes_what_its_pixels_take(tmp_path: Path) -> None:
    """A page of 35 million pixels, in one bit and with an alpha channel: no copies of the whole."""
    page = Image.fromarray(np.random.default_rng(0).integers(0, 2, (700, 500), np.uint8) * 255)
    page = page.resize((5000, 7000), Image.Resampling.NEAREST)
    files = {}
    for name, mode in (("bits", "1"), ("grey", "LA"), ("colour", "RGBA")):
        buffer = io.BytesIO()
        page.convert(mode).save(buffer, "PNG", compress_level=1)
        files[name] = buffer.getvalue()
    result = measured(tmp_path, files)
    assert {row[0] for row in result.values()} == {"ok"}
    # A pixel takes 4 bytes in Pillow (of one bit: 1) and 3 of ours; 100 MB for blocks and the file.
    assert result["bits"][1] < 35 * 4 + 100
    assert max(row[1] for row in result.values()) < 35 * 7 + 100


@pytest.mark.parametrize(
    ("header", "file_bytes"),
    [
        (Header("JPEG", 15000, 11900, native=True), 1 << 20),  # the largest of all
        (Header("JPEG", 12000, 9000, native=True, scans=10), 1 << 20),
        (Header("TIFF", 4960, 7016, channels=1, bits=1), 900),  # a blank page in Group 4
        (Header("TIFF", 9921, 14031, channels=1, bits=1), 120_000),  # a page of A2 with text
        (Header("PNG", 5000, 5000), 100),
        (Header("PNG", 12000, 11000, bits=16), 1 << 30),
        (Header("WEBP", 10000, 8000), 1 << 20),
        (Header("PPM", 131072, 1000), 1 << 28),
    ],
)
def test_what_people_keep_is_not_taken_for_a_bomb(header: Header, file_bytes: int) -> None:
    refuse_costly(header, file_bytes)


def test_real_files_have_few_pieces(tmp_path: Path) -> None:
    """Comments, segments and chunks as editors write them are no bombs."""
    comment = b"\xff\xfe" + struct.pack(">H", 65000) + bytes(64998)
    assert sniff(jpeg(comment * 300))[:3] == ("JPEG", 8, 8)
    assert sniff(jpeg(b"\xff" * 1000))[:3] == ("JPEG", 8, 8)
    assert sniff(png(3, 2, more=chunk(b"tEXt", b"a") * 1000))[:3] == ("PNG", 3, 2)
    assert sniff(b"P5\n# made by\r\n# an editor\n 3\t#width\n2 255\n......")[:3] == ("PPM", 3, 2)


class TestArchives:
    def test_a_member_of_blank_samples_is_read(self, tmp_path: Path) -> None:
        """A mask of 12 MB packs a thousand times, and is no bomb."""
        (tmp_path / "a.zip").write_bytes(zip_member(12 << 20, zipfile.ZIP_DEFLATED))
        (ref,) = collect(tmp_path / "a.zip").refs or ()
        assert len(ref.load()) == 12 << 20

    @pytest.mark.slow
    @pytest.mark.parametrize("pack", [bz2.compress, gzip.compress])
    def test_a_compressed_tar_is_unpacked_to_its_limit(
        self, tmp_path: Path, pack: Callable[[bytes], bytes]
    ) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for number in range(3):
                info = tarfile.TarInfo(f"{number}.ppm")
                info.size = 40 << 20
                archive.addfile(info, io.BytesIO(bytes(info.size)))
        (tmp_path / "a").write_bytes(pack(buffer.getvalue()))
        with pytest.raises(InputError, match=r"cannot be read as a tar.*: it unpacks to more than"):
            collect(tmp_path / "a")

    def test_a_header_that_asks_for_gigabytes(self, tmp_path: Path) -> None:
        """A long name is read whole, by its declared length."""
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
        (tmp_path / "a.tar.gz").write_bytes(
            gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(99 << 20))
        )
        before = peak_memory()
        with pytest.raises(InputError, match="it unpacks to more than"):
            collect(tmp_path / "a.tar.gz")
        assert peak_memory() - before < 200 << 20

    @pytest.mark.slow
    def test_the_kind_of_a_member_is_told_from_its_start(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(zip_member(100 << 20))
        (ref,) = collect(tmp_path / "a.zip").refs or ()
        assert ref.member is not None
        before = peak_memory()
        assert read_head(os.fsencode(tmp_path / "a.zip"), "zip", ref.member, 32) == bytes(32)
        assert peak_memory() - before < 30 << 20
        with pytest.raises(ImageError, match="unpacks to 104857600 bytes from"):
            ref.load()
