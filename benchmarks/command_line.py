"""The command line as a report gives it: what makes the results again, without local folders.

A report of all that a script measures by default has the script's own name, whatever the weights
and the baselines, and lies in `RESULTS`. Every other run has a name and a title that say what was
asked for, so that nobody takes it for the full one; it never takes the full one's place, and lies
in `OTHER_RUNS` where no other folder is named. A run that is stopped has no report.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "OTHER_RUNS",
    "RESULTS",
    "apart_from_full",
    "file_name",
    "folder",
    "named_file",
    "report_file",
    "report_folder",
    "say_full_run",
    "shown_command",
    "told_apart",
]

RESULTS = Path(__file__).parent / "results"
OTHER_RUNS = Path(__file__).parent / "other_runs"

Shown = Callable[[str], str]

# What a run has of its own without being another one: where things lie, and how fast it is.
_ALIKE = ("data", "out", "cache", "recompute", "device", "workers")
_LONGEST = 40


def shown_command(
    options: Mapping[str, Shown | None],
    *,
    several: Collection[str] = (),
    positional: Shown = str,
) -> str:
    """Return the command line of this program.

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
    """Show a folder as DIR.

    Parameters
    ----------
    _value : str
        A folder.
    """
    return "DIR"


def file_name(value: str) -> str:
    """Show a path by its last part.

    Parameters
    ----------
    value : str
        A path.
    """
    return Path(value).name


def named_file(value: str) -> str:
    """Show a path by its last part, behind its name where it has one.

    Parameters
    ----------
    value : str
        A path, or ``NAME=PATH``.

    Examples
    --------
    >>> named_file("clip=/home/ann/clip.npy"), named_file("/home/ann/a=b/clip.npy")
    ('clip=clip.npy', 'clip.npy')
    """
    name, equals, path = value.partition("=")
    return file_name(value) if "/" in name else f"{name}{equals}{file_name(path)}"


def apart_from_full(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    *,
    less: Collection[str],
    alike: Collection[str] = (),
    without: Collection[str] = (),
) -> tuple[str, str]:
    """Return what sets a run apart from the full one: the ends of its report's name and title.

    Parameters
    ----------
    parser : ArgumentParser
    args : Namespace
    less : collection of str
        Arguments that leave out a part of what is measured, where they are not at their default.
    alike : collection of str
        Arguments that make no other run, besides the folders and the machine.
    without : collection of str
        Arguments that the full run has, and this one has not.

    Returns
    -------
    name, title : str
        Both empty for the full run.
    """
    told: dict[str, str] = {}
    for argument, value in vars(args).items():
        if argument not in (*_ALIKE, *alike) and value != parser.get_default(argument):
            values = [] if value is True else value if isinstance(value, list) else [value]
            option = f"--{argument.replace('_', '-')}"
            told[argument] = " ".join([option, *(named_file(str(each)) for each in values)])
    if getattr(args, "quick", False):
        return "-quick", f" (a quick, partial run: {' '.join(told.values())})"
    partial = without or any(
        _is_less(argument, args, parser) for argument in told if argument in less
    )
    missing = [f"without --{argument.replace('_', '-')}" for argument in without]
    return told_apart([*missing, *told.values()], partial=bool(partial))


def report_folder(out: Path | None, apart: str) -> Path:
    """Return the folder of a report.

    Parameters
    ----------
    out : Path or None
        The one that was asked for.
    apart : str
        End of the report's name or title, empty for the full run.
    """
    return out or (OTHER_RUNS if apart else RESULTS)


@dataclass(frozen=True)
class _FullRun:
    """What makes a run the full one, for `report_file`."""

    name: str
    parser: argparse.ArgumentParser
    needs: Collection[str]
    alike: Collection[str]


def say_full_run(
    parser: argparse.ArgumentParser,
    name: str,
    *,
    needs: Collection[str] = (),
    alike: Collection[str] = (),
) -> None:
    """Say which run of a script is the full one, so that `report_file` can tell others from it.

    Parameters
    ----------
    parser : ArgumentParser
        With all arguments at their defaults it is that one.
    name : str
        Name of the full run's report, without an ending.
    needs : collection of str
        Arguments that the full run has all the same.
    alike : collection of str
        Arguments that make no other run, besides the folders, the machine and where images are.
    """
    parser.set_defaults(full_run=_FullRun(name, parser, needs, alike))


def report_file(file: Path | None, args: argparse.Namespace) -> Path | None:
    """Return the file of a report: that of the full run, for the full run alone.

    Parameters
    ----------
    file : Path or None
        The one that was asked for; None for none.
    args : Namespace
        Of a parser for which `say_full_run` was called.
    """
    full: _FullRun = args.full_run
    if file is None or file.stem != full.name:
        return file
    places = [action.dest for action in full.parser._actions if not action.option_strings]
    missing = [name for name in full.needs if getattr(args, name) == full.parser.get_default(name)]
    end, _ = apart_from_full(
        full.parser,
        args,
        less=[name for name, value in vars(args).items() if value is not True],
        alike={"json", "full_run", *places, *full.needs, *full.alike},
        without=missing,
    )
    return file.with_stem(f"{full.name}{end}")


def _is_less(argument: str, args: argparse.Namespace, parser: argparse.ArgumentParser) -> bool:
    value, usual = getattr(args, argument, None), parser.get_default(argument)
    if _count(value) is not None and _count(usual) is not None:
        return bool(_count(value) < _count(usual))
    return bool(value != usual)


def _count(value: Any) -> Any:
    return int(value) if str(value).isdecimal() else None


def told_apart(words: list[str], *, partial: bool) -> tuple[str, str]:
    """Return the ends of the name and title of a report, from what was asked for.

    Parameters
    ----------
    words : list of str
        Arguments of the script.
    partial : bool
        Whether a part is left out of what is measured.
    """
    if not words:
        return "", ""
    text = " ".join(words)
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
    if len(slug) > _LONGEST:
        slug = f"{slug[: _LONGEST - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    what = "partial" if partial else "with"
    return f"-{what}-{slug}", f" ({'a partial run: ' if partial else 'with '}{text})"
