"""Reports on disk: NAME.json, from which NAME.md, NAME.html and the drawn curves can be remade."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, OutputError, SettingError
from decaf.exploration.page import Lines, Scatter, chart_file
from decaf.storage import disk_errors, write_atomically
from report.benchmark import BenchmarkReport
from report.rendering import report_markdown, report_page

__all__ = ["load_report", "report_json", "write_report"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LINE = 100


def write_report(
    report: BenchmarkReport,
    out: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | Mapping[str, npt.NDArray[np.uint8]] | None = None,
) -> list[Path]:
    """Write a report; the same report gives the same bytes. Files that are there are replaced.

    Parameters
    ----------
    report : BenchmarkReport
    out : path
        A folder; it is made if it is not there.
    images : path or mapping of str to array, optional
        The folder that the paths of images are below, or the images by their names, as
        `report_page` takes them. Without it the page shows their names in place of thumbnails.

    Returns
    -------
    list of Path
        NAME.json, NAME.md, NAME.html, NAME-curve.svg (NAME-curve-2.svg, …) for each section of
        curves, and NAME-scatter.svg for each scatter plot.

    Raises
    ------
    SettingError
        If the report's name cannot be a file's name.
    OutputError
        If a file cannot be written.
    """
    if not _NAME.fullmatch(report.name):
        raise SettingError(
            f"report: the name {report.name!r} has characters other than letters, digits, '-', "
            "'_' and '.', or begins with one of these three"
        )
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give the name of a folder")
    files = _chart_files(report)
    pictures = images if images is None or isinstance(images, Mapping) else Path(images)
    texts = {
        f"{report.name}.json": report_json(report),
        f"{report.name}.md": report_markdown(report, files),
        f"{report.name}.html": report_page(report, pictures),
    }
    for k, file in files.items():
        part = report.sections[k]
        assert isinstance(part, Lines | Scatter)
        texts[file] = chart_file(part)
    with disk_errors(folder, "the report is not complete"):
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            write_atomically(folder / file, text.encode())
    return [folder / file for file in texts]


def _chart_files(report: BenchmarkReport) -> dict[int, str]:
    """Return the file of each section that is drawn as one."""
    files = {}
    for kind, word in ((Lines, "curve"), (Scatter, "scatter")):
        indices = [k for k, part in enumerate(report.sections) if isinstance(part, kind)]
        for number, k in enumerate(indices, 1):
            files[k] = f"{report.name}-{word}{'' if number == 1 else f'-{number}'}.svg"
    return files


def load_report(path: str | os.PathLike[str]) -> BenchmarkReport:
    """Read the JSON file of a report.

    Parameters
    ----------
    path : path
        NAME.json, as `write_report` leaves it.

    Returns
    -------
    BenchmarkReport

    Raises
    ------
    InputError
        If it cannot be read or is something else.
    """
    try:
        record = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    try:
        return BenchmarkReport.from_dict(record)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def report_json(report: BenchmarkReport) -> str:
    """Return a report as JSON, one line for what is short, ASCII only.

    Parameters
    ----------
    report : BenchmarkReport

    Returns
    -------
    str
    """
    return _json(report.to_dict(), 0) + "\n"


def _json(value: Any, depth: int) -> str:
    """Return JSON that people can read and a diff can show: rows of numbers stay on a line."""
    text = json.dumps(value, allow_nan=False)
    flat = not isinstance(value, dict | list) or not value
    numbers = isinstance(value, list) and all(isinstance(part, int | float) for part in value)
    if flat or numbers or 2 * depth + len(text) <= _LINE:
        return text
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_json(part, depth + 1)}" for key, part in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{outer}}}"
    parts = [_json(part, depth + 1) for part in value]
    return "[\n" + ",\n".join(inner + part for part in parts) + f"\n{outer}]"
