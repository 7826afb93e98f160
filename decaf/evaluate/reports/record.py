"""Frozen dataclasses as plain dictionaries and lists, and back, by their annotations."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from decaf.errors import InputError, SettingError

__all__ = ["from_plain", "to_plain"]

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Give dictionaries, lists, text and numbers for a dataclass and all in it.

    A dataclass inside another one says which it is under ``kind``, so that it can be read back
    from a list of several kinds.

    Parameters
    ----------
    value : dataclass, mapping, sequence, str, number or None

    Returns
    -------
    dict, list, str, int, float, bool or None
    """
    if dataclasses.is_dataclass(value):
        return {
            field.name: _part(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return _part(value)


def _part(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {"kind": type(value).__name__, **to_plain(value)}
    if isinstance(value, Mapping):
        return {str(key): _part(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_part(part) for part in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise SettingError(f"report: cannot record {type(value).__name__} {value!r}")


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
    hints = typing.get_type_hints(kind)
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
    if isinstance(plain, Mapping):
        for hint in hints:
            if dataclasses.is_dataclass(hint) and plain.get("kind") == hint.__name__:
                return hint
    else:
        for hint in hints:
            if isinstance(hint, type) and _fits(hint, plain):
                return hint
    names = " or ".join(hint.__name__ for hint in hints)
    shown = plain.get("kind") if isinstance(plain, Mapping) else plain
    raise InputError(f"{where}: got {_shown(shown)}, expected {names}")


def _fits(hint: type, plain: Any) -> bool:
    if hint is float:
        return isinstance(plain, int | float) and not isinstance(plain, bool)
    if hint is int:
        return isinstance(plain, int) and not isinstance(plain, bool)
    return isinstance(plain, hint)


def _shown(plain: Any) -> str:
    text = repr(plain)
    return text if len(text) <= 60 else f"{text[:57]}…"
