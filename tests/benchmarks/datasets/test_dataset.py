"""Any folder of classes as a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.dataset import read_class_folders
from decaf.errors import InputError


def test_a_folder_of_classes(folder: Path) -> None:
    dataset = read_class_folders(folder)
    assert dataset.name == "animals"
    assert dataset.class_names == ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
    assert dataset.counts.tolist() == [4] * 7
    assert dataset.names[5] == b"bee/1.png"
    assert dataset.files[5] == bytes(folder / "bee/1.png")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"a\xff", b"b"):
        path = bytes(tmp_path) + b"/" + name
        Path(path.decode("utf-8", "surrogateescape")).mkdir()
        Path((path + b"/\xfe.png").decode("utf-8", "surrogateescape")).touch()
    dataset = read_class_folders(tmp_path)
    assert dataset.names == [b"a\xff/\xfe.png", b"b/\xfe.png"]
    assert dataset.class_names == ("a\\xff", "b")


def test_what_cannot_be_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "1.png").touch()
    with pytest.raises(InputError, match=r"all 1 image is of one class \('ant'\)"):
        read_class_folders(tmp_path)
    (tmp_path / "loose.png").touch()
    with pytest.raises(InputError, match="1 image lies in no class folder"):
        read_class_folders(tmp_path)
