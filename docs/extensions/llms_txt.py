"""llms.txt: every page with a line of what it is, in the order of the toctrees (llmstxt.org).

It is made of the toctrees themselves, so that no page can be missing from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

__all__ = ["setup"]

MOST = 200


def _in_order(env: BuildEnvironment, page: str, seen: set[str]) -> Iterator[str]:
    """Yield the pages below a page, each once."""
    for below in env.toctree_includes.get(page, []):
        if below not in seen and below in env.all_docs:
            seen.add(below)
            yield below
            yield from _in_order(env, below, seen)


def _keep_about(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the first paragraph of a page as it is read, cut where it is long."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section | nodes.document | addnodes.desc_content):
            text = " ".join(paragraph.astext().split())
            short = text if len(text) <= MOST else f"{text[:MOST].rpartition(' ')[0]} …"
            app.env.metadata[app.env.docname]["about"] = short
            return


def _about(env: BuildEnvironment, page: str) -> str:
    return str(env.metadata[page].get("about", ""))


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    env = app.env
    lines = [f"# {app.config.project}", "", f"> {_about(env, 'index')}", ""]
    seen = {"index"}
    for part in env.toctree_includes["index"]:
        if part in seen:
            continue
        seen.add(part)
        lines += [f"## {env.titles[part].astext()}", ""]
        for page in [part, *_in_order(env, part, seen)]:
            about = _about(env, page)
            link = f"- [{env.titles[page].astext()}]({app.builder.get_target_uri(page)})"
            lines.append(f"{link}: {about}" if about else link)
        lines.append("")
    Path(app.outdir, "llms.txt").write_text("\n".join(lines), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write it when all pages are written."""
    app.connect("doctree-read", _keep_about)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
