"""`LogisticRegression` and `LinearSVM`: scikit-learn's contract, its optimum, its estimators."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression as PlainLogistic
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from decaf.errors import InputError, SettingError
from decaf.heads import CSearchWarning, LinearSVM, LogisticRegression, linear_head
from decaf.heads.problem import Problem, predicted_codes
from decaf.heads.scaling import SCALES
from decaf.heads.scikit_learn import objective

# Both solvers, both losses, both kinds of multi-class, each scaling, searching for C, dropout.
HEADS: list[Any] = [
    LogisticRegression(multi_class="ovr", solver="sklearn", scale="none"),
    LogisticRegression("cv", solver="batched", scale="unit-norm", Cs=[1.0, 10.0], cv=3),
    # LIBLINEAR's own tolerance is what tells weighted rows from repeated ones.
    LinearSVM(loss="hinge", solver="sklearn", scale="standard", tol=1e-10, max_iter=100000),
    LinearSVM(dropout=0.3, scale="mean-norm"),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::decaf.heads.CSearchWarning")
@parametrize_with_checks(HEADS)
def test_keeps_scikit_learns_contract(estimator: Any, check: Any) -> None:
    check(estimator)


def data(
    n: int = 90, width: int = 120, classes: int = 4, *, seed: int = 0, spread: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Rows like a layer's: not negative, float32, more features than rows."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = random.exponential(size=(classes, width)) * (random.random((classes, width)) < 0.2)
    X = 5 * np.maximum(0, spread * random.normal(size=(n, width)) + centres[y])
    return X.astype(np.float32), y


CASES = [
    (LogisticRegression, {"multi_class": "multinomial"}, "multinomial"),
    (LogisticRegression, {"multi_class": "ovr"}, "logistic"),
    (LinearSVM, {"loss": "squared_hinge"}, "squared_hinge"),
    (LinearSVM, {"loss": "hinge"}, "hinge"),
]


def optimum(
    X: np.ndarray, y: np.ndarray, loss: str, C: float, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients from scikit-learn, used directly, in float64 and as exact as it gets."""
    X = X.astype(np.float64)
    if loss in ("hinge", "squared_hinge"):
        svc = LinearSVC(loss=loss, C=C, tol=1e-7, max_iter=1_000_000)
        svc.fit(X, y, sample_weight=weight)
        return svc.coef_, svc.intercept_
    classes = np.unique(y)
    targets = [y] if loss == "multinomial" or len(classes) == 2 else [y == k for k in classes]
    models = [
        PlainLogistic(C=C, tol=1e-9, max_iter=10000).fit(X, target, sample_weight=weight)
        for target in targets
    ]
    return (
        np.vstack([model.coef_ for model in models]),
        np.concatenate([model.intercept_ for model in models]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("solver", ["sklearn", "batched"])
@pytest.mark.parametrize(("kind", "settings", "loss"), CASES)
def test_reaches_scikit_learns_optimum(
    kind: Any, settings: dict[str, Any], loss: str, solver: str, classes: int
) -> None:
    X, y = data(classes=classes)
    # LinearSVC's tolerance is one of slopes, and the hinge loss has no curvature.
    tol = 1e-8 if (solver, loss) == ("sklearn", "hinge") else 1e-5
    for C in (0.5, 30.0):
        head = kind(C, solver=solver, tol=tol, max_iter=1_000_000, **settings).fit(X, y)
        assert head.converged_
        assert head.n_iter_ >= 1
        scaled = head.scaling_.apply(X)
        coef, intercept = optimum(scaled, y, loss, C)
        problem = Problem(scaled, y, classes)
        best = objective(problem, loss, C, coef, intercept)
        assert head.objective_ == pytest.approx(best, rel=1e-4)
        # The objective is that of the coefficients, which are for features as they are.
        factor = head.scaling_.factor
        own = objective(problem, loss, C, head.coef_ / factor, head.intercept_)
        assert own == pytest.approx(head.objective_, rel=1e-6)
        expected = predicted_codes(scaled @ coef.T + intercept)
        assert (head.predict(X) == expected).mean() >= 0.98


@pytest.mark.parametrize("solver", ["sklearn", "batched"])
@pytest.mark.parametrize(("kind", "settings", "loss"), CASES)
def test_weights_of_rows_and_classes_multiply_C_row_by_row(
    kind: Any, settings: dict[str, Any], loss: str, solver: str
) -> None:
    X, y = data(classes=3)
    X, y = X[:70], np.where(np.arange(70) % 9 == 0, 2, y[:70] % 2)
    own = np.random.default_rng(1).exponential(size=70)
    own[::7] = 0
    for weight in (None, own):
        rows = np.ones(70) if weight is None else weight
        of_class = {0: 1.0, 1: 0.2, 2: 7.0}
        balanced = {code: rows.sum() / (3 * rows[y == code].sum()) for code in range(3)}
        for class_weight, factors in ((None, {}), (of_class, of_class), ("balanced", balanced)):
            head = kind(2.0, solver=solver, class_weight=class_weight, max_iter=100_000, **settings)
            head.fit(X, y, sample_weight=weight)
            norm = np.sqrt(rows @ np.square(X.astype(float)).sum(axis=1) / rows.sum())
            assert head.scaling_.factor == pytest.approx(1 / norm)
            scaled = head.scaling_.apply(X)
            total = rows * np.array([factors.get(code, 1.0) for code in y])
            coef, intercept = optimum(scaled, y, loss, 2.0, total)
            best = objective(Problem(scaled, y, 3, total), loss, 2.0, coef, intercept)
            assert head.objective_ == pytest.approx(best, rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::decaf.heads.CSearchWarning")
@pytest.mark.parametrize(  # every head with two of the scales, of more and of fewer features
    ("head", "scale", "width"),
    [
        (head, SCALES[(number + shift) % 4], (20, 120)[shift])
        for number, head in enumerate(
            [
                LogisticRegression(class_weight="balanced"),
                LogisticRegression(multi_class="ovr"),
                LogisticRegression(dropout=0.3),
                LinearSVM(class_weight="balanced"),
                LinearSVM(loss="hinge"),
            ]
        )
        for shift in (0, 1)
    ],
)
def test_a_whole_number_as_sample_weight_is_so_many_rows(head: Any, scale: str, width: int) -> None:
    X, y = data(width=width)
    X = X.astype(np.float64)
    names = np.array(["ant", "bee", "cat", "dog"])[y]
    count = np.random.default_rng(0).integers(0, 4, len(X))
    count[y == 2] = 0  # a class whose rows are all left out is not there
    # Two folds, all copies of a row on one side.
    half = np.arange(len(X)) % 8 < 4
    of_copies = half.repeat(count)
    folds = [(np.flatnonzero(part), np.flatnonzero(~part)) for part in (half, ~half)]
    copied = [(np.flatnonzero(part), np.flatnonzero(~part)) for part in (of_copies, ~of_copies)]
    for C in (1.0, "cv"):
        one = clone(head).set_params(C=C, scale=scale, cv=folds, Cs=[0.01, 1.0])
        weighted = one.fit(X, names, sample_weight=count)
        repeated = clone(one).set_params(cv=copied).fit(X.repeat(count, 0), names.repeat(count))
        assert weighted.classes_.tolist() == repeated.classes_.tolist() == ["ant", "bee", "dog"]
        assert weighted.C_ == repeated.C_
        np.testing.assert_allclose(
            weighted.decision_function(X), repeated.decision_function(X), rtol=1e-4, atol=1e-6
        )
        if C == "cv":
            np.testing.assert_allclose(weighted.search_.accuracy, repeated.search_.accuracy)
            np.testing.assert_allclose(weighted.search_.std, repeated.search_.std)


def test_sample_weights_may_be_read_only() -> None:
    """As pandas has them; torch warns of an array that it could write to."""
    X, y = data()
    weight = np.ones(len(y))
    weight.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearSVM().fit(X, y, sample_weight=weight)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], r"`sample_weight` has shape \(2,\); give one for each of 90 rows"),
        (-np.ones(90), "of at least 0, got -1 for row 0"),
        (np.full(90, np.nan), "of at least 0, got nan for row 0"),
        (0, "zero for all rows"),
        ("heavy", "must be numbers, got 'heavy'"),
        (np.arange(90) % 4 == 1, "all 23 rows are of one class, 1; a classifier needs two"),
    ],
)
def test_sample_weights_that_cannot_be_are_refused(weight: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearSVM().fit(*data(), sample_weight=weight)


@pytest.mark.parametrize(
    ("kind", "settings", "scale"),
    [
        (kind, settings, SCALES[(number + shift) % 4])
        for number, (kind, settings, _) in enumerate(CASES)
        for shift in (0, 2)
    ],
)
def test_solvers_agree_whatever_the_scale(kind: Any, settings: dict[str, Any], scale: str) -> None:
    X, y = data()
    C = 0.001 if scale in ("none", "standard") else 2.0
    ours, theirs = (
        kind(C, solver=solver, scale=scale, max_iter=100_000, **settings).fit(X, y)
        for solver in ("batched", "sklearn")
    )
    assert ours.objective_ == pytest.approx(theirs.objective_, rel=1e-4)
    spread = np.ptp(theirs.decision_function(X))
    difference = np.abs(ours.decision_function(X) - theirs.decision_function(X)).max()
    assert difference < 0.02 * spread


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["sklearn", "batched"])
@pytest.mark.parametrize(("kind", "settings", "loss"), CASES)
def test_search_is_a_cross_validation_of_plain_fits(
    kind: Any,
    settings: dict[str, Any],
    loss: str,
    solver: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear_head, "_SEARCH_TOL", 1e-6)  # else a search may stop where C is clear
    X, y = data(80, 40, 3, spread=3.0)
    y = np.array(["cat", "dog", "newt"])[y]
    Cs = [0.01, 0.3, 10]
    head = kind("cv", Cs=Cs, cv=4, solver=solver, tol=1e-6, max_iter=100_000, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CSearchWarning)
        head.fit(X, y)
    search = head.search_
    assert search.Cs.tolist() == Cs
    assert len(search.folds) == 4
    codes = np.searchsorted(head.classes_, y)
    right = np.zeros((3, 4))
    for number, C in enumerate(Cs):
        for fold, (train, held) in enumerate(search.folds):
            scaled = head.scaling_.apply(X)
            coef, intercept = optimum(scaled[train], codes[train], loss, C)
            scores = scaled[held] @ coef.T + intercept
            right[number, fold] = (scores.argmax(axis=1) == codes[held]).sum()
            if C == head.C_:
                np.testing.assert_allclose(search.decisions[held], scores, atol=0.02)
    # An approximate fit may turn over a row or two.
    np.testing.assert_allclose(search.accuracy, right.sum(axis=1) / len(X), atol=2.5 / len(X))
    assert head.C_ == search.chosen == Cs[int(search.accuracy.argmax())]
    plain = clone(head).set_params(C=head.C_).fit(X, y)
    np.testing.assert_array_equal(head.coef_, plain.coef_)
    assert plain.search_ is None


