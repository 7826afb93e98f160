"""Data sets of all layouts, in folders and in archives, and what is wrong with some."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.errors import ImageError, InputError, SettingError
from decaf.images import collect

FOLDERS = {"cat/1.jpg": b"c1", "cat/deep/2.png": b"c2", "dog/1.jpg": b"d1", "dog/readme.txt": b""}
SPLITS = {
    **{f"train/{name}": data for name, data in FOLDERS.items()},
    "val/dog/9.jpg": b"d9",
    "val/cat/9.jpg": b"c9",
}
TINY = {
    "wnids.txt": b"n2\r\nn1\r\n",
    "words.txt": b"n0\tother\nn1\tgoldfish, Carassius auratus\nn2\tcentipede\n",
    "train/n1/images/n1_0.JPEG": b"a",
    "train/n1/n1_boxes.txt": b"n1_0.JPEG\t0\t0\t1\t1\n",
    "train/n2/images/n2_0.JPEG": b"b",
    "val/images/val_0.JPEG": b"v0",
    "val/images/val_1.JPEG": b"v1",
    "val/images/val_10.JPEG": b"v10",
    "val/val_annotations.txt": b"val_10.JPEG\tn1\t0\t0\t3\t4\nval_1.JPEG\tn1\nval_0.JPEG\tn2\n",
    "test/images/test_0.JPEG": b"t",
}


def lay(root: Path, files: dict[str, bytes], form: str = "folder") -> Path:
    """Write files as a folder, or as an archive with the folder ``top`` in it."""
    root.mkdir(exist_ok=True)
    if form == "folder":
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        return root
    source = lay(root / "top", files)
    path = root / f"data.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(source.rglob("*")):
                archive.write(file, file.relative_to(root))
    else:
        with tarfile.open(path, "w:gz" if form == "tgz" else "w") as archive:
            archive.add(source, "top")
    return path


@pytest.mark.parametrize("files", [SPLITS, TINY])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_splits_are_found_below_a_single_folder(
    tmp_path: Path, form: str, files: dict[str, bytes]
) -> None:
    plain = collect(lay(tmp_path / "plain", files, form))
    deeper = {f"data/{name}": data for name, data in files.items()}
    images = collect(lay(tmp_path / "up", {**deeper, "readme.txt": b""}, form))
    assert images.relative == plain.relative
    assert (images.splits, images.class_names) == (plain.splits, plain.class_names)
    assert (images.titles, images.layout) == (plain.titles, plain.layout)
    assert images.labels.tolist() == plain.labels.tolist()


def test_a_single_folder_with_something_beside_it_is_a_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deeper = {f"data/{name}": data for name, data in SPLITS.items()}
    for beside in ("top.jpg", "more/1.jpg"):
        images = collect(lay(tmp_path / beside[:3], {**deeper, beside: b"x"}))
        assert images.splits is None
        assert "data" in images.class_names
    lay(tmp_path / "deep", {f"data/{name}/1.jpg": b"x" for name in ("cat", "dog")})
    assert collect(tmp_path / "deep").class_names == ("data",)
    assert "deep/data' to take the 2 folders in that for classes" in caplog.text
    caplog.clear()
    assert collect(tmp_path / "deep", labels="none").class_names == ()
    assert not caplog.text
    one = {f"data/{name}": b"x" for name in ("cat/1.jpg", "2.jpg")}
    images = collect(lay(tmp_path / "one", one))
    assert images.class_names == ("data",)
    assert not caplog.text
    assert collect(lay(tmp_path / "up", deeper), layout="classes").class_names == ("data",)


def splits_of(path: Path, layout: str = "auto") -> tuple[str, ...]:
    splits = collect(path, layout=layout).splits or ()
    return tuple(name for name in ("train", "val", "test") if name in splits)


def contents(path: Path, split: str | None) -> list[tuple[bytes, str]]:
    """The bytes and the class of every image."""
    result = collect(path).part(split)
    assert result.refs is not None
    return sorted(
        (ref.load(), result.class_names[label])
        for ref, label in zip(result.refs, result.labels, strict=True)
    )


@pytest.mark.parametrize("form", ["folder", "tar", "tgz", "zip"])
def test_all_layouts_in_all_forms(tmp_path: Path, form: str) -> None:
    folders = lay(tmp_path / "a", FOLDERS, form)
    assert collect(folders).layout == "folders"
    assert splits_of(folders) == ()
    assert contents(folders, None) == [(b"c1", "cat"), (b"c2", "cat"), (b"d1", "dog")]

    splits = lay(tmp_path / "b", SPLITS, form)
    assert collect(splits).layout == "splits"
    assert splits_of(splits) == ("train", "val")
    assert contents(splits, "train") == [(b"c1", "cat"), (b"c2", "cat"), (b"d1", "dog")]
    assert contents(splits, "val") == [(b"c9", "cat"), (b"d9", "dog")]

    tiny = lay(tmp_path / "c", TINY, form)
    assert collect(tiny).layout == "tiny-imagenet"
    assert splits_of(tiny) == ("train", "val", "test")
    assert contents(tiny, "train") == [(b"a", "n1"), (b"b", "n2")]
    assert contents(tiny, "val") == [(b"v0", "n2"), (b"v1", "n1"), (b"v10", "n1")]
    assert collect(tiny).part("val").titles == (
        "goldfish, Carassius auratus",
        "centipede",
    )


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    result = collect(lay(tmp_path / "c", TINY)).part("val")
    folder = bytes(tmp_path / "c" / "val" / "images")
    assert result.names == [
        folder + b"/" + name for name in (b"val_0.JPEG", b"val_1.JPEG", b"val_10.JPEG")
    ]
    np.testing.assert_array_equal(result.labels, [1, 0, 0])
    assert result.labels.dtype == np.int64
    assert result.sources[0]["images"] == 3


def test_validation_images_of_tiny_imagenet_alone(tmp_path: Path) -> None:
    lay(tmp_path / "c", TINY)
    assert contents(tmp_path / "c" / "val", None) == [(b"v0", "n2"), (b"v1", "n1"), (b"v10", "n1")]


def test_validation_images_sorted_into_folders(tmp_path: Path) -> None:
    files = {name: data for name, data in TINY.items() if not name.startswith("val/")}
    path = lay(tmp_path / "c", {**files, "val/n1/images/v.JPEG": b"v"})
    assert splits_of(path) == ("train", "val", "test")
    assert contents(path, "val") == [(b"v", "n1")]


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("left", ["val/images/readme.txt", "val/readme.txt"])
def test_validation_images_sorted_into_folders_beside_their_list(
    tmp_path: Path, form: str, left: str
) -> None:
    files = {name: data for name, data in TINY.items() if not name.startswith("val/images/")}
    sorted_in = {"val/n2/val_0.JPEG": b"v0", "val/n1/val_1.JPEG": b"v1", left: b""}
    path = lay(tmp_path / "c", {**files, **sorted_in}, form)
    assert splits_of(path) == ("train", "val", "test")
    assert contents(path, "val") == [(b"v0", "n2"), (b"v1", "n1")]
    del files["wnids.txt"]
    alone = lay(tmp_path / "d", {**files, **sorted_in}, form)
    assert collect(alone).part("val").class_names == ("n1", "n2")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("boat/x", "car/x", "train/x"), ()),
        (("train/boat", "val/boat"), ("train", "val")),
        (("train/boat", "valid/boat", "testing/boat"), ("train", "val", "test")),
        (("train/boat", "test/boat", "boxes/x"), ("train", "test")),
        (("validation/boat",), ("val",)),
        (("train",), ()),
        (("test", "val"), ("val", "test")),
        (("Train/boat", "Validation/boat"), ("train", "val")),
        # A class may be called test, and have folders in it as the others have.
        (("boat/x", "car/x", "test/x", "train/x"), ()),
        (("boat/x", "test/y", "train/z"), ()),
    ],
)
def test_what_is_a_split_and_what_a_class(
    tmp_path: Path, folders: tuple[str, ...], splits: tuple[str, ...]
) -> None:
    path = lay(tmp_path / "a", {f"{name}/1.jpg": b"" for name in folders})
    assert splits_of(path) == splits


def test_splits_of_unknown_names_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for top in ("entrenamiento", "prueba"):
        for name in ("dog", "owl"):
            (tmp_path / top / name).mkdir(parents=True)
            (tmp_path / top / name / "1.jpg").write_bytes(b"x")
    assert collect(tmp_path).class_names == ("entrenamiento", "prueba")
    assert "entrenamiento, prueba; but each holds the folders dog, owl." in caplog.text
    caplog.clear()
    collect(tmp_path, layout="classes")
    assert not caplog.text


def test_classes_without_images_are_told(tmp_path: Path) -> None:
    path = lay(tmp_path / "a", FOLDERS)
    (path / "ant").mkdir()
    result = collect(path).part(None)
    assert result.class_names == ("ant", "cat", "dog")
    assert collect(path).class_names == ("cat", "dog")
    assert collect(path).empty_folders == (("", "ant"),)
    assert result.labels.tolist() == [1, 1, 2]


def test_an_image_that_is_listed_and_absent_is_missing(tmp_path: Path) -> None:
    path = lay(tmp_path / "c", TINY)
    (path / "val" / "images" / "val_1.JPEG").unlink()
    result = collect(path).part("val")
    assert result.labels.tolist() == [1, 0, 0]
    assert result.refs is not None
    with pytest.raises(ImageError) as caught:
        result.refs[1].load()
    assert caught.value.status == "missing"


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        ({"cat/1.txt": b""}, None, "no images in "),
        (SPLITS, None, "has the splits train, val; name one"),
        (SPLITS, "test", "no split 'test'; it has train, val"),
        (FOLDERS, "val", "no split 'val'; it is not divided into splits"),
        ({**SPLITS, "Val/cat/1.jpg": b""}, "val", "'Val' and 'val' are both the split 'val'"),
        ({**TINY, "train/n3/1.JPEG": b""}, "train", r"1 class is not in its wnids.txt \(n3\)"),
        ({**TINY, "val/val_annotations.txt": b"\nx.JPEG n1\n"}, "val", "line 2 is not an image"),
        ({**TINY, "val/val_annotations.txt": b"../a\tn1\n"}, "val", "outside of the data set"),
        (
            {**TINY, "val/val_annotations.txt": b"val_1.JPEG\tn1\nval_1.JPEG\tn2\n"},
            "val",
            "two classes for 'val_1.JPEG'",
        ),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, files: dict[str, bytes], split: str | None, message: str
) -> None:
    path = lay(tmp_path / "a", files)
    with pytest.raises(InputError, match=message) as caught:
        collect(path).part(split)
    assert "\n" not in str(caught.value)


def test_images_that_no_folder_or_list_names_have_no_class(tmp_path: Path) -> None:
    images = collect(lay(tmp_path / "a", {**FOLDERS, "1.jpg": b""})).part(None)
    assert images.labels.tolist() == [-1, 0, 0, 1]
    images = collect(lay(tmp_path / "b", {**TINY, "val/images/x.JPEG": b""})).part("val")
    assert images.labels.tolist() == [1, 0, 0, -1]


def test_the_user_says_what_the_folders_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = lay(tmp_path / "a", {f"{name}/x/1.jpg": b"" for name in ("train", "test", "boat")})
    assert splits_of(path) == ()
    assert "not taken for splits: 'train', 'test', by what" in caplog.text
    assert splits_of(path, "splits") == ("train", "test")
    assert collect(path, layout="classes").part(None).class_names == ("boat", "test", "train")
    with pytest.raises(
        SettingError, match="`layout` 'folders' is not one of auto, splits, classes"
    ):
        collect(path, layout="folders")


@pytest.mark.parametrize("form", ["folder", "zip", "glob", "list"])
def test_a_list_of_images_knows_the_splits_too(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = lay(tmp_path / "a", SPLITS, form if form == "zip" else "folder")
    source = str(path)
    if form == "glob":
        source = f"{path}/**/*.*g"
    elif form == "list":
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join(sorted(map(str, path.rglob("*.*g")))))
        source = str(listed)
    with caplog.at_level("INFO"):
        images = collect(source)
    assert images.class_names == ("cat", "dog")
    assert images.splits == ("train",) * 3 + ("val",) * 2
    assert "train 3, val 2; `layout='classes'` takes them for classes" in caplog.text
    classes = collect(source, layout="classes")
    assert (classes.class_names, classes.splits) == (("train", "val"), None)
    assert images.take(np.array([3, 0])).splits == ("val", "train")


def test_several_sources_are_splits_if_each_is_called_as_another_one(tmp_path: Path) -> None:
    path = lay(tmp_path / "a", SPLITS, "folder")
    sources = [path / "train", f"{path}/val/"]
    images = collect(sources)
    assert images.class_names == ("cat", "dog")
    assert images.splits == ("train",) * 3 + ("val",) * 2
    assert collect(sources, layout="classes").splits is None
    other = lay(tmp_path / "b", SPLITS, "folder") / "Training"
    (other.parent / "train").rename(other)
    assert collect([path / "train", other]).splits is None  # of two data sets
    assert collect([path / "train", path / "train" / "cat"]).splits is None


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_list_of_images_knows_tiny_imagenet(tmp_path: Path, form: str) -> None:
    images = collect(lay(tmp_path / "a", TINY, form))
    assert images.splits is not None
    assert images.class_names == ("n1", "n2")
    result = {
        (split, name.rpartition(b"/")[2], int(label))
        for split, name, label in zip(images.splits, images.names, images.labels, strict=True)
    }
    assert result == {
        ("train", b"n1_0.JPEG", 0),
        ("train", b"n2_0.JPEG", 1),
        ("val", b"val_0.JPEG", 1),
        ("val", b"val_1.JPEG", 0),
        ("val", b"val_10.JPEG", 0),
        ("test", b"test_0.JPEG", -1),
    }


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_annotations_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = lay(tmp_path_factory.getbasetemp() / "annotated", TINY)
    (path / "val" / "val_annotations.txt").write_bytes(content)
    try:
        images = collect(path).part("val")
    except InputError:
        return
    # Lines of another kind than its own name no image of it.
    assert set(images.labels[[b"val_" in name for name in images.names]].tolist()) == {-1}


def test_tiny_imagenet_as_published(shared_data: Path) -> None:
    images = collect(shared_data / "tiny-imagenet-mini")
    train, val = images.part("train"), images.part("val")
    assert len(train) == 1200
    assert len(val) == 300
    assert train.class_names == val.class_names
    assert train.titles[0] == "goldfish, Carassius auratus"
    names = [name.split(b"/")[-1].split(b"_")[0].decode() for name in train.names]
    assert [train.class_names[label] for label in train.labels] == names


def test_annotated_images_of_an_archive_are_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in reversed(TINY.items()):
            archive.writestr(name, data)
    images = collect(path).part("val")
    assert [name.rpartition(b"/")[2] for name in images.names] == [
        b"val_10.JPEG",
        b"val_1.JPEG",
        b"val_0.JPEG",
    ]
    assert images.labels.tolist() == [0, 0, 1]


def test_nul_is_left_out_of_words(tmp_path: Path) -> None:
    path = lay(tmp_path / "d", {**TINY, "words.txt": b"n1\tgold\0fish\0\nn2\t\0\n"})
    assert collect(path).part("val").titles == ("goldfish", "n2")
