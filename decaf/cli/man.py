"""``decaf man``: the manual page, made from the parsers of all commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence

from decaf.version import __version__

__all__ = ["HELP", "configure", "manual_page", "run"]

HELP = "print the manual page of decaf and of all its commands"

EPILOG = """\
examples:
  decaf man | man -l -                                        read it
  decaf man > ~/.local/share/man/man1/decaf.1                 install it: man decaf
"""

_EXIT_CODES = (
    ("0", "done"),
    ("1", "done, and some images could not be read"),
    ("1 of verify, duplicates", "some images are gone or have changed, and were not compared"),
    ("1 of status", "some parts are not there yet"),
    ("1 of doctor", "the self-test failed"),
    ("2", "not done; a line on standard error says why"),
    ("2 of verify", "rows differ, or the file is damaged or has been changed"),
    ("130, 143", "stopped by SIGINT or SIGTERM, with all finished work kept"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf man``, of which there are none.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """


def run(args: argparse.Namespace) -> int:
    """Print the page.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        The exit code, 0.
    """
    print(manual_page())
    return 0


def manual_page() -> str:
    """Return the page as source for man, in the macros of man(7)."""
    from decaf.cli.main import build_parser, commands_of

    parser = build_parser()
    lines = [
        f'.TH DECAF 1 "" "decaf {__version__}" "User commands"',
        # Flags are neither divided at the ends of lines, nor stretched.
        ".nh",
        ".ad l",
        ".SH NAME",
        "decaf \\- images to AlexNet features to classifiers",
        ".SH SYNOPSIS",
        ".B decaf",
        "[\\-\\-debug] COMMAND [ARGUMENT ...]",
        ".SH OPTIONS",
        *_arguments(parser._get_optional_actions()),
        ".SH COMMANDS",
    ]
    for name, command in commands_of(parser).items():
        lines += _command(name, command)
    lines.append(".SH EXIT STATUS")
    for code, meaning in _EXIT_CODES:
        lines += [".TP", f".B {code}", _text(meaning)]
    return "\n".join(lines)


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the part of one command: what it does, how it is called, its arguments, examples."""
    yield f".SS decaf {name}"
    yield _text(f"{(parser.description or '')[:1].upper()}{(parser.description or '')[1:]}.")
    yield ".PP"
    yield _text(" ".join(parser.format_usage().split()).removeprefix("usage: "))
    for group in parser._action_groups:
        if not group._group_actions:
            continue
        if group.title not in ("positional arguments", "options"):
            yield ".PP"
            yield f".I {_text(group.title or '')}"
            if group.description:
                yield _text(f"({group.description})")
        yield from _arguments(group._group_actions)
    if parser.epilog:
        yield from (".PP", ".nf", *map(_text, parser.epilog.rstrip().split("\n")), ".fi")


def _arguments(actions: Sequence[argparse.Action]) -> Iterator[str]:
    """Yield a paragraph for each argument."""
    formatter = argparse.HelpFormatter("decaf", width=10_000)
    for action in actions:
        if action.help == argparse.SUPPRESS:
            continue
        yield ".TP"
        yield f".B {_text(formatter._format_action_invocation(action))}"
        yield _text(formatter._expand_help(action) if action.help else "") or "\\&"


def _text(text: str) -> str:
    """Escape what roff would obey (a point or a quote at the start), and what is not ASCII."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(sign if sign.isascii() else f"\\[u{ord(sign):04X}]" for sign in escaped)
    return re.sub(r"^(?=[.'])", r"\\&", escaped)