def test_the_default_grid_follows_the_size_of_the_rows() -> None:
    X, y = data(spread=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CSearchWarning)
        one = LinearSVM("cv", solver="sklearn", scale="mean-norm", tol=1e-2).fit(X, y)
        other = LinearSVM("cv", solver="sklearn", scale="none", tol=1e-2).fit(X, y)
    assert one.search_ is not None
    assert other.search_ is not None
    assert set(LinearSVM.default_Cs) <= set(one.search_.Cs)
    expected = np.array(LinearSVM.default_Cs) * one.scaling_.factor**2
    found = other.search_.Cs
    assert np.isclose(found[:, None], expected, rtol=1e-6).any(axis=0).all()


def test_the_search_under_dropout_begins_with_few_values_and_widens_from_them() -> None:
    X, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CSearchWarning)
        head = LogisticRegression("cv", dropout=0.5).fit(X, y)
    assert head.search_ is not None
    assert set(LogisticRegression.dropout_Cs) <= set(head.search_.Cs)
    assert len(head.search_.Cs) == 3 + head.search_.widened


def test_float32_and_labels_keep_their_types() -> None:
    X, y = data()
    for labels in (y, y.astype(np.int8), np.array(["b", "a", "c", "d"])[y], y > 1):
        head = LinearSVM(solver="sklearn").fit(X, labels)
        assert head.predict(X).dtype == labels.dtype
        assert (head.predict(X) == labels).all()
    half = LinearSVM(solver="sklearn").fit(X.astype(np.float16), y)
    assert (half.predict(X.astype(np.float16)) == y).all()


