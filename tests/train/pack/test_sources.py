"""The images of each split, and the data sets that cannot be trained on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decaf.errors import InputError, SettingError
from decaf.images import ListingSettings, collect
from decaf.images.listing import names
from decaf.train.pack.sources import (
    copies_together,
    find_source,
    pack_entries,
    read_parts,
    source_of,
)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def names_of(split: str, root: Path, **options: object) -> list[str]:
    result = find_source(root, **options)
    start = 0
    for name, count in result.split_counts.items():
        if name == split:
            return [os.fsdecode(entry) for entry in result.names[start : start + count]]
        start += count
    return []


def test_folders_with_and_without_splits(tmp_path: Path) -> None:
    images = ("a/1.jpg", "a/2.jpg", "b/1.jpg")
    plain = find_source(touch(tmp_path / "plain", *images))
    assert (plain.layout, plain.split_counts, plain.class_names) == (
        "folders",
        {"train": 3},
        ("a", "b"),
    )
    assert plain.names == [b"a/1.jpg", b"a/2.jpg", b"b/1.jpg"]
    both = [f"{split}/{image}" for split in ("train", "test") for image in images]
    split = find_source(touch(tmp_path / "split", *both))
    assert split.split_counts == {"train": 3, "test": 3}  # test images do not validate unasked
    assert split.labels.tolist() == [0, 0, 1] * 2
    assert pack_entries(split)[3][0] == "test: test/a/1.jpg"
    elsewhere = find_source(tmp_path / "split", val=tmp_path / "plain")
    assert elsewhere.split_counts == {"train": 3, "val": 3}
    assert elsewhere.names[3:] == plain.names
    assert elsewhere.refs is not None
    assert elsewhere.refs[-1].name == os.fsencode(tmp_path / "plain/b/1.jpg")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/a/1.jpg", "val/a/1.jpg"], "has the class 'a' alone; training takes two classes"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg"],
            "train and val have other classes: 1 in val alone (c); 1 in train alone (b)",
        ),
        (
            ["train/a/1.jpg", "train/c/x.txt", "val/a/1.jpg"],
            "training takes two classes or more with 1 training images or more each; with fewer: c",
        ),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"],
            "train and test have other classes: 1 in train alone (b)",
        ),
        (["a/x.txt", "b/x.txt"], "no images in '"),
        (["1.jpg"], "1 of 1 image has no class"),
        (["test/a/1.jpg", "val/a/1.jpg"], "no folder 'train' in it"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/x.txt"], "no images in its folder for val"),
    ],
)
def test_data_sets_that_cannot_be_trained_on(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        find_source(touch(tmp_path / "d", *names))
    assert "\n" not in str(error.value)


def test_a_folder_that_is_empty_in_val_alone_is_no_class(tmp_path: Path) -> None:
    root = touch(tmp_path / "d", *(f"{s}/{c}/1.jpg" for s in ("train", "val") for c in "bc"))
    (root / "val" / "a").mkdir()
    result = find_source(root)
    assert result.labels.tolist() == [0, 1, 0, 1]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    counts=st.lists(st.integers(2, 12), min_size=2, max_size=3),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_a_share_of_each_class_is_drawn(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], share: float, seed: int
) -> None:
    root = touch(
        tmp_path_factory.mktemp("d"),
        *(f"c{number}/{i}.jpg" for number, count in enumerate(counts) for i in range(count)),
    )
    train = names_of("train", root, split_val=share, seed=seed)
    val = names_of("val", root, split_val=share, seed=seed)
    assert sorted(train + val) == names_of("train", root)
    assert train == sorted(train)
    for number, count in enumerate(counts):
        drawn = sum(name.startswith(f"c{number}/") for name in val)
        assert drawn == min(max(1, int(share * count + 0.5)), count - 1)
    assert val == names_of("val", root, split_val=share, seed=seed)


def test_the_draw_depends_on_the_seed(tmp_path: Path) -> None:
    root = touch(tmp_path / "d", *(f"{name}/{i}.jpg" for name in "ab" for i in range(20)))
    draws = [names_of("val", root, split_val=0.5, seed=seed) for seed in range(3)]
    assert draws[0] != draws[1] != draws[2] != draws[0]
    # What is drawn of a class stays so when another grows.
    touch(root, *(f"b/{i}.jpg" for i in range(20, 40)))
    after = names_of("val", root, split_val=0.5, seed=0)
    assert after[:10] == draws[0][:10]
    assert len(after) == 30


def test_what_cannot_be_divided_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path / "d", "a/1.jpg", "a/2.jpg", "b/1.jpg")
    with pytest.raises(InputError, match="with fewer: b 1"):
        find_source(root, split_val=0.5)
    # A class that is too small is left out, in all splits, where others are left.
    touch(root, "c/1.jpg", "c/2.jpg")
    result = find_source(root, split_val=0.5)
    assert (result.class_names, result.split_counts) == (("a", "c"), {"train": 2, "val": 2})
    assert result.labels.tolist() == [0, 1, 0, 1]
    assert "1 of 3 classes have fewer than 2 training images and are left out (b 1)" in caplog.text
    assert find_source(root).split_counts == {"train": 5}
    assert find_source(root, listing=ListingSettings(min_images=2)).split_counts == {"train": 4}
    split = touch(tmp_path / "s", *(f"{s}/{c}/1.jpg" for s in ("train", "val") for c in "ab"))
    with pytest.raises(SettingError, match="has validation images; leave `split_val` out"):
        find_source(split, split_val=0.5)


def test_a_class_that_is_left_out_is_so_in_validation_too(tmp_path: Path) -> None:
    names = ["train/a/1.jpg", "train/c/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "val/c/1.jpg"]
    root = touch(tmp_path / "d", *names, "train/b/x.txt")
    result = find_source(root)
    assert (result.class_names, result.split_counts) == (("a", "c"), {"train": 2, "val": 2})
    assert result.labels.tolist() == [0, 1, 0, 1]


def test_groups_are_not_divided(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    names = (f"{c}/{g}/{i}.jpg" for c in "ab" for g in range(8) for i in range(3))
    root = touch(tmp_path / "d", *names)
    result = find_source(root, split_val=0.25, listing=ListingSettings(groups="folder"))
    assert result.split_counts == {"train": 36, "val": 12}
    assert "16 groups, none of them in train and val both" in caplog.text
    groups = [name.rpartition(b"/")[0] for name in result.names]
    assert result.groups == tuple(map(os.fsdecode, groups))
    assert not set(groups[:36]) & set(groups[36:])
    with pytest.raises(SettingError, match="`groups` are kept together where `split_val` draws"):
        find_source(root, listing=ListingSettings(groups="folder"))
    with pytest.raises(InputError, match="no class has two groups, so none can be divided into"):
        find_source(root, split_val=0.25, listing=ListingSettings(groups=r"path:^(\w)/"))


def test_tables_lists_and_layouts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path / "d", *(f"{s}/{c}/{i}.jpg" for s in ("Train", "Valid") for c in "ab"
                                   for i in range(3)))  # fmt: skip
    assert find_source(root).split_counts == {"train": 6, "val": 6}
    plain = find_source(root, listing=ListingSettings(layout="classes"))
    assert (plain.class_names, plain.split_counts) == (("Train", "Valid"), {"train": 12})
    table = tmp_path / "table.csv"
    rows = [
        f"{path},{'' if i == 0 else 'xy'[i % 2]}"
        for i, path in enumerate(sorted(root.rglob("*.jpg")))
    ]
    table.write_text("\n".join(["path,species", *rows]))
    result = find_source(root, listing=ListingSettings(labels=table))
    assert (result.layout, result.class_names, result.split_counts) == (
        "list",
        ("x", "y"),
        {"train": 5, "val": 6},
    )
    assert "1 of 6 images have no class" in caplog.text
    listed = find_source(table, split_val=0.5)
    assert (listed.class_names, listed.split_counts) == (("x", "y"), {"train": 5, "val": 6})


def test_validation_images_are_divided_off_beside_test_images(tmp_path: Path) -> None:
    names = (f"{s}/{c}/{i}.jpg" for s in ("train", "test") for c in "ab" for i in range(4))
    root = touch(tmp_path / "d", *names)
    result = find_source(root, split_val=0.25)
    assert list(result.split_counts.items()) == [("train", 6), ("val", 2), ("test", 8)]
    assert [name.split(b"/")[0] for name in result.names] == [b"train"] * 8 + [b"test"] * 8
    assert result.labels.tolist() == [0] * 3 + [1] * 3 + [0, 1] + [0] * 4 + [1] * 4


def test_names_that_no_pack_can_hold_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch(tmp_path / "d", "a/1.jpg", "b/1.jpg")
    (root / "words.txt").write_bytes(b"a\tapp\0le\nb\tpear\n")
    assert find_source(root).class_titles == ("apple", "pear")
    (root / "words.txt").write_bytes(b"a\t" + b"x" * 70_000)
    with pytest.raises(
        InputError, match=r"class 2 has a name of 70000 bytes \('xxx.*at most 65536"
    ):
        find_source(root)
    (root / "words.txt").unlink()
    monkeypatch.setattr(names, "MAX_NAME_BYTES", 6)
    with pytest.raises(InputError, match=r"image 0 has a name of .* at most 6 can be kept"):
        find_source(root)


def test_classes_out_of_order_are_told_at_once(tmp_path: Path) -> None:
    root = touch(tmp_path / "d", "a/1.jpg", "b/1.jpg")
    result = find_source(root)
    reversed_classes = replace(result, class_names=("b", "a"), splits=None)
    with pytest.raises(InputError, match="the class 'a' is there twice, or not in its order"):
        source_of("d", "folders", {"train": reversed_classes})


def test_a_source_may_be_an_archive(tmp_path: Path, write_dataset: Callable[[Path], Path]) -> None:
    write_dataset(tmp_path / "data")
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path, "data")
    result = find_source(archive)
    assert result.split_counts == {"train": 10, "val": 4}
    assert result.refs is not None
    first = (tmp_path / "data/train/n01/0.JPEG").read_bytes()
    assert result.refs[0].load() == first


def test_copies_of_a_file_are_on_one_side_of_a_draw(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ants", "bees"):
        for number in range(6):
            for copy in "ab":
                path = tmp_path / name / f"{number}{copy}.png"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(f"{name} {number}".encode())
    data = find_source(tmp_path, split_val=0.3, seed=1)
    sides: dict[tuple[str, str], set[str]] = {}
    for path, split in zip(data.paths, data.splits or (), strict=True):
        sides.setdefault((Path(path).parent.name, Path(path).stem[0]), set()).add(split)
    assert all(len(own) == 1 for own in sides.values())
    assert data.split_counts["val"] > 0
    assert "12 images are exact copies of others" in caplog.text


def test_groups_that_share_a_copy_are_one(tmp_path: Path) -> None:
    names = ("ants/0.png", "ants/1.png", "ants/2.png", "ants/3.png")
    for name, content in zip(names, ("a", "b", "a", "c"), strict=True):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    images = replace(collect(tmp_path), groups=("x", "x", "y", "z"))
    assert copies_together(images) == ("x", "x", "x", "z")
    assert copies_together(collect(tmp_path)) == ("copies 0", "", "copies 0", "")


def test_test_images_that_are_left_alone_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
    parts = read_parts(tmp_path, ListingSettings())[2]
    assert set(parts) == {"train"}
    assert "its 2 test images are left alone" in caplog.text
    touch(tmp_path, "val/a/1.png", "val/b/1.png")
    for held_out, told in ((("val",), True), (("val", "test"), True), (("test",), False)):
        caplog.clear()
        parts = read_parts(tmp_path, ListingSettings(), held_out=held_out)[2]
        assert set(parts) == {"train", held_out[0]}
        assert ("its 2 test images are left alone" in caplog.text) is told
