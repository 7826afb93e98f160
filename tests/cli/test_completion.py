"""Completion and the manual page know every command and flag, as the parsers have them."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess

import pytest

from decaf.cli.completion import SHELLS, completion_script
from decaf.cli.main import COMMANDS, build_parser, commands_of, main


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program}")
    return found


def run(program: str, *arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [need(program), *arguments], input=given, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def parsers() -> dict[str, argparse.ArgumentParser]:
    parsers = commands_of(build_parser())
    assert list(parsers) == list(COMMANDS)
    return parsers


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._get_optional_actions() for flag in action.option_strings}


def bash(script: str, *words: str) -> set[str]:
    """Return what bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in words)
    calls = (
        script,
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}",
        f"_shtab_decaf decaf '{words[-1]}' '{words[-2]}'",
        "printf '%s\\n' \"${COMPREPLY[@]}\"\n",
    )
    return set(run("bash", "--norc", given="\n".join(calls)).split())


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_a_script_that_the_shell_reads(shell: str, capsys) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert script == completion_script(shell) + "\n"
    arguments = ["-s"] if shell != "fish" else []
    run(shell, "-n", *arguments, given=script)


def test_bash_knows_every_command_and_flag(parsers) -> None:
    script = completion_script("bash")
    assert bash(script, "decaf", "") >= set(COMMANDS)
    for name, parser in parsers.items():
        options = re.search(rf"^_shtab_decaf_{name}_option_strings=\((.*)\)$", script, re.MULTILINE)
        assert options is not None
        assert set(options[1].replace("'", "").split()) == flags(parser), name


def test_bash_offers_values_and_files(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "phrases.h5").touch()
    script = completion_script("bash")
    assert bash(script, "decaf", "extract", "--prec") == {"--precision"}
    assert bash(script, "decaf", "extract", "--precision", "") == {"fp32", "bf16"}
    assert bash(script, "decaf", "extract", "--layer", "fc6") == {"fc6", "fc6_pre"}
    assert bash(script, "decaf", "info", "ph") == {"photos", "phrases.h5"}
    assert bash(script, "decaf", "fit", "photos", "-o", "ph") == {"photos", "phrases.h5"}


def test_fish_offers_commands_flags_and_values(parsers) -> None:
    asked = [["decaf", ""], *(["decaf", name, "--"] for name in parsers)]
    calls = "\n".join(f"complete -C '{' '.join(words)}'; echo ==" for words in asked)
    script = completion_script("fish")
    parts = run("fish", "--no-config", given=f"{script}\n{calls}\n").split("==\n")
    offered = [{line.split("\t")[0] for line in part.splitlines()} for part in parts]
    assert offered[0] >= set(COMMANDS)
    for (name, parser), words in zip(parsers.items(), offered[1:], strict=False):
        assert words >= {flag for flag in flags(parser) if flag.startswith("--")}, name


def test_zsh_has_a_part_for_every_command(parsers) -> None:
    script = completion_script("zsh")
    for name, parser in parsers.items():
        part = script.split(f"_shtab_decaf_{name}_options=(")[1].split("\n)")[0]
        assert flags(parser) <= set(re.findall(r"-{1,2}[\w-]+", part)), name
        for line in part.splitlines():
            # An option, its help in brackets, a name and what completes it; no further colon.
            assert re.sub(r"\[.*\]", "", line).count(":") <= 2 or not line.strip().startswith(
                ('"-', "{-")
            ), line


def test_the_manual_page_has_every_command_and_flag(parsers, capsys) -> None:
    assert main(["man"]) == 0
    page = capsys.readouterr().out
    assert re.findall(r"^\.SS decaf (\S+)$", page, re.MULTILINE) == list(COMMANDS)
    for (name, parser), part in zip(parsers.items(), page.split("\n.SS ")[1:], strict=True):
        said = re.findall(r"^\.B (.*)$", part.replace("\\-", "-"), re.MULTILINE)
        assert flags(parser) <= set(re.findall(r"-{1,2}[\w-]+", " ".join(said))), name


def test_man_reads_the_page_without_a_warning(capsys) -> None:
    assert main(["man"]) == 0
    text = run("groff", "-man", "-Tutf8", "-ww", given=capsys.readouterr().out)
    assert "--on-error" in text
