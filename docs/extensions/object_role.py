"""Names in single backticks: a link where they are public, else code.

Docstrings write `out` for an argument and `decaf.fit` for a function alike. This role, the default
one, tells them apart: a name of an object that has a page is a link to it, also by the name of the
module that defines it; anything else is code. A role that is written out (``:py:obj:``) is not
touched: where it leads nowhere, that is a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api_pages import public_names
from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxRole

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

__all__ = ["ObjectRole", "setup"]


class ObjectRole(SphinxRole):
    """The default role."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return code, inside a reference where the name may be one of an object."""
        code = nodes.literal(self.rawtext, self.text, classes=["code"])
        name = self.text.strip().removesuffix("()")
        # A bare word in small letters is an argument sooner than a function.
        if not name.replace(".", "").isidentifier() or not ("." in name or name[0].isupper()):
            return [code], []
        reference = addnodes.pending_xref(
            self.rawtext,
            code,
            refdomain="py",
            reftype="obj",
            reftarget=name,
            refexplicit=False,
            refdoc=self.env.docname,
            decaf_default_role=True,
            **{key: self.env.ref_context.get(key) for key in ("py:module", "py:class")},
        )
        return [reference], []


def _elsewhere(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, code: nodes.TextElement
) -> nodes.Node | None:
    """Resolve a name that is no page's by the object that it names, else show it as code."""
    home = public_names().get(node.get("reftarget", ""))
    if home is not None and home != node["reftarget"]:
        domain = env.get_domain("py")
        found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, code)
        if found is not None:
            return found
    return code if node.get("decaf_default_role") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Make it the default role."""
    app.add_role("decaf", ObjectRole())
    app.connect("missing-reference", _elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
