"""Lists of images: parts, classes and groups of them, several as one."""

from __future__ import annotations

import marshal

import numpy as np
import pytest

from decaf.errors import InputError
from decaf.images import ImageList, ImageRef
from decaf.images.listing.archives import Member
from decaf.images.listing.image_ref import JoinedRefs, PickedRefs, RefList


def listed() -> ImageList:
    names = [b"d/train/a/1", b"d/train/b/1", b"d/val/c/1", b"d/val/1", b"d/1"]
    return ImageList(
        names,
        np.array([0, 1, 2, -1, -1]),
        ("a", "b", "c"),
        ({"kind": "folder", "path": "d", "images": 5},),
        RefList(names, {}),
        splits=("train", "train", "val", "val", ""),
        titles=("apple", "bean", "cherry"),
        layout="splits",
        relative=[name[2:] for name in names],
        empty_folders=(("train", "e"), ("val", "a"), ("test", "")),
        content_sha256=np.arange(5 * 32, dtype=np.uint8).reshape(5, 32),
    )


def test_a_part_has_the_classes_of_its_images_and_empty_folders() -> None:
    train = listed().part("train")
    assert train.class_names == ("a", "b", "e")
    assert train.class_titles == ("apple", "bean", "e")
    assert train.labels.tolist() == [0, 1]
    assert train.sources == ({"kind": "splits", "path": "d", "images": 2},)
    val = listed().part("val")
    assert (val.class_names, val.labels.tolist()) == (("a", "c"), [1, -1])
    assert val.relative == [b"val/c/1", b"val/1"]
    assert val.content_sha256 is not None
    assert val.content_sha256[:, 0].tolist() == [64, 96]


def test_a_part_that_there_is_not_is_told() -> None:
    with pytest.raises(InputError, match="'d': no split 'test'; it has train, val"):
        listed().part("test")
    with pytest.raises(InputError, match="'d': has the splits train, val; name one"):
        listed().part(None)
    whole = listed().part("train").part("train")
    assert whole.names == listed().part("train").names


def test_images_of_other_classes_are_left_out() -> None:
    images = listed().with_classes({"c", "b", "x"})
    assert images.class_names == ("b", "c", "x")
    assert images.class_titles == ("bean", "cherry", "x")
    assert images.names == listed().names[1:]
    assert images.labels.tolist() == [0, 1, -1, -1]


def test_groups_are_found_below_the_source() -> None:
    assert listed().in_groups("folder").groups == ("train/a", "train/b", "val/c", "val", "")
    assert listed().take(np.array([2, 0])).in_groups("folder").groups == ("val/c", "train/a")
    assert listed().in_groups("folder").in_groups(None).groups is None


def test_lists_are_joined() -> None:
    one, other = listed(), listed().in_groups("folder")
    both = ImageList.join([one, other])
    assert both.names == one.names * 2
    assert both.groups == ("",) * 5 + other.groups
    assert both.split_counts == {"train": 4, "val": 4, "": 2}
    assert [ref.name for ref in both.refs or ()] == one.names * 2


def test_references_are_made_when_asked_for() -> None:
    refs = [ImageRef(b"%d" % i) for i in range(10)]
    picked = PickedRefs(refs, np.array([7, 1, 3]))
    joined = JoinedRefs([refs, picked, refs[:2]])
    expected = [*refs, refs[7], refs[1], refs[3], *refs[:2]]
    assert len(joined) == len(expected)
    assert list(joined) == expected
    assert joined[-1] == refs[1]
    assert joined[8:12] == expected[8:12]
    for wrong in (15, -16):
        with pytest.raises(IndexError):
            joined[wrong]


def test_a_box_goes_to_another_process() -> None:
    member = Member(b"a.jpg", 512, 90, 80, 8, 7)
    for ref in (
        ImageRef(b"a.jpg", box=(1, 2, 30, 40)),
        ImageRef(b"a.jpg", b"b.zip", "zip", member, box=(0, 0, 5, 6)),
        ImageRef(b"a.jpg", b"b.zip", "zip", member),
    ):
        assert ImageRef.from_wire(marshal.loads(marshal.dumps(ref.to_wire()))) == ref
    with pytest.raises(TypeError, match="edges of a box are whole numbers"):
        ImageRef.from_wire((b"a.jpg", 1, 2, b"3", 4))
