"""The command ``decaf``: finds the subcommand, and turns errors into one line and an exit code.

A subcommand is a module of this package with ``HELP`` (one line), perhaps ``EPILOG`` (examples),
``configure(parser)``, which adds its arguments, and ``run(args)``, which calls the library, prints,
and returns the exit code. It names its arguments as the library does, so that messages of the
library can be shown with its flags. Those modules import nothing heavy at their top, so that
``--help`` and mistakes in arguments answer at once.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import io
import os
import re
import select
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn, TextIO

from decaf.cli.arguments import in_flags
from decaf.cli.exit_codes import DONE, NOT_DONE, Ended, ended_by_signals, reason_of
from decaf.cli.terminal import is_chief, log_lines, tell
from decaf.runtime.progress import tell_line
from decaf.runtime.wording import printable
from decaf.version import __version__

__all__ = ["COMMANDS", "build_parser", "commands_of", "main"]

# In the order in which a newcomer meets them.
COMMANDS: dict[str, str] = {
    "fit": "decaf.cli.fit",
    "predict": "decaf.cli.predict",
    "demo": "decaf.cli.demo",
    "extract": "decaf.cli.extract",
    "info": "decaf.cli.info",
    "status": "decaf.cli.status",
    "verify": "decaf.cli.verify",
    "search": "decaf.cli.search",
    "duplicates": "decaf.cli.duplicates",
    "compare": "decaf.cli.compare",
    "export": "decaf.cli.export",
    "explore": "decaf.cli.explore",
    "summary": "decaf.cli.summary",
    "visualize": "decaf.cli.visualize",
    "finetune": "decaf.cli.finetune",
    "pack": "decaf.cli.pack",
    "train": "decaf.cli.train",
    "distil": "decaf.cli.distil",
    "import": "decaf.cli.import_",
    "localise": "decaf.cli.localise",
    "evaluate": "decaf.cli.evaluate",
    "doctor": "decaf.cli.doctor",
    "completion": "decaf.cli.completion",
    "man": "decaf.cli.man",
}


def build_parser(argv: Sequence[str] = ()) -> _Parser:
    """Build the parser of the whole command line.

    Parameters
    ----------
    argv : sequence of str
        The arguments about to be parsed. Where they name a subcommand, only its module is
        imported: the others are known by name alone.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = _Parser(
        prog="decaf",
        description="Images to AlexNet features to classifiers.",
        epilog="decaf COMMAND --help tells more about a command.",
        formatter_class=_CommandList,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"decaf {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of errors (before the command)"
    )
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_Parser
    )
    wanted = next((argument for argument in argv if not argument.startswith("-")), None)
    if wanted is not None and wanted not in COMMANDS:
        close = difflib.get_close_matches(wanted, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        parser.error(f"there is no command {printable(repr(wanted))}{hint}")
    for name, path in COMMANDS.items():
        if wanted in COMMANDS and name != wanted:
            subparsers.add_parser(name)
            continue
        module: ModuleType = importlib.import_module(path)
        command = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(run=module.run, parser=command, news=False)
        module.configure(command)
    return parser


class _CommandList(argparse.HelpFormatter):
    """Help with a command a line: argparse forgets that their names are indented once more."""

    def add_argument(self, action: argparse.Action) -> None:
        """Make room for the names."""
        super().add_argument(action)
        longest = max(map(len, COMMANDS)) + 2 * self._indent_increment
        self._action_max_length = max(self._action_max_length, longest)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the whole command line.
    """
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(subparsers.choices)


_SHORT_FLAG = re.compile(r"-[^-\d.]")


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals name the nearest flag, in a line after its own usage."""

    _given: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self._given = self._given or args or ()  # it is called twice for words amid flags
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Show the usage and what is wrong, and end with 2."""
        self._given, given = (), self._given
        self.print_usage(sys.stderr)
        parts = dict.fromkeys([*filter(None, [message]), *self._unknown_flags(given)])
        self.exit(NOT_DONE, f"{self.prog}: {printable('; '.join(parts))}\n")

    def refuse(self, extra: Sequence[str]) -> NoReturn:
        """Refuse arguments that nothing takes; a word after an unknown flag is the flag's."""
        words = [each for each in extra if not each.startswith("-")]
        flags = self._unknown_flags(self._given or extra)
        self.error("" if flags else f"nothing is to follow, got {' '.join(words or extra)}")

    def _unknown_flags(self, arguments: Sequence[str]) -> list[str]:
        known = [flag for action in self._actions for flag in action.option_strings]
        ended = arguments.index("--") if "--" in arguments else len(arguments)
        unknown = []
        for argument in arguments[:ended]:
            flag = argument.partition("=")[0]
            if flag.startswith("--") and flag not in known:
                close = difflib.get_close_matches(flag, known, n=1, cutoff=0.5)
                hint = f"; did you mean {close[0]}?" if close else ""
                unknown.append(f"no flag {flag}{hint}")
            elif _SHORT_FLAG.match(flag) and flag[:2] not in known:
                unknown.append(f"no flag {flag[:2]} (a name that begins with - goes after --)")
        return unknown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code, of `decaf.cli.exit_codes`.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _open_closed_streams()
    _print_any_name()
    return _flushed(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()  # until that of the command is known
    debug = False

    def worded(text: str) -> str:
        return in_flags(text, parser)

    try:
        with ended_by_signals():
            args = _parsed(arguments)
            if isinstance(args, int):
                return args
            parser, debug = args.parser, args.debug
            with log_lines(worded, news=args.news and not args.quiet):
                code = int(args.run(args))
            return _flushed(code)
    except Ended as stopped:
        if is_chief():
            tell(worded(str(stopped)))
        return stopped.exit_code
    except Exception as error:
        if _is_broken_pipe(error) and _is_unread(sys.stdout):
            return DONE
        reason = reason_of(error, {action.dest for action in parser._actions})
        if reason is None or debug:
            for line in traceback.format_exc().rstrip().split("\n"):
                tell_line(printable(line))
        defect = "a defect of decaf, unless the installation failed; please report it"
        tell(worded(reason or defect))
        return NOT_DONE


def _parsed(arguments: Sequence[str]) -> argparse.Namespace | int:
    """Return the arguments of a command; where there is nothing to run, the exit code."""
    try:
        parser = build_parser(arguments)
        args, extra = parser.parse_known_args(arguments)
        if extra:
            getattr(args, "parser", parser).refuse(extra)
    except SystemExit as stop:  # argparse ends the process; a caller in Python wants the code
        return stop.code if isinstance(stop.code, int) else NOT_DONE
    if args.command is None:
        parser.print_help(sys.stderr)
        return NOT_DONE
    return args


def _flushed(code: int) -> int:
    """Write out what the streams hold; else the interpreter would, and end with a code of its own.

    Parameters
    ----------
    code : int
        The exit code so far.

    Returns
    -------
    int
        The exit code, where the output could not be written `NOT_DONE`.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _abandon(sys.stdout)
        if not _is_broken_pipe(error):
            tell(f"standard output: cannot be written: {error.strerror or error}")
            code = NOT_DONE
    try:
        sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)
    return code


def _open_closed_streams() -> None:
    """Open streams that the caller has closed (``>&-``) on the null device."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (for the process's life)


def _print_any_name() -> None:
    """Let file names that are not text in the terminal's encoding be printed, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_broken_pipe(error: Exception) -> bool:
    """Tell whether an error is that of writing to what nobody reads any more."""
    # Windows has no number of its own for it.
    of_windows = sys.platform == "win32" and getattr(error, "errno", None) == errno.EINVAL
    return isinstance(error, BrokenPipeError) or of_windows


def _is_unread(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe that nobody reads any more."""
    try:
        if not hasattr(select, "poll"):
            stream.write("\n")  # only this tells; the stream may hold nothing that it could flush
            stream.flush()
            return False
        watched = select.poll()
        watched.register(stream.fileno(), 0)
        return bool(watched.poll(0))
    except (OSError, ValueError):  # else it is no stream of the system
        return not hasattr(select, "poll")


def _abandon(stream: TextIO) -> None:
    """Point a stream at nothing, or the interpreter complains when it flushes at exit."""
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())
