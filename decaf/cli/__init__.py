"""The command line: one module a subcommand, parsing and printing only."""

from __future__ import annotations

__all__: list[str] = []
