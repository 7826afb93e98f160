"""Draws that depend on the seed and the place alone, and are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.train.randomness import balanced_order, dropout_mask, epoch_order, generator, key

CPU = torch.device("cpu")


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6), st.integers(1, 500))
@settings(max_examples=30, deadline=None)
def test_an_order_is_a_permutation_of_its_place(seed: int, epoch: int, count: int) -> None:
    order = epoch_order(seed, epoch, count)
    assert sorted(order) == list(range(count))
    assert order.tolist() == epoch_order(seed, epoch, count).tolist()


def test_orders_differ() -> None:
    orders = {tuple(epoch_order(seed, epoch, 50)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@given(st.tuples(st.integers(0, 2**63 - 1), st.sampled_from(["a", "b"]), st.integers(0, 999)))
def test_a_key_seeds_torch(place: tuple[int, str, int]) -> None:
    assert 0 <= key(*place) < 2**63


def test_keys_differ() -> None:
    places = [
        (s, p, a, b) for s in (0, 1, 11) for p in ("x", "x1") for a in (1, 11) for b in (0, 1)
    ]
    assert len({key(*place) for place in places}) == len(places)


def test_keys_stay_what_they_are() -> None:
    """Numbers written down: another key would end runs that are under way otherwise."""
    assert key(0, "order", 3) == 6785618111695557324
    assert generator(0, "views", 0).integers(0, 1000, 4).tolist() == [350, 754, 659, 404]


@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_dropout_keeps_what_it_is_to(keep: float) -> None:
    mask = dropout_mask((500, 400), keep, 3, (7, 0), CPU)
    assert mask.dtype == torch.bool
    deviation = (keep * (1 - keep) / mask.numel()) ** 0.5
    assert abs(mask.double().mean() - keep) < 4 * deviation
    # Of each image and of each unit too: no row or column stands out.
    for axis, count in ((0, 500), (1, 400)):
        means = mask.double().mean(axis).numpy()
        spread = (keep * (1 - keep) / count) ** 0.5
        assert np.abs(means - keep).max() < 5 * spread
        assert means.std() == pytest.approx(spread, rel=0.2)


def test_dropout_of_steps_and_layers_is_independent() -> None:
    masks = [dropout_mask((64, 64), 0.5, 3, place, CPU) for place in ((0, 0), (0, 1), (1, 0))]
    for i, one in enumerate(masks):
        for other in masks[i + 1 :]:
            assert abs((one == other).double().mean() - 0.5) < 0.05
    before = torch.get_rng_state()
    assert torch.equal(masks[0], dropout_mask((64, 64), 0.5, 3, (0, 0), CPU))
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=6), st.integers(0, 3))
def test_every_class_comes_equally_often(counts: list[int], epoch: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    order = balanced_order(1, epoch, labels)
    assert len(order) == len(labels)
    shown = np.bincount(labels[order], minlength=len(counts))
    assert shown.max() - shown.min() <= 1
    for label in range(len(counts)):
        times = np.bincount(order, minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1
    assert order.tolist() == balanced_order(1, epoch, labels).tolist()
