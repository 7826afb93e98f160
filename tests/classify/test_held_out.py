"""The choice of the images that are fitted to, and of those that are tested on."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.classify.held_out import Usable, deal_folds, draw_held_out, usable_images
from decaf.errors import InputError, SettingError
from decaf.images import ImageList
from decaf.images.listing.image_ref import RefList


def digests(contents: list[str]) -> np.ndarray:
    """The SHA-256 of each text: (N, 32) uint8; zeros for an empty one."""
    rows = [hashlib.sha256(text.encode()).digest() if text else bytes(32) for text in contents]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)


def usable(
    labels: list[int],
    contents: list[str] | None = None,
    *,
    bad: tuple[int, ...] = (),
    min_images: int = 2,
    groups: list[str] | None = None,
    splits: list[str] | None = None,
    names: tuple[str, ...] = ("ant", "bee", "cat", "dog"),
) -> Usable:
    ok = np.ones(len(labels), bool)
    ok[list(bad)] = False
    texts = contents or [f"image {row}" for row in range(len(labels))]
    return usable_images(
        images_of(labels, digests(texts), names, groups=groups, splits=splits),
        ok,
        min_images=min_images,
        source="photos",
    )


def images_of(
    labels: list[int],
    content: np.ndarray,
    class_names: tuple[str, ...] = (),
    *,
    groups: list[str] | None = None,
    splits: list[str] | None = None,
) -> ImageList:
    names = [b"%d" % row for row in range(len(labels))]
    return ImageList(
        names,
        np.array(labels),
        class_names,
        (),
        RefList(names, {}),
        groups=None if groups is None else tuple(groups),
        splits=None if splits is None else tuple(splits),
        content_sha256=content,
    )


def test_what_is_left_out_and_what_counts_once() -> None:
    labels = [0, 0, 0, 1, 1, -1, 3, 3, 3]
    contents = ["a", "b", "a", "c", "d", "e", "f", "g", "c"]
    result = usable(labels, contents, bad=(7,))
    # Row 2 is a copy of row 0; rows 3 and 8 are one image in two classes; row 7 is unreadable.
    assert result.rows.tolist() == [0, 1, 3, 4, 6, 8]
    assert result.images.class_names == ("ant", "bee", "dog")
    assert result.images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert result.counts.tolist() == [2, 2, 2]
    assert result.testable.tolist() == [True, True, False, True, True, False]
    assert (result.copies, result.unreadable, result.unlabelled) == (1, 1, 1)
    assert result.conflicts == ((3, 8),)
    assert result.left_out == {}


def test_images_of_unknown_content_are_no_copies() -> None:
    result = usable([0, 0, 1, 1], ["", "", "", ""])
    assert (len(result.rows), result.copies, result.conflicts) == (4, 0, ())
    assert len(set(result.keys)) == 4


def test_labels_without_names_are_named_by_number() -> None:
    assert usable([7, 7, 30, 30], names=()).images.class_names == ("7", "30")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1, -1], "photos: no image has a class; put the images of each class into a folder"),
        ([0, 0, 0], "photos: there is only one class, 'ant'; a classifier needs two or more"),
        (
            [0, 0, 1],
            "photos: only one class, 'ant', has images enough: class 'bee' with fewer than 2 diff",
        ),
        ([0, 1], "photos: no class has images enough: classes 'ant', 'bee' with fewer than 2"),
    ],
)
def test_what_no_classifier_can_be_made_of(labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        usable(labels)


def test_a_class_of_copies_or_of_bad_images() -> None:
    with pytest.raises(InputError, match=r"class 'bee' with .* ones \(exact copies count once\)"):
        usable([0, 0, 1, 1], ["a", "b", "c", "c"])
    with pytest.raises(InputError, match="none of the 2 labelled images can be read"):
        usable([0, 1], bad=(0, 1))
    result = usable([0, 0, 1, 1, 2, 2], bad=(2, 3))
    assert result.images.class_names == ("ant", "cat")
    assert result.left_out == {"bee": 0}
    with pytest.raises(InputError, match=r"one class, 'ant', has images enough: class 'bee' w"):
        usable([0, 0, 1, 1], bad=(2, 3))


def test_small_classes_are_left_out_where_that_is_asked_for() -> None:
    result = usable([0, 0, 0, 1, 2, 2, 2, 3, 3], min_images=3)
    assert result.images.class_names == ("ant", "cat")
    assert result.images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert result.left_out == {"bee": 1, "dog": 2}
    # One image alone is left out, whatever was asked for.
    assert usable([0, 0, 1, 2, 2]).left_out == {"bee": 1}
    with pytest.raises(InputError, match=r"no class has images enough: classes 'ant', 'bee' with"):
        usable([0, 0, 1, 1], min_images=3)
    with pytest.raises(SettingError, match="`min_images` 1: must be a whole number from 2 on"):
        usable([0, 0, 1, 1], min_images=1)


def test_images_that_came_divided() -> None:
    labels = [0, 0, 0, 1, 1, 0, 1, 1, 0, 2, 0]
    contents = ["a", "b", "c", "d", "e", "a", "f", "d", "g", "h", "i"]
    splits = ["test"] * 1 + ["train"] * 4 + ["train"] + ["test"] * 2 + ["val"] + ["train"] + [""]
    result = usable(labels, contents, splits=splits)
    # Row 0 is a copy of row 5, row 7 of row 3, and both of these are trained on.
    assert result.rows.tolist() == [1, 2, 3, 4, 5, 6, 8]
    assert result.images.splits == ("train",) * 5 + ("test", "val")
    assert (result.seen, result.copies, result.outside) == (2, 0, 1)
    assert result.counts.tolist() == [3, 2]
    assert result.left_out == {"cat": 1}
    assert result.places("val").tolist() == [6]
    with pytest.raises(InputError, match=r"photos: class 'bee' in val or test, and no training"):
        usable([0, 0, 1], splits=["train", "train", "test"])
    with pytest.raises(InputError, match=r"has images for validation or the test and none for tr"):
        usable([0, 0, 1], splits=["val", "val", "test"])


def test_groups_stay_together() -> None:
    groups = [f"g{row // 3}" if row % 7 else "" for row in range(120)]
    result = usable([row // 60 for row in range(120)], groups=groups)
    held = draw_held_out(result, 0.3, 0)
    fold = deal_folds(result, 5, 0)
    for group in set(groups) - {""}:
        rows = [row for row in range(120) if groups[row] == group]
        assert len({(bool(held[row]), int(fold[row])) for row in rows}) == 1
    alone = draw_held_out(result, 0.3, 0, grouped=False)
    assert np.array_equal(alone, draw_held_out(usable([row // 60 for row in range(120)]), 0.3, 0))


counts = st.lists(st.integers(2, 40), min_size=2, max_size=4)


@settings(max_examples=60, deadline=None)
@given(counts, st.floats(0.01, 0.99), st.integers(0, 2**32 - 1), st.randoms())
def test_the_share_of_each_class_is_held_out_whatever_the_order(
    sizes: list[int], share: float, seed: int, random: object
) -> None:
    labels = [code for code, size in enumerate(sizes) for _ in range(size)]
    contents = [f"image {row}" for row in range(len(labels))]
    result = usable(labels, contents)
    held = draw_held_out(result, share, seed)
    for code, size in enumerate(sizes):
        there = int(held[result.images.labels == code].sum())
        assert size - there >= 2
        if size >= 3:
            assert there >= 1
        if 1 <= share * size <= size - 2:
            assert abs(there - share * size) <= 0.5
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = usable([labels[row] for row in order], [contents[row] for row in order])
    moved = draw_held_out(again, share, seed)
    assert {contents[row] for row in np.flatnonzero(held)} == {
        contents[order[row]] for row in np.flatnonzero(moved)
    }


def test_other_seeds_hold_out_others() -> None:
    result = usable([0] * 30 + [1] * 30)
    one, same, other = (draw_held_out(result, 0.3, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@settings(max_examples=60, deadline=None)
@given(counts, st.integers(2, 6), st.integers(0, 99))
def test_folds_hold_each_image_once_and_leave_something_of_each_class(
    sizes: list[int], folds: int, seed: int
) -> None:
    result = usable([code for code, size in enumerate(sizes) for _ in range(size)])
    fold = deal_folds(result, folds, seed)
    assert fold.min() >= 0
    assert fold.max() < folds
    for code, size in enumerate(sizes):
        inside = np.bincount(fold[result.images.labels == code], minlength=folds)
        assert inside.max() - inside.min() <= 1
        assert inside.max() < size
    total = np.bincount(fold, minlength=folds)
    assert total.max() - total.min() <= 1


def test_what_is_in_two_classes_is_never_tested() -> None:
    result = usable([0] * 10 + [1] * 10, [f"{row % 18}" for row in range(20)])
    assert result.conflicts == ((0, 18), (1, 19))
    doubtful = [0, 1, 18, 19]
    for share in (0.2, 0.8):
        assert not draw_held_out(result, share, 0)[doubtful].any()
    fold = deal_folds(result, 5, 0)
    assert (fold[doubtful] == -1).all()
    assert (np.delete(fold, doubtful) >= 0).all()


@pytest.mark.parametrize(
    ("contents", "bad", "message"),
    [
        (["a", "b", "c", "d", "a", "c"], (), "of 2 images for validation or the test 2 are copies"),
        (list("abcdef"), (4, 5), "of 2 images for validation or the test 2 cannot be read"),
        (["a", "b", "c", "d", "e", "c"], (4,), "1 cannot be read, 1 are copies of training images"),
    ],
)
def test_splits_without_an_image_to_test_on_are_refused(
    contents: list[str], bad: tuple[int, ...], message: str
) -> None:
    splits = ["train"] * 4 + ["val"] * 2
    with pytest.raises(InputError, match=message):
        usable([0, 0, 1, 1, 0, 1], contents, bad=bad, splits=splits)
