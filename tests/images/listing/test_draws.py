"""Draws by hashes: groups stay together, classes keep their shares, and order does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.images.listing.draws import deal_folds, draw_share, groups_of_classes

# Each image's class and group; group 0 stands for none.
images = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80)
SALT = b"0:"


def unpacked(rows: list[tuple[int, int]]) -> tuple[np.ndarray, list[bytes], list[str]]:
    codes = np.array([code for code, _ in rows], np.int64)
    keys = [b"image %d" % row for row in range(len(rows))]
    return codes, keys, [f"g{group}" if group else "" for _, group in rows]


def units(codes: np.ndarray, groups: list[str], code: int) -> int:
    rows = np.flatnonzero(codes == code)
    named = {groups[row] for row in rows if groups[row]}
    return len(named) + sum(not groups[row] for row in rows)


@settings(max_examples=200, deadline=None)
@given(images, st.floats(0.05, 0.9), st.integers(0, 9), st.randoms())
def test_no_group_is_on_both_sides_of_a_share(
    rows: list[tuple[int, int]], share: float, seed: int, random: object
) -> None:
    codes, keys, groups = unpacked(rows)
    salt = b"%d:" % seed
    held = draw_share(codes, keys, share, salt=salt, groups=groups)
    for group in set(groups) - {""}:
        inside = {bool(held[row]) for row in range(len(rows)) if groups[row] == group}
        assert len(inside) == 1
    for code in set(codes.tolist()):
        # Something is left to learn from.
        assert (~held[codes == code]).any()
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = draw_share(
        codes[order],
        [keys[row] for row in order],
        share,
        salt=salt,
        groups=[groups[row] for row in order],
    )
    assert np.array_equal(again, held[order])


@settings(max_examples=200, deadline=None)
@given(images, st.integers(2, 5), st.integers(0, 9))
def test_no_group_is_in_two_folds(rows: list[tuple[int, int]], folds: int, seed: int) -> None:
    codes, keys, groups = unpacked(rows)
    fold = deal_folds(codes, keys, folds, salt=b"%d:" % seed, groups=groups)
    assert fold.min(initial=0) >= -1
    assert fold.max(initial=0) < folds
    for group in set(groups) - {""}:
        assert len({int(fold[row]) for row in range(len(rows)) if groups[row] == group}) == 1
    for number in range(folds):
        # What is held out can be learnt from the rest.
        assert set(codes[fold == number].tolist()) <= set(codes[fold != number].tolist())


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(2, 4), st.integers(1, 6))
def test_classes_of_many_groups_keep_their_shares(seed: int, classes: int, size: int) -> None:
    # Forty groups of up to `size` images, each of one class.
    random = np.random.default_rng(seed)
    rows = [
        (code, 1 + 40 * code + group)
        for code in range(classes)
        for group in range(40)
        for _ in range(int(random.integers(1, size + 1)))
    ]
    codes, keys, groups = unpacked(rows)
    held = draw_share(codes, keys, 0.25, salt=b"%d:" % seed, groups=groups)
    fold = deal_folds(codes, keys, 5, salt=b"%d:" % seed, groups=groups)
    for code in range(classes):
        count = int((codes == code).sum())
        assert abs(held[codes == code].sum() - 0.25 * count) <= size / 2 + 0.5
        inside = np.bincount(fold[codes == code], minlength=5)
        assert inside.sum() == count
        assert inside.max() - inside.min() <= size
    sizes = np.bincount(fold, minlength=5)
    assert sizes.max() - sizes.min() <= 2 * size


def test_the_only_group_of_a_class_is_never_held_out() -> None:
    codes, keys, groups = unpacked([(0, 1)] * 5 + [(1, 2)] * 5 + [(1, 3)] * 5)
    held = draw_share(codes, keys, 0.4, salt=SALT, groups=groups)
    assert not held[:5].any()
    assert held[5:].sum() == 5
    fold = deal_folds(codes, keys, 2, salt=SALT, groups=groups)
    assert (fold[:5] == -1).all()
    assert set(fold[5:].tolist()) == {0, 1}
    assert groups_of_classes(codes, groups).tolist() == [1, 2]
    assert groups_of_classes(codes, None).tolist() == [5, 10]


def test_what_must_not_be_held_out_keeps_its_group() -> None:
    codes, keys, groups = unpacked([(row % 2, 1 + row // 4) for row in range(40)])
    testable = np.ones(40, bool)
    testable[0] = False
    for share in (0.2, 0.8):
        assert not draw_share(codes, keys, share, salt=SALT, groups=groups, testable=testable)[
            :4
        ].any()
    assert (deal_folds(codes, keys, 5, salt=SALT, groups=groups, testable=testable)[:4] == -1).all()


def test_a_group_of_its_own_for_each_image_changes_no_share() -> None:
    codes, keys, _ = unpacked([(row % 3, 0) for row in range(60)])
    alone = draw_share(codes, keys, 0.2, salt=SALT, groups=[""] * 60)
    plain = draw_share(codes, keys, 0.2, salt=SALT)
    for code in range(3):
        assert alone[codes == code].sum() == plain[codes == code].sum() == 4


@pytest.mark.parametrize("salt", [b"1:", b"2:"])
def test_another_salt_draws_others(salt: bytes) -> None:
    codes, keys, groups = unpacked([(row % 2, 1 + row // 3) for row in range(90)])
    one = draw_share(codes, keys, 0.3, salt=SALT, groups=groups)
    assert not np.array_equal(one, draw_share(codes, keys, 0.3, salt=salt, groups=groups))