@pytest.mark.parametrize("multi_class", ["multinomial", "ovr"])
@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_those_of_scikit_learn(multi_class: str, classes: int) -> None:
    X, y = data(classes=classes)
    head = LogisticRegression(5.0, multi_class=multi_class, solver="sklearn").fit(X, y)
    found = head.predict_proba(X)
    assert found.shape == (len(X), classes)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found, head.to_sklearn().predict_proba(X), rtol=1e-5)
    assert np.isfinite(head.predict_proba(1e6 * X)).all()


def test_a_fit_that_did_not_converge_says_so() -> None:
    X, y = data(spread=3.0)
    for solver in ("sklearn", "batched"):
        head = LogisticRegression(1e4, solver=solver, max_iter=1, tol=1e-9)
        with pytest.warns(
            ConvergenceWarning,
            match=rf"LogisticRegression did not converge: solver '{solver}' stopped after \d+ "
            r"iterations .* at C = 10000, objective [\d.e+]+; raise `max_iter`",
        ):
            head.fit(X, y)
        assert not head.converged_
        assert np.isfinite(head.coef_).all()


def test_a_search_that_ends_at_its_border_says_so() -> None:
    X, y = data(60, 20, 2, spread=1.0)
    head = LinearSVM("cv", solver="sklearn", tol=1e-2, random_state=1, Cs=[1e-2, 1])
    with pytest.warns(CSearchWarning, match=r"at the border of its grid: C = .* give other `Cs`"):
        head.fit(X, y)
    assert head.search_ is not None
    assert head.search_.at_border


