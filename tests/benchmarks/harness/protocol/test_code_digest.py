"""The hash of code: what runs changes it, words and form do not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness.protocol.code_digest import code_digest

PLAIN = "def f(x: int) -> int:\n    return x + 1\n"


def digest_of(folder: Path, source: str) -> str:
    file = folder / "pack" / "__init__.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("pack", file)
    assert spec is not None
    return code_digest(importlib.util.module_from_spec(spec))


def test_results_are_kept_by_what_the_code_does(tmp_path: Path) -> None:
    told = PLAIN.replace("    return x + 1", '    """Add one."""  # why\n    return (x + 1)')
    plain = digest_of(tmp_path, PLAIN)
    assert digest_of(tmp_path, '"""A module."""\n\n' + told) == plain
    assert digest_of(tmp_path, PLAIN.replace("1", "2")) != plain


def test_a_file_below_counts(tmp_path: Path) -> None:
    plain = digest_of(tmp_path, PLAIN)
    (tmp_path / "pack" / "more.py").write_text(PLAIN)
    assert digest_of(tmp_path, PLAIN) != plain
