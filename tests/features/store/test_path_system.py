"""Names in a feature file say which system they are from, and serve on every one."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.features.image_finder import ImageFinder
from decaf.images import collect
from decaf.images.listing.names import path_text
from decaf.runtime import names
from decaf.storage.hdf5 import write_text_attribute

GOLDEN = Path(__file__).parent / "golden" / "features-1.h5"
NAMES = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 80), (10 + 50 * number, 30, 60)).save(path)
    return Path("photos")


@pytest.fixture
def from_windows(photos: Path, tmp_path: Path) -> Path:
    """A file as decaf writes it on Windows."""
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    for out in (ours, theirs):
        weights = "random:0:alexnet-64"
        decaf.extract(photos, "fc6", weights=weights, out=out, workers=0, device="cpu").close()  # type: ignore[union-attr]
    with h5py.File(theirs, "a") as file:
        file["path"][...] = [name.replace(b"/", b"\\") for name in file["path"][:]]
        del file.attrs["path_system"]
        write_text_attribute(file, "path_system", "windows")
    return theirs


def test_a_file_of_before_is_not_from_windows() -> None:
    with decaf.open_features(GOLDEN) as file:
        assert file.path_system == "posix"


def test_a_file_says_where_its_names_are_from(photos: Path, tmp_path: Path) -> None:
    weights = "random:0:alexnet-64"
    with decaf.extract(photos, "fc6", weights=weights, out=tmp_path / "f.h5", workers=0) as file:
        assert file.path_system == names.SYSTEM == file.attrs["path_system"]


def test_names_from_windows_serve_here(from_windows: Path) -> None:
    with decaf.open_features(from_windows) as file:
        assert file.path_system == "windows"
        assert file.path_bytes[0] == b"photos\\cat\\1.png"
        assert file.paths[0] == "photos\\cat\\1.png"
        images = file.images()
        assert images.names[0] == b"photos\\cat\\1.png"
        assert images.relative == [name.encode() for name in NAMES]
        assert images.in_groups("folder").groups == ("cat", "cat", "dog", "dog")
        finder = ImageFinder(file)
        for row, name in enumerate(file.path_bytes):
            ref = finder.find(row, name)
            assert ref is not None
            assert Path(path_text(ref.name)).read_bytes() == Path("photos", NAMES[row]).read_bytes()
    proved = decaf.verify(from_windows, device="cpu")
    assert proved.compared == 4
    assert not proved.failed
    compared = decaf.compare(from_windows.with_name("ours.h5"), from_windows)
    assert (compared.matched.same, compared.matched.renamed) == (4, 0)


@pytest.mark.posix("names")
def test_what_is_listed_on_windows_has_slashes_below_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a name with backslashes stands for the folders that Windows would see in it."""
    (tmp_path / "photos").mkdir()
    for name in NAMES:
        Image.new("RGB", (80, 80)).save(tmp_path / "photos" / name.replace("/", "\\"))
    here = collect(tmp_path / "photos")
    assert len(here.class_names) == 0
    monkeypatch.setattr(names.slashed, "__defaults__", ("windows",))
    listed = collect(tmp_path / "photos")
    assert listed.relative == [name.encode() for name in NAMES]
    assert listed.class_names == ("cat", "dog")
    np.testing.assert_array_equal(listed.labels, [0, 0, 1, 1])
    assert all(b"\\" in name for name in listed.names)  # as they are on the disk
    (tmp_path / "list.txt").write_text("".join(f"photos/{n}\n".replace("/", "\\") for n in NAMES))
    (tmp_path / "labels.csv").write_text(
        "path,label\n" + "".join(f"{name},{name[:3]}\n".replace("/", "\\") for name in NAMES)
    )
    labelled = collect(tmp_path / "photos", labels=tmp_path / "labels.csv")
    assert labelled.class_names == ("cat", "dog")
