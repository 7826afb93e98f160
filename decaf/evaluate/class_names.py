"""The match of a network's units and a data set's classes, by the names of the classes.

The units of two networks, and the labels of a data set, may be numbered differently and may be of
different sets of classes. Numbers say nothing; WordNet ids and names do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, WeightsError
from decaf.images.listing.names import some_of
from decaf.runtime.settings import one_of, refuse

__all__ = ["MATCHES", "Alignment", "ClassList", "MatchSettings", "align", "class_list"]

MATCHES = ("identity", "order")


@dataclass(frozen=True, eq=False)
class MatchSettings:
    """The classes of a data set, and the way they are matched with those of networks.

    Parameters
    ----------
    class_ids, class_names : sequence of str, optional
        Classes that integer labels number, where the data does not tell.
    match : {"identity", "order"}
        ``"order"`` takes the classes of the data, sorted, for the units of each network in turn:
        for weights that do not say what their classes are.
    ignore_unknown : bool
        Leave out images of classes that a network does not know, instead of refusing them.

    Raises
    ------
    SettingError
        For another `match`.
    """

    class_ids: Sequence[str] | None = None
    class_names: Sequence[str] | None = None
    match: str = "identity"
    ignore_unknown: bool = False

    def __post_init__(self) -> None:
        refuse(one_of("match", self.match, MATCHES))


@dataclass(frozen=True)
class ClassList:
    """The classes of a network or a data set, in the order of their numbers.

    Attributes
    ----------
    owner : str
        Name of what has them, for messages.
    count : int
    ids : tuple of str
        WordNet ids or names of folders; empty where they are not known.
    names : tuple of str
        Their names for people; empty where that is not known.
    are_units : bool
        For a data set without ids: whether their numbers are said to be those of the
        networks' units.
    """

    owner: str
    count: int
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    are_units: bool = False


@dataclass(frozen=True)
class Alignment:
    """The match of the classes of networks and of a data set.

    Attributes
    ----------
    classes : tuple of str
        All classes that any of the networks knows, by id or name: those of the first network in
        its order, then what others add.
    names : tuple of str
        Names of these for people, in the words of the data set, or else of the first network that
        has any; the class itself where nobody has.
    units : tuple of arrays of int64
        For each network the place in `classes` of each of its units.
    labels : array of int64, shape (D,)
        The place in `classes` of each class of the data set; -1 where a network does not know it.
    unknown : tuple of str
        The data set's classes that are -1, by id.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    units: tuple[npt.NDArray[np.int64], ...]
    labels: npt.NDArray[np.int64]
    unknown: tuple[str, ...]


def class_list(
    owner: str, count: int, class_names: Sequence[str], provenance: Mapping[str, Any]
) -> ClassList:
    """Return the classes of a network, whose ids are in its provenance under ``wnids``.

    Parameters
    ----------
    owner : str
        Name of the network, for messages.
    count : int
        Number of its classes.
    class_names : sequence of str
    provenance : mapping of str to object

    Raises
    ------
    WeightsError
        If there are ids, but not one text for each unit.
    """
    wnids = provenance.get("wnids") or ()
    if wnids and not (
        isinstance(wnids, (list, tuple))
        and len(wnids) == count
        and all(isinstance(each, str) for each in wnids)
    ):
        raise WeightsError(f"{owner}: its wnids are not {count} texts, one for each class")
    return ClassList(owner, count, tuple(wnids), tuple(class_names))


def align(networks: Sequence[ClassList], data: ClassList, *, match: str = "identity") -> Alignment:
    """Find out which classes are the same.

    With ``"identity"``, a class of the data is a unit of a network by the first of these that fits
    any of them: id and id, id and name, name and name. A name that two units of a network share
    (ImageNet has two of ``crane``) names neither. With ``"order"``, class i of the data is unit i,
    where there are as many: ImageFolder's numbering, which torchvision trains by.

    Parameters
    ----------
    networks : sequence of ClassList
        At least one.
    data : ClassList
        Without `ids`, its labels have to be units, or are taken for them with ``"order"``.
    match : {"identity", "order"}

    Raises
    ------
    InputError
        If nothing tells which classes are the same, or the networks contradict each other.
    """
    if match == "order":
        return _by_order(networks, data)
    keys = _keys(networks)
    number: dict[tuple[str, int], int] = {}
    units = tuple(
        np.array([number.setdefault(key, len(number)) for key in network_keys], np.int64)
        for network_keys in keys
    )
    classes = tuple(name for name, _ in number)
    if not data.ids:
        labels = _numbered(networks, units, data)
        return Alignment(classes, _names(classes, networks, units, data, labels), units, labels, ())
    places = [
        [-1 if unit is None else int(numbers[unit]) for unit in _matched(network, data)]
        for network, numbers in zip(networks, units, strict=True)
    ]
    labels = np.array(places[0], np.int64)
    for network, others in zip(networks[1:], places[1:], strict=True):
        for label, (first, other) in enumerate(zip(places[0], others, strict=True)):
            if first != other and first >= 0 and other >= 0:
                raise InputError(
                    f"class {data.ids[label]!r} of {data.owner} is {classes[first]!r} of "
                    f"{networks[0].owner} and {classes[other]!r} of {network.owner}; their "
                    "predictions cannot be averaged"
                )
        labels[np.array(others) < 0] = -1
    unknown = tuple(name for name, label in zip(data.ids, labels, strict=True) if label < 0)
    if len(unknown) == len(data.ids):
        raise InputError(_nothing_fits(networks, places, data))
    names = _names(classes, networks, units, data, labels)
    return Alignment(classes, names, units, labels, unknown)


