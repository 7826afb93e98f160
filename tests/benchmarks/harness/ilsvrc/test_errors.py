"""Differences and rows: against the published formula, and the paper's own rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from decaf.train import preset
from harness.ilsvrc.errors import Errors, paired_difference, rows_of
from harness.ilsvrc.networks import ImageNetSettings, plan
from harness.ilsvrc.published import TABLE_2


@pytest.mark.parametrize(("alone", "other", "both", "neither"), [(5, 9, 20, 60), (0, 0, 1, 7)])
def test_a_difference_has_the_interval_of_bonett_and_price(
    alone: int, other: int, both: int, neither: int
) -> None:
    one = np.array([1.0] * alone + [0.0] * other + [1.0] * both + [0.0] * neither)
    two = np.array([0.0] * alone + [1.0] * other + [1.0] * both + [0.0] * neither)
    n = len(one)
    # Their formula, of the two kinds of images that one side alone has wrong.
    p, q = (other + 1) / (n + 2), (alone + 1) / (n + 2)
    half = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    found = paired_difference(one, two)
    expected = [100 * (other - alone) / n, 100 * (p - q - half), 100 * (p - q + half)]
    assert found == pytest.approx(expected, abs=1e-4)


def test_bad_images_count_in_no_error() -> None:
    errors = Errors(right=(1,), images=(3,), ranks=(0, -1, 4, 5), answers_in_all=6)
    first, five = errors.wrong(1), errors.wrong(5)
    assert first is not None
    assert five is not None
    assert first.tolist() == [0, 1, 1]
    assert five.tolist() == [0, 0, 1]
    few = Errors(right=(1,), images=(3,), ranks=(0, 4), answers_in_all=5)
    assert few.wrong(5) is None


def settings(**changes: object) -> ImageNetSettings:
    fields: dict[str, object] = {"pack": "p", "larger": "l", "recipe": preset("alexnet-2012")}
    return ImageNetSettings(name="n", layers=("fc7",), **{**fields, **changes})


def test_the_plan_is_the_papers() -> None:
    networks = plan(settings())
    rows = rows_of([network.name for network in networks])
    assert [row.title for row in rows] == [title for title in TABLE_2 if title != "SIFT + FVs"]
    assert [row.title for row in rows] == [row.published for row in rows]
    assert [len(row.averaged) for row in rows] == [5, 1, 2, 1]
    assert [len(row.averaged[0]) for row in rows] == [1, 5, 1, 7]
    measured = [network for network in networks if network.pack == "p"]
    assert {network.settings.seed for network in measured} == set(range(7))
    begun = {network.name: network.begins_as for network in networks if network.begins_as}
    assert begun == {"continued-1": "larger-1", "continued-2": "larger-2"}


def test_without_a_larger_set_there_are_no_rows_with_a_star() -> None:
    networks = plan(settings(larger=None, networks=1))
    assert [network.name for network in networks] == ["cnn-1"]
    assert [row.title for row in rows_of(["cnn-1"])] == ["1 CNN"]


def test_epochs_on_the_larger_pack_are_its_own() -> None:
    of = {network.name: network.settings for network in plan(settings(pretrain_epochs=3.0))}
    assert of["larger-2"].epochs == 3
    assert of["continued-2"].epochs == of["cnn-1"].epochs == 90
