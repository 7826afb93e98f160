"""The settings of a call: made once, of objects and of keywords, and passed whole.

Functions with many settings take them as objects (`ComputeSettings`, and those of other rooms), and
the fields of these objects by their own names besides; `settings_from` makes one of both.
"""

from __future__ import annotations

import difflib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints, overload

from decaf.errors import SettingError

__all__ = [
    "ComputeSettings",
    "Part",
    "one_of",
    "refuse",
    "settings_from",
    "whole_number",
    "wrong_types",
]

S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")

# Types in words.
_SPOKEN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    int | None: "a whole number",
    float | None: "a number",
    bool | None: "true or false",
    tuple[float, float]: "two numbers",
}


def one_of(name: str, value: Any, allowed: Sequence[str], *, optional: bool = False) -> list[str]:
    """Say that a value is none of those that there are; an empty list where it is one.

    Parameters
    ----------
    name : str
        The argument.
    value : object
    allowed : sequence of str
    optional : bool
        Whether it may be None.
    """
    if value in allowed or (optional and value is None):
        return []
    return [f"`{name}` {value!r} is not one of {', '.join(allowed)}"]


def whole_number(
    name: str, value: Any, least: int = 0, most: int | None = None, *, optional: bool = False
) -> list[str]:
    """Say that a value is no whole number, or out of its bounds; an empty list where it is right.

    Parameters
    ----------
    name : str
        The argument.
    value : object
    least : int
    most : int, optional
    optional : bool
        Whether it may be None.
    """
    if optional and value is None:
        return []
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and least <= value and (most is None or value <= most):
        return []
    bounds = f"from {least} on" if most is None else f"from {least} to {most}"
    return [f"`{name}` {value!r}: must be a whole number {bounds}"]


def refuse(problems: Sequence[str]) -> None:
    """Tell all that is wrong with settings in one error; do nothing where nothing is.

    Parameters
    ----------
    problems : sequence of str

    Raises
    ------
    SettingError
    """
    if problems:
        raise SettingError("; ".join(problems))


def wrong_types(settings: Any) -> list[str]:
    """Say which fields of a dataclass of settings are not of the type that they declare.

    Parameters
    ----------
    settings : dataclass
    """
    wrong = []
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        choices = _choices(kind)
        if choices:
            if value not in choices:
                listed = ", ".join(str(each) for each in choices if each is not None)
                wrong.append(f"`{name}` must be one of {listed}, got {value!r:.60}")
        elif not _fits(value, kind):
            wrong.append(f"`{name}` must be {_SPOKEN.get(kind, kind)}, got {value!r:.60}")
    return wrong


