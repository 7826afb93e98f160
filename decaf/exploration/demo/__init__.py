"""The demo: a page of this machine alone, on which photographs are shown to a network.

What is named here is loaded when it is first used; `serve_demo` is at the front door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.exploration.demo.server import serve_demo
    from decaf.exploration.demo.settings import DemoSettings

__all__ = ["DemoSettings", "serve_demo"]

__getattr__, __dir__ = lazy_names(__name__)
