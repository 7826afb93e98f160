"""The frame of the command line: exit codes, one clear line for a mistake, odd file names."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import decaf
from decaf.cli import main as frame
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.main import COMMANDS, build_parser, commands_of, main
from decaf.errors import OutputError, Stopped
from decaf.storage import whole_file


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Let ``decaf probe`` do what a test wants."""

    def install(body: Callable[[], int]) -> None:
        module = ModuleType("decaf_probe")
        vars(module).update(
            HELP="probe",
            configure=lambda parser: parser.add_argument("--layout"),
            run=lambda args: body(),
        )
        monkeypatch.setitem(sys.modules, "decaf_probe", module)
        monkeypatch.setitem(frame.COMMANDS, "probe", "decaf_probe")

    return install


def raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^ +{name}\s", output, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"usage: decaf {name}" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"decaf {decaf.__version__}\n"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: decaf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no command 'nothing'"),
        (["finetun"], "there is no command 'finetun'; did you mean finetune?"),
        (["--nothing"], "decaf: no flag --nothing\n"),
        (["info"], "the following arguments are required: FILE"),
        (["info", "f.h5", "--js"], "decaf info: no flag --js; did you mean --json?\n"),
        (["info", "f.h5", "--js"], "usage: decaf info [-h] [--json] FILE\n"),
        (["info", "f.h5", "more"], "decaf info: nothing is to follow, got more\n"),
        (["extract", "a", "--ot", "f.h5"], "no flag --ot; did you mean --out?\n"),
        (
            ["extract", "a", "-o", "f.h5", "--overwrit"],
            "extract: no flag --overwrit; did you mean --ov",
        ),
        (["predict", "a.png", "--topp=3"], "decaf predict: no flag --topp; did you mean --top?\n"),
        (["extract", "a", "-o", "f.h5", "--\x1b[2J"], "no flag --\\x1b[2J\n"),
    ],
)
def test_wrong_arguments_are_told_and_end_in_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_told_with_the_commands_own_usage_and_the_nearest_flag(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each flag of each command, with the last letter doubled; the first behind a word too."""
    known = [
        flag
        for action in commands_of(build_parser([name]))[name]._actions
        for flag in action.option_strings
    ]
    for flag in known:
        wrong = f"{flag}{flag[-1]}" if flag.startswith("--") else "-Z"
        placed = [["x", wrong], [wrong, "--", "-Q"]] if flag == known[0] else []
        for words in ([wrong], *placed):
            assert main([name, *words]) == 2
            told = capsys.readouterr().err
            assert told.startswith(f"usage: decaf {name} ")
            last = told.splitlines()[-1]
            assert last.startswith(f"decaf {name}: ")
            assert f"no flag {wrong}" in last
            assert "no flag -Q" not in last
            if flag.startswith("--"):
                assert f"did you mean {flag}?" in last


def test_only_the_command_asked_for_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(frame.COMMANDS, "broken", "no.such.module")
    assert isinstance(build_parser(["--debug", "info", "broken"]), argparse.ArgumentParser)
    with pytest.raises(ModuleNotFoundError):
        build_parser(["broken"])


@pytest.mark.parametrize("code", [0, 1, 143])
def test_a_command_gives_its_exit_code(
    command: Callable[[Callable[[], int]], None], code: int
) -> None:
    command(lambda: code)
    assert main(["probe"]) == code


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OutputError("f.h5: is in use"), "decaf: f.h5: is in use\n"),
        (OutputError("a\nb.h5: two lines"), "decaf: a\\nb.h5: two lines\n"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "f.h5"),
            "decaf: f.h5: No space left on device\n",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"\xff.h5"),
            "decaf: \\xff.h5: Permission denied\n",
        ),
        (OutputError("\x1b[2J\u202e.h5: no"), "decaf: \\x1b[2J\\u202e.h5: no\n"),
        (OSError("no number"), "decaf: no number\n"),
        (TimeoutError(), "decaf: TimeoutError\n"),
    ],
)
def test_a_mistake_is_one_line(
    error: Exception,
    message: str,
    command: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(raising(error))
    assert main(["probe"]) == 2
    assert capsys.readouterr().err == message


@pytest.mark.filterwarnings("default")
def test_what_the_library_says_is_said_in_flags(
    command: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings, what is logged and errors are the command's own lines, with the flags it has."""

    def body() -> int:
        warnings.warn("`layout='splits'`: odd\n  and long", stacklevel=1)
        logging.getLogger("decaf.images").warning("a\nb: `layout='classes'` takes them")
        raise OutputError("f.h5: `layout` 7, not `overwrite=True`")

    command(body)
    shown, level = warnings.showwarning, logging.getLogger("decaf").level
    assert main(["probe"]) == 2
    assert capsys.readouterr().err == (
        "decaf: --layout splits: odd and long\n"
        "decaf: a\\nb: --layout classes takes them\n"
        "decaf: f.h5: --layout 7, not `overwrite=True`\n"
    )
    assert warnings.showwarning is shown
    assert logging.getLogger("decaf").level == level


def test_a_command_that_is_stopped_says_so(
    command: Callable[[Callable[[], int]], None], capfd: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        with stopped_by_signals("stopping"):
            signal.raise_signal(signal.SIGTERM)
            raise Stopped("f.h5: stopped; `layout='splits'` goes on")

    command(body)
    assert main(["probe"]) == 143
    assert capfd.readouterr().err.endswith("decaf: f.h5: stopped; --layout splits goes on\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_half_written(
    command: Callable[[Callable[[], int]], None],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    def body() -> int:
        with whole_file(tmp_path / "f.npy") as stream:
            stream.write(b"half")
            signal.raise_signal(number)
        return 0

    # As in a terminal: a process that was started in the background may have to ignore SIGINT.
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)
    try:
        command(body)
        assert main(["probe"]) == code
        told = capfd.readouterr().err
        assert told == f"decaf: stopped by {number.name}; no file is left half written\n"
        assert list(tmp_path.iterdir()) == []
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_an_extension_turns_into_an_error_of_its_own_is_told_as_a_signal(
    command: Callable[[Callable[[], int]], None],
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    """As ONNX Runtime does while it is imported."""

    def body() -> int:
        with contextlib.suppress(BaseException):
            signal.raise_signal(number)
        raise ImportError("initialization failed")

    command(body)
    assert main(["probe"]) == code
    told = capfd.readouterr().err
    assert told == f"decaf: stopped by {number.name}; no file is left half written\n"


def test_a_signal_that_comes_in_a_destructor_ends_a_command_all_the_same(
    command: Callable[[Callable[[], int]], None], capfd: pytest.CaptureFixture[str]
) -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def body() -> int:
        Dying()
        for _ in range(300):  # on Windows a signal that is told again ends no waiting
            threading.Event().wait(0.1)
        return 0

    hook = sys.unraisablehook
    command(body)
    assert main(["probe"]) == 143
    assert capfd.readouterr().err == "decaf: stopped by SIGTERM; no file is left half written\n"
    assert sys.unraisablehook is hook


def test_debug_shows_where_a_mistake_was_found(
    command: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(OutputError("f.h5: is in use")))
    assert main(["--debug", "probe"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith("\ndecaf: f.h5: is in use\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 GB"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_memory_that_runs_out_is_one_line(
    error: Exception,
    command: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(raising(error))
    assert main(["probe"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("decaf: memory ran out")
    assert said.count("\n") == 1
    assert "more memory" in said


@pytest.mark.slow
def test_a_process_without_room_for_torch_is_told_so(
    child_env: dict[str, str], tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 1000000; exec "$0" -m decaf predict a.png', sys.executable],
        capture_output=True,
        text=True,
        env=child_env,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("decaf: memory ran out (")
    assert done.stderr.count("\n") == 1


def test_a_defect_is_told_apart_from_a_mistake(
    command: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(ZeroDivisionError("x")))
    assert main(["probe"]) == 2
    error = capsys.readouterr().err
    assert "ZeroDivisionError: x" in error
    assert "a defect of decaf" in error


def test_an_interrupt_ends_in_130(
    command: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(KeyboardInterrupt()))
    assert main(["probe"]) == 130
    assert capsys.readouterr().err == "decaf: stopped by SIGINT; no file is left half written\n"


def test_an_interrupt_before_a_command_runs_and_as_its_output_is_flushed_ends_in_130_too(
    command: Callable[[Callable[[], int]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While arguments are read, and while a pipe takes no more (`decaf man | less`)."""
    told = "decaf: stopped by SIGINT; no file is left half written\n"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    command(lambda: 0)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["decaf_probe"], "configure", interrupt)
        assert main(["probe"]) == 130
    assert capsys.readouterr().err == told
    flush, calls = frame._flushed, []

    def interrupt_once(code: int) -> int:
        calls.append(code)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return flush(code)

    monkeypatch.setattr(frame, "_flushed", interrupt_once)
    assert main(["probe"]) == 130
    assert calls == [0, 130]
    assert capsys.readouterr().err == told


def test_python_dash_m_runs_the_command(child_env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "decaf", "info", "no.h5"],
        capture_output=True,
        text=True,
        env=child_env,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "decaf: no.h5: there is no such file or folder\n"
    assert done.stdout == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away(child_env: dict[str, str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "decaf", "summary", "alexnet"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={**child_env, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.posix("pipes")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written(child_env: dict[str, str], unbuffered: str) -> None:
    """The interpreter flushes at its end, and ends with 120 where that fails."""
    env = {**child_env, "PYTHONUNBUFFERED": unbuffered}

    def ended(*arguments: str, **streams: Any) -> tuple[int, str]:
        command = [sys.executable, "-m", "decaf", *arguments]
        done = subprocess.run(command, env=env, text=True, check=False, **streams)
        return done.returncode, done.stderr or ""

    with open("/dev/full", "w", encoding="utf-8") as full:
        code, told = ended("info", os.devnull, stdout=full, stderr=subprocess.PIPE)
        assert (code, told.count("\n")) == (2, 1)
        assert "No space left on device" in told
        # What is wrong cannot be told, but by the exit code.
        assert ended("info", "no.h5", stderr=full)[0] == 2
    reading, writing = os.pipe()
    os.close(reading)
    assert ended("info", "no.h5", stderr=writing)[0] == 2
    os.close(writing)


def test_a_broken_pipe_of_its_own_is_no_end_of_the_output(
    command: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert main(["probe"]) == 2
    assert capsys.readouterr().err == "decaf: Broken pipe\n"