def test_bad_rows_are_refused_with_the_way_out() -> None:
    X, y = data()
    X[[3, 70]] = np.nan
    with pytest.raises(
        InputError,
        match=r"X contains NaN or infinity in 2 of 90 rows \(3, 70\): images that could not be "
        r"read have no features; leave their rows out, as FeatureFile\.to_xy does",
    ):
        LinearSVM().fit(X, y)
    head = LinearSVM(solver="sklearn").fit(*data())
    with pytest.raises(InputError, match="NaN or infinity in 2 of 90 rows"):
        head.predict(X)


def test_one_class_is_refused_by_name() -> None:
    X, _ = data()
    with pytest.raises(InputError, match="all 90 rows are of one class, 'newt'; a classifier"):
        LinearSVM().fit(X, ["newt"] * 90)


def test_a_fit_that_is_refused_leaves_no_half_of_an_earlier_one() -> None:
    X, y = data()
    head = LinearSVM().fit(X, y)
    with pytest.raises(InputError, match="of one class"):
        head.fit(X, np.zeros_like(y))
    with pytest.raises(NotFittedError):
        head.predict(X)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([None, "newt", *["frog"] * 88], r"no label for 1 of 90 rows \(0\): leave them out"),
        (np.array(["", *["frog", "newt"] * 44, "frog"]), r"no label for 1 of 90 rows \(0\): "),
        ([1.0, *[float("nan")] * 6, *[2.0] * 83], r"for 6 of 90 rows \(1, 2, 3, 4, 5, …\)"),
        (np.array(["newt", *[1] * 89], object), r"texts in 1 of 90 rows \(0\) and numbers in the"),
    ],
)
def test_rows_without_a_label_are_named(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearSVM().fit(data()[0], labels)


def test_all_wrong_settings_are_told_at_once() -> None:
    wrong = LogisticRegression(
        -1,
        multi_class="softmax",
        dropout=1.0,
        solver="lbfgs",
        scale="l2",
        Cs=[0],
        tol=0,
        max_iter=2.5,
    )
    with pytest.raises(SettingError) as caught:
        wrong.fit(*data())
    for part in (
        "`multi_class` must be one of multinomial, ovr, got 'softmax'",
        "`C` must be a number above 0, or 'cv', got -1",
        "`dropout` must be from 0 to below 1, got 1.0",
        "`solver` must be one of batched, sklearn, got 'lbfgs'",
        "`scale` must be one of none, mean-norm, unit-norm, standard, got 'l2'",
        "`Cs` must be numbers above 0, at least one, got [0]",
        "`tol` must be a number above 0, got 0",
        "`max_iter` must be a whole number above 0, got 2.5",
    ):
        assert part in str(caught.value)
    with pytest.raises(SettingError, match="`loss` must be one of squared_hinge, hinge, got 'l1'"):
        LinearSVM(loss="l1").fit(*data())
    with pytest.raises(
        SettingError, match="cannot train with `dropout`, for which scikit-learn has"
    ):
        LinearSVM(dropout=0.5, solver="sklearn").fit(*data())
    with pytest.raises(SettingError, match="'auto'"):
        LinearSVM("auto").fit(*data())
    with pytest.raises(SettingError, match="`Cs` must be numbers above 0, at least one, got 5"):
        LinearSVM("cv", Cs=5).fit(*data())  # type: ignore[arg-type]
    for weight in (0, -1, np.nan):
        with pytest.raises(
            SettingError, match=r"`class_weight` must be numbers above 0, got .* for"
        ):
            LinearSVM(class_weight={data()[1][0]: weight}).fit(*data())
    with pytest.raises(SettingError, match="`device` None is not one torch knows"):
        LinearSVM(device=None).fit(*data())  # type: ignore[arg-type]


@pytest.mark.parametrize("copies", [1, 30])  # fewer rows than features, and more
def test_a_product_beyond_double_precision_is_refused(copies: int) -> None:
    X, y = data()
    X, y = np.repeat(X, copies, axis=0), np.repeat(y, copies)
    with pytest.raises(SettingError, match="too large to be computed with; use a smaller `C`,"):
        LogisticRegression(1e300, scale="none").fit(X, y)


def test_given_folds_must_teach_every_class() -> None:
    X, y = data()
    folds = [(np.flatnonzero(y != 2), np.flatnonzero(y == 2))]
    with pytest.raises(InputError, match="fold 0 of `cv` has no training row of class 2"):
        LinearSVM("cv", cv=folds).fit(X, y)


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVM])
def test_the_only_row_of_a_class_is_never_held_out(kind: Any) -> None:
    X, y = data(spread=2.0)
    y[5] = 99
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CSearchWarning)
        head = kind("cv", solver="sklearn", tol=1e-2, Cs=[1.0, 10.0], cv=3).fit(X, y)
    assert np.flatnonzero(np.isnan(head.search_.decisions).all(axis=1)).tolist() == [5]
    with pytest.raises(InputError, match="every class has only one row; give more rows, or a n"):
        kind("cv").fit(X[:3], [0, 1, 2])


