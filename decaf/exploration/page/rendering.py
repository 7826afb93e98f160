"""A page from its template: everything in it escaped, and written whole or not at all.

Whatever a template shows passes through one function that escapes it, unless it is markup already.
A script may run only if it is one of the files beside the templates: the page's policy names each
by its hash, so that nothing in a file's or a class's name could ever run.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from decaf.errors import OutputError
from decaf.runtime.names import name_text
from decaf.runtime.wording import printable
from decaf.storage import check_output, disk_errors, write_atomically

__all__ = ["STYLE_SHEETS", "check_page", "page_environment", "render_page", "write_page"]

STYLE_SHEETS = Path(__file__).parent / "templates"
"""The folder of the shared templates and style sheets."""


def page_environment(
    *folders: Path, finalize: Callable[[Any], str] | None = None
) -> jinja2.Environment:
    """Return Jinja2 set up for pages: what is not there is an error, and all text is escaped.

    Parameters
    ----------
    *folders : Path
        Where templates are, before the shared ones.
    finalize : callable, optional
        Makes text of each value that a template shows; by default its printable form, on one line.

    Returns
    -------
    jinja2.Environment
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, STYLE_SHEETS]),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=finalize or _html_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"script": _script, "script_policy": _script_policy}
    return environment


def render_page(template: str, values: Mapping[str, Any], *folders: Path) -> str:
    """Return a page.

    Parameters
    ----------
    template : str
        Name of its template, which extends ``base.html``.
    values : mapping of str to Any
        What the template shows.
    *folders : Path
        Where templates are, besides the shared ones.

    Returns
    -------
    str
        HTML that opens from disk.
    """
    return _environment(folders).get_template(template).render(values)


def write_page(path: str | bytes | os.PathLike[str], html: str) -> Path:
    """Write a page, whole or not at all; one that is there is replaced, other files are not.

    Parameters
    ----------
    path : path
    html : str
        As `render_page` returns it.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        Where it cannot be written, or something else is there.
    """
    target = check_page(path)
    with disk_errors(target, "nothing was written"):
        write_atomically(target, html.encode())
    return target


def check_page(
    path: str | bytes | os.PathLike[str], *others: str | bytes | os.PathLike[str] | None
) -> Path:
    """Refuse a place where no page can be written, before anything is computed.

    Parameters
    ----------
    path : path
    *others : path, optional
        Other files that the run writes.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
    """
    target = Path(name_text(path))
    check_output(target, "page", example="page.html")
    real = os.path.realpath(target)
    if any(each is not None and os.path.realpath(name_text(each)) == real for each in others):
        raise OutputError(
            f"{target}: is to be the page and another file of this run at once; give the page a "
            "name of its own"
        )
    return target


@functools.cache
def _environment(folders: tuple[Path, ...]) -> jinja2.Environment:
    return page_environment(*folders)


def _html_text(value: Any) -> str:
    """Return what a template shows; the template escapes it unless it is markup."""
    return value if isinstance(value, Markup) else printable(str(value))


def _script(name: str) -> Markup:
    """Return a script that lies beside the templates."""
    return Markup((STYLE_SHEETS / name).read_text(encoding="utf-8"))


def _script_policy(names: list[str]) -> str:
    """Return the part of a page's policy that lets these scripts run and no others."""
    if not names:
        return ""
    digests = [hashlib.sha256(_script(name).encode()).digest() for name in names]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return f"; script-src {hashes}"
