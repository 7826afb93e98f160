"""Features that are given beside a data set's images: which lists belong to which, and parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.dataset import Dataset, make_dataset
from datasets.ready_features import named_values, read_given_features
from decaf.errors import InputError, SettingError

NAMES = ["ant/1.jpg", "ant/2.jpg", "bee/1.jpg"]
ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    root = bytes(tmp_path / "insects")
    images = [(n.encode(), root + b"/" + n.encode(), n[:3]) for n in NAMES]
    return make_dataset("Insects", root, images)


def listed(path: Path, names: list[str]) -> str:
    path.write_text("\n".join(names), encoding="utf-8")
    return str(path)


def test_lists_of_all_and_of_one(tmp_path: Path, dataset: Dataset) -> None:
    for name in ("clip", "dino"):
        np.save(tmp_path / f"{name}.npy", ROWS)
    files = {name: str(tmp_path / f"{name}.npy") for name in ("clip", "dino")}
    usual = listed(tmp_path / "paths.txt", NAMES)
    other = listed(tmp_path / "other.txt", NAMES[::-1])
    clip, dino = read_given_features(files, [usual, f"dino={other}"], dataset)
    assert (clip.kind, dino.kind) == ("clip", "dino")
    np.testing.assert_array_equal(clip.rows, ROWS)
    np.testing.assert_array_equal(dino.rows, ROWS[::-1])
    assert clip.fingerprint != dino.fingerprint
    part = dino.of(dataset.take([0, 2]))
    np.testing.assert_array_equal(part.matrix("dino", np.array([1, 0])), ROWS[[0, 2]])
    with pytest.raises(SettingError, match="one list for all --features, or NAME=LIST for one of"):
        read_given_features(files, [usual, other], dataset)
    with pytest.raises(SettingError, match="for one of them"):
        read_given_features({}, [usual], dataset)
    with pytest.raises(InputError, match=r"dino\.npy: does not say which image a row is of"):
        read_given_features(files, [f"clip={usual}"], dataset)


@pytest.mark.parametrize("value", ["clip.npy", "=clip.npy", "clip=", "a/b=c.npy"])
def test_what_has_no_name(value: str) -> None:
    with pytest.raises(SettingError, match=r"--features: expected NAME=FILE, such as clip=cl"):
        named_values("--features", [value])
    with pytest.raises(SettingError, match="--features: a is named twice"):
        named_values("--features", ["a=b.npy", "a=c.npy"])
