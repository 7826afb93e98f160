"""`fit_streaming`: the same heads as `fit` gives, of rows that are not held."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from decaf.errors import DecafError, InputError, SettingError
from decaf.heads import (
    FeatureIdentity,
    LinearSVM,
    LogisticRegression,
    fit_streaming,
    load_head,
    save_head,
)
from made_features import made_file

RANDOM = np.random.default_rng(0)
Y = np.arange(240) % 4
X = (RANDOM.exponential(size=(240, 30)) + 2 * (RANDOM.random((4, 30)) < 0.3)[Y]).astype(np.float32)


@pytest.mark.parametrize(
    "head",
    [
        LogisticRegression(tol=1e-7, class_weight="balanced"),
        LogisticRegression(tol=1e-7, multi_class="ovr"),
        LinearSVM(tol=1e-7, class_weight={0: 2.0, 1: 1.0, 2: 0.5, 3: 1.0}),
    ],
)
def test_it_is_the_head_that_fit_gives(head: Any) -> None:
    rows = np.arange(len(Y)) % 5 != 1  # classes of different sizes
    X_, y = X[rows][:150], Y[rows][:150]
    fitted = fit_streaming(X_, labels=y, head=head, Cs=[0.1, 2.0], block=32)
    for C, found in zip((0.1, 2.0), fitted.heads, strict=True):
        known = type(head)(**{**head.get_params(), "C": C, "tol": 1e-9}).fit(X_, y)
        assert found.C_ == C
        assert found.converged_
        assert found.objective_ == pytest.approx(known.objective_, rel=1e-6)
        assert found.scaling_.factor == pytest.approx(known.scaling_.factor)
        np.testing.assert_allclose(
            found.decision_function(X), known.decision_function(X), atol=5e-3
        )
    assert fitted.rows == 150
    assert fitted.gaps.max() <= 1e-7
    assert fitted.accuracy is None
    with pytest.raises(SettingError, match="several `Cs` and no `held_out` rows"):
        _ = fitted.head
    assert not hasattr(head, "coef_")


@pytest.mark.parametrize("names", [["no", "yes"], [False, True], [0.0, 1.0]])
def test_two_classes_of_any_kind_in_half_precision(names: list[Any]) -> None:
    labels = np.array(names)[Y % 2]
    fitted = fit_streaming(X.astype(np.float16), labels=labels, head="svm", Cs=0.5)
    assert fitted.head.coef_.shape == (1, 30)
    assert fitted.head.classes_.tolist() == names
    known = LinearSVM(0.5).fit(X.astype(np.float16), labels)
    assert (fitted.head.predict(X) == known.predict(X)).mean() > 0.98


def test_a_feature_file_to_the_file_of_a_head(tmp_path: Path) -> None:
    labels = np.where(np.arange(240) % 11 == 0, -1, Y)
    path = made_file(
        tmp_path / "f.h5",
        {"pool5": X[:, :8].reshape(-1, 2, 2, 2), "fc6": X},
        labels=labels,
        class_names=["a", "b", "c", "d"],
        bad=[5, 7, 12],
    )
    held = np.arange(240) % 4 == np.arange(240) // 60  # of each class some, and row 5
    fitted = fit_streaming(path, "fc6", Cs=[64.0, 1.0], held_out=held, block=50)
    there = (labels >= 0) & ~np.isin(np.arange(240), [5, 7, 12])
    assert fitted.left_out == 3
    assert fitted.rows == (there & ~held).sum()
    assert fitted.held_out == (there & held).sum()
    assert fitted.accuracy is not None
    right = [(head.predict(X) == Y)[there & held].mean() for head in fitted.heads]
    assert fitted.accuracy.tolist() == pytest.approx(right)
    best = fitted.head
    assert best.search_.Cs.tolist() == [1.0, 64.0]
    assert best.search_.chosen == best.C_ == (64.0 if right[0] > right[1] else 1.0)
    target = tmp_path / "pets.head"
    identity = FeatureIdentity(
        weights_name="w",
        weights_sha256="ab" * 32,
        arch={},
        preprocess={},
        crops="center",
        layer="fc6",
        precision="fp32",
    )
    save_head(target, best, identity=identity, class_names=["a", "b", "c", "d"])
    again = load_head(target).estimator
    assert (again.predict(X) == best.predict(X)).all()
    np.testing.assert_allclose(again.predict_proba(X).sum(1), 1)
    maps = fit_streaming(path, "pool5", head="svm", Cs=1.0)
    assert maps.head.n_features_in_ == 8
    with pytest.raises(SettingError, match=r"`layer`: .*f\.h5 has pool5, fc6; name one"):
        fit_streaming(path)


def test_rows_that_are_not_finite_are_left_out_and_counted() -> None:
    rows = X.copy()
    rows[3, 1], rows[9], rows[100, 0] = np.nan, np.inf, -np.inf
    held = np.arange(240) % 10 == 9
    fitted = fit_streaming(rows, labels=Y, Cs=1.0, held_out=held)
    good = np.isfinite(rows).all(1)
    known = fit_streaming(X[good], labels=Y[good], Cs=1.0, held_out=held[good])
    assert (fitted.left_out, known.left_out) == (3, 0)
    assert (fitted.rows, fitted.held_out) == (known.rows, known.held_out) == (214, 23)
    np.testing.assert_array_equal(fitted.head.coef_, known.head.coef_)


def test_a_share_of_each_class_is_held_out() -> None:
    fitted = fit_streaming(X, labels=Y, Cs=[0.01, 1.0], held_out=0.25)
    assert (fitted.rows, fitted.held_out) == (180, 60)
    assert fitted.accuracy is not None
    best = (0.01, 1.0)[int(fitted.accuracy.argmax())]
    assert best == fitted.head.C_


def test_an_interrupted_fit_goes_on_from_its_state(tmp_path: Path) -> None:
    state = tmp_path / "fit.npz"
    objectives = []

    def stop(now: Any) -> None:
        objectives.append(now.objectives[0])
        if now.number == 5:
            raise KeyboardInterrupt

    settings = {"head": LogisticRegression(8.0, tol=1e-7), "labels": Y, "state": state}
    with pytest.raises(KeyboardInterrupt):
        fit_streaming(X, progress=stop, **settings)
    assert state.exists()
    with pytest.raises(SettingError, match=r"`state` .*: of another fit"):
        fit_streaming(X, **{**settings, "head": LogisticRegression(9.0)})
    resumed: list[float] = []
    fitted = fit_streaming(X, progress=lambda now: resumed.append(now.objectives[0]), **settings)
    assert resumed[0] == pytest.approx(objectives[-1], rel=1e-9)
    assert fitted.gaps[0] <= 1e-7
    assert not state.exists()
    state.write_bytes(b"PK\3\4 no archive")
    with pytest.raises(SettingError, match=r"`state` .*: not that of a fit"):
        fit_streaming(X, **settings)


def test_it_says_where_it_did_not_converge() -> None:
    head = LogisticRegression(1000.0, tol=1e-9, max_iter=3)
    with pytest.warns(ConvergenceWarning, match="gap is .* after 3 passes at C = 1000"):
        fitted = fit_streaming(X, labels=Y, head=head)
    assert not fitted.head.converged_
    assert fitted.passes == 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"head": "forest"}, "`head` must be one of logreg, svm"),
        ({"head": LinearSVM(loss="hinge")}, "`loss` 'hinge'"),
        ({"head": LogisticRegression(dropout=0.5)}, "`dropout` 0.5"),
        ({"head": LogisticRegression(scale="standard")}, "`scale` 'standard'"),
        ({"head": LogisticRegression("cv")}, "`C` 'cv' takes all rows in memory"),
        ({"head": LogisticRegression(tol=-1)}, "`tol` must be a number above 0"),
        ({"Cs": [1.0, 0.0]}, "`Cs` must be numbers above 0"),
        ({"Cs": []}, "`Cs` must be numbers above 0, at least one"),
        ({"Cs": "many"}, "`Cs` must be numbers above 0"),
        ({"precision": "fp8"}, "`precision` must be one of fp32, bf16"),
        ({"block": 0}, "`block` must be a whole number above 0"),
        ({"held_out": 1.5}, "`held_out` 1.5"),
        ({"held_out": [True]}, r"`held_out` must be a share, or a mask of 240 rows"),
        ({"labels": None}, "`labels` are missing"),
        ({"labels": Y[:-1]}, "`labels` has shape"),
        ({"labels": np.zeros(240)}, "240 rows of 1 class; a classifier needs two classes"),
        ({"labels": np.full(240, -1)}, "0 rows of 0 classes"),
        ({"held_out": Y == 2}, "class 2 has no row to learn from"),
        ({"layer": "fc6"}, "`layer` 'fc6'"),
        ({"features": X.astype(int)}, "`features` are int64"),
        ({"features": [1, 2]}, "`features` must be a feature file or an array"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(changed: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"features": X, "labels": Y, **changed}
    with pytest.raises((SettingError, InputError), match=said) as caught:
        fit_streaming(given.pop("features"), **given)
    assert isinstance(caught.value, DecafError)


MEASURE = """
import json, sys, warnings
import numpy as np
from decaf.heads import LogisticRegression, fit_streaming
from decaf.runtime.memory import peak_memory

class Rows:
    "Rows that are made when they are asked for."
    def __init__(self, n):
        self.shape, self.dtype = (n, 512), np.dtype(np.float16)
    def __len__(self):
        return self.shape[0]
    def __getitem__(self, rows):
        start, stop, _ = rows.indices(len(self))
        made = np.random.default_rng(start).random((stop - start, 512), np.float32)
        made[np.arange(len(made)), np.arange(start, stop) % 50] += 1
        return made.astype(np.float16)

warnings.simplefilter("ignore")
peaks = []
for n in (20_000, 20_000, 20_000, 20_000, 100_000):  # the first ones warm the allocator
    head = LogisticRegression(max_iter=3)
    fit_streaming(Rows(n), labels=np.arange(n) % 50, head=head, block=500)
    peaks.append(peak_memory())
print(json.dumps(peaks))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    """80,000 rows more are 82 MB in half precision, and 16 MB of decision values."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, check=True)
    *_, before, after = json.loads(done.stdout)
    assert after - before < 20 << 20
