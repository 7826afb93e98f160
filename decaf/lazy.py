"""Names of a package that are loaded when they are first used, so that importing it is quick."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    What is loaded is what the package imports ``if TYPE_CHECKING``: names stand there for type
    checkers, and nowhere else a second time (as the stubs of SPEC 1 of Scientific Python).

    Parameters
    ----------
    package : str
        The package's ``__name__``.

    Examples
    --------
    >>> get, _ = lazy_names("decaf")
    >>> get("describe").__module__
    'decaf.description'
    """

    @functools.cache
    def modules() -> dict[str, str]:
        import ast

        spec: Any = sys.modules[package].__spec__
        tree = ast.parse(spec.loader.get_source(package))
        return {
            alias.name: str(imported.module)
            for node in tree.body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for imported in node.body
            if isinstance(imported, ast.ImportFrom)
            for alias in imported.names
        }

    def get(name: str) -> Any:
        if name not in modules():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules()[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules()})

    return get, names
