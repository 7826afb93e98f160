"""Pages that are made of the code before Sphinx reads the sources, so that they cannot go stale.

They lie in folders called ``generated``, which git ignores. The functions
that make their text need no Sphinx: the tests call them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_pages import api_pages, object_pages
from command_pages import command_pages
from settings_pages import settings_pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

__all__ = ["included", "setup", "write_pages"]

DOCS = Path(__file__).resolve().parents[1]


def included(folder: str) -> dict[str, str]:
    """Return a page for each file in Markdown of a folder of the tree, with what is in it.

    Parameters
    ----------
    folder : str
        Below the tree, such as "benchmarks/results"; the pages are three folders below it.
    """
    return {
        path.stem: f"```{{include}} ../../../{folder}/{path.name}\n:relative-images:\n```\n"
        for path in sorted((DOCS.parent / folder).glob("*.md"))
    }


def write_pages(folder: Path, pages: dict[str, str], ending: str = ".md") -> None:
    """Write pages that have changed, and take away those that are there no more.

    Parameters
    ----------
    folder : Path
        It has nothing else.
    pages : dict of str to str
        Text by the name of the page.
    ending : str
        ".md" for Markdown, ".rst" for reST.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name.removesuffix(ending) not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}{ending}"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _write_all(app: Sphinx, config: Config) -> None:
    # Docstrings are reST; within Markdown the pickle of a page would be twenty times as large.
    write_pages(DOCS / "reference/generated/api", api_pages(), ".rst")
    write_pages(DOCS / "reference/generated/objects", object_pages(), ".rst")
    write_pages(DOCS / "reference/generated/commands", command_pages())
    write_pages(DOCS / "reference/generated/settings", settings_pages())
    write_pages(DOCS / "benchmarks/generated", included("benchmarks/results"))
    write_pages(DOCS / "howto/generated", included("decaf/backbone/weights/packaged"))


def _is_of_others(
    app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: dict[str, Any]
) -> bool | None:
    """Leave out what classes have from those of other libraries, which describe it themselves."""
    function = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    if not (callable(function) or isinstance(thing, property)):
        return None
    return True if not str(getattr(function, "__module__", "")).startswith("decaf") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before anything is read."""
    app.connect("config-inited", _write_all)
    app.connect("autodoc-skip-member", _is_of_others)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