def _choices(kind: Any) -> tuple[Any, ...]:
    """List the values of a `Literal`, with None where it may be."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    parts = get_args(kind)
    literal = [part for part in parts if get_origin(part) is Literal]
    return (*get_args(literal[0]), None) if literal else ()


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and len(value) == 2 and all(_fits(v, float) for v in value)
    options = get_args(kind) or (kind,)
    if value is None:
        return type(None) in options
    if isinstance(value, bool):
        return bool in options
    if isinstance(value, int):
        return int in options or float in options
    if isinstance(value, float):
        return float in options and value == value and abs(value) != float("inf")
    return type(value) in options


@dataclass(frozen=True, eq=False)
class ComputeSettings:
    """The device and processes of a call, its progress, and its end before time.

    Parameters
    ----------
    device : str
        ``"auto"`` (a GPU for CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or
        ``"mps"`` (Apple's).
    workers : int, optional
        Processes or threads that decode; one a core by default, 0 to decode in this process.
    progress : bool or callable, optional
        True, False, or a function of (images done, images in all); by default a bar on terminals.
    stop : threading.Event, optional
        Set it to end the call early, by `Stopped`, with all finished work kept.

    Raises
    ------
    SettingError
        For `workers` that are no number.
    """

    device: str = "auto"
    workers: int | None = None
    progress: bool | Callable[[int, int], Any] | None = None
    stop: threading.Event | None = None

    def __post_init__(self) -> None:
        refuse(whole_number("workers", self.workers, optional=True))

    @property
    def stopped(self) -> bool:
        """Whether the call has been asked to end."""
        return self.stop is not None and self.stop.is_set()


@dataclass(frozen=True, eq=False)
class Part(Generic[S]):
    """One of the settings objects of a function, as `settings_from` takes it.

    Parameters
    ----------
    name : str
        The function's parameter.
    kind : type
        A frozen dataclass that checks its values.
    given : object of `kind`, optional
        The object that the function was called with.
    without : tuple of str
        Fields that the function has no use for.
    make : callable, optional
        Function that makes the settings of `given` and of a dict of fields, where these do not just
        replace those of `given` or of ``kind()``.
    """

    name: str
    kind: type[S]
    given: S | None
    without: tuple[str, ...] = ()
    make: Callable[[S | None, dict[str, Any]], S] | None = None

    def problems(self, function: str, changes: Mapping[str, Any]) -> list[str]:
        """Say what is wrong with the object itself, and with fields that are given twice.

        Parameters
        ----------
        function : str
        changes : mapping of str to object
            The fields that were given by name.
        """
        kind: Any = self.kind
        if self.given is None:
            return []
        if not isinstance(self.given, kind):
            return [f"`{self.name}` must be {kind.__name__}, got {type(self.given).__name__}"]
        others = [
            field.name
            for field in fields(kind)
            if not _is_default(getattr(self.given, field.name), field.default)
        ]
        return [
            f"{function} has no use for `{name}` of {kind.__name__}: leave it out of `{self.name}`"
            for name in others
            if name in self.without
        ] + [
            f"`{name}` is given by name, and in `{self.name}` besides: give it in one of the two"
            for name in others
            if name in changes
        ]

    def made(self, changes: dict[str, Any]) -> S:
        """Return the settings.

        Parameters
        ----------
        changes : dict of str to object
            The fields that were given by name.
        """
        if self.make is not None:
            return self.make(self.given, changes)
        given: Any = self.given
        settings: S = self.kind(**changes) if given is None else replace(given, **changes)
        return settings


@overload
def settings_from(
    function: Callable[..., Any], named: Mapping[str, Any], a: Part[A], /
) -> tuple[A]: ...


@overload
def settings_from(
    function: Callable[..., Any], named: Mapping[str, Any], a: Part[A], b: Part[B], /
) -> tuple[A, B]: ...


@overload
def settings_from(
    function: Callable[..., Any], named: Mapping[str, Any], a: Part[A], b: Part[B], c: Part[C], /
) -> tuple[A, B, C]: ...


@overload
def settings_from(
    function: Callable[..., Any],
    named: Mapping[str, Any],
    a: Part[A],
    b: Part[B],
    c: Part[C],
    d: Part[D],
    /,
) -> tuple[A, B, C, D]: ...


@overload
def settings_from(
    function: Callable[..., Any],
    named: Mapping[str, Any],
    a: Part[A],
    b: Part[B],
    c: Part[C],
    d: Part[D],
    e: Part[E],
    /,
) -> tuple[A, B, C, D, E]: ...


def settings_from(
    function: Callable[..., Any], named: Mapping[str, Any], /, *parts: Part[Any]
) -> tuple[Any, ...]:
    """Make the settings of a call, of the objects and the single fields that it was given.

    Parameters
    ----------
    function : callable
        The function that was called; errors name it, and propose its parameters.
    named : mapping of str to object
        Fields of the objects by their names: the function's ``**named``.
    *parts : Part
        The objects that the function takes.

    Returns
    -------
    tuple
        The settings, one for each of `parts`.

    Raises
    ------
    SettingError
        For names that are not known, fields that are given twice or are not for this function, and
        values that cannot be used: all of them in one message.
    """
    shown = function.__name__
    owners = {
        field.name: part
        for part in parts
        for field in fields(part.kind)
        if field.name not in part.without
    }
    known = [*owners, *inspect.signature(function).parameters]
    wrong = [
        f"{shown} has no argument `{name}`{_nearest(name, known)}"
        for name in named
        if name not in owners
    ]
    made = []
    for part in parts:
        changes = {name: value for name, value in named.items() if owners.get(name) is part}
        problems = part.problems(shown, changes)
        if not problems:
            try:
                made.append(part.made(changes))
            except SettingError as error:
                problems = [str(error)]
        wrong += problems
    refuse(wrong)
    return tuple(made)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _is_default(value: Any, default: Any) -> bool:
    """Tell whether a field was left as it is; a value may be an array, which == compares piecewise.

    A field without a default was given.
    """
    if default is MISSING:
        return False
    return value is default or (type(value) is type(default) and bool(value == default))
