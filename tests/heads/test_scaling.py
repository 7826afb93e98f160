"""Scaling: formulas in float64, and what folding must leave as it is."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import Normalizer, StandardScaler

from decaf.errors import SettingError
from decaf.heads import scaling
from decaf.heads.scaling import SCALES, fit_scaling, mean_square_norm

matrices = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: arrays(
        dtype,
        st.tuples(st.integers(1, 12), st.integers(1, 9)),
        elements=st.floats(-100, 100, width=32),
    )
)


@given(matrices)
@example(np.array([[1e-45]], np.float32))  # subnormal: the factor is beyond float32
def test_mean_norm_gives_rows_a_root_mean_square_norm_of_one(X: np.ndarray) -> None:
    scaled = fit_scaling("mean-norm", X).apply(X)
    assert scaled.dtype == X.dtype
    size = np.sqrt(np.square(X.astype(np.float64)).sum(axis=1).mean())
    if size == 0:
        return
    np.testing.assert_allclose(
        np.sqrt(np.square(scaled.astype(np.float64)).sum(axis=1).mean()), 1, rtol=1e-5
    )
    np.testing.assert_allclose(scaled, X.astype(np.float64) / size, rtol=1e-5, atol=1e-30)


@given(matrices)
def test_unit_norm_is_scikit_learns_normalizer(X: np.ndarray) -> None:
    X = np.where(np.abs(X) < 1e-3, 0, X)  # scikit-learn takes rows of very small norm for zero
    scaled = fit_scaling("unit-norm", X).apply(X)
    assert scaled.dtype == X.dtype
    np.testing.assert_allclose(scaled, Normalizer().transform(X), rtol=1e-5, atol=1e-7)


def test_standard_is_scikit_learns_standard_scaler() -> None:
    X = np.random.default_rng(0).normal(3, [[1, 5, 0.01, 0]], (3000, 4))
    X[:, 3] = 0.1  # constant, and not exactly representable
    expected = StandardScaler().fit(X)
    for dtype, rtol in ((np.float64, 1e-9), (np.float32, 1e-3)):
        learned = fit_scaling("standard", X.astype(dtype))
        assert learned.mean is not None
        assert learned.std is not None
        np.testing.assert_allclose(learned.mean, expected.mean_, rtol=1e-6)
        np.testing.assert_allclose(learned.std, expected.scale_, rtol=rtol)
        scaled = learned.apply(X.astype(dtype))
        assert scaled.dtype == dtype
        np.testing.assert_allclose(scaled, expected.transform(X), atol=1e-3)
        np.testing.assert_allclose(scaled[:, 3], 0, atol=1e-8)


@settings(deadline=None)
@given(matrices, st.sampled_from([name for name in SCALES if name != "unit-norm"]))
def test_folded_coefficients_decide_the_same_on_features_as_they_are(
    X: np.ndarray, name: str
) -> None:
    X = X.astype(np.float64)
    random = np.random.default_rng(0)
    coef, intercept = random.normal(size=(3, X.shape[1])), random.normal(size=3)
    learned = fit_scaling(name, X)
    folded, shifted = learned.fold(coef, intercept)
    expected = learned.apply(X) @ coef.T + intercept
    terms = np.abs(X) @ np.abs(folded).T + np.abs(shifted)  # what rounding is relative to
    assert (np.abs(X @ folded.T + shifted - expected) <= 1e-9 * (1 + terms)).all()


def test_dropout_acts_before_centring() -> None:
    X = np.random.default_rng(0).exponential(size=(50, 6)).astype(np.float32)
    learned = fit_scaling("standard", X)
    scaled = learned.apply(X)
    activations = learned.activations(X, scaled)
    # Taking all of the activation away must give the scaled value of an activation of 0.
    np.testing.assert_allclose(scaled - activations, learned.apply(0 * X), atol=1e-5)
    for name in ("none", "mean-norm", "unit-norm"):
        other = fit_scaling(name, X)
        scaled = other.apply(X)
        assert other.activations(X, scaled) is scaled


@pytest.mark.parametrize("size", [1e-300, 1e200])
def test_extreme_values_neither_vanish_nor_overflow(size: float) -> None:
    X = size * np.array([[3.0, 4.0], [0.0, 5.0]])
    for name in ("mean-norm", "unit-norm"):
        np.testing.assert_allclose(fit_scaling(name, X).apply(X), [[0.6, 0.8], [0, 1]])


def test_numbers_without_an_inverse_stay_finite() -> None:
    X = np.array([[5e-324, 0.0]])
    assert np.isfinite(fit_scaling("mean-norm", X).apply(X)).all()
    assert mean_square_norm(X) > 0


def test_rows_of_zeros_stay() -> None:
    X = np.zeros((3, 2), np.float32)
    for name in SCALES:
        assert not fit_scaling(name, X).apply(X).any()


def test_float32_is_never_copied_to_float64_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_BLOCK_BYTES", 1 << 20)
    X = np.random.default_rng(0).random((10000, 512), np.float32)  # 20 MB
    for name, copies in (("none", 0), ("mean-norm", 1), ("unit-norm", 1), ("standard", 1)):
        tracemalloc.start()
        fit_scaling(name, X).apply(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < copies * X.nbytes + 8e6, (name, peak)


def test_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(SettingError, match=r"scale must be one of none, mean-norm, .*, got 'l2'"):
        fit_scaling("l2", np.ones((2, 2)))
