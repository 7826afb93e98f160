"""A pack of shards holds the images of these, in the classes of their ``.cls``."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pytest

import decaf
import made_shards
from decaf.errors import InputError, SettingError
from decaf.scale import are_shards, pack_shards


def test_the_classes_are_those_of_the_samples(tmp_path: Path) -> None:
    folder = made_shards.write_shards(tmp_path / "in", 4, bad=None)
    # The same as a folder of classes, which is what a pack is usually made of.
    for split, numbers in (("train", (0, 1, 2)), ("val", (3,))):
        for shard in numbers:
            members = dict(made_shards.samples_of(shard, bad=None))
            for name, data in members.items():
                if name.endswith(".jpg"):
                    label = members[name.replace(".jpg", ".cls")].decode()
                    path = tmp_path / "folder" / split / label / name.replace("/", "-")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
    settings = {"compute": decaf.ComputeSettings(workers=0, progress=False)}
    settings["settings"] = decaf.PackSettings(size=32)
    with (
        pack_shards(
            f"{folder}/{{000..002}}.tar",
            tmp_path / "a.pack",
            val=folder / "003.tar",
            **settings,
        ) as pack,
        decaf.make_pack(tmp_path / "folder", tmp_path / "b.pack", **settings) as other,
    ):
        ours, theirs = pack.info(), other.info()
        assert {name: split["images"] for name, split in ours["splits"].items()} == {
            "train": 15,
            "val": 5,
        }
        np.testing.assert_allclose(ours["mean"], theirs["mean"], rtol=1e-6)
        assert ours["classes"] == theirs["classes"] == 3


def test_shards_of_a_store_are_brought_here_for_the_time(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    for shard in range(3):
        data = made_shards.tar_bytes(made_shards.samples_of(shard, 6, None))
        system.pipe_file(f"/packed/{shard}.tar", data)
    with pack_shards(
        "memory://packed/{0..2}.tar",
        tmp_path / "a.pack",
        split_val=0.3,
        settings=decaf.PackSettings(size=32),
        compute=decaf.ComputeSettings(workers=0, progress=False),
    ) as pack:
        assert sum(split["images"] for split in pack.info()["splits"].values()) == 18
    assert [path.name for path in tmp_path.iterdir()] == ["a.pack"]


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    folder = made_shards.write_shards(tmp_path / "in", 1)
    with pytest.raises(InputError, match=r"001.tar: is not there"):
        pack_shards(f"{folder}/{{000..001}}.tar", tmp_path / "a.pack")
    with pytest.raises(SettingError, match="two sources of validation images"):
        pack_shards(f"{folder}/000.tar", tmp_path / "a.pack", val=folder, split_val=0.1)
    with pytest.raises(SettingError, match="`groups` of shards cannot be told"):
        pack_shards(
            f"{folder}/000.tar", tmp_path / "a.pack", listing=decaf.ListingSettings(groups="folder")
        )


def test_what_is_shards(tmp_path: Path) -> None:
    assert are_shards("s3://bucket/{000..099}.tar")
    assert are_shards(str(tmp_path / "{0..3}.tar"))
    assert not are_shards(str(tmp_path))
    assert not are_shards(tmp_path / "train.tar")
