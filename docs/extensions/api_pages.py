"""A page for each room with public names, made of its ``__all__``, and one for each object."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import decaf
from decaf.runtime.wording import counted

__all__ = ["api_pages", "object_pages", "public_names", "rooms"]

# Whose pages come first; the other rooms follow, in the order of their names.
FIRST = ("decaf", "decaf.heads", "decaf.adapt", "decaf.backbone", "decaf.images", "decaf.train")


def rooms() -> Iterator[tuple[str, list[str]]]:
    """Yield each package that has public names, with them."""
    found = {"decaf": list(decaf.__all__)}
    for module in pkgutil.walk_packages(decaf.__path__, "decaf."):
        if module.ispkg:
            found[module.name] = list(importlib.import_module(module.name).__all__)
    # The inner rooms stand behind all others: users seldom need them.
    order = sorted(found, key=lambda name: (name not in FIRST, name.count("."), name))
    for name in sorted(order, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        if found[name]:
            yield name, sorted(found[name])


@cache
def public_names() -> dict[str, str]:
    """Return the room whose page describes it for each public object, by all of its full names.

    An object that several rooms pass on is described once, at the first of their doors.
    """
    homes: dict[int, str] = {}
    names = {}
    for room, members in rooms():
        for member in members:
            thing = getattr(importlib.import_module(room), member)
            # Small constants of different rooms may be one object.
            shared = inspect.isclass(thing) or inspect.isfunction(thing)
            home = homes.setdefault(id(thing), f"{room}.{member}") if shared else f"{room}.{member}"
            names[f"{room}.{member}"] = home
            if shared:
                names.setdefault(f"{thing.__module__}.{thing.__qualname__}", home)
    return names


def api_pages() -> dict[str, str]:
    """Return the page of each room in reST, by its name, and that of all of them, "index"."""
    pages = {room: _room_page(room, members) for room, members in rooms()}
    lines = [*_heading("Python"), "All public names, by the packages whose doors have them.", ""]
    for room, members in rooms():
        about = inspect.getdoc(importlib.import_module(room)) or ""
        size = counted(len(members), "name")
        lines += [f":doc:`{room}`, {size}", f"    {about.partition(chr(10))[0]}", ""]
    lines += _toctree(list(pages))
    return pages | {"index": "\n".join(lines)}


def object_pages() -> dict[str, str]:
    """Return the page of each object in reST, by its full name."""
    pages = {}
    for room, members in rooms():
        for name in members:
            full = f"{room}.{name}"
            if public_names()[full] == full and name != "__version__":
                pages[full] = _object_page(room, name)
    return pages


def _heading(text: str, line: str = "=") -> list[str]:
    return [text, line * len(text), ""]


def _toctree(entries: list[str]) -> list[str]:
    return [".. toctree::", "   :hidden:", "", *(f"   {entry}" for entry in entries), ""]


def _kind(room: str, name: str) -> str:
    thing: Any = getattr(importlib.import_module(room), name)
    if inspect.isclass(thing):
        if issubclass(thing, Exception):
            return "Errors and warnings"
        return "Settings" if name.endswith("Settings") else "Classes"
    return "Functions" if callable(thing) else "Constants"


def _room_page(room: str, members: list[str]) -> str:
    about = inspect.getdoc(importlib.import_module(room)) or ""
    lines = [*_heading(room), f".. module:: {room}", "", about, ""]
    toctree = []
    for kind in ("Functions", "Classes", "Settings", "Errors and warnings", "Constants"):
        names = [name for name in members if _kind(room, name) == kind and name != "__version__"]
        if not names:
            continue
        lines += _heading(kind, "-")
        homes = {name: public_names()[f"{room}.{name}"] for name in names}
        own = [name for name in names if homes[name] == f"{room}.{name}"]
        if own:
            lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {n}" for n in own), ""]
        if others := [homes[name] for name in names if name not in own]:
            links = ", ".join(f":py:obj:`{home}`" for home in others)
            lines += [f"{'Also' if own else 'Described'} elsewhere: {links}.", ""]
        toctree += [f"{name} <../objects/{room}.{name}>" for name in own]
    return "\n".join(lines + _toctree(toctree))


def _object_page(room: str, name: str) -> str:
    thing = getattr(importlib.import_module(room), name)
    lines = [*_heading(name), f".. currentmodule:: {room}", ""]
    if _kind(room, name) == "Constants":
        about, value = _about_constant(room, name), repr(thing)
        lines.append(f".. data:: {name}")
        if len(value) <= 300 and "\n" not in value and not isinstance(thing, Path):
            lines.append(f"   :value: {value}")
        lines += ["", *(f"   {line}" for line in about.splitlines())]
    elif inspect.isclass(thing):
        lines += [f".. autoclass:: {name}", "   :members:", "   :inherited-members:"]
    else:
        lines += [f".. autofunction:: {name}"]
    return "\n".join([*lines, ""])


def _about_constant(room: str, name: str) -> str:
    """Return the string below a constant's assignment, in the module that has it."""
    module = room
    while True:
        tree = ast.parse(inspect.getsource(importlib.import_module(module)))
        imported = [
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]
        ]
        if not imported or imported[0] is None:
            break
        module = imported[0]
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = [target.id for target in targets if isinstance(target, ast.Name)]
        if name in named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return inspect.cleandoc(str(after.value.value))
    return ""