def _by_order(networks: Sequence[ClassList], data: ClassList) -> Alignment:
    # Of labels without ids the greatest alone is known.
    most = data if data.ids or data.count > networks[0].count else networks[0]
    for network in networks:
        if network.count != most.count:
            raise InputError(
                f"{network.owner}: has {network.count} classes, {most.owner} has {most.count}; "
                "classes can be matched by their order only where there are as many"
            )
    order = np.arange(most.count, dtype=np.int64)
    classes = data.ids or tuple(str(number) for number in range(most.count))
    units, labels = tuple(order for _ in networks), order[: data.count]
    return Alignment(classes, _names(classes, networks, units, data, labels), units, labels, ())


def _names(
    classes: Sequence[str],
    networks: Sequence[ClassList],
    units: Sequence[npt.NDArray[np.int64]],
    data: ClassList,
    labels: npt.NDArray[np.int64],
) -> tuple[str, ...]:
    name_of: dict[int, str] = {}
    for each, places in ((data, labels), *zip(networks, units, strict=True)):
        for number, name in enumerate(each.names):
            # A data set without names for people gives its ids.
            if not each.ids or each.ids[number] != name:
                name_of.setdefault(int(places[number]), name)
    return tuple(name_of.get(place, name) for place, name in enumerate(classes))


def _keys(networks: Sequence[ClassList]) -> list[list[tuple[str, int]]]:
    """Return for each unit of each network a key that is the same for the same class.

    Two units of one network are never the same class, even if they share a name: the second of
    them is told apart by a number.
    """
    every: list[Sequence[str]]
    if all(network.ids for network in networks):
        every = [network.ids for network in networks]
    elif all(network.names for network in networks):
        every = [network.names for network in networks]
    elif len({(network.ids, network.names, network.count) for network in networks}) == 1:
        every = [[str(unit) for unit in range(network.count)] for network in networks]
    else:
        lacking = next(network.owner for network in networks if not network.names)
        raise InputError(
            f"{lacking}: does not say what its classes are, so its predictions cannot be averaged "
            "with those of other networks (`match='order'` takes the classes in sorted order)"
        )
    keys = []
    for names in every:
        seen: Counter[str] = Counter()
        network_keys = []
        for name in names:
            network_keys.append((name, seen[name]))
            seen[name] += 1
        keys.append(network_keys)
    return keys


def _matched(network: ClassList, data: ClassList) -> list[int | None]:
    """Find the unit of each class of the data, or None."""
    attempts = (
        (data.ids, network.ids),
        (data.ids, network.names),
        (data.names, network.names),
    )
    for names, unit_names in attempts:
        unit_of = _unique(unit_names)
        # A name that two classes of the data share is no more telling than one of two units.
        times = Counter(names)
        units = [unit_of.get(name) if times[name] == 1 else None for name in names]
        if any(unit is not None for unit in units):
            return units
    return [None] * data.count


def _unique(names: Sequence[str]) -> dict[str, int]:
    count = Counter(names)
    return {name: unit for unit, name in enumerate(names) if count[name] == 1}


def _numbered(
    networks: Sequence[ClassList], units: Sequence[npt.NDArray[np.int64]], data: ClassList
) -> npt.NDArray[np.int64]:
    """Take the data's labels for numbers of units, if all networks number them alike."""
    if not data.are_units:
        raise InputError(
            f"{data.owner}: its labels are numbers, and nothing tells which classes they number; "
            "give `class_ids`, or `match='order'` where they number the units of the networks"
        )
    if any(not np.array_equal(other, units[0]) for other in units[1:]):
        raise InputError(
            f"{data.owner}: its labels are numbers, and the networks number their classes "
            "differently; give labels that are ids or names of classes"
        )
    if data.count > networks[0].count:
        raise InputError(
            f"{data.owner}: has the label {data.count - 1}, the classes of {networks[0].owner} "
            f"are 0 to {networks[0].count - 1}"
        )
    return units[0][: data.count]


def _nothing_fits(
    networks: Sequence[ClassList], places: Sequence[Sequence[int]], data: ClassList
) -> str:
    which = next((n for n, units in zip(networks, places, strict=True) if max(units) < 0), None)
    if which is None:
        owners = ", ".join(network.owner for network in networks)
        return f"none of the {data.count} classes of {data.owner} is known to all of {owners}"
    hint = ""
    if which.count == data.count:
        hint = "; `match='order'` takes the classes in sorted order"
    if not which.ids and not which.names:
        return f"{which.owner}: does not say what its {which.count} classes are{hint}"
    its_classes = "; ".join(
        f"its {what} are {some_of(map(repr, names))}"
        for what, names in (("class ids", which.ids), ("class names", which.names))
        if names
    )
    return (
        f"{which.owner}: knows none of the {data.count} classes of {data.owner} "
        f"({some_of(map(repr, data.ids))}); {its_classes}{hint}"
    )
