"""ImageNet as it is given out, made small: a tar of tars, and the development kit."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decaf.errors import InputError
from decaf.train.pack.ilsvrc import DEVKIT_NAME, TRAIN_NAME, VAL_NAME, is_tar_of_tars
from decaf.train.pack.reader import Pack
from decaf.train.pack.sources import find_source

scipy_io = pytest.importorskip("scipy.io")

Make = Callable[..., Pack]
# ILSVRC2012_ID, WNID, words: numbered in another order than sorted by id, and inner nodes last.
SYNSETS = [(1, "n03", "third"), (2, "n01", "first, one"), (3, "n02", "second"), (4, "n00", "all")]
TRUTH = [2, 1, 3, 1]


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def meta(synsets: list[tuple[int, str, str]]) -> bytes:
    array = np.empty((len(synsets), 1), [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")])
    for row, (number, wnid, words) in enumerate(synsets):
        array[row, 0] = (float(number), wnid, words)
    file = io.BytesIO()
    scipy_io.savemat(file, {"synsets": array}, do_compression=True)
    return file.getvalue()


def devkit(synsets: list[tuple[int, str, str]] = SYNSETS, truth: list[int] = TRUTH) -> bytes:
    top = "ILSVRC2012_devkit_t12/"
    return tar(
        {
            top + "readme.txt": b"hello",
            top + "data/meta.mat": meta(synsets),
            top + "data/ILSVRC2012_validation_ground_truth.txt": b"".join(
                b"%d\n" % number for number in truth
            ),
        },
        "w:gz",
    )


@pytest.fixture
def imagenet(tmp_path: Path, jpeg_bytes: Callable[..., bytes]) -> Path:
    """A folder with the three files; inner images in another order than sorted."""
    root = tmp_path / "imagenet"
    root.mkdir()
    classes = {}
    for number, wnid in enumerate(("n02", "n01", "n03")):
        images = {f"{wnid}_{i}.JPEG": jpeg_bytes(10 * number + i, 30 + i, 40) for i in (2, 1, 11)}
        classes[f"{wnid}.tar"] = tar(images)
    (root / TRAIN_NAME).write_bytes(tar(classes))
    validation = {f"ILSVRC2012_val_{i:08d}.JPEG": jpeg_bytes(50 + i, 40, 30) for i in (3, 1, 2, 4)}
    (root / VAL_NAME).write_bytes(tar(validation))
    (root / DEVKIT_NAME).write_bytes(devkit())
    return root


def unpacked(root: Path) -> dict[str, bytes]:
    """Return what the tars hold, by tarfile alone."""
    result = {}
    with tarfile.open(root / TRAIN_NAME) as outer:
        for member in outer:
            inner = outer.extractfile(member)
            assert inner is not None
            with tarfile.open(fileobj=inner) as archive:
                for image in archive:
                    file = archive.extractfile(image)
                    assert file is not None
                    result[f"{member.name[:-4]}/{image.name}"] = file.read()
    with tarfile.open(root / VAL_NAME) as archive:
        for image in archive:
            file = archive.extractfile(image)
            assert file is not None
            result[image.name] = file.read()
    return result


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
@pytest.mark.parametrize("how", ["folder", "files", "unpacked"])
def test_images_are_read_in_place_with_their_classes(imagenet: Path, how: str) -> None:
    options: dict[str, Path] = {}
    source = imagenet
    if how != "folder":
        source = imagenet / TRAIN_NAME
        options = {"val": imagenet / VAL_NAME, "devkit": imagenet / DEVKIT_NAME}
    if how == "unpacked":
        for name in ("val", "devkit"):
            with tarfile.open(options[name]) as archive:
                archive.extractall(imagenet / name, filter="data")
            options[name] = imagenet / name
    result = find_source(source, **options)
    assert result.layout == "ilsvrc"
    assert result.class_names == ("n01", "n02", "n03")
    assert result.class_titles == ("first, one", "second", "third")
    assert result.split_counts == {"train": 9, "val": 4}
    names = [os.fsdecode(name) for name in result.names]
    assert names == [
        *(f"{wnid}/{wnid}_{i}.JPEG" for wnid in result.class_names for i in (1, 11, 2)),
        *(f"ILSVRC2012_val_{i:08d}.JPEG" for i in (1, 2, 3, 4)),
    ]
    # The ids 2, 1, 3, 1 of the truth are n01, n03, n02, n03.
    assert result.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 2, 1, 2]
    content = unpacked(imagenet)
    assert result.refs is not None
    for name, ref in zip(names, result.refs, strict=True):
        assert ref.load() == content[name]


@pytest.mark.slow
def test_it_is_packed(imagenet: Path, tmp_path: Path, make: Make) -> None:
    with make(
        imagenet,
        tmp_path / "p",
    ) as pack:
        assert {name: len(split) for name, split in pack.splits.items()} == {"train": 9, "val": 4}
        assert pack.splits["train"].names[1] == b"n01/n01_11.JPEG"
        pack.verify()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imagenet", "p"]


def test_training_images_alone(imagenet: Path) -> None:
    result = find_source(imagenet / TRAIN_NAME)
    assert result.split_counts == {"train": 9}
    assert result.class_titles == result.class_names
    assert find_source(imagenet / TRAIN_NAME, split_val=0.3).split_counts == {"train": 6, "val": 3}


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
def test_training_images_may_be_unpacked_already(
    imagenet: Path, tmp_path: Path, jpeg_bytes: Callable[..., bytes]
) -> None:
    for wnid in ("n01", "n02", "n03"):
        (tmp_path / "train" / wnid).mkdir(parents=True)
        (tmp_path / "train" / wnid / "1.JPEG").write_bytes(jpeg_bytes(1, 9, 9))
    result = find_source(tmp_path / "train", val=imagenet / VAL_NAME, devkit=imagenet / DEVKIT_NAME)
    assert result.class_titles == ("first, one", "second", "third")
    assert result.split_counts == {"train": 3, "val": 4}
    assert result.labels.tolist() == [0, 1, 2, 0, 2, 1, 2]


def test_validation_images_need_the_development_kit(imagenet: Path) -> None:
    with pytest.raises(InputError, match=f"give its development kit, `devkit='{DEVKIT_NAME}"):
        find_source(imagenet / TRAIN_NAME, val=imagenet / VAL_NAME)


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kit", "message"),
    [
        (devkit(truth=[1, 2, 3]), "holds 4 images, and "),
        (
            devkit(truth=[1, 2, 3, 4]),
            "1 class of its images is not among the training images (n00)",
        ),
        (devkit(truth=[1, 2, 3, 9]), "(one that meta.mat does not explain)"),
        (devkit()[:-90], "cannot be read as a tar.gz archive"),
        (tar({"data/meta.mat": b"x", "readme": b""}), "has no data/ILSVRC2012_validation_ground"),
        (
            tar({"data/meta.mat": b"x", "data/ILSVRC2012_validation_ground_truth.txt": b"1"}),
            "its data/meta.mat is not a MATLAB file of version 5",
        ),
        (
            tar(
                {
                    "data/meta.mat": meta(SYNSETS),
                    "data/ILSVRC2012_validation_ground_truth.txt": b"1 2 x",
                }
            ),
            "its ground truth is not a number a line",
        ),
    ],
)
def test_a_kit_that_does_not_fit_is_told(imagenet: Path, kit: bytes, message: str) -> None:
    (imagenet / DEVKIT_NAME).write_bytes(kit)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        find_source(imagenet)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
def test_damaged_tars_are_told(imagenet: Path) -> None:
    content = bytearray((imagenet / TRAIN_NAME).read_bytes())
    content[512:540] = b"\xff" * 28  # the first header of the first inner tar
    (imagenet / TRAIN_NAME).write_bytes(content)
    with pytest.raises(InputError, match=r"'n02.tar' in .* cannot be read as a tar archive"):
        find_source(imagenet)


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
def test_an_inner_tar_without_images_is_an_empty_class(imagenet: Path) -> None:
    with tarfile.open(imagenet / TRAIN_NAME, "a") as archive:
        data = tar({})
        info = tarfile.TarInfo("n09.tar")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    result = find_source(imagenet)
    assert "n09" not in result.class_names
    assert len(result.class_names) == 3


def test_classes_are_sorted_by_their_ids_not_by_the_names_of_tars(
    tmp_path: Path, jpeg_bytes: Callable[..., bytes]
) -> None:
    inner = {name: tar({"1.JPEG": jpeg_bytes(1, 9, 9)}) for name in ("n1-x.tar", "n1.tar")}
    (tmp_path / "t.tar").write_bytes(tar(inner))
    result = find_source(tmp_path / "t.tar")
    assert result.class_names == ("n1", "n1-x")
    assert result.names == [b"n1/1.JPEG", b"n1-x/1.JPEG"]


def test_a_class_that_is_there_twice_is_told(imagenet: Path) -> None:
    inner = {f"{folder}/n1.tar": tar({"1.JPEG": b""}) for folder in "ab"}
    (imagenet / TRAIN_NAME).write_bytes(tar(inner))
    with pytest.raises(InputError, match=r"holds n1\.tar twice"):
        find_source(imagenet / TRAIN_NAME)


def test_another_tar_is_known_by_its_first_member(tmp_path: Path) -> None:
    content = tar({"a/1.jpg": b"1", "a/2.jpg": b"2"})
    (tmp_path / "t.tar").write_bytes(content[:1024] + b"\xff" * 512)
    assert not is_tar_of_tars(str(tmp_path / "t.tar"))  # the rest would be damaged
    (tmp_path / "t.tar").write_bytes(tar({"a.tar": b"", "2.jpg": b""}))
    assert not is_tar_of_tars(str(tmp_path / "t.tar"))
    (tmp_path / "t.tar").write_bytes(tar({}))
    assert not is_tar_of_tars(str(tmp_path / "t.tar"))


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1.5])
def test_ids_that_are_no_whole_numbers_are_told(imagenet: Path, number: float) -> None:
    synsets: Any = [(number, "n01", "x")]
    (imagenet / DEVKIT_NAME).write_bytes(devkit(synsets))
    with pytest.raises(InputError, match=rf"meta\.mat has a synset of id {number}"):
        find_source(imagenet)


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
def test_other_names_have_no_number(imagenet: Path, jpeg_bytes: Callable[..., bytes]) -> None:
    (imagenet / VAL_NAME).write_bytes(tar({"cat.JPEG": jpeg_bytes(1, 9, 9)}))
    with pytest.raises(InputError, match=r"'cat\.JPEG' has no number as ILSVRC2012_val_00000001"):
        find_source(imagenet)
