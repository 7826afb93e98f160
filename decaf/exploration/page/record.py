"""Frozen dataclasses of plain values, as dictionaries and lists and back, by their annotations."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from decaf.errors import SettingError

__all__ = ["Record", "from_plain", "to_plain"]


class Record:
    """Base of frozen dataclasses that hold text, numbers, tuples and each other.

    What is given becomes what is annotated: sequences and arrays tuples, numbers of numpy those of
    Python, and NaN None where there may be no number. An infinity is refused.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _normal(getattr(self, name), hint, name))
        self._check()

    def _check(self) -> None:
        """Raise `SettingError` where the parts do not fit together."""


def _hints(kind: Any) -> dict[str, Any]:
    return _known_hints(kind)


@functools.cache
def _known_hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _normal(value: Any, hint: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return tuple(_normal(each, arguments[0], name) for each in value)
    if origin is Mapping:
        return {key: _normal(each, arguments[1], name) for key, each in value.items()}
    if type(None) in arguments and value is None:
        return None
    kinds = {hint, *arguments}
    if float in kinds:
        if type(None) in kinds and math.isnan(value):
            return None
        if not math.isfinite(value):
            raise SettingError(f"report: {name} is {value}; expected a finite number")
        return float(value)
    return int(value) if int in kinds else value


def to_plain(value: Any) -> dict[str, Any]:
    """Return dictionaries, lists, text and numbers for a dataclass and all in it.

    Where several dataclasses can stand, each says which it is under ``kind``.

    Parameters
    ----------
    value : dataclass

    Returns
    -------
    dict

    Raises
    ------
    SettingError
        If something in it is neither text nor a number, nor made of them.
    """
    hints = _hints(type(value))
    return {
        field.name: _part(getattr(value, field.name), _several(hints[field.name]))
        for field in dataclasses.fields(value)
    }


def _part(value: Any, say_kind: bool) -> Any:
    if dataclasses.is_dataclass(value):
        kind = {"kind": type(value).__name__} if say_kind else {}
        return {**kind, **to_plain(value)}
    if isinstance(value, Mapping):
        return {str(key): _part(part, say_kind) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_part(part, say_kind) for part in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise SettingError(f"report: cannot record {type(value).__name__} {value!r}")


def _several(hint: Any) -> bool:
    """Say whether more than one dataclass can stand somewhere in what is annotated so."""
    members = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return sum(dataclasses.is_dataclass(member) for member in members) > 1
    return any(_several(member) for member in members)


def from_plain(hint: Any, plain: Any) -> Any:
    """Make what is annotated so of what `to_plain` returned.

    Parameters
    ----------
    hint : type, or an annotation of several
    plain : dict, list, text, number or None

    Raises
    ------
    KeyError, TypeError, AttributeError, SettingError
        If it is something else.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and isinstance(plain, Mapping):
        kinds = {
            each.__name__: each
            for each in arguments
            if isinstance(each, type) and dataclasses.is_dataclass(each)
        }
        hint = kinds[plain["kind"]] if len(kinds) > 1 else next(iter(kinds.values()))
    if origin is tuple:
        return tuple(from_plain(arguments[0], part) for part in plain)
    if origin is Mapping:
        return {key: from_plain(arguments[1], part) for key, part in plain.items()}
    if not dataclasses.is_dataclass(hint):
        return plain
    hints = _hints(hint)
    fields = {name: part for name, part in plain.items() if name != "kind"}
    make: Any = hint
    return make(**{name: from_plain(hints[name], part) for name, part in fields.items()})
