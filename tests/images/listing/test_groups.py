"""Groups of images by tables, paths, folders and capture times."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decaf.errors import DecafError, InputError, SettingError
from decaf.images import collect
from decaf.images.decoding.tiff_tags import capture_time
from decaf.images.listing.groups import find_groups

NAMES = ("fox/a/fox1_001.jpg", "fox/a/fox1_002.jpg", "fox/b/fox2_001.jpg", "owl/owl_7.jpg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return tmp_path / "photos"


def groups(photos: Path, spec: object) -> tuple[str, ...] | None:
    return collect(photos, groups=spec).groups


def test_without_groups_there_are_none(photos: Path) -> None:
    assert groups(photos, None) is None


def test_groups_by_a_regular_expression(photos: Path) -> None:
    assert groups(photos, r"path:(fox\d+)_") == ("fox1", "fox1", "fox2", "")
    assert groups(photos, r"path:[a-z]+\d*_") == ("fox1_", "fox1_", "fox2_", "owl_")
    # Of an expression that may match without its group.
    assert groups(photos, r"path:(fox\d)|owl") == ("fox1", "fox1", "fox2", "")
    with pytest.raises(SettingError, match=r"`groups` 'path:\(': is no regular expression"):
        groups(photos, "path:(")
    with pytest.raises(InputError, match="`groups` 'path:cow': none of the 4 images is in a group"):
        groups(photos, "path:cow")


def test_groups_by_folder(photos: Path) -> None:
    assert groups(photos, "folder") == ("fox/a", "fox/a", "fox/b", "owl")
    assert groups(photos, "folder:2") == ("fox", "fox", "fox", "")
    with pytest.raises(SettingError, match="folder:N takes a whole number from 1 on"):
        groups(photos, "folder:0")


def test_groups_by_a_table(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "file;species;Animal;note\nfox1_001.jpg;fox;Anna;x\nfox1_002.jpg;fox;Anna;\n"
        "fox2_001.jpg;fox;Bob;y\nowl_7.jpg;owl;;\n"
    )
    assert groups(photos, f"{table}:animal") == ("Anna", "Anna", "Bob", "")
    assert "1 of 4 images have no group" in caplog.text
    assert groups(photos, f"{table}:file,species") == ("fox", "fox", "fox", "owl")
    with pytest.raises(InputError, match=r"groups file .*: no column 'sex'; read as 5 rows of 4"):
        groups(photos, f"{table}:sex")
    with pytest.raises(SettingError, match=r"there is no such file, and it is none of FILE:COLUMN"):
        groups(photos, "animal")
    two = tmp_path / "two.csv"
    two.write_text("".join(f"{name},{name[0]}\n" for name in NAMES))
    assert groups(photos, two) == ("f", "f", "f", "o")


def test_groups_by_a_sequence(photos: Path) -> None:
    assert groups(photos, np.array([1, 1, 2, 3])) == ("1", "1", "2", "3")
    assert groups(photos, ["a", None, float("nan"), "b"]) == ("a", "", "", "b")
    assert groups(photos, ["a", "", "b", "b"]) == ("a", "", "b", "b")
    with pytest.raises(InputError, match="2 groups for 4 images"):
        groups(photos, [1, 2])
    with pytest.raises(SettingError, match="`groups` 7: must be FILE:COLUMN"):
        groups(photos, 7)
    assert collect(np.zeros((2, 9, 9, 3), np.uint8), groups=["a", "a"]).groups == ("a", "a")


def shot(path: Path, time: str, model: str = "", fraction: str = "") -> None:
    exif = Image.Exif()
    if model:
        exif[0x0110] = model
    exif.get_ifd(0x8769)[0x9003] = time
    if fraction:
        exif.get_ifd(0x8769)[0x9291] = fraction
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, exif=exif)


def test_groups_by_capture_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "photos"
    shot(root / "a" / "0.jpg", "2024:05:01 10:00:00", "X100", "25")
    shot(root / "a" / "1.png", "2024:05:01 10:00:50", "X100")
    shot(root / "b" / "2.jpg", "2024:05:01 10:01:45", "X100")  # follows the one before it
    shot(root / "b" / "3.webp", "2024:05:01 10:03:00", "X100")
    shot(root / "b" / "4.jpg", "2024:05:01 10:00:00", "Z9")
    shot(root / "b" / "5.jpg", "0000:00:00 00:00:00", "Z9")
    Image.new("RGB", (8, 8)).save(root / "b" / "6.jpg")
    result = groups(root, "time:60s")
    first = "X100 2024-05-01 10:00:00.250000"
    assert result == (first,) * 3 + ("X100 2024-05-01 10:03:00", "Z9 2024-05-01 10:00:00", "", "")
    assert "2 of 7 images are in no group, each counts as one of its own" in caplog.text
    assert groups(root, "time:2min") == (first,) * 4 + ("Z9 2024-05-01 10:00:00", "", "")
    with pytest.raises(InputError, match="none of the 1 image has a capture time"):
        groups(root / "b" / "6.jpg", "time:60s")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(root))
    assert groups(tmp_path / "photos.zip", "time:60s") == result
    with pytest.raises(SettingError, match="time takes a span such as 60s, 5min, 2h or 1d"):
        groups(root, "time:soon")
    with pytest.raises(SettingError, match="images in memory, and those of a pack, have no ca"):
        collect(np.zeros((2, 9, 9, 3), np.uint8), groups="time:1h")


def test_the_capture_time_of_a_tiff() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "X100"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 10:00:00"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    result = capture_time(block)
    assert result is not None
    assert (str(result.time), result.camera) == ("2024-05-01 10:00:00", "Acme X100")
    assert capture_time(block[:-12]) is None


@given(st.binary(max_size=300))
def test_any_bytes_have_a_capture_time_or_none(data: bytes) -> None:
    for begin in (b"", b"Exif\0\0II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        capture_time(begin + data)


@given(st.text(max_size=12))
def test_any_text_names_groups_or_is_refused(text: str) -> None:
    names = [b"a/1.jpg", b"b/2.jpg"]
    try:
        result = find_groups(text, names, names, None)
    except DecafError:
        return
    assert result is not None
    assert len(result) == 2
