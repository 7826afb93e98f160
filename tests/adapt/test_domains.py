"""`check_domains`: labels of all kinds come out as codes, and what is wrong is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.adapt.domains import check_domains, check_rows
from decaf.errors import InputError

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


def checked(
    Xs: Any = X, ys: Any = Y, Xt: Any = X[:3], yt: Any = None, *, needs: str = "rows"
) -> Any:
    return check_domains(Xs, ys, Xt, yt, method="GFK", needs=needs)


def test_gives_codes_and_marks_what_has_no_label() -> None:
    found = checked(ys=["b", "a", "c", "b", "a", "c"], yt=np.array(["c", None, -1], object))
    assert found.classes.tolist() == ["a", "b", "c"]
    assert found.ys.tolist() == [1, 0, 2, 1, 0, 2]
    assert found.yt.tolist() == [2, -1, -1]
    assert found.labelled.tolist() == [True, False, False]
    assert (found.n_classes, found.n_features) == (3, 2)
    assert checked().yt.tolist() == [-1, -1, -1]
    assert checked(ys=list("bacbac"), yt=["c", "", "a"]).yt.tolist() == [2, -1, 0]


@settings(max_examples=50, deadline=None)
@given(
    codes=st.lists(st.integers(0, 3), min_size=2, max_size=20).filter(lambda c: len(set(c)) > 1),
    hidden=st.lists(st.booleans(), min_size=20, max_size=20),
    names=st.sampled_from(
        [[3, 5, 7, 11], ["a", "b", "c", "d"], [0.0, 1.0, 2.0, 5.0], [False, True, 2, 3]]
    ),
    missing=st.sampled_from([-1, None]),
)
def test_any_names_give_the_same_codes(
    codes: list[int], hidden: list[bool], names: list[Any], missing: Any
) -> None:
    rows = np.zeros((len(codes), 1))
    ys = [names[code] for code in codes]
    yt = np.array([missing if h else y for h, y in zip(hidden, ys, strict=False)], object)
    found = check_domains(rows, ys, rows, yt, method="GFK")
    order = {name: code for code, name in enumerate(found.classes.tolist())}
    assert found.ys.tolist() == [order[y] for y in ys]
    expected = [-1 if h else order[y] for h, y in zip(hidden, ys, strict=False)]
    assert found.yt.tolist() == expected


@pytest.mark.parametrize(
    ("given_types", "expected"),
    [("ff", "f"), ("ee", "f"), ("fd", "d"), ("df", "d"), ("id", "d"), ("ii", "d")],
)
def test_the_type_is_that_of_both(given_types: str, expected: str) -> None:
    found = checked(X.astype(given_types[0]), Xt=X[:3].astype(given_types[1]))
    assert (found.Xs.dtype.char, found.Xt.dtype.char) == (expected, expected)


BAD = np.where(np.arange(12).reshape(6, 2) == 5, np.nan, X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"Xs": BAD}, r"`X` of the source domain contains NaN or infinity in 1 of 6 rows \(2\)"),
        ({"Xt": BAD}, r"`X` of the target domain contains NaN or infinity in 1 of 6 rows \(2\)"),
        ({"Xt": np.full((6, 2), -np.inf)}, "target domain .* in 6 of 6 rows"),
        ({"Xt": X[:, :1]}, "source domain has 2 features, the target domain 1"),
        ({"Xs": X[:1], "ys": Y[:1]}, "the source domain has only 1 sample .* GFK needs at least 2"),
        ({"Xt": X[:1]}, "the target domain has only 1 sample"),
        ({"Xt": None}, "GFK learns from the target domain too"),
        ({"ys": None}, "`ys` is None; y should be a 1d array"),
        ({"ys": Y[:5]}, "source domain has 6 rows, but `ys` has 5 labels"),
        ({"ys": np.array([0, 1, None, 0, 1, 2], object)}, "`ys` has rows without a label"),
        ({"ys": np.array([0, 1, np.nan, 0, 1, 2])}, "`ys` contains NaN"),
        ({"ys": np.zeros(6)}, "source domain has only one class, 0.0"),
        ({"yt": [0, 1]}, "target domain has 3 rows, but `yt` has 2 labels"),
        ({"yt": [0, 7, 9]}, "classes that the source domain lacks: 7, 9; the source has 0, 1, 2"),
        ({"yt": ["cat", "0", -1]}, "source domain lacks: 0, cat"),
        ({"ys": ["a", "b", np.nan, "a", "b", "c"]}, "`ys` has rows without a label"),
        ({"ys": ["a", "b", "", "a", "b", "c"]}, "`ys` has rows without a label"),
        ({"ys": Y - 1, "yt": [0, 1, -1]}, "source domain has a class -1, which marks"),
        ({"needs": "labels"}, "needs labelled rows of the target domain: `yt` is not given"),
        ({"needs": "labels", "yt": [-1] * 3}, "`yt` has no label among 3 rows"),
    ],
)
def test_says_what_is_wrong_and_where(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(**arguments)


@pytest.mark.parametrize("rows", [X[0], X[:0], X[None], "rows", [["a", "b"]], X * 1j])
def test_refuses_what_is_no_table_of_numbers(rows: Any) -> None:
    with pytest.raises(InputError, match=r"^`X` of the source domain: [^\n]+$"):
        check_rows(rows, "source")


class Missing:
    """A value like pandas' NA, whose comparisons say neither yes nor no."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("missing", [-1, None, np.nan, float("nan"), np.float32("nan"), Missing()])
def test_a_target_row_without_a_label_is_minus_one_none_or_nan(missing: Any) -> None:
    for ys in (Y, np.array(["cat", "dog", "newt"])[Y]):
        labels = [ys.tolist()[1], missing, ys.tolist()[0]]
        for yt in (labels, np.array(labels, object)):
            found = checked(ys=ys, yt=yt)
            assert found.yt.tolist() == [found.ys[1], -1, found.ys[0]]
            assert found.labelled.tolist() == [True, False, True]


def test_a_target_of_numbers_takes_nan_for_no_label() -> None:
    assert checked(yt=np.array([1.0, np.nan, 0.0])).yt.tolist() == [1, -1, 0]
    with pytest.raises(InputError, match="`yt` has no label among 3 rows"):
        checked(yt=[np.nan, None, -1], needs="labels")


def test_many_bad_rows_are_counted_not_listed() -> None:
    rows = np.zeros((3000, 2))
    rows[10:2990] = np.inf
    with pytest.raises(InputError, match=r"in 2980 of 3000 rows \(10, 11, 12, 13, 14, …\)"):
        check_rows(rows, "target")


def test_a_class_minus_one_needs_another_name_only_where_labels_are_given() -> None:
    assert checked(ys=Y - 1).classes.tolist() == [-1, 0, 1]


def test_a_target_that_is_not_needed_is_not_looked_at() -> None:
    found = checked(Xt="nonsense", yt=7, needs="nothing")
    assert found.Xt.shape == (0, 2)


def test_rows_are_not_copied_without_need() -> None:
    found = checked(X, Xt=X)
    assert found.Xs is X
    assert found.Xt is X
