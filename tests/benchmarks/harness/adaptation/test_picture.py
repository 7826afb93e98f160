"""Two domains in a plane."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from datasets.domains import DomainSet
from decaf.exploration.page import Scatter
from harness.adaptation.measure import FeatureColumn
from harness.adaptation.methods import METHODS, methods_of
from harness.adaptation.picture import domains_picture, first_components


@given(n=st.integers(3, 20), d=st.integers(2, 30), seed=st.integers(0, 999))
def test_first_components_are_those_of_a_pca(n: int, d: int, seed: int) -> None:
    X = np.random.default_rng(seed).standard_normal((n, d)) * np.linspace(3, 1, d)
    reference = PCA(2, svd_solver="full").fit_transform(X)
    result = first_components(X)
    assert np.abs(result).max() == pytest.approx(1)
    scale = np.abs(reference).max()
    signs = np.sign((result * reference).sum(axis=0))
    np.testing.assert_allclose(result * signs * scale, reference, atol=1e-6 * scale)


def test_rows_that_are_all_alike() -> None:
    assert np.isfinite(first_components(np.ones((4, 3)))).all()


def places(scatter: Scatter, panel: int, marker: int) -> np.ndarray:
    points = [p for p in scatter.panels[panel].points if p.marker == marker]
    return np.concatenate([np.stack([p.x, p.y], axis=1) for p in points])


def test_a_panel_before_and_one_for_each_method(
    make_domains: Callable[..., DomainSet], make_column: Callable[..., FeatureColumn]
) -> None:
    column = make_column(make_domains())
    result = domains_picture(column, ("amazon", "webcam"), METHODS)
    assert result is not None
    assert [panel.title for panel in result.panels] == [
        "Before: features of norm 1",
        "After: Gong et al. 2012 (GFK, 1-NN)",
        "After: CORAL",
    ]
    assert result.colours == ("ant", "bee", "cat")
    assert result.markers == ("amazon", "webcam")
    for panel in range(3):
        # 6 labelled images a class of the source, and the 9 that are tested on of the target.
        assert [len(places(result, panel, marker)) for marker in (0, 1)] == [18, 27]
    # The domains lie apart before, and no longer after.
    gaps = [
        np.linalg.norm(places(result, panel, 0).mean(0) - places(result, panel, 1).mean(0))
        for panel in range(3)
    ]
    assert max(gaps[1:]) < gaps[0] / 2


def test_nothing_to_draw(
    make_domains: Callable[..., DomainSet], make_column: Callable[..., FeatureColumn]
) -> None:
    column = make_column(make_domains())
    assert domains_picture(column, ("amazon", "webcam"), methods_of(["svm-s"])) is None
