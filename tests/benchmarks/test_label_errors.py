"""The benchmark of wrong labels changes as many as it says, and counts those that are found."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import label_errors


def test_a_share_of_the_labels_is_changed_to_other_classes() -> None:
    labels = np.arange(200) % 4
    changed = label_errors.change_labels(labels, 0.05, 0)
    assert (changed != labels).sum() == 10
    assert set(changed.tolist()) <= set(range(4))
    np.testing.assert_array_equal(changed, label_errors.change_labels(labels, 0.05, 0))
    assert (changed != label_errors.change_labels(labels, 0.05, 1)).any()
    assert (labels == np.arange(200) % 4).all()  # they are changed in a copy


def test_precision_is_the_share_of_the_first_that_are_wrong() -> None:
    wrong = np.zeros(200, bool)
    wrong[:40] = True
    orders = {"best": np.arange(200), "worst": np.arange(200)[::-1]}
    assert label_errors.precision(orders, wrong) == {
        "best": {"50": 0.8, "100": 0.4},
        "worst": {"50": 0.0, "100": 0.0},
    }


def test_sure_heads_rank_the_changed_labels_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that know every class: all changed labels come before all others, by each method."""
    labels = np.arange(400) % 4
    changed = label_errors.change_labels(labels, 0.25, 0)
    chances = np.full((400, 4), 0.02)
    chances[np.arange(400), labels] = 0.94
    filters = types.ModuleType("cleanlab.filter")
    asked: list[str] = []

    def find_label_issues(given: object, _: object, *, return_indices_ranked_by: str) -> object:
        assert given is changed
        asked.append(return_indices_ranked_by)
        return np.flatnonzero(changed != labels)

    monkeypatch.setattr(filters, "find_label_issues", find_label_issues, raising=False)
    monkeypatch.setitem(sys.modules, "cleanlab", types.ModuleType("cleanlab"))
    monkeypatch.setitem(sys.modules, "cleanlab.filter", filters)
    monkeypatch.setattr(label_errors.importlib.util, "find_spec", lambda name: object())
    found = label_errors.precision(label_errors.rankings(chances, changed), changed != labels)
    assert asked == ["self_confidence", "normalized_margin"]
    assert len(found) == 4
    assert all(shares == {"50": 1.0, "100": 1.0} for shares in found.values())