def test_equal_seeds_give_equal_heads_and_pickles_decide_the_same() -> None:
    X, y = data(spread=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CSearchWarning)
        one, two = (LinearSVM("cv", Cs=[0.1, 1, 10]).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.coef_, two.coef_)
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.decision_function(X), one.decision_function(X))


def test_dropout_needs_no_seed_and_shrinks_weights_of_large_activations() -> None:
    X, y = data()
    X[:, 0] = 50 * (y == 0)  # one activation that tells a class apart all alone
    plain, dropped = (LinearSVM(10.0, dropout=p).fit(X, y) for p in (0.0, 0.5))
    again = LinearSVM(10.0, dropout=0.5, random_state=7).fit(X, y)
    np.testing.assert_array_equal(dropped.coef_, again.coef_)
    share = [abs(head.coef_[0, 0]) / np.linalg.norm(head.coef_[0]) for head in (plain, dropped)]
    assert share[1] < share[0]
    assert (dropped.predict(X) == y).all()


RANDOM = np.random.default_rng(0)
Y = np.arange(60) % 3
X = (RANDOM.exponential(size=(60, 30)) + 3 * (RANDOM.random((3, 30)) < 0.3)[Y]).astype(np.float32)
NEW = RANDOM.exponential(size=(40, 30)).astype(np.float32) * 2
NAMES = np.array(["newt", "cat", "dog"])

