"""Classes are the same if they are called the same, however they are numbered."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import InputError, WeightsError
from decaf.evaluate.class_names import ClassList, align, class_list

NAMES = [f"class {number}" for number in range(8)]


def network(owner: str = "net", ids: object = (), names: object = ()) -> ClassList:
    return ClassList(owner, len(tuple(ids) or tuple(names)), tuple(ids), tuple(names))


@given(orders=st.lists(st.permutations(NAMES), min_size=1, max_size=4), data=st.data())
def test_any_order_and_any_subset(orders: list[list[str]], data: st.DataObject) -> None:
    lists = [order[: data.draw(st.integers(2, 8))] for order in orders]
    asked = sorted(data.draw(st.lists(st.sampled_from(lists[0]), min_size=1, unique=True)))
    networks = [network(f"net {i}", ids=names) for i, names in enumerate(lists)]
    known = [name for name in asked if all(name in names for names in lists)]
    if not known:
        with pytest.raises(InputError, match=r"knows none of|is known to all"):
            align(networks, network("data", ids=asked))
        return
    result = align(networks, network("data", ids=asked))
    assert set(result.classes) == {name for names in lists for name in names}
    assert len(set(result.classes)) == len(result.classes)
    assert result.classes[: len(lists[0])] == tuple(lists[0])
    for names, units in zip(lists, result.units, strict=True):
        assert [result.classes[place] for place in units] == names
    for name, place in zip(asked, result.labels, strict=True):
        assert (result.classes[place] == name) if name in known else (place == -1)
    assert result.unknown == tuple(name for name in asked if name not in known)


def test_ids_are_matched_before_names() -> None:
    net = network(ids=("n1", "n2", "n3"), names=("tench", "hen", "cock"))
    assert align([net], network(ids=("n3", "n1"))).labels.tolist() == [2, 0]
    assert align([net], network(ids=("hen", "tench"))).labels.tolist() == [1, 0]
    named = network(names=("tench", "hen", "cock"))
    data = network(ids=("n2", "n3"), names=("hen", "cock"))
    assert align([named], data).labels.tolist() == [1, 2]


def test_networks_of_which_one_has_names_alone() -> None:
    both = network("both", ids=("n1", "n2"), names=("tench", "hen"))
    named = network("named", names=("hen", "tench"))
    result = align([both, named], network("data", ids=("n1", "n2"), names=("tench", "hen")))
    assert result.classes == ("tench", "hen")
    assert [units.tolist() for units in result.units] == [[0, 1], [1, 0]]
    assert result.labels.tolist() == [0, 1]


def test_a_name_that_two_units_share_names_neither() -> None:
    net = network(names=("crane", "hen", "crane"))
    result = align([net, net], network(ids=("crane", "hen")))
    assert result.labels.tolist() == [-1, 1]
    assert result.unknown == ("crane",)
    # Yet the two are two, in the same places of both networks.
    assert [units.tolist() for units in result.units] == [[0, 1, 2], [0, 1, 2]]


def test_order_matches_classes_where_there_are_as_many() -> None:
    nets = [ClassList("a", 3), network("b", names=("x", "y", "z"))]
    result = align(nets, network("data", ids=("n1", "n2", "n3")), match="order")
    assert result.classes == ("n1", "n2", "n3")
    assert result.labels.tolist() == [0, 1, 2]
    for units in result.units:
        np.testing.assert_array_equal(units, [0, 1, 2])
    with pytest.raises(InputError, match="a: has 3 classes, data has 2; classes can be matched by"):
        align(nets, network("data", ids=("n1", "n2")), match="order")


def test_labels_without_ids_number_the_units() -> None:
    nets = [ClassList("a", 3), ClassList("b", 3)]
    result = align(nets, ClassList("data", 2, are_units=True))
    assert result.labels.tolist() == [0, 1]
    with pytest.raises(InputError, match="has the label 3, the classes of a are 0 to 2"):
        align(nets, ClassList("data", 4, are_units=True))
    other = [network("a", names=("x", "y")), network("b", names=("y", "x"))]
    with pytest.raises(InputError, match="number their classes differently"):
        align(other, ClassList("data", 2, are_units=True))


def test_numbers_of_nothing_are_refused() -> None:
    """Label 0 of a data set with classes of its own is not unit 0."""
    nets = [network("a", ids=("n1", "n2", "n3"), names=("x", "y", "z"))]
    with pytest.raises(InputError, match=r"data: its labels are numbers, and nothing tells which"):
        align(nets, ClassList("data", 2))
    result = align(nets, ClassList("data", 2), match="order")
    assert result.labels.tolist() == [0, 1]
    assert (result.classes, result.names) == (("0", "1", "2"), ("x", "y", "z"))
    with pytest.raises(InputError, match="a: has 3 classes, data has 4"):
        align(nets, ClassList("data", 4), match="order")
    with pytest.raises(InputError, match="b: has 4 classes, a has 3; classes can be matched"):
        align([*nets, ClassList("b", 4)], ClassList("data", 2), match="order")


def test_what_people_call_the_answers() -> None:
    nets = [
        network("a", ids=("n1", "n2"), names=("tench", "hen")),
        network("b", ids=("n3", "n1"), names=("cock", "a tench")),
    ]
    asked = network("data", ids=("n1",), names=("Tinca",))
    assert align(nets, asked).classes == ("n1", "n2", "n3")
    assert align(nets, asked).names == ("Tinca", "hen", "cock")
    nameless = network("data", ids=("n1",), names=("n1",))
    assert align(nets, nameless).names == ("tench", "hen", "cock")
    silent = network("c", ids=("n1", "n4"))
    assert align([silent], network("data", ids=("n1",))).names == ("n1", "n4")


@pytest.mark.parametrize(
    ("networks", "data", "message"),
    [
        (
            [network("a", ids=[f"n{i}" for i in range(9)], names=["x"] * 9)],
            network("data", ids=("cat", "dog")),
            "('cat', 'dog'); its class ids are 'n0', 'n1', 'n2', 'n3', 'n4' and 4 more; its class",
        ),
        (
            [network("a", names=("x", "y"))],
            network("data", ids=("cat", "dog")),
            "`match='order'` takes the classes in sorted order",
        ),
        ([ClassList("a", 5)], network("data", ids=("cat",)), "a: does not say what its 5 classes"),
        (
            [network("a", ids=("n1", "n2")), network("b", ids=("n2", "n3"))],
            network("data", ids=("n1", "n3")),
            "none of the 2 classes of data is known to all of a, b",
        ),
        (
            [network("a", names=("cat", "dog")), ClassList("b", 2)],
            network("data", ids=("cat", "dog")),
            "b: does not say what its classes are, so its predictions cannot be averaged",
        ),
        (
            [
                network("a", ids=("n1", "n2"), names=("cat", "dog")),
                network("b", ids=("n2", "n1"), names=("n1", "n2")),
                ClassList("c", 2, (), ("n1", "n2")),
            ],
            network("data", ids=("n1", "n2")),
            "class 'n1' of data is 'cat' of a and 'n2' of b; their predictions cannot be averaged",
        ),
    ],
)
def test_what_cannot_be_matched(networks: list[ClassList], data: ClassList, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        align(networks, data)


def test_the_classes_of_weights() -> None:
    result = class_list("w", 2, ("tench", "hen"), {"wnids": ["n1", "n2"], "source": "training"})
    assert result == ClassList("w", 2, ("n1", "n2"), ("tench", "hen"))
    assert class_list("w", 2, (), {}) == ClassList("w", 2)
    for wrong in (["n1"], ["n1", 2], "n1", {"n1": 0, "n2": 1}):
        with pytest.raises(WeightsError, match="w: its wnids are not 2 texts, one for each class"):
            class_list("w", 2, ("tench", "hen"), {"wnids": wrong})
