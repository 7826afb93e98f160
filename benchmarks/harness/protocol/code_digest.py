"""What tells stored results of one state of the code from those of another."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from types import ModuleType

__all__ = ["code_digest"]

# Where a docstring may stand.
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(*packages: ModuleType) -> str:
    """Hash the code of packages: what runs, not its words and form.

    Parameters
    ----------
    *packages : module
        With all that is below their folders.

    Returns
    -------
    str
        Hexadecimal digits. Comments, docstrings and layout do not change it.
    """
    code = hashlib.sha256()
    for package in packages:
        assert package.__file__ is not None
        for file in sorted(Path(package.__file__).parent.rglob("*.py")):
            code.update(_what_runs(file.read_bytes()))
    return code.hexdigest()


def _what_runs(source: bytes) -> bytes:
    """Return the syntax tree of a module without docstrings: words and form change no result."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree).encode()
