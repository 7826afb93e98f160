"""A page for each command with every flag, made of the parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from decaf.cli.main import COMMANDS, build_parser, commands_of

__all__ = ["command_pages", "in_markdown"]

_TITLES = {"positional arguments": "Arguments", "options": "Options"}


def command_pages() -> dict[str, str]:
    """Return the pages in Markdown, by the name of the command."""
    parser = build_parser()
    pages = {name: _page(f"decaf {name}", commands_of(parser)[name]) for name in COMMANDS}
    lines = [f"- [`decaf {name}`]({name}.md): {in_markdown(_help(parser, name))}" for name in pages]
    pages["index"] = "\n".join(
        [
            "# Commands",
            "",
            "Every command with every flag, as `decaf COMMAND --help` tells them.",
            "What a command ends with is in [](../../exit-codes.md).",
            "",
            *lines,
            "",
            "```{toctree}",
            ":hidden:",
            "",
            *(f"decaf {name} <{name}>" for name in COMMANDS),
            "```",
            "",
            "## Before the command",
            "",
            "```{program} decaf",
            "```",
            "",
            *_arguments(parser._get_optional_actions()),
        ]
    )
    return pages


def _help(parser: argparse.ArgumentParser, name: str) -> str:
    return (commands_of(parser)[name].description or "").strip()


def in_markdown(text: str) -> str:
    """Return plain text such that Markdown shows it as it is; what is in backticks stays code."""
    parts = re.split("(``[^`]+``|`[^`]*`)", " ".join(text.split()))
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_{}\[\]<>#|$~^])", r"\\\1", part)
        for part in parts
    )


def _page(title: str, parser: argparse.ArgumentParser) -> str:
    about = in_markdown(parser.description or "")
    usage = " ".join(parser.format_usage().split()).removeprefix("usage: ")
    lines = [f"# {title}", "", f"{about[:1].upper()}{about[1:]}.", ""]
    lines += ["```{code-block} text", ":class: usage", "", usage, "```", ""]
    lines += [f"```{{program}} {title}", "```", ""]
    for group in parser._action_groups:
        if not group._group_actions:
            continue
        heading = _TITLES.get(group.title or "", group.title or "")
        lines += [f"## {heading[:1].upper()}{heading[1:]}", ""]
        if group.description:
            lines += [f"{in_markdown(group.description[:1].upper() + group.description[1:])}.", ""]
        lines += _arguments(group._group_actions)
    if parser.epilog:
        lines += _epilog(parser.epilog)
    return "\n".join(lines)


def _arguments(actions: list[argparse.Action]) -> Iterator[str]:
    formatter = argparse.HelpFormatter("decaf", width=10_000)
    for action in actions:
        if action.help == argparse.SUPPRESS:
            continue
        about = formatter._expand_help(action) if action.help else ""
        if action.default not in (None, argparse.SUPPRESS, False) and "default" not in about:
            about += f" (default: {action.default})"
        yield from ("````{option} " + formatter._format_action_invocation(action), "")
        yield from (in_markdown(about), "````", "")


def _epilog(epilog: str) -> Iterator[str]:
    """Yield the examples of a command, as code, and the paragraphs after them."""
    for paragraph in epilog.rstrip().split("\n\n"):
        if paragraph.startswith("examples:\n"):
            code = re.sub("(?m)^  ", "", paragraph.partition("\n")[2])
            yield from ("## Examples", "", "```text", code, "```", "")
        else:
            yield from (in_markdown(paragraph), "")
