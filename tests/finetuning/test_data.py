"""The images taken for training and validation, and those that are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from decaf.errors import DecafError, InputError, SettingError
from decaf.finetuning.data import divided, find_images, groups_by_name, images_of, seen_in_training
from decaf.images import ImageList, ListingSettings
from decaf.images.decoding.formats import is_hdf5
from decaf.images.listing.image_ref import RefList
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack

CLASSES = ("ants", "bees", "cats")


def folder_of(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, sum(name.encode()) % 256, 0)).save(
                root / name / f"{i:02d}.png"
            )
    return root


def pack_of(root: Path, out: Path, **options: Any) -> Path:
    make_pack(root, out, size=8, encoding="raw", workers=0, **options).close()
    return out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "photos", dict.fromkeys(CLASSES, 10))


def labels_of(source: Any, split: str) -> list[int]:
    start = 0
    for name, count in source.split_counts.items():
        if name == split:
            return np.bincount(source.labels[start : start + count], minlength=3).tolist()
        start += count
    raise KeyError(split)


def test_a_share_of_each_class_is_drawn(photos: Path) -> None:
    source = find_images(photos)
    assert source.split_counts == {"train": 24, "val": 6}
    assert labels_of(source, "train") == [8, 8, 8]
    assert len(set(source.names)) == 30
    assert find_images(photos).names == source.names
    assert find_images(photos, seed=1).names != source.names
    assert labels_of(find_images(photos, listing=ListingSettings(val_fraction=0.5)), "val") == [
        5,
        5,
        5,
    ]
    # One image stays on each side, whatever the share.
    assert labels_of(find_images(photos, listing=ListingSettings(val_fraction=0.01)), "val") == [
        1,
        1,
        1,
    ]
    assert labels_of(find_images(photos, listing=ListingSettings(val_fraction=0.99)), "train") == [
        1,
        1,
        1,
    ]


def test_validation_images_beside_the_training_images_are_taken(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", dict.fromkeys(CLASSES, 4))
    folder_of(tmp_path / "test", dict.fromkeys(CLASSES, 2))
    alone = find_images(tmp_path)  # those of the test are left alone
    assert alone.split_counts == {"train": 9, "val": 3}
    assert not any(name.startswith(b"test") for name in alone.names)
    folder_of(tmp_path / "val", dict.fromkeys(CLASSES, 3))
    assert find_images(tmp_path).split_counts == {"train": 12, "val": 9}
    with pytest.raises(SettingError, match=r"without validation images, and .* has such"):
        find_images(tmp_path, listing=ListingSettings(val_fraction=0.2))


def test_validation_images_may_lack_classes_and_lie_elsewhere(photos: Path, tmp_path: Path) -> None:
    source = find_images(photos, folder_of(tmp_path / "val", {"cats": 3}))
    assert source.split_counts == {"train": 30, "val": 3}
    assert labels_of(source, "val") == [0, 0, 3]


def test_lists_of_images(photos: Path, tmp_path: Path) -> None:
    paths = sorted(photos.rglob("*.png"))
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, paths)))
    source = find_images(listed)
    assert (source.layout, source.class_names, source.split_counts) == (
        "list",
        CLASSES,
        {"train": 24, "val": 6},
    )
    numbers = [{"ants": 10, "bees": 2, "cats": 7}[path.parent.name] for path in paths]
    source = find_images([str(path) for path in paths], listing=ListingSettings(labels=numbers))
    assert source.class_names == ("02", "07", "10")
    assert source.class_titles == ("2", "7", "10")
    first = source.names[0]
    expected = {"ants": 2, "bees": 0, "cats": 1}[Path(first.decode()).parent.name]
    assert source.labels[0] == expected


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ({"ants": 4}, None, "has the class 'ants' alone; training takes two classes or more"),
        ({"ants": 4, "bees": 1}, None, "two classes or more with 2 .* each; with fewer: bees 1"),
        ({"ants": 4, "bees": 0}, None, "two classes or more with 2 .* each; with fewer: bees 0"),
        ({"ants": 4, "bees": 4}, {"ants": 1, "elks": 1}, r"other classes: 1 in val alone \(elks\)"),
        ({"ants": 4, "bees": 4}, {"Ants": 1}, "case alone .'Ants' is 'ants'.; rename the folders"),
        ({"ants": 4, "bees": 4}, {}, "validation images: no images in "),
    ],
    ids=str,
)
def test_what_cannot_be_trained_on_is_told(
    tmp_path: Path, train: dict[str, int], val: dict[str, int] | None, message: str
) -> None:
    folder_of(tmp_path / "train", train)
    there = None
    if val is not None:
        there = tmp_path / "other"
        there.mkdir()
        folder_of(there, val)
    with pytest.raises(InputError, match=message) as caught:
        find_images(tmp_path / "train", there)
    assert "\n" not in str(caught.value)


def test_a_validation_folder_without_classes_is_told(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loose = folder_of(tmp_path / "val", {"cats": 2})
    Image.new("RGB", (8, 8)).save(loose / "x.png")
    assert find_images(photos, loose).split_counts == {"train": 30, "val": 2}
    assert "1 of 3 images have no class" in caplog.text
    with pytest.raises(InputError, match=r"validation images: .*nothing.*No such file"):
        find_images(photos, tmp_path / "nothing")
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    with pytest.raises(InputError, match=r"validation images: .*is a text file, not an image,"):
        find_images(photos, tmp_path / "notes.pdf")
    with pytest.raises(
        InputError, match=r"no class .*put each class into a folder, or give `labels`"
    ):
        find_images(
            [str(path) for path in sorted(photos.rglob("*.png"))],
            listing=ListingSettings(labels="none"),
        )


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan"), "a", True])
def test_a_share_that_leaves_nothing_is_told(photos: Path, share: Any) -> None:
    with pytest.raises(SettingError, match=r"`val_fraction` .*: must be between 0 and 1"):
        find_images(photos, listing=ListingSettings(val_fraction=share))


def test_packs_are_divided(photos: Path, tmp_path: Path) -> None:
    path = pack_of(photos, tmp_path / "a.pack")
    assert is_hdf5(path)
    assert not is_hdf5(photos)
    assert not is_hdf5(["a"])
    other = pack_of(folder_of(tmp_path / "v", {"bees": 2, "cats": 2}), tmp_path / "v.pack")
    with Pack.open(path) as pack, Pack.open(other) as val_pack:
        data = divided(pack, None, 0.2, 0)
        assert (len(data.train), len(data.val)) == (24, 6)
        assert data.counts() == [("ants", 8, 2), ("bees", 8, 2), ("cats", 8, 2)]
        assert seen_in_training(data) == 0
        # Each image is itself: its red is its number.
        rows = {(int(data.val.labels[i]), int(data.val.pixels(i)[0, 0, 0])) for i in range(6)}
        rows |= {(int(data.train.labels[i]), int(data.train.pixels(i)[0, 0, 0])) for i in range(24)}
        assert rows == {(label, i) for label in range(3) for i in range(10)}
        # Labels of another pack are those of the same classes here; its files are as in training.
        data = divided(pack, val_pack, 0.2, 0)
        assert data.val.labels.tolist() == [1, 1, 2, 2]
        assert seen_in_training(data) == 4


def test_of_a_pack_with_validation_images_none_are_drawn(photos: Path, tmp_path: Path) -> None:
    whole, half = pack_of(photos, tmp_path / "whole.pack"), tmp_path / "half.pack"
    make_pack(find_images(photos), half, size=8, encoding="raw", workers=0).close()
    assert images_of(whole, None, 0.3) == images_of(whole)
    assert images_of(half)["count"] == 30
    with pytest.raises(SettingError, match=r"without validation images, and .* has such"):
        images_of(half, None, 0.3)


def test_packs_that_do_not_belong_together_are_told(photos: Path, tmp_path: Path) -> None:
    path = pack_of(photos, tmp_path / "a.pack")
    elks = pack_of(folder_of(tmp_path / "v", {"bees": 2, "elks": 2}), tmp_path / "v.pack")
    large = tmp_path / "large.pack"
    make_pack(photos, large, size=16, encoding="raw", workers=0).close()
    with Pack.open(path) as pack:
        for other, told in (
            (elks, r"v\.pack: 1 of its classes are not in .*a\.pack \(elks\)"),
            (large, r"large\.pack: holds images of 16 pixels \(shorter-side\), .* of 8 "),
        ):
            with Pack.open(other) as val_pack, pytest.raises(DecafError, match=told):
                divided(pack, val_pack, 0.2, 0)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_every_class_is_on_both_sides(counts: list[int], share: float, seed: int) -> None:
    class FakePack:
        path = "fake"
        wnids = class_names = tuple(f"{i:02d}" for i in range(len(counts)))
        splits = ("train",)

        def images(self, split: str) -> ImageList:
            names = [b"%d" % i for i in range(sum(counts))]
            labels = np.repeat(np.arange(len(counts)), counts)
            return ImageList(names, labels, self.wnids, (), RefList(names, {}))

    pack: Any = FakePack()
    data = divided(pack, None, share, seed)
    names = data.train.names + data.val.names
    assert sorted(map(int, names)) == list(range(sum(counts)))
    for (_, train, val), count in zip(data.counts(), counts, strict=True):
        assert train + val == count
        assert val == min(max(1, int(share * count + 0.5)), count - 1)


def test_the_photographs_may_move(photos: Path, tmp_path: Path) -> None:
    before = find_images(photos)
    shutil.move(photos, tmp_path / "elsewhere")
    assert find_images(tmp_path / "elsewhere").names == before.names


def test_groups_are_on_one_side(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", dict.fromkeys(CLASSES, 20))
    source = find_images(root, listing=ListingSettings(groups=r"path:(\w+/\d)"))
    assert source.groups is not None
    count = source.split_counts["train"]
    assert not set(source.groups[:count]) & set(source.groups[count:])
    path = pack_of(root, tmp_path / "a.pack")
    with Pack.open(path) as pack:
        names = groups_by_name(pack, None, r"path:(\w+/\d)")
        assert names is not None
        data = divided(pack, None, 0.3, 0, names)
        train, val = (set(part.groups or ()) for part in (data.train, data.val))
        assert not train & val
        assert data.train.groups is not None
        assert set(data.train.groups) == train
        with pytest.raises(InputError, match=r"a\.pack: no class has two groups, so none can be"):
            divided(pack, None, 0.3, 0, groups_by_name(pack, None, "folder"))


def test_images_of_one_name_in_train_and_val_keep_their_groups(tmp_path: Path) -> None:
    train = folder_of(tmp_path / "train", dict.fromkeys(CLASSES, 4))
    val = folder_of(tmp_path / "val", dict.fromkeys(CLASSES, 2))
    source = find_images(train, val, ListingSettings(groups=r"path:(\w+/\d)"))
    out = tmp_path / "a.pack"
    make_pack(source, out, size=8, encoding="raw", workers=0).close()
    with Pack.open(out) as pack:
        assert set(pack.splits["val"].names) < set(pack.splits["train"].names)
        data = divided(pack, None, 0.2, 0, groups_by_name(pack, source, None))
    assert data.train.groups is not None
    assert set(data.train.groups) == {f"{name}/0" for name in CLASSES}
    assert data.val.groups is None  # they are of the training images


def test_groups_of_images_that_come_divided_are_known_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder_of(tmp_path / "photos/train", dict.fromkeys(CLASSES, 4))
    folder_of(tmp_path / "photos/val", dict.fromkeys(CLASSES, 2))
    source = find_images(tmp_path / "photos", listing=ListingSettings(groups="folder"))
    assert source.groups is not None
    assert source.groups.count("train/ants") == 4
    assert source.groups.count("val/ants") == 2
    assert "in training and in validation" not in caplog.text
    find_images(tmp_path / "photos", listing=ListingSettings(groups=r"path:\w+/\d"))
    told = "3 groups are both in training and in validation (such as 'ants/0'): what is measured is"
    assert told in caplog.text
    caplog.clear()
    # Of two sources paths alone may be alike by chance, but not those of a table.
    table = tmp_path / "table.csv"
    paths = sorted((tmp_path / "photos").rglob("*.png"))
    table.write_text("".join(f"{path},{path.parent.name}{path.stem}\n" for path in paths))
    sources = tmp_path / "photos/train", tmp_path / "photos/val"
    for groups, doubles in ((r"path:\w+/\d", False), (f"{table}:2", True)):
        caplog.clear()
        find_images(*sources, ListingSettings(groups=groups))
        assert ("6 groups are both in training" in caplog.text) == doubles


def test_images_drawn_for_validation_keep_their_groups(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", dict.fromkeys(CLASSES, 20))
    source = find_images(root, listing=ListingSettings(groups=r"path:(\w+/\d)"))
    out = tmp_path / "a.pack"
    make_pack(source, out, size=8, encoding="raw", workers=0).close()
    with Pack.open(out) as pack:
        data = divided(pack, None, 0.2, 0, groups_by_name(pack, source, None))
    assert data.train.groups is not None
    assert data.val.groups is not None
    assert len(set(data.train.groups) | set(data.val.groups)) == 6
    assert "" not in data.val.groups


def test_small_classes_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folder_of(tmp_path / "photos", {"ants": 5, "bees": 5, "cats": 1})
    assert find_images(root).class_names == ("ants", "bees")
    assert "1 of 3 classes have fewer than 2 training images and are left out" in caplog.text
    caplog.clear()
    with Pack.open(pack_of(root, tmp_path / "a.pack")) as pack:
        assert divided(pack, None, 0.2, 0).counts() == [
            ("ants", 4, 1),
            ("bees", 4, 1),
            ("cats", 1, 0),
        ]
    assert "1 class has too few images for validation" in caplog.text
