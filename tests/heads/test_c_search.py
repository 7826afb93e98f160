"""The folds, and the choice among values of C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.errors import InputError, SettingError
from decaf.heads import LogisticRegression
from decaf.heads.c_search import CSearch, check_folds, search_C, stratified_folds
from decaf.heads.problem import FoldScores, predicted_codes

counts_of_classes = st.lists(st.integers(1, 20), min_size=2, max_size=8)


@settings(deadline=None)
@given(counts_of_classes, st.integers(2, 7), st.integers(0, 2**31))
def test_folds_hold_every_row_once_and_classes_evenly(
    counts: list[int], number: int, seed: int
) -> None:
    codes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if max(counts) < 2:
        with pytest.raises(InputError, match="every class has only one row"):
            stratified_folds(codes, number, np.random.RandomState(seed))
        return
    folds = stratified_folds(codes, number, np.random.RandomState(seed))
    assert len(folds) == min(number, max(counts))
    held = np.concatenate([rows for _, rows in folds])
    single = np.flatnonzero(np.array(counts)[codes] == 1)
    assert sorted([*held, *single]) == list(range(len(codes)))
    sizes = [len(rows) for _, rows in folds]
    assert max(sizes) - min(sizes) <= 1
    for train, rows in folds:
        assert sorted([*train, *rows]) == list(range(len(codes)))
        assert set(codes[train]) == set(codes), "a class without a training row"
    for code, count in enumerate(counts):
        each = [int((codes[rows] == code).sum()) for _, rows in folds]
        assert max(each) - min(each) <= 1
        assert sum(each) == (count if count > 1 else 0)


def test_folds_depend_on_the_seed_alone() -> None:
    codes = np.repeat(np.arange(3), 10)
    first, again, other = (
        [held.tolist() for _, held in stratified_folds(codes, 5, np.random.RandomState(seed))]
        for seed in (0, 0, 1)
    )
    assert first == again != other


CODES = np.tile([0, 1], 50)
FOLDS = stratified_folds(CODES, 5, np.random.RandomState(0))


class Peak:
    """A scorer whose accuracy is 1 - 0.1·|log2(C) - log2(best)|, kept to what it was asked."""

    def __init__(self, best: float, flat: float = 0.0) -> None:
        self.best, self.flat, self.asked = best, flat, []

    def rights(self, C: float) -> float:
        return float(np.clip(1 - 0.1 * max(0, abs(np.log2(C / self.best)) - self.flat), 0, 1))

    def __call__(self, Cs: Sequence[float], folds: Sequence[object]) -> list[FoldScores]:
        self.asked += list(Cs)
        found = []
        for _, held in FOLDS:
            decisions = np.empty((len(Cs), len(held), 1))
            for number, C in enumerate(Cs):
                right = np.arange(len(held)) < round(self.rights(C) * len(held))
                decisions[number, :, 0] = np.where(right == (CODES[held] == 1), C, -C)
            found.append(FoldScores(decisions, np.array([C < 1000 for C in Cs])))
        return found


def search(
    scorer: Any, Cs: Sequence[float], *, widen: bool = True, most: float = np.inf
) -> CSearch:
    return search_C(scorer, CODES, FOLDS, Cs, widen=widen, most=most)


def test_the_best_value_is_chosen_and_told() -> None:
    found = search(Peak(4), [16, 1, 4, 64, 4])
    assert found.Cs.tolist() == [1, 4, 16, 64]
    assert (found.chosen, found.at_border, found.widened, found.rising) == (4, False, 0, False)
    np.testing.assert_allclose(found.accuracy, [0.8, 1, 0.8, 0.6])
    np.testing.assert_allclose(found.std, 0, atol=1e-12)
    assert found.converged.all()
    assert found.decisions is not None
    np.testing.assert_array_equal(found.decisions[:, 0], np.where(CODES == 1, 4, -4))


def test_the_smallest_of_equals_is_chosen() -> None:
    found = search(Peak(8, flat=2.5), [0.5, 2, 8, 32, 128])
    assert found.accuracy.tolist().count(1) == 3
    assert found.chosen == 2
    # Equal neighbours say that nothing is to be had beyond the border: it is not widened.
    flat = search(Peak(1, flat=100), [1, 2, 4])
    assert (flat.chosen, flat.at_border, flat.widened, flat.rising) == (1, True, 0, False)


@pytest.mark.parametrize(("best", "widened"), [(4096.0, 2), (2.0**-10, 2)])
def test_the_grid_grows_towards_an_optimum_at_its_border(best: float, widened: int) -> None:
    peak = Peak(best, flat=0)
    found = search(peak, [2.0**power for power in (-2, 0, 2, 4)])
    assert found.chosen == pytest.approx(best)
    assert not found.at_border
    assert found.widened == widened
    np.testing.assert_allclose(np.diff(np.log2(found.Cs)), 2)
    assert sorted(peak.asked) == found.Cs.tolist(), "a value was tried twice"
    assert found.decisions is not None
    assert np.abs(found.decisions[0, 0]) == pytest.approx(best)
    assert found.converged.tolist() == [C < 1000 for C in found.Cs]


def test_a_grid_of_large_steps_grows_by_one_value_at_a_time() -> None:
    peak = Peak(2.0**8)
    found = search(peak, [1, 8, 64])
    assert (found.chosen, found.widened) == (512, 2)
    assert found.Cs.tolist() == [1, 8, 64, 512, 4096]


def test_noise_at_the_border_does_not_widen_the_grid() -> None:
    def scorer(lost: int) -> Any:
        """Score so that in each fold three rows are right at C = 4 only, and `lost` only below."""

        def score(Cs: Sequence[float], folds: Sequence[object]) -> list[FoldScores]:
            found = []
            for _, held in FOLDS:
                right = np.ones((len(Cs), len(held)), bool)
                for number, C in enumerate(Cs):
                    right[number, slice(0, lost) if C >= 4 else slice(lost, lost + 3)] = False
                decisions = np.where(right == (CODES[held] == 1), 1.0, -1.0)
                found.append(FoldScores(decisions[..., None], np.ones(len(Cs), bool)))
            return found

        return score

    # Of five folds: 15 rows won and 10 lost are 5 more, and their standard error is 5.
    noise = search(scorer(2), [1, 2, 4])
    assert (noise.chosen, noise.at_border, noise.widened, noise.rising) == (4, True, 0, False)
    assert noise.accuracy[-1] > noise.accuracy[-2]
    clear = search(scorer(1), [1, 2, 4], widen=False)
    assert (clear.chosen, clear.rising) == (4, True)


def test_it_does_not_grow_for_ever() -> None:
    found = search(Peak(2.0**8), [1, 2**0.5])
    assert (found.widened, found.at_border, found.rising) == (3, True, True)
    assert len(found.Cs) == 2 + 3 * 3
    assert search(Peak(256), [16, 32], widen=False).rising
    alone = search(Peak(256), [16])
    assert (alone.chosen, alone.at_border, alone.rising) == (16, True, False)


def test_the_grid_grows_only_as_far_as_can_be_computed() -> None:
    peak = Peak(2.0**8)
    found = search(peak, [1, 4], most=20.0)
    assert found.Cs.tolist() == [1, 4, 16]
    assert (found.chosen, found.widened, found.rising) == (16, 1, True)

    def refuses(Cs: Sequence[float], folds: Sequence[object]) -> list[FoldScores]:
        if max(Cs) > 100:
            raise SettingError("too large to be computed with")
        return peak(Cs, folds)

    found = search(refuses, [1, 4])
    assert found.Cs.tolist() == [1, 4]
    assert (found.chosen, found.widened, found.rising) == (4, 0, True)
    with pytest.raises(SettingError, match="too large"):
        search(refuses, [1, 400])


def test_classes_of_decisions() -> None:
    assert predicted_codes(np.array([[-1.0], [0.0], [0.5]])).tolist() == [0, 0, 1]
    assert predicted_codes(np.array([[1, 3, 2], [2, 2, 1]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "at least 2 folds, got 1"),
        ("five", "number of folds or a list"),
        (True, "number of folds or a list"),
        ([], "empty list of folds"),
        ([([0, 1], [2]), ([0], [])], "fold 1: its held-out rows must be row numbers"),
        ([([0.5], [2])], "fold 0: its training rows must be row numbers"),
        ([([0], [4])], "fold 0: its held-out rows must be from 0 to 3"),
        ([([-1], [2])], "fold 0: its training rows must be from 0 to 3"),
        ([([0, 2], [2])], "fold 0: a row is both for training and held out"),
    ],
)
def test_folds_that_cannot_be_used_are_refused(cv: object, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_folds(cv, 4)


def test_folds_may_be_given() -> None:
    assert check_folds(np.int64(3), 4) == 3
    ((train, held),) = check_folds(iter([([0, 1], (2,))]), 4)  # type: ignore[misc]
    assert (train.tolist(), held.tolist()) == ([0, 1], [2])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=4, max_size=60),
    st.integers(2, 5),
)
def test_no_group_is_on_both_sides_of_a_fold(rows: list[tuple[int, int]], number: int) -> None:
    codes = np.unique([code for code, _ in rows], return_inverse=True)[1].astype(np.int64)
    groups = [f"{group}" if group else "" for _, group in rows]
    try:
        folds = stratified_folds(codes, number, np.random.RandomState(0), groups)
    except InputError:  # no group can be held out
        return
    held_out: list[int] = []
    for train, held in folds:
        assert len(held)
        assert not ({groups[row] for row in train} & {groups[row] for row in held}) - {""}
        assert set(codes[held].tolist()) <= set(codes[train].tolist())
        held_out += held.tolist()
    assert len(set(held_out)) == len(held_out)


@pytest.mark.slow
def test_a_head_keeps_groups_together_in_its_search() -> None:
    random = np.random.default_rng(0)
    # Ten shots of each scene, and scenes that say nothing of their class.
    scenes = random.standard_normal((40, 30)).repeat(10, 0)
    X = (scenes + 0.01 * random.standard_normal(scenes.shape)).astype(np.float32)
    y, groups = np.arange(40).repeat(10) % 2, np.arange(40).repeat(10)
    head = LogisticRegression("cv", random_state=0)
    assert head.fit(X, y).search_.accuracy.max() == 1.0
    assert head.fit(X, y, groups=groups).search_.accuracy.max() < 0.75
    with pytest.raises(InputError, match="3 groups for 400 rows"):
        head.fit(X, y, groups=[1, 2, 3])
