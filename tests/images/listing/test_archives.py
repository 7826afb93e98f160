from __future__ import annotations

import gzip
import io
import marshal
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from decaf.errors import ImageError, InputError
from decaf.images import ImageRef, collect
from decaf.images.listing import archives

PNG = b"\x89PNG\r\n\x1a\n"
FILES = {
    "data/dog/2.jpg": b"dog two",
    "data/cat/1.jpg": b"cat one",
    "data/cat/plain": PNG + b"cat plain",
    "data/readme": b"text",
    "data/.hidden.jpg": b"hidden",
    "data/__MACOSX/cat/._1.jpg": b"fork",
    "data/top.jpg": b"top" * 1000,
}
NAMES = [b"data/dog/2.jpg", b"data/cat/1.jpg", b"data/cat/plain", b"data/top.jpg"]


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


MAKERS = {
    "tar": lambda path, files: make_tar(path, files),
    "tar.gz": lambda path, files: make_tar(path, files, "w:gz"),
    "tar.bz2": lambda path, files: make_tar(path, files, "w:bz2"),
    "tar.xz": lambda path, files: make_tar(path, files, "w:xz"),
    "zip": lambda path, files: make_zip(path, files),
    "zip stored": lambda path, files: make_zip(path, files, zipfile.ZIP_STORED),
    "zip bzip2": lambda path, files: make_zip(path, files, zipfile.ZIP_BZIP2),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_members_are_read_in_place_whatever_the_ending(tmp_path: Path, kind: str) -> None:
    MAKERS[kind](tmp_path / "photos.jpg", FILES)
    images = collect(tmp_path / "photos.jpg")
    assert images.names == NAMES
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [1, 0, 0, -1]
    assert images.sources[0]["kind"] == kind.split()[0]
    for ref, name in reversed(list(zip(images.refs, NAMES, strict=True))):
        assert ref.load() == FILES[name.decode()]
        assert ImageRef.from_wire(marshal.loads(marshal.dumps(ref.to_wire()))) == ref
        size, changed = ref.stat()
        assert size == len(FILES[name.decode()])
        assert changed == (tmp_path / "photos.jpg").stat().st_mtime_ns
    assert os.listdir(tmp_path) == ["photos.jpg"]


def test_a_folder_and_an_archive_together(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", {"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    (tmp_path / "f" / "eel").mkdir(parents=True)
    (tmp_path / "f" / "eel" / "1.jpg").write_bytes(b"3")
    images = collect([tmp_path / "f", tmp_path / "a.zip"])
    assert [ref.load() for ref in images.refs] == [b"3", b"1", b"2"]
    assert images.class_names == ("cat", "dog", "eel")
    assert images.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_repeat_or_point_elsewhere(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for content in (b"one", b"two"):
                archive.writestr("../../x.jpg", content)
    else:
        with tarfile.open(path, "w" + kind.removeprefix("tar").replace(".", ":")) as archive:
            for content in (b"one", b"two"):
                info = tarfile.TarInfo("/etc/../x.jpg")
                info.size = 3
                archive.addfile(info, io.BytesIO(content))
    images = collect(path)
    assert len(set(images.names)) == 1
    assert b".." in images.names[0]
    assert [ref.load() for ref in images.refs] == [b"one", b"two"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"latin-\xe9\n.jpg"
    make_tar(tmp_path / "a.tar", {name.decode("utf-8", "surrogateescape"): b"x"})
    assert collect(tmp_path / "a.tar").names == [name]
    make_zip(tmp_path / "a.zip", {"cafe_.jpg": b"x"})
    raw = (tmp_path / "a.zip").read_bytes().replace(b"cafe_.jpg", b"caf\xe9\x82.jpg")
    (tmp_path / "a.zip").write_bytes(raw)
    images = collect(tmp_path / "a.zip")
    assert images.names == [b"caf\xe9\x82.jpg"]
    assert images.refs[0].load() == b"x"
    make_zip(tmp_path / "b.zip", {"日本.jpg": b"x"})
    assert collect(tmp_path / "b.zip").names == ["日本.jpg".encode()]


def test_links_and_devices_in_a_tar_are_no_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("x.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("y.jpg"))
    assert collect(tmp_path / "a.tar").names == [b"y.jpg"]


def test_a_link_in_a_zip_is_no_image(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("x.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("y.jpg", b"y")
    assert collect(tmp_path / "a.zip").names == [b"y.jpg"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_header_does_not_hide_the_members_behind_it(
    tmp_path: Path, mode: str, damage: str
) -> None:
    path = tmp_path / "photos.tar"
    make_tar(path, {f"{number}.jpg": b"pixels" for number in range(5)})
    data = bytearray(path.read_bytes())
    header = 3 * 2 * tarfile.BLOCKSIZE  # each member is a header and a block of data
    if damage == "flipped":
        data[header] ^= 1
    else:
        del data[header + 100 :]
    path.write_bytes(gzip.compress(data) if mode == "w:gz" else data)
    with pytest.raises(InputError, match=rf"cannot be read .* byte {header} is damaged"):
        collect(path)


def test_a_name_that_ends_in_nul_is_kept_as_a_feature_file_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    make_zip(path, {"a.jpgX": b"pixels", "b.jpg": b"others"})
    path.write_bytes(path.read_bytes().replace(b"a.jpgX", b"a.jpg\0"))
    images = collect(path)
    assert images.names == [b"a.jpg", b"b.jpg"]
    assert [ref.load() for ref in images.refs] == [b"pixels", b"others"]


def test_zip_appended_to_something(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", {"y.jpg": b"y"})
    (tmp_path / "a.zip").write_bytes(b"#!/bin/sh\n" + (tmp_path / "a.zip").read_bytes())
    assert [ref.load() for ref in collect(tmp_path / "a.zip").refs] == [b"y"]


def spoil(path: Path, old: bytes, new: bytes) -> None:
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new))


def status_of(ref: ImageRef) -> str:
    with pytest.raises(ImageError) as caught:
        ref.load()
    return caught.value.status


class TestDamage:
    def test_an_encrypted_member_is_unreadable(self, tmp_path: Path) -> None:
        make_zip(tmp_path / "a.zip", {"y.jpg": b"y"}, zipfile.ZIP_STORED)
        raw = bytearray((tmp_path / "a.zip").read_bytes())
        raw[6] |= 1
        raw[raw.index(b"PK\x01\x02") + 8] |= 1
        (tmp_path / "a.zip").write_bytes(raw)
        assert status_of(collect(tmp_path / "a.zip").refs[0]) == "unreadable"

    def test_compression_that_is_not_read(self, tmp_path: Path) -> None:
        make_zip(tmp_path / "a.zip", {"y.jpg": b"y"}, zipfile.ZIP_LZMA)
        assert status_of(collect(tmp_path / "a.zip").refs[0]) == "unreadable"

    def test_a_member_with_a_wrong_checksum_is_corrupt(self, tmp_path: Path) -> None:
        make_zip(tmp_path / "a.zip", {"y.jpg": b"content"}, zipfile.ZIP_STORED)
        spoil(tmp_path / "a.zip", b"content", b"Content")
        assert status_of(collect(tmp_path / "a.zip").refs[0]) == "corrupt"

    def test_a_bomb_gives_no_more_than_it_declares(self, tmp_path: Path) -> None:
        """A member of 1000 bytes by its header, 100 MB by its data."""
        data = bytes(100 << 20)
        make_zip(tmp_path / "a.zip", {"y.jpg": data})
        size = struct.pack("<I", len(data))
        spoil(tmp_path / "a.zip", size, struct.pack("<I", 1000))
        ref = collect(tmp_path / "a.zip").refs[0]
        assert ref.stat()[0] == 1000
        assert status_of(ref) == "corrupt"

    @pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
    def test_more_than_the_limit_is_not_read(self, tmp_path: Path, kind: str) -> None:
        MAKERS[kind](tmp_path / "a", {"y.jpg": bytes(1000)})
        ref = collect(tmp_path / "a").refs[0]
        assert ref.archive is not None
        assert ref.member is not None
        with pytest.raises(ImageError, match="1000 bytes; 999 bytes is the limit") as caught:
            archives.read_member(ref.archive, ref.kind, ref.member, limit=999)
        assert caught.value.status == "too_large"

    @pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
    def test_the_archive_is_gone_or_shorter(self, tmp_path: Path, kind: str) -> None:
        MAKERS[kind](tmp_path / "a", {"x.jpg": os.urandom(5000), "y.jpg": os.urandom(5000)})
        refs = collect(tmp_path / "a").refs
        (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
        os.truncate(tmp_path / "a", 3000)
        assert status_of(refs[1]) == "corrupt"
        # An open stream may still serve what it has; another process sees that it is gone.
        archives.close_kept_archive()
        (tmp_path / "a").unlink()
        assert status_of(refs[0]) == "missing"

    @pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip"])
    def test_a_damaged_archive_is_a_clear_mistake(self, tmp_path: Path, kind: str) -> None:
        MAKERS[kind](tmp_path / f"a.{kind}", {f"{i}.jpg": os.urandom(3000) for i in range(9)})
        raw = (tmp_path / f"a.{kind}").read_bytes()
        (tmp_path / f"a.{kind}").write_bytes(raw[: len(raw) // 2])
        with pytest.raises(InputError, match=f"cannot be read as a {kind} archive"):
            collect(tmp_path / f"a.{kind}")

    def test_gzip_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "a.gz").write_bytes(gzip.compress(b"text"))
        with pytest.raises(InputError, match=r"as a tar.gz archive"):
            collect(tmp_path / "a.gz")

    def test_an_archive_without_images_is_refused(self, tmp_path: Path) -> None:
        make_zip(tmp_path / "a.zip", {"readme": b"text"})
        with pytest.raises(InputError, match="no images in"):
            collect(tmp_path / "a.zip")


@pytest.mark.posix("open files")
def test_an_archive_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """Its stream is kept open from one member to the next."""
    path = tmp_path / "a.tar.gz"
    for content in (b"first", b"other"):
        make_tar(tmp_path / "new", {"a.png": content}, "w:gz")
        os.replace(tmp_path / "new", path)
        refs = collect(path, labels="none").refs
        assert refs is not None
        assert refs[0].load() == content
