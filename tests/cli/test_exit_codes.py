"""Signals, in a process of their own where the second one ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from decaf.cli.exit_codes import stopped_by_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_event_and_the_code(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with stopped_by_signals("stopping after this step") as stop:
        assert not stop.event.is_set()
        signal.raise_signal(number)
        assert stop.event.wait(5)
    assert stop.exit_code == 128 + number
    assert capfd.readouterr().err == (
        "\ndecaf: stopping after this step; once more to stop at once\n"
    )
    assert {each: signal.getsignal(each) for each in before} == before


def test_handlers_are_put_back_after_an_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="x"), stopped_by_signals("y"):
        raise ValueError("x")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.faults
def test_the_second_signal_ends_the_process(child_env: dict[str, str]) -> None:
    code = (
        "import signal\n"
        "from decaf.cli.exit_codes import stopped_by_signals\n"
        "with stopped_by_signals('stopping'):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('alive', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('still alive', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=False
    )
    assert done.returncode in (-signal.SIGTERM, 3)  # that of C's `raise` on Windows
    assert done.stdout == "alive\n"
    assert done.stderr.count("stopping; once more") == 1
