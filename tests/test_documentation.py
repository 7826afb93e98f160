"""README and docs/: what examples call is there, links lead on, nothing public is missing."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import decaf
from decaf.cli.main import COMMANDS, build_parser, commands_of

ROOT = Path(__file__).resolve().parents[1]
MADE = {"_build", "auto_gallery", "generated"}
PAGES = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if path.exists() and not MADE & set(path.relative_to(ROOT).parts)
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?\)")
MOST_LINES = 180

pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").exists(), reason="needs the tree with its documentation"
)


def of_pages(pages: list[Path]) -> Any:
    return pytest.mark.parametrize("page", pages, ids=lambda p: p.relative_to(ROOT).as_posix())


def examples(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text("utf-8")) if kind == language]


def commands(shell: str) -> Iterator[list[str]]:
    """Yield each simple command of a piece of shell, without what redirects it."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|;&"):
                yield words
                words = []
            else:
                words.append(word)


def decaf_arguments(words: list[str]) -> list[str] | None:
    """Return the arguments of a call of ``decaf``, however it is started; None of others."""
    for place, word in enumerate(words):
        if word.rpartition("/")[2] == "decaf" and words[place - 1 : place] != ["-t"]:
            arguments = words[place + 1 :]
            end = next((i for i, each in enumerate(arguments) if set(each) <= set("<>")), None)
            return arguments[:end]
        if not (place == 0 or word.startswith("-") or words[place - 1].startswith("-")):
            return None
    return None


@of_pages(PAGES)
def test_commands_are_ones_that_decaf_takes(page, capsys):
    wrong = []
    for shell in examples(page, "bash"):
        for words in commands(shell):
            arguments = decaf_arguments(words)
            if arguments is None or arguments[:1] in (["--help"], ["--version"]):
                continue
            try:
                _, more = build_parser(arguments).parse_known_args(arguments)
            except SystemExit:
                wrong.append(f"{shlex.join(words)}: {capsys.readouterr().err.splitlines()[-1]}")
            else:
                wrong += [f"{shlex.join(words)}: {more}"] if more else []
    assert not wrong, "\n".join(wrong)


@of_pages(PAGES)
def test_scripts_are_there_with_their_flags(page):
    wrong = []
    for shell in examples(page, "bash"):
        for words in commands(shell):
            if words[:1] != ["python"] or not words[1].endswith(".py"):
                continue
            script = ROOT / words[1]
            if not script.exists():
                wrong.append(words[1])
                continue
            # Benchmarks share some of their flags, and some have those of `decaf train`.
            beside = [script, *(ROOT / "benchmarks").glob("*.py"), script.parent / "machine.py"]
            source = "\n".join(p.read_text("utf-8") for p in beside if p.exists())
            wrong += [
                f"{words[1]} {word}"
                for word in words
                if word.startswith("--") and word.partition("=")[0] not in source
            ]
    assert not wrong, "\n".join(wrong)