PLAIN: list[tuple[Any, type, int]] = [
    (LogisticRegression(3.0), PlainLogistic, 3),
    (LogisticRegression(3.0), PlainLogistic, 2),
    (LogisticRegression(3.0, multi_class="ovr"), OneVsRestClassifier, 3),
    (LogisticRegression(3.0, multi_class="ovr"), PlainLogistic, 2),
    (LinearSVM(3.0), LinearSVC, 3),
    (LinearSVM(3.0, loss="hinge", tol=1e-3, max_iter=10000), LinearSVC, 2),
]


def with_scales(scales: Sequence[str]) -> list[tuple[Any, type, int, str]]:
    """Every kind of plain estimator with two of the scales, every scale with several kinds."""
    return [
        (*case, scales[(number + shift) % len(scales)])
        for number, case in enumerate(PLAIN)
        for shift in (0, 1)
    ]


@pytest.mark.parametrize(("head", "kind", "classes", "scale"), with_scales(SCALES))
def test_plain_estimators_decide_the_same(head: Any, kind: type, classes: int, scale: str) -> None:
    keep = classes > Y
    C = 0.01 if scale in ("none", "standard") else 3.0
    head = clone(head).set_params(scale=scale, solver="sklearn", C=C).fit(X[keep], NAMES[Y[keep]])
    plain = pickle.loads(pickle.dumps(head.to_sklearn()))
    assert type(plain) is (Pipeline if scale == "unit-norm" else kind)
    assert type(plain).__module__.startswith("sklearn")
    np.testing.assert_array_equal(plain.classes_, head.classes_)
    assert plain.n_features_in_ == 30
    for rows in (X, NEW, NEW.astype(np.float64)):
        np.testing.assert_array_equal(plain.predict(rows), head.predict(rows))
        np.testing.assert_allclose(
            plain.decision_function(rows), head.decision_function(rows), rtol=1e-5, atol=1e-5
        )
        if hasattr(head, "predict_proba"):
            np.testing.assert_allclose(
                plain.predict_proba(rows), head.predict_proba(rows), rtol=1e-4
            )


@pytest.mark.parametrize(("head", "kind", "classes", "scale"), with_scales(SCALES[:3]))
def test_fitting_a_plain_estimator_again_gives_the_same_head(
    head: Any, kind: type, classes: int, scale: str
) -> None:
    keep = classes > Y
    C = 0.01 if scale == "none" else 3.0
    head = clone(head).set_params(scale=scale, solver="sklearn", C=C, tol=1e-6, max_iter=1_000_000)
    if classes == 3 and isinstance(head, LogisticRegression):
        head.set_params(class_weight={0: 1.0, 1: 4.0, 2: 0.5} if kind is PlainLogistic else None)
    head.fit(X[keep], Y[keep])
    plain = head.to_sklearn()
    expected = plain.decision_function(X)
    for name, value in plain.get_params().items():
        if name.endswith("tol"):
            plain.set_params(**{name: value * 1e-3})
    again = plain.fit(X[keep].astype(np.float64), Y[keep]).decision_function(X)
    np.testing.assert_allclose(again, expected, atol=0.01 * np.ptp(expected))


def test_the_plain_estimator_does_not_share_its_coefficients() -> None:
    head = LinearSVM(solver="sklearn").fit(X, Y)
    before = head.coef_.copy()
    head.to_sklearn().coef_ *= 2
    np.testing.assert_array_equal(head.coef_, before)


def test_only_a_fitted_head_can_be_turned() -> None:
    with pytest.raises(NotFittedError):
        LinearSVM().to_sklearn()
