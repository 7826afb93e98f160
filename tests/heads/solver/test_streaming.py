"""`solve_stream`: the optimum that scikit-learn knows, and a bound that holds, block by block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from decaf.heads.problem import Solution
from decaf.heads.solver.row_stream import RowStream, stream_statistics
from decaf.heads.solver.streaming import StreamedPass, solve_stream

# Many rows; fewer rows than dimensions; two classes.
SHAPES = {"tall": (400, 12, 4), "wide": (70, 120, 5), "two": (150, 40, 2)}
CS = (0.05, 4.0)
WEIGHTS = np.array([0.5, 2.0, 1.0, 1.5, 0.7])


def made(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    X = rng.normal(size=(n, d)) + rng.normal(size=d)  # not centred
    X[np.arange(n), codes] += 1.5
    return X.astype(np.float32), codes


def streamed(
    X: np.ndarray,
    codes: np.ndarray,
    loss: str,
    Cs: tuple[float, ...] = CS,
    *,
    block: int = 64,
    weight: np.ndarray | None = None,
    tol: float = 1e-8,
    dtype: torch.dtype = torch.float64,
    passes: list[StreamedPass] | None = None,
    **settings: object,
) -> list[Solution]:
    k = int(codes.max()) + 1
    stream = RowStream(X, codes, block)
    return solve_stream(
        stream,
        stream_statistics(stream, k, torch.device("cpu")),
        loss,
        Cs,
        weight=np.ones(k) if weight is None else weight[:k],
        tol=tol,
        max_passes=300,
        dtype=dtype,
        tell=(lambda _: None) if passes is None else passes.append,
        **settings,
    )


def scaled(X: np.ndarray) -> np.ndarray:
    rows = X.astype(np.float64)
    return rows / np.sqrt(np.square(rows).sum(1).mean())


def objective(
    X: np.ndarray, codes: np.ndarray, loss: str, cost: np.ndarray, coef: np.ndarray, b: np.ndarray
) -> float:
    """½‖w‖² + Σ c loss, as a formula in float64."""
    decisions = scaled(X) @ coef.T + b
    norm = 0.5 * (coef**2).sum()
    k = int(codes.max()) + 1
    if loss == "multinomial" and k > 2:
        lost = logsumexp(decisions, 1) - decisions[np.arange(len(codes)), codes]
        return float(norm + cost @ lost)
    margin = np.where(codes[:, None] == (1 if k == 2 else np.arange(k)), decisions, -decisions)
    if loss == "squared_hinge":
        return float(norm + 0.5 * (b**2).sum() + (cost @ np.maximum(0, 1 - margin) ** 2).sum())
    return float(norm + (cost @ np.logaddexp(0, -margin)).sum())


def theirs(X: np.ndarray, codes: np.ndarray, loss: str, C: float, weight: np.ndarray) -> float:
    """Return the objective that scikit-learn reaches, pressed to its end."""
    rows, each, k = scaled(X), weight[codes], int(codes.max()) + 1
    if loss == "multinomial" and k > 2:
        model = LogisticRegression(C=C, tol=1e-10, max_iter=20_000).fit(rows, codes, each)
        return objective(X, codes, loss, C * each, model.coef_, model.intercept_)
    coef, b = [], []
    for positive in [1] if k == 2 else range(k):
        if loss == "squared_hinge":
            model = LinearSVC(C=C, tol=1e-9, max_iter=400_000)
        else:
            model = LogisticRegression(C=C, tol=1e-10, max_iter=20_000)
        model.fit(rows, codes == positive, each)
        coef.append(model.coef_[0])
        b.append(model.intercept_[0])
    return objective(X, codes, loss, C * each, np.array(coef), np.array(b))


@pytest.mark.parametrize(
    ("shape", "loss", "weighted"),
    [
        ("tall", "multinomial", True),
        ("wide", "multinomial", False),
        ("two", "multinomial", True),
        ("tall", "squared_hinge", False),
        ("wide", "squared_hinge", True),
        ("two", "squared_hinge", False),
        ("tall", "logistic", True),
    ],
)
def test_reaches_scikit_learns_optimum(shape: str, loss: str, weighted: bool) -> None:
    X, codes = made(*SHAPES[shape])
    weight = WEIGHTS if weighted else np.ones(5)
    for C, found in zip(CS, streamed(X, codes, loss, weight=weight), strict=True):
        best = theirs(X, codes, loss, C, weight)
        ours = objective(X, codes, loss, C * weight[codes], found.coef, found.intercept)
        assert found.converged
        assert found.objective == pytest.approx(ours, rel=1e-9)
        assert ours == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("loss", ["multinomial", "logistic", "squared_hinge"])
def test_the_gap_of_every_pass_holds(loss: str) -> None:
    X, codes = made(*SHAPES["tall"], seed=1)
    passes: list[StreamedPass] = []
    found = streamed(X, codes, loss, tol=1e-10, passes=passes)
    assert len(passes) > 5
    for place, solution in enumerate(found):
        for seen in passes:
            above = 1 - solution.objective / seen.objectives[place]
            assert seen.gaps[place] >= above - 1e-12
        assert passes[-1].gaps[place] == solution.gap <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["multinomial", "squared_hinge"])
def test_blocks_and_fellow_Cs_change_nothing_but_rounding(loss: str) -> None:
    X, codes = made(*SHAPES["tall"])
    whole = streamed(X, codes, loss, block=10_000)
    for other in (
        streamed(X, codes, loss, block=7),
        [streamed(X, codes, loss, (C,))[0] for C in CS],
    ):
        for one, two in zip(whole, other, strict=True):
            np.testing.assert_allclose(
                one.coef, two.coef, rtol=0, atol=1e-3 * np.abs(one.coef).max()
            )
            assert one.objective == pytest.approx(two.objective, rel=1e-8)


@pytest.mark.parametrize("loss", ["multinomial", "squared_hinge"])
def test_rows_in_half_precision(loss: str) -> None:
    X, codes = made(*SHAPES["tall"])
    halves = X.astype(np.float16)
    one = streamed(halves, codes, loss, tol=1e-4, dtype=torch.float32)
    for C, found in zip(CS, one, strict=True):
        best = theirs(halves.astype(np.float32), codes, loss, C, WEIGHTS[2:3].repeat(5))
        assert found.gap <= 1e-4
        assert found.objective == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("loss", ["multinomial", "squared_hinge"])
def test_bfloat16_begins_and_does_not_end(loss: str) -> None:
    X, codes = made(*SHAPES["tall"])
    for C, found in zip(
        CS, streamed(X, codes, loss, tol=1e-4, dtype=torch.float32, bf16=True), strict=True
    ):
        best = theirs(X, codes, loss, C, np.ones(5))
        ours = objective(X, codes, loss, np.full(len(codes), C), found.coef, found.intercept)
        assert found.converged
        assert ours == pytest.approx(best, rel=1e-4)
        assert found.objective == pytest.approx(ours, rel=1e-5)


def test_goes_on_from_weights() -> None:
    X, codes = made(*SHAPES["wide"])
    passes: list[StreamedPass] = []
    streamed(X, codes, "multinomial", tol=1e-6, passes=passes)
    again: list[StreamedPass] = []
    start = (passes[-1].weights, passes[-1].intercept)
    streamed(X, codes, "multinomial", tol=1e-5, passes=again, start=start)
    assert len(again) == 1
    assert again[0].objectives == pytest.approx(passes[-1].objectives, rel=1e-10)


def test_statistics_are_those_of_finite_rows_of_a_class() -> None:
    X, codes = made(300, 6, 3)
    X[5, 2], X[17, 0] = np.nan, np.inf
    passed = np.where(np.arange(300) % 10 == 0, -1, codes)
    found = stream_statistics(RowStream(X, passed, 33), 3, torch.device("cpu"))
    good = (passed >= 0) & np.isfinite(X).all(1)
    assert np.flatnonzero(~found.finite).tolist() == [5, 17]
    assert found.counts.tolist() == np.bincount(codes[good]).tolist()
    rows = X[good].astype(np.float64)
    sums = [rows[codes[good] == code].sum(0) for code in range(3)]
    np.testing.assert_allclose(found.class_sums.numpy(), sums, rtol=1e-6, atol=1e-4)
    assert found.mean_square_norm == pytest.approx(np.square(rows).sum(1).mean())
    np.testing.assert_allclose(found.sample_moments.numpy(), rows.T @ rows / len(rows), rtol=1e-5)
