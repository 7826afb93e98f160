"""The command line as a report gives it: what makes the results again, without local folders."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

__all__ = ["file_name", "folder", "shown_command"]

Shown = Callable[[str], str]


def shown_command(
    options: Mapping[str, Shown | None],
    *,
    several: Collection[str] = (),
    positional: Shown = str,
) -> str:
    """Give the command line of this program.

    Parameters
    ----------
    options : mapping of option to callable, or None
        How a value is shown, of the options that are not shown as they are; an option of None is
        left out, with its value.
    several : collection of str
        Those of them that take all values up to the next option.
    positional : callable, optional
        How a word is shown that is neither an option of this list nor its value.
    """
    words: list[str] = []
    rest = sys.argv[1:]
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if option not in options and not word.startswith("--") and word[:2] in options:
            option, equals, value = word[:2], "=", word[2:]  # -wVALUE
        if option not in options:
            words.append(word if word.startswith("-") else positional(word))
            continue
        values = [value if equals else rest.pop(0)]
        while option in several and rest and not rest[0].startswith("-"):
            values.append(rest.pop(0))
        shown = options[option]
        if shown is not None:
            words += [option, *map(shown, values)]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def folder(_value: str) -> str:
    """Show a folder as DIR."""
    return "DIR"


def file_name(value: str) -> str:
    """Show a path by its last part."""
    return Path(value).name
