"""The machine that a measurement was taken on, and the report of both."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from decaf.runtime.cores import available_cores
from decaf.runtime.machine import processor

# The scripts of this folder find what all benchmarks share.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from command_line import report_file, say_full_run

__all__ = ["describe", "described", "jpeg_files", "parser_of", "say", "table_row", "tell"]


def parser_of(
    doc: str | None, name: str, *, needs: Collection[str] = (), alike: Collection[str] = ()
) -> argparse.ArgumentParser:
    """Return a parser that says what the script's docstring does, with ``--json``.

    Parameters
    ----------
    doc : str
        Docstring of the script: its first paragraph is the description, its third the epilog.
    name, needs, alike
        As `say_full_run` takes them.
    """
    head = (doc or "").split("\n\n")
    parser = argparse.ArgumentParser(
        description=head[0], epilog=head[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", type=Path, help="where to write the result, and the table beside it as .md"
    )
    say_full_run(parser, name, needs=needs, alike=alike)
    return parser


def jpeg_files(folder: Path, pattern: str = "*") -> list[Path]:
    """List the JPEG files of a folder, in order; end the program where there are none.

    Parameters
    ----------
    folder : Path
    pattern : str
        Which files, as `Path.glob` takes it.
    """
    files = sorted(p for p in folder.glob(pattern) if p.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        sys.exit(f"{folder}: no JPEG files in there")
    return files


def describe(gpu: str | None = None) -> dict[str, Any]:
    """Return date, processor, cores, GPU and versions.

    Parameters
    ----------
    gpu : str, optional
        Name of the GPU that is measured.
    """
    unused = "not used" if torch.cuda.is_available() else "none was at hand"
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": available_cores(),
        "gpu": gpu or unused,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "versions": {n: version(n) for n in ("torch", "torchvision", "pillow", "numpy", "h5py")},
    }


def described(machine: dict[str, Any]) -> str:
    """Say in a line what `describe` has returned.

    Parameters
    ----------
    machine : dict
        From `describe`.
    """
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['capability']}, GPU: {machine['gpu']}; {versions}"
    )


def tell(report: dict[str, Any], title: str, table: str, args: argparse.Namespace) -> None:
    """Print a table of what was measured; write the report to a file, and the table beside it.

    Parameters
    ----------
    report : dict
        The measurement, with the ``command`` that made it.
    title : str
        Title of the table beside the file.
    table : str
    args : Namespace
        Of the script's parser; the JSON file to write, if any, is its `json`.
    """
    print(table)
    file = report_file(args.json, args)
    if file:
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        text = f"# {title}\n\n`{report['command']}`\n\n```\n{table}\n```\n"
        file.with_suffix(".md").write_text(text, encoding="utf-8")
        say(f"wrote {file}")


def say(text: str) -> None:
    """Tell what is being measured.

    Parameters
    ----------
    text : str
    """
    print(text, file=sys.stderr, flush=True)


def table_row(name: str, *cells: str, width: int = 32) -> str:
    """Lay out a line of a table.

    Parameters
    ----------
    name : str
    *cells : str
    width : int
        Width of the name.
    """
    return f"{name:{width}}" + "".join(f"{cell:>11}" for cell in cells)
