"""Which images are for training and which for the test, as a table says it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.cli.main import main
from decaf.errors import InputError, SettingError
from decaf.evaluate.test_set import read_test_set
from decaf.images import collect
from decaf.images.listing.names import nearest_path

NET = "random:0:alexnet-64"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{name}{number}.png")
    return tmp_path / "photos"


def table(photos: Path, name: str, separator: str = ",", start: str = "") -> Path:
    """Write which image is for what, as people write it."""
    path = photos.parent / name
    called = ["Training", "train", "train", "train", "Test", "testing"]
    rows = [
        f"{start}{each}\\{each}{number}.png{separator}x{separator}{called[number]}"
        for each in ("ant", "bee")
        for number in range(6)
    ]
    text = "\r\n".join([separator.join(("Photo", "note", "Part")), *rows])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "D:\\camera\\photos\\"])
def test_splits_of_a_table(photos: Path, separator: str, start: str) -> None:
    path = table(photos, "parts.csv", separator, start)
    images = collect(photos, splits=f"{path}:photo,part")
    assert images.splits == (*["train"] * 4, "test", "test") * 2
    assert collect(photos, splits=f"{path}:part").splits == images.splits
    assert images.class_names == ("ant", "bee")


def test_the_column_split_is_taken_where_none_is_named(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("file,split\nant0.png,train\nbee0.png,val\n")
    images = collect(photos, splits=path)
    assert images.split_counts == {"train": 1, "": 10, "val": 1}


def test_splits_of_a_sequence(photos: Path) -> None:
    given = ["train", None, "validation", float("nan"), "", "TEST"] * 2
    images = collect(photos, splits=given)
    assert images.splits == ("train", "", "val", "", "", "test") * 2
    with pytest.raises(InputError, match="2 splits for 12 images"):
        collect(photos, splits=["train", "test"])
    with pytest.raises(SettingError, match="must be FILE:COLUMN, or one an image"):
        collect(photos, splits=3)


def test_what_names_no_split_is_told(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("file,fold,empty\nant0.png,1,\nbee0.png,2,\nbee1.png,2,\n")
    with pytest.raises(InputError, match=r"'1' \(1\), '2' \(2\) is no split; .*val: val, valid"):
        collect(photos, splits=f"{path}:fold")
    with pytest.raises(InputError, match="none of the 12 images is in a split"):
        collect(photos, splits=[""] * 12)
    with pytest.raises(InputError, match="no column 'part'"):
        collect(photos, splits=f"{path}:part")
    with pytest.raises(SettingError, match=r"no such file.*the nearest there is .*t\.csv"):
        collect(photos, splits=f"{tmp_path}/tt.csv:fold")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        collect(photos, splits=["train", "test", *[""] * 10])
    assert "10 of 12 images are in no split" in caplog.text
    caplog.clear()
    path.write_text("file,part\nant0.png,train\nbee0.png,test\n")
    collect(photos, splits=f"{path}:part")
    (told,) = caplog.messages
    assert "10 of 12 images have no split" in told


def test_a_table_of_images_with_a_column_split(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.csv"
    rows = [f"photos/{c}/{c}{n}.png,{c},{'test' if n else 'train'}" for c in ("ant", "bee")
            for n in range(2)]  # fmt: skip
    path.write_text("\n".join(["path,class,Split", *rows]))
    with caplog.at_level(logging.INFO):
        images = collect(path)
    assert images.splits == ("train", "test") * 2
    assert (images.class_names, images.labels.tolist()) == (("ant", "bee"), [0, 0, 1, 1])
    assert "its column split divides the images: test 2, train 2" in caplog.text
    assert collect(path, layout="classes").splits is None
    # Of two columns it is no label.
    path.write_text("\n".join(["path,split", *(row.replace(",ant,", ",").replace(",bee,", ",")
                                                for row in rows)]))  # fmt: skip
    images = collect(path)
    assert (images.splits, images.labels.tolist()) == (("train", "test") * 2, [-1] * 4)
    path.write_text("path,class,split\nphotos/ant/ant0.png,ant,left\nphotos/bee/bee0.png,bee,\n")
    caplog.clear()
    assert collect(path).splits is None
    assert "its column split is taken for no splits, since it holds 'left'" in caplog.text


@pytest.mark.slow
def test_commands_take_the_splits_of_a_table(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(photos, "parts.csv")
    asked = [str(photos), "--splits", f"{path}:Photo,Part", "-j", "0", "-q"]
    features = str(tmp_path / "f.h5")
    assert main(["extract", *asked, "-o", features, "-w", NET]) == 0
    assert "splits, by the table: train 8, test 4" in capsys.readouterr().out
    with decaf.open_features(features) as file:
        assert file.splits == (*["train"] * 4, "test", "test") * 2
    head = ["-w", NET, "-l", "fc7", "-C", "1"]
    assert main(["fit", *asked, "-o", str(tmp_path / "a.head"), *head]) == 0
    assert "8 training images of 2 classes" in capsys.readouterr().out
    # Features that are there are divided anew, though they have splits.
    other = [*["train", "train", "test"] * 4]
    fitted = decaf.fit(features, layer="fc6", C=1.0, splits=other)
    assert fitted.report.estimate is not None
    assert fitted.report.estimate.images == 4
    pack = str(tmp_path / "a.pack")
    assert main(["pack", *asked, "-o", pack, "--size", "16"]) == 0
    assert "train 8, test 4 images of 2 classes" in capsys.readouterr().out
    images = decaf.collect(photos, splits=f"{path}:Part")
    divided = decaf.make_pack(images, tmp_path / "b.pack", size=16, workers=0)
    with divided as opened:
        assert {name: len(split) for name, split in opened.splits.items()} == {
            "train": 8,
            "test": 4,
        }
    assert main(["evaluate", NET, pack, *asked[1:3], "-j", "0", "-q"]) == 2
    assert "a pack has its own splits; leave --splits out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_is_evaluated_on_a_split_of_a_table(photos: Path, tmp_path: Path) -> None:
    path = table(photos, "parts.csv")
    numbers = [0] * 6 + [1] * 6
    for split, count in ((None, 4), ("train", 8)):
        evaluation = decaf.evaluate_network(
            NET, photos, split=split, labels=numbers, splits=f"{path}:Part", workers=0
        )
        assert evaluation.images == count
        listing = decaf.ListingSettings(splits=f"{path}:Part")
        images, classes = read_test_set(photos, split, listing)
        assert (len(images), classes.ids) == (count, ("ant", "bee"))
    with pytest.raises(SettingError, match="or what `splits` names"):
        decaf.evaluate_network(NET, photos, split="val", labels=numbers, workers=0)


def test_the_nearest_path_that_is_there(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert nearest_path(b"ant/ant0.pmg") == f", the nearest there is {'ant/ant0.png'!r}"
    assert nearest_path(b"amt/ant0.png") == ", the nearest there is 'ant'"
    assert nearest_path(os.fsencode(photos) + b"/zzz") == ""
    with pytest.raises(InputError, match="the nearest there is 'bee'"):
        collect("beee")
    with pytest.raises(
        InputError, match=r"none of the 2 files exists, .* nearest there is 'ant/an"
    ):
        collect(["ant/ant0.pmg.png", "nothing.png"])
