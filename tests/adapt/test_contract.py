"""The contract of every method: scikit-learn's, labels, invariances, bad input."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import decaf.adapt
from decaf.adapt import AdaptationEstimator
from decaf.errors import InputError, SettingError

METHODS = [
    "SourceOnly",
    "TargetOnly",
    "SourceAndTarget",
    "FeatureAugmentation",
    "MMDT",
    "GFK",
    "DLID",
    "CORAL",
    "SubspaceAlignment",
    "TCA",
    "JDA",
    "OptimalTransport",
]
HEADS = ["svm", "logreg", "1nn"]
# Every method with one of the heads, every head with several methods.
PAIRS = [(name, HEADS[number % 3]) for number, name in enumerate(METHODS)]
# Those that learn nothing from target rows without a label.
SUPERVISED = ["TargetOnly", "SourceAndTarget", "FeatureAugmentation", "MMDT"]
UNSUPERVISED = [name for name in METHODS if name not in SUPERVISED]


def make(name: str, **settings: Any) -> Any:
    return getattr(decaf.adapt, name)(**settings)


class Data:
    """Two domains of 3 classes; the first 12 target rows have labels."""

    def __init__(self, n_s: int = 45, n_t: int = 36, d: int = 20, classes: int = 3) -> None:
        random = np.random.default_rng(0)
        self.centres = 2.5 * random.normal(size=(classes, d))
        self.ys, self.truth = np.arange(n_s) % classes, np.arange(n_t) % classes
        self.Xs = self.centres[self.ys] + random.normal(size=(n_s, d))
        self.Xt = 0.8 * self.centres[self.truth] + random.normal(size=(n_t, d)) + 0.3
        self.yt = np.where(np.arange(n_t) < 12, self.truth, -1)
        self.new = 0.8 * self.centres[np.arange(30) % classes] + random.normal(size=(30, d)) + 0.3

    def fit(self, estimator: Any) -> Any:
        return estimator.fit(self.Xs, self.ys, self.Xt, self.yt)


DATA = Data()


def answers(estimator: Any, X: np.ndarray) -> np.ndarray:
    """Decision values where there are some, else classes."""
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(X))
    return np.asarray(estimator.predict(X))


def close(found: np.ndarray, expected: np.ndarray, *, of: float = 0.02) -> None:
    """Assert that decision values agree to a small part of their size, classes but for one."""
    if found.ndim == 1:
        assert (found != expected).sum() <= 1
    else:
        np.testing.assert_allclose(found, expected, atol=of * np.abs(expected).max())


def test_every_method_is_here() -> None:
    public = {
        name
        for name in decaf.adapt.__all__
        if inspect.isclass(value := getattr(decaf.adapt, name))
        and issubclass(value, AdaptationEstimator)
    }
    assert public - {"AdaptationEstimator"} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_stored_as_given_and_cloned(name: str) -> None:
    kind = getattr(decaf.adapt, name)
    parameters = inspect.signature(kind.__init__).parameters
    assert {"head", "C", "scale", "random_state"} <= set(parameters)
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in list(parameters.values())[1:]), (
        "settings are given by name"
    )
    marks: dict[str, Any] = {key: object() for key in parameters if key != "self"}
    estimator = kind(**marks)
    assert estimator.get_params() == marks
    assert vars(estimator) == marks
    fitted = DATA.fit(kind(head="1nn"))
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    assert not [key for key in vars(fresh) if key.endswith("_")]
    assert kind().set_params(head="logreg").head == "logreg"
    assert "head='1nn'" in repr(kind(head="1nn"))


@pytest.mark.parametrize(("name", "head"), PAIRS)
def test_fits_and_predicts(name: str, head: str) -> None:
    estimator = make(name, head=head)
    before = [part.copy() for part in (DATA.Xs, DATA.ys, DATA.Xt, DATA.yt)]
    settings = estimator.get_params()
    assert DATA.fit(estimator) is estimator
    assert estimator.get_params() == settings
    for part, kept in zip((DATA.Xs, DATA.ys, DATA.Xt, DATA.yt), before, strict=True):
        np.testing.assert_array_equal(part, kept)
    assert estimator.n_features_in_ == 20
    assert estimator.classes_.tolist() == [0, 1, 2]
    found = estimator.predict(DATA.new)
    assert found.shape == (30,)
    accuracy = np.mean(found == np.arange(30) % 3)
    assert estimator.score(DATA.new, np.arange(30) % 3) == accuracy > 0.7
    assert hasattr(estimator, "decision_function") == (head != "1nn")
    if head != "1nn":
        decided = estimator.decision_function(DATA.new)
        assert decided.shape == (30, 3)
        np.testing.assert_array_equal(decided.argmax(axis=1), found)
        assert estimator.C_ == 1.0
    for domain in ("source", "target"):
        rows = estimator.transform(DATA.new, domain)
        assert rows.shape[0] == 30
        assert np.isfinite(rows).all()
    # The representation and the head on top are the prediction.
    assert (estimator.head_.predict(estimator.transform(DATA.new)) == found).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "head"), [(name, HEADS[number % 2]) for number, name in enumerate(METHODS)]
)
def test_two_classes_have_one_decision_value(name: str, head: str) -> None:
    data = Data(classes=2)
    estimator = data.fit(make(name, head=head))
    decided = estimator.decision_function(data.new)
    assert decided.shape == (30,)
    np.testing.assert_array_equal(estimator.predict(data.new), (decided > 0).astype(int))
    assert estimator.score(data.new, np.arange(30) % 2) > 0.8


CLASS_NAMES = [
    np.array(["ant", "bee", "cat"]),
    np.array(["ant", "bee", "cat"], object),
    np.array([10, 200, 3000], np.int16),
    np.array([0.0, 5.0, 7.0]),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "names"), [(name, CLASS_NAMES[number % 4]) for number, name in enumerate(METHODS)]
)
def test_names_of_classes_change_nothing_but_the_names(name: str, names: np.ndarray) -> None:
    expected = DATA.fit(make(name)).predict(DATA.new)
    for missing in (-1, None):
        yt = np.array([missing if code < 0 else names[code] for code in DATA.yt], object)
        found = make(name).fit(DATA.Xs, names[DATA.ys], DATA.Xt, yt)
        np.testing.assert_array_equal(found.predict(DATA.new), names[expected])
        assert found.predict(DATA.new).dtype == found.classes_.dtype == names.dtype


@pytest.mark.parametrize(("name", "head"), PAIRS)
def test_the_same_twice_and_after_a_pickle(name: str, head: str) -> None:
    first = DATA.fit(make(name, head=head))
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(answers(again, DATA.new), answers(first, DATA.new))
    # Fitted to other rows before, it has kept nothing of them.
    used = Data(n_s=30, n_t=24, d=8, classes=2).fit(make(name, head=head))
    np.testing.assert_array_equal(answers(DATA.fit(used), DATA.new), answers(first, DATA.new))


@pytest.mark.parametrize("name", METHODS)
def test_a_row_is_answered_the_same_beside_any_others(name: str) -> None:
    estimator = DATA.fit(make(name))
    expected = estimator.decision_function(DATA.new)
    alone = np.concatenate([estimator.decision_function(row[None]) for row in DATA.new])
    np.testing.assert_allclose(alone, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "head"), PAIRS)
def test_the_order_of_the_samples_does_not_matter(name: str, head: str) -> None:
    expected = answers(DATA.fit(make(name, head=head)), DATA.new)
    random = np.random.default_rng(1)
    s, t = random.permutation(len(DATA.Xs)), random.permutation(len(DATA.Xt))
    found = make(name, head=head).fit(DATA.Xs[s], DATA.ys[s], DATA.Xt[t], DATA.yt[t])
    close(answers(found, DATA.new), expected)


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, ("none", "unit-norm")[number % 2]) for number, name in enumerate(METHODS)],
)
def test_a_rotation_of_the_feature_space_does_not_matter(name: str, scale: str) -> None:
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(20, 20)))[0]
    expected = answers(DATA.fit(make(name, scale=scale)), DATA.new)
    found = make(name, scale=scale).fit(DATA.Xs @ turn, DATA.ys, DATA.Xt @ turn, DATA.yt)
    close(answers(found, DATA.new @ turn), expected)


@pytest.mark.parametrize("name", METHODS)
def test_every_row_twice_with_half_the_C_is_the_same(name: str) -> None:
    expected = DATA.fit(make(name, C=1.0)).predict(DATA.new)
    two = [np.concatenate([part, part]) for part in (DATA.Xs, DATA.ys, DATA.Xt, DATA.yt)]
    found = make(name, C=0.5).fit(*two).predict(DATA.new)
    assert (found == expected).mean() >= 0.9


@pytest.mark.parametrize("name", METHODS)
def test_single_precision_does(name: str) -> None:
    expected = answers(DATA.fit(make(name)), DATA.new)
    Xs, Xt, new = (part.astype(np.float32) for part in (DATA.Xs, DATA.Xt, DATA.new))
    for part in (Xs, Xt, new):
        part.flags.writeable = False  # as a mapped file is
    found = make(name).fit(Xs, DATA.ys, Xt, DATA.yt)
    close(answers(found, new), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_lists_and_other_layouts_are_taken(name: str) -> None:
    expected = answers(DATA.fit(make(name)), DATA.new)
    lists = make(name).fit(*(p.tolist() for p in (DATA.Xs, DATA.ys, DATA.Xt, DATA.yt)))
    close(answers(lists, DATA.new.tolist()), expected)
    columns = make(name).fit(
        np.asfortranarray(DATA.Xs), DATA.ys, np.asfortranarray(DATA.Xt), DATA.yt
    )
    close(answers(columns, np.asfortranarray(DATA.new)), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::decaf.heads.CSearchWarning")
@pytest.mark.parametrize("name", SUPERVISED)
def test_rows_without_a_label_do_not_matter_to_the_supervised(name: str) -> None:
    moved = np.where(DATA.yt[:, None] < 0, 1e3 * DATA.Xt[::-1], DATA.Xt)
    found = [make(name, C="cv").fit(DATA.Xs, DATA.ys, rows, DATA.yt) for rows in (DATA.Xt, moved)]
    found.append(make(name, C="cv").fit(DATA.Xs, DATA.ys, DATA.Xt[:12], DATA.yt[:12]))
    for other in found[1:]:
        assert other.C_ == found[0].C_
        np.testing.assert_array_equal(answers(other, DATA.new), answers(found[0], DATA.new))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::decaf.heads.CSearchWarning")
@pytest.mark.parametrize("name", UNSUPERVISED)
def test_the_unsupervised_need_no_target_label(name: str) -> None:
    plain = make(name, C="cv").fit(DATA.Xs, DATA.ys, DATA.Xt)
    marked = make(name, C="cv").fit(DATA.Xs, DATA.ys, DATA.Xt, [None] * len(DATA.Xt))
    assert plain.score(DATA.new, np.arange(30) % 3) > 0.8
    np.testing.assert_array_equal(answers(marked, DATA.new), answers(plain, DATA.new))
    assert plain.C_ in plain.head_.search_.Cs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::decaf.heads.CSearchWarning")
@pytest.mark.parametrize("name", METHODS)
def test_C_is_chosen_on_rows_with_a_label_alone(name: str) -> None:
    found = DATA.fit(make(name, head="logreg", C="cv"))
    labelled = {"SourceOnly": 45, "TargetOnly": 12}.get(name, 45 + 12)
    held = np.concatenate([rows for _, rows in found.head_.search_.folds])
    assert sorted(held.tolist()) == list(range(labelled))
    assert found.head_.search_.chosen == found.C_


# TargetOnly refuses it: test_baselines.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "TargetOnly"])
def test_a_class_without_a_labelled_target_row_is_still_known(name: str) -> None:
    yt = np.where(DATA.yt == 2, -1, DATA.yt)
    found = make(name).fit(DATA.Xs, DATA.ys, DATA.Xt, yt)
    assert found.decision_function(DATA.new).shape == (30, 3)


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, ("none", "unit-norm", "standard")[number % 3]) for number, name in enumerate(METHODS)],
)
def test_constant_and_collinear_features_do_no_harm(name: str, scale: str) -> None:
    def widened(X: np.ndarray) -> np.ndarray:
        return np.hstack([X, np.full((len(X), 2), 0.3), X[:, :3], X[:, :2] + X[:, 2:4]])

    found = make(name, scale=scale).fit(widened(DATA.Xs), DATA.ys, widened(DATA.Xt), DATA.yt)
    assert found.score(widened(DATA.new), np.arange(30) % 3) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_more_dimensions_than_rows_and_the_reverse(name: str) -> None:
    for data in (Data(d=300), Data(n_s=120, n_t=90, d=6)):
        found = data.fit(make(name))
        assert found.score(data.new, np.arange(30) % 3) > 0.7


@pytest.mark.parametrize("name", METHODS)
def test_wrong_settings_are_named_together(name: str) -> None:
    with pytest.raises(SettingError) as caught:
        DATA.fit(make(name, head="tree", C=-1.0, scale="log"))
    for part in ("`head` must be", "`C` must be a number above 0", "`scale` must be one of"):
        assert part in str(caught.value)
    for C in ("best", True, np.nan, None, [1.0]):
        with pytest.raises(SettingError, match="`C` must be a number above 0, or 'cv', got"):
            DATA.fit(make(name, C=C))
    with pytest.raises(SettingError, match="`domain` must be one of source, target, got 'both'"):
        DATA.fit(make(name)).transform(DATA.new, "both")


@pytest.mark.parametrize("name", [name for name in METHODS if name != "SourceOnly"])
def test_bad_target_domains_are_named(name: str) -> None:
    bad = DATA.Xt.copy()
    bad[[3, 7]] = np.nan
    for Xt, yt, message in (
        (bad, DATA.yt, r"target domain contains NaN or infinity in 2 of 36 rows \(3, 7\)"),
        (DATA.Xt[:, :5], DATA.yt, "source domain has 20 features, the target domain 5"),
        (DATA.Xt[:1], DATA.yt[:1], f"the target domain has only 1 sample .*{name} needs"),
        (DATA.Xt, DATA.yt[:5], "target domain has 36 rows, but `yt` has 5 labels"),
        (DATA.Xt, DATA.yt + 5, "target domain has classes that the source domain lacks: 4, 5, 6"),
        (None, None, f"{name} learns from the target domain too"),
    ):
        with pytest.raises(InputError, match=message):
            make(name).fit(DATA.Xs, DATA.ys, Xt, yt)


@pytest.mark.parametrize("name", METHODS)
def test_bad_source_domains_are_named(name: str) -> None:
    bad = DATA.Xs.copy()
    bad[5, 0] = np.inf
    for Xs, ys, message in (
        (bad, DATA.ys, r"source domain contains NaN or infinity in 1 of 45 rows \(5\)"),
        (DATA.Xs[:1], DATA.ys[:1], "the source domain has only 1 sample"),
        (DATA.Xs, DATA.ys[:5], "source domain has 45 rows, but `ys` has 5 labels"),
        (DATA.Xs, 0 * DATA.ys, "source domain has only one class, 0"),
    ):
        with pytest.raises(InputError, match=message):
            make(name).fit(Xs, ys, DATA.Xt, DATA.yt)


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_supervised_say_that_they_need_labels(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} needs labelled rows of the target domain"):
        make(name).fit(DATA.Xs, DATA.ys, DATA.Xt)


@pytest.mark.parametrize("name", METHODS)
def test_predicting_says_what_is_wrong(name: str) -> None:
    with pytest.raises(NotFittedError):
        make(name).predict(DATA.new)
    estimator = DATA.fit(make(name))
    with pytest.raises(InputError, match=f"X has 7 features, but {name} is expecting 20"):
        estimator.predict(DATA.new[:, :7])
    with pytest.raises(InputError, match="target domain contains NaN or infinity in 1 of 1 row"):
        estimator.predict(np.full((1, 20), np.nan))


@pytest.mark.parametrize("name", ["GFK", "SubspaceAlignment", "TCA", "JDA", "DLID"])
def test_a_dim_above_the_rank_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r"`dim` is 500, .* domain span only \d+ dim"):
        DATA.fit(make(name, dim=500))
    for dim in (0, "all", 2.5, True):
        with pytest.raises(SettingError, match="`dim` must be"):
            DATA.fit(make(name, dim=dim))
