"""Frozen dataclasses of plain values, as dictionaries and lists and back, by their annotations."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from decaf.errors import InputError, SettingError

__all__ = ["Record", "from_plain", "to_plain"]

T = TypeVar("T")


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


def from_plain(kind: type[T], plain: Any, where: str) -> T:
    """Make a dataclass of what `to_plain` gave, checking the type of everything in it.

    Parameters
    ----------
    kind : dataclass
    plain : dict
    where : str
        What it is, for errors.

    Returns
    -------
    kind

    Raises
    ------
    InputError
        If something is missing, unknown or of another type.
    """
    if not isinstance(plain, Mapping):
        raise InputError(f"{where}: expected a table of fields, got {_shown(plain)}")
    hints = _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    given = {key: value for key, value in plain.items() if key != "kind"}
    if unknown := sorted(set(given) - set(fields)):
        raise InputError(f"{where}: has {unknown}, which {kind.__name__} has not")
    needed = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(needed - set(given)):
        raise InputError(f"{where}: lacks {missing}")
    values = {name: _read(hints[name], part, f"{where}.{name}") for name, part in given.items()}
    try:
        return kind(**values)
    except SettingError as error:
        raise InputError(f"{where}: {error}") from None


def _read(hint: Any, plain: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _read(_which(arguments, plain, where), plain, where)
    if origin is tuple and isinstance(plain, list):
        return tuple(_read(arguments[0], part, f"{where}[{i}]") for i, part in enumerate(plain))
    if origin is not None and issubclass(origin, Mapping) and isinstance(plain, dict):
        return {key: _read(arguments[1], part, f"{where}.{key}") for key, part in plain.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, plain, where)
    if isinstance(hint, type) and _fits(hint, plain):
        return float(plain) if hint is float else plain
    raise InputError(f"{where}: got {_shown(plain)}, expected {getattr(hint, '__name__', hint)}")


def _which(hints: tuple[Any, ...], plain: Any, where: str) -> Any:
    """Choose among the members of a union by the kind that is recorded, or by the type."""
    shown = plain
    if isinstance(plain, Mapping):
        kinds: dict[str, Any] = {
            hint.__name__: hint for hint in hints if isinstance(hint, type) and _is_record(hint)
        }
        if len(kinds) == 1:
            return next(iter(kinds.values()))
        shown = plain.get("kind")
        if isinstance(shown, str) and shown in kinds:
            return kinds[shown]
    else:
        for hint in hints:
            if isinstance(hint, type) and _fits(hint, plain):
                return hint
    names = " or ".join(hint.__name__ for hint in hints)
    raise InputError(f"{where}: got {_shown(shown)}, expected {names}")


def _is_record(hint: type) -> bool:
    return dataclasses.is_dataclass(hint)


def _fits(hint: type, plain: Any) -> bool:
    if hint is float:
        return isinstance(plain, int | float) and not isinstance(plain, bool)
    if hint is int:
        return isinstance(plain, int) and not isinstance(plain, bool)
    return isinstance(plain, hint)


def _shown(plain: Any) -> str:
    text = repr(plain)
    return text if len(text) <= 60 else f"{text[:57]}…"
