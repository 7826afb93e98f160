"""Settings, which are frozen dataclasses, as arguments: a flag for each field."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

__all__ = ["add_settings", "setting_values"]


def add_settings(group: Any, settings: type, leave_out: Sequence[str] = ()) -> None:
    """Add a flag for each field, with what the class's docstring says of it.

    Parameters
    ----------
    group : argparse.ArgumentParser or argument group
    settings : type
        A dataclass with a numpydoc docstring.
    leave_out : sequence of str
        Fields without a flag.
    """
    told = _told(settings.__doc__ or "")
    for name, kind in get_type_hints(settings).items():
        if name in leave_out:
            continue
        flag = f"--{name.replace('_', '-')}"
        parts = [part for part in get_args(kind) if part is not type(None)] or [kind]
        literal = next((p for p in [kind, *parts] if get_origin(p) is Literal), None)
        about = told.get(name, "").replace("%", "%%")
        if literal is not None:
            group.add_argument(flag, choices=get_args(literal), help=about)
        elif get_origin(kind) is tuple:
            group.add_argument(flag, nargs=2, type=float, metavar=("MIN", "MAX"), help=about)
        elif bool in parts:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=about)
        elif str in parts:
            group.add_argument(flag, metavar="NAME", help=about)
        else:
            number = float if float in parts else int
            group.add_argument(
                flag, type=number, metavar="X" if number is float else "N", help=about
            )


def setting_values(
    args: argparse.Namespace, settings: type, leave_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the values of the flags; None where one was not given.

    Parameters
    ----------
    args : argparse.Namespace
    settings, leave_out
        As they were for `add_settings`.
    """
    names = [name for name in get_type_hints(settings) if name not in leave_out]
    values = {name: getattr(args, name) for name in names}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _told(docstring: str) -> dict[str, str]:
    """Find what a numpydoc says about each parameter, as one line."""
    told: dict[str, list[str]] = {}
    name = ""
    for line in docstring.split("Parameters")[-1].split("Raises")[0].splitlines()[2:]:
        if line.startswith("    ") and not line.startswith("     ") and " : " in line:
            name = line.split(" : ")[0].strip()
            told[name] = []
        elif name and line.strip():
            told[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in told.items()}
