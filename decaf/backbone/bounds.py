"""Checks of single fields, collected so that an error names all that is wrong at once.

Each check gives the complaint, or None where there is none. They are strict, because a spec may
come from a stranger's weights file: a bool is no number, and NaN is within no bounds.
"""

from __future__ import annotations

import re

from decaf.errors import SettingError

__all__ = ["check_choice", "check_float", "check_int", "check_name", "refuse"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def check_int(name: str, value: object, low: int, high: int) -> str | None:
    """Check a whole number with ``low <= value <= high``."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return None
    return f"{name} must be a whole number from {low} to {high}, got {repr(value)[:60]}"


def check_float(name: str, value: object, low: float, high: float) -> str | None:
    """Check a finite number with ``low <= value <= high``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return None
    return f"{name} must be a number from {low:g} to {high:g}, got {repr(value)[:60]}"


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str | None:
    """Check a string that is one of `choices`."""
    if isinstance(value, str) and value in choices:
        return None
    return f"{name} must be one of {', '.join(choices)}, got {repr(value)[:60]}"


def check_name(name: str, value: object) -> str | None:
    """Check a short name of letters, digits and ``. _ + -``."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return None
    return f"{name} must be a short name (letters, digits, . _ + -), got {repr(value)[:60]}"


def refuse(what: str, *complaints: str | None) -> None:
    """Raise one error with all complaints about `what`, if there are any.

    Raises
    ------
    SettingError
        With every complaint in one line.
    """
    found = [complaint for complaint in complaints if complaint]
    if found:
        raise SettingError(f"{what}: {'; '.join(found)}")
