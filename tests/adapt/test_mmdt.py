"""`MMDT`: its objective as the paper writes it, its transform searched for in the whole space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from decaf.adapt import MMDT, SourceOnly
from decaf.adapt.mmdt import transform_objective
from decaf.errors import SettingError
from decaf.heads import LinearSVM


def domains(
    n_s: int = 40, n_t: int = 12, d: int = 6, classes: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ys, yt = np.arange(n_s) % classes, np.arange(n_t) % classes
    centres = random.normal(size=(classes, d))
    turn = np.linalg.qr(random.normal(size=(d, d)))[0]
    Xs = centres[ys] + 0.5 * random.normal(size=(n_s, d))
    return Xs, ys, (centres[yt] + 0.5 * random.normal(size=(n_t, d))) @ turn + 0.3, yt


def loss(rows: np.ndarray, codes: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> float:
    """The squared hinge, row by row and class by class."""
    total = 0.0
    for row, code in zip(rows, codes, strict=True):
        scores = coef @ row + intercept
        if len(coef) == 1:
            total += max(0.0, 1 - (1 if code == 1 else -1) * scores[0]) ** 2
            continue
        for k, score in enumerate(scores):
            total += max(0.0, 1 - (1 if k == code else -1) * score) ** 2
    return total


def affine(found: MMDT, d: int) -> np.ndarray:
    """The transform as a matrix (d, d + 1), read off what `transform` does to rows."""
    size = found.transform(np.eye(d), "source")[0, 0]
    at_zero = found.transform(np.zeros((1, d)))[0]
    return np.hstack([((found.transform(np.eye(d)) - at_zero) / size).T, at_zero[:, None]])


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("gamma", "target_weight"), [(1.0, 1.0), (0.1, 3.0)])
def test_the_objective_is_the_papers_and_falls(
    classes: int, gamma: float, target_weight: float
) -> None:
    Xs, ys, Xt, yt = domains(classes=classes)
    C = 2.0
    found = MMDT(C=C, gamma=gamma, target_weight=target_weight, max_iter=50)
    found.fit(Xs, ys, Xt, yt)
    assert found.converged_
    assert len(found.objectives_) == 2 * found.n_iter_ + 1 > 3
    assert (np.diff(found.objectives_) <= 0).all()
    assert found.objectives_[-1] < 0.99 * found.objectives_[0]

    W, coef, b = affine(found, 6), found.head_.coef_, found.head_.intercept_
    identity = np.eye(6, 7)
    value = gamma / 2 * np.square(W - identity).sum()
    value += 0.5 * (np.square(coef).sum() + np.square(b).sum())
    value += C * loss(found.transform(Xs, "source"), ys, coef, b)
    value += C * target_weight * loss(found.transform(Xt), yt, coef, b)
    assert found.objectives_[-1] == pytest.approx(value, rel=1e-9)


def test_the_first_classifiers_are_an_svm_on_both_domains() -> None:
    Xs, ys, Xt, yt = domains()
    found = MMDT(C=2.0).fit(Xs, ys, Xt, yt)
    svm = LinearSVM(2.0).fit(np.vstack([Xs, Xt]), np.concatenate([ys, yt]))
    assert found.objectives_[0] == pytest.approx(svm.objective_, rel=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_transform_is_the_best_of_all_matrices(classes: int) -> None:
    """The search in span θ × span ũ misses nothing that the whole matrix could gain."""
    Xs, ys, Xt, yt = domains(n_t=6, d=5, classes=classes)
    gamma, C = 0.3, 2.0
    found = MMDT(C=C, gamma=gamma, max_iter=1).fit(Xs, ys, Xt, yt)
    # Those that the transform was learned for: the classifiers before any transform.
    svm = LinearSVM(C, tol=1e-8).fit(np.vstack([Xs, Xt]), np.concatenate([ys, yt]))
    size = found.transform(np.eye(5), "source")[0, 0]
    coef, b, rows = svm.coef_ / size, svm.intercept_, Xt * size
    wide = np.hstack([rows, np.ones((6, 1))])
    signs = np.where(yt[:, None] == np.arange(classes), 1, -1)
    signs = signs[:, 1:] if classes == 2 else signs

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        V = flat.reshape(5, 6)
        short = np.maximum(0, 1 - signs * ((rows + wide @ V.T) @ coef.T + b))
        gradient = gamma * V - 2 * C * (coef.T @ (signs * short).T @ wide)
        return gamma / 2 * np.square(V).sum() + C * np.square(short).sum(), gradient.ravel()

    best = minimize(value, np.zeros(30), jac=True, method="BFGS", options={"gtol": 1e-8})
    ours = affine(found, 5) - np.eye(5, 6)
    np.testing.assert_allclose(ours, best.x.reshape(5, 6), atol=2e-3)
    assert value(ours.ravel())[0] == pytest.approx(best.fun, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_matches_finite_differences(seed: int) -> None:
    random = np.random.default_rng(seed)
    f_theta, f_target = random.normal(size=(4, 3)), random.normal(size=(7, 5))
    fixed, signs = random.normal(size=(7, 4)), random.choice([-1.0, 1.0], size=(7, 4))
    B = random.normal(size=(3, 5))
    parts = (f_theta, f_target, fixed, signs, 0.7, 0.4)
    slope = approx_fprime(
        B.ravel(), lambda flat: transform_objective(flat.reshape(3, 5), *parts)[0], 1e-7
    )
    np.testing.assert_allclose(
        transform_objective(B, *parts)[1].ravel(), slope, rtol=1e-5, atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("head", ["svm", "logreg"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_decision_is_the_head_on_represented_rows(head: str, classes: int) -> None:
    Xs, ys, Xt, yt = domains(classes=classes, d=30)
    found = MMDT(head=head, scale="standard", C=3.0).fit(Xs, ys, Xt, np.where(yt == 1, yt, -1))
    expected = found.head_.decision_function(found.transform(Xt))
    np.testing.assert_allclose(found.decision_function(Xt), expected, rtol=1e-9, atol=1e-9)


def test_a_stiff_transform_is_the_identity() -> None:
    Xs, ys, Xt, yt = domains()
    found = MMDT(gamma=1e9).fit(Xs, ys, Xt, yt)
    np.testing.assert_allclose(affine(found, 6), np.eye(6, 7), atol=1e-6)
    svm = LinearSVM().fit(np.vstack([Xs, Xt]), np.concatenate([ys, yt]))
    np.testing.assert_allclose(found.coef_, svm.coef_, rtol=1e-2, atol=1e-3)


def test_C_is_that_of_an_svm_on_both_domains() -> None:
    Xs, ys, Xt, yt = domains(n_s=60, n_t=30, d=20)
    chosen = LinearSVM("cv").fit(np.vstack([Xs, Xt]), np.concatenate([ys, yt])).C_
    found = MMDT(C="cv").fit(Xs, ys, Xt, yt)
    assert found.C_ == found.C_transform_ == chosen


@pytest.mark.parametrize(
    "settings",
    [
        {"gamma": 0.0, "tol": -1.0, "target_weight": np.nan, "max_iter": 0},
        {"gamma": True, "tol": "small", "target_weight": None, "max_iter": 2.0},
    ],
)
def test_wrong_settings_are_named_together(settings: dict[str, Any]) -> None:
    with pytest.raises(
        SettingError, match=r"`gamma` must .*`target_weight` must .*`tol` must .*`max_it"
    ):
        MMDT(**settings).fit(*domains())


@pytest.mark.slow
@pytest.mark.parametrize(("head", "seed"), [("svm", 0), ("logreg", 1), ("1nn", 2)])
def test_beats_source_only_where_features_are_mixed_and_loses_nothing_where_not(
    head: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    d, classes = 60, 5
    centres = random.normal(size=(classes, d))
    # The class centres of the target lie elsewhere in the source's space.
    turn = np.linalg.qr(np.eye(d) + random.normal(size=(d, d)) / 4)[0]
    ys, yt = np.arange(150) % classes, np.arange(320) % classes
    hidden = np.where(np.arange(320) < 20, yt, -1)
    Xs = centres[ys] + random.normal(size=(150, d))
    Xt = centres[yt] + random.normal(size=(320, d))
    accuracy = {
        (name, shift): method(head=head)
        .fit(Xs, ys, moved := Xt @ turn + 0.5 if shift else Xt, hidden)
        .score(moved[20:], yt[20:])
        for name, method in (("plain", SourceOnly), ("MMDT", MMDT))
        for shift in (True, False)
    }
    assert accuracy["MMDT", True] > accuracy["plain", True] + 0.15, accuracy
    assert accuracy["MMDT", False] > accuracy["plain", False] - 0.02, accuracy