class Names(ast.NodeVisitor):
    """What of an example is not there: names of decaf, and keywords of its functions."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"decaf": decaf}
        self.wrong: list[str] = []  # each once

    def note(self, what: str) -> None:
        if what not in self.wrong:
            self.wrong.append(what)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.partition(".")[0] == "decaf":
                module = importlib.import_module(alias.name)
                self.known[alias.asname or "decaf"] = module if alias.asname else decaf

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if (node.module or "").partition(".")[0] != "decaf":
            return
        module = importlib.import_module(str(node.module))
        for alias in node.names:
            try:
                self.known[alias.asname or alias.name] = getattr(module, alias.name)
            except AttributeError:
                self.note(f"from {node.module} import {alias.name}")

    def resolved(self, node: ast.expr) -> Any:
        """Return the object of decaf that an expression names; None of others."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            of = self.resolved(node.value)
            if inspect.ismodule(of) or inspect.isclass(of):
                found = getattr(of, node.attr, None)
                if found is None:
                    with contextlib.suppress(ImportError):
                        found = importlib.import_module(f"{of.__name__}.{node.attr}")
                if found is None:
                    self.note(ast.unparse(node))
                return found
        return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.resolved(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = self.resolved(node.func)
        if callable(called) and str(getattr(called, "__module__", "")).startswith("decaf"):
            given = inspect.signature(called).parameters
            taken = set(given)
            if any(each.kind is each.VAR_KEYWORD for each in given.values()):
                taken |= settings_fields()
            for keyword in node.keywords:
                if keyword.arg is not None and keyword.arg not in taken:
                    self.note(f"{ast.unparse(node.func)}({keyword.arg}=…)")
        self.generic_visit(node)


def settings_fields() -> set[str]:
    """Return the fields of all settings, which functions take by their names."""
    settings = [getattr(decaf, name) for name in decaf.__all__ if name.endswith("Settings")]
    return {field.name for each in settings for field in dataclasses.fields(each)}


@of_pages(PAGES)
def test_python_calls_what_there_is(page):
    names = Names()
    for text in examples(page, "python"):
        names.visit(ast.parse(text))
    assert not names.wrong, "\n".join(names.wrong)


def test_an_example_that_has_gone_stale_is_found():
    names = Names()
    names.visit(
        ast.parse("decaf.extracts('photos/')\nfrom decaf.heads import SVM\ndecaf.fit(x, lr=1)")
    )
    assert names.wrong == ["decaf.extracts", "from decaf.heads import SVM"]
    names.visit(ast.parse("decaf.extract('photos/', layers='fc6')"))
    assert names.wrong[2:] == ["decaf.extract(layers=…)"]
    called = [decaf_arguments(words) for words in commands("a && .venv/bin/decaf info F > x | wc")]
    assert called == [None, ["info", "F"], None]
    assert decaf_arguments(shlex.split("torchrun --nproc-per-node 4 -m decaf train P")) == [
        "train",
        "P",
    ]
    assert decaf_arguments(["pip", "install", "decaf"]) is None


@of_pages(PAGES)
def test_links_lead_to_files(page):
    missing = []
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        path = target.partition("#")[0]
        # What Sphinx makes is there when it has; the build finds what then is missing.
        if (
            not path
            or "://" in target
            or target.startswith("mailto:")
            or MADE & set(path.split("/"))
        ):
            continue
        if not (page.parent / path).exists():
            missing.append(target)
    assert not missing


def test_readme_is_short_and_has_the_commands_that_are_run():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= MOST_LINES
    assert re.findall("^<!-- ci: (.*) -->\n```bash$", readme, re.MULTILINE) == ["first", "test"]


def test_tests_that_a_promise_names_are_there():
    text = (ROOT / "docs/reference/guarantees.md").read_text("utf-8")
    named = set(re.findall(r"`(tests/[^`]*)`", text))
    assert len(named) > 30
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.fixture
def extensions(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs/extensions"))
    yield
    for name in ("api_pages", "command_pages", "settings_pages"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("extensions")
def test_every_public_name_has_a_page():
    import api_pages

    rooms, objects = api_pages.api_pages(), api_pages.object_pages()
    for room, members in api_pages.rooms():
        assert members
        for name in set(members) - {"__version__"}:
            home = api_pages.public_names()[f"{room}.{name}"]
            assert home in objects
            assert name in rooms[room]
    homes = [api_pages.public_names()[f"decaf.{name}"] for name in decaf.__all__]
    assert homes == [f"decaf.{name}" for name in decaf.__all__]
    assert all(f":doc:`{room}`" in rooms["index"] for room in set(rooms) - {"index"})


@pytest.mark.usefixtures("extensions")
def test_every_flag_of_every_command_has_its_text():
    import command_pages

    pages = command_pages.command_pages()
    assert set(pages) == {*COMMANDS, "index"}
    for name, parser in commands_of(build_parser()).items():
        assert f"({name}.md)" in pages["index"]
        for action in parser._actions:
            for flag in action.option_strings or [action.metavar or action.choices[0]]:
                assert re.search(rf"^````{{option}} .*{re.escape(str(flag))}", pages[name], re.M)
    assert "(default: 3)" in pages["train"]  # of --keep, whose help does not say it
    assert command_pages.in_markdown("a*b `c*d` <e_f>") == r"a\*b `c*d` \<e\_f\>"


@pytest.mark.usefixtures("extensions")
def test_every_setting_has_its_values_and_text():
    import settings_pages

    from decaf.train import PRESETS

    pages = settings_pages.settings_pages()
    rows = {
        line.split("|")[1].strip(" `"): [cell.strip(" *") for cell in line.split("|")[2:-1]]
        for line in pages["presets"].splitlines()
        if line.startswith("| `")
    }
    assert list(rows) == [
        f.name for f in dataclasses.fields(decaf.TrainSettings) if f.name != "preset"
    ]
    assert rows["batch_size"] == [str(preset.batch_size) for preset in PRESETS.values()]
    assert rows["mirror"] == ["yes"] * len(PRESETS)
    for name in decaf.__all__:
        if name.endswith("Settings") and name != "TrainSettings":
            part = pages["others"].partition(f"## {name}\n")[2].partition("\n## ")[0]
            for field in dataclasses.fields(getattr(decaf, name)):
                row = next(
                    line for line in part.splitlines() if line.startswith(f"| `{field.name}`")
                )
                assert row.split("|")[3].strip()
