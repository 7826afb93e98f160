"""Messages of the library in the flags of a command."""

from __future__ import annotations

import argparse

import pytest

from decaf.cli.arguments import in_flags


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+", metavar="SRC")
    parser.add_argument("-C", type=float)
    parser.add_argument("-l", "--layer")
    parser.add_argument("--on-error")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument_group("more").add_argument(
        "--tensorboard", action=argparse.BooleanOptionalAction
    )
    return parser


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("`C` -1: must be above 0", "-C -1: must be above 0"),
        ("one of fc6, fc7 (`layer`)", "one of fc6, fc7 (--layer)"),
        ("no `images`", "no SRC"),
        ("`on_error='record'` goes on", "--on-error record goes on"),
        ("`C=0.5` or `overwrite=True`", "-C 0.5 or --overwrite"),
        ("leave `tensorboard` out", "leave --tensorboard out"),
        ("`tensorboard=False`, `tensorboard=True`", "--no-tensorboard, --tensorboard"),
        ("`decaf fit -C 1`, `cv`, on_error, out", "`decaf fit -C 1`, `cv`, on_error, out"),
    ],
)
def test_arguments_that_a_command_has_are_its_flags(
    said: str, shown: str, parser: argparse.ArgumentParser
) -> None:
    assert in_flags(said, parser) == shown
