"""The one set of templates that pages come from: files that open from disk and ask for nothing.

A page extends ``base.html``, which has the style sheet, light and dark, and the policy that keeps
the browser from asking anything of a network. `render_page` fills it in, `write_page` writes it,
and `thumbnails` gives its pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.exploration.page.rendering import (
        STYLE_SHEETS,
        check_page,
        page_environment,
        render_page,
        write_page,
    )
    from decaf.exploration.page.thumbnails import (
        THUMBNAIL_HEIGHT,
        Thumbnails,
        picture_uri,
        thumbnail,
        thumbnails,
    )

__all__ = [
    "STYLE_SHEETS",
    "THUMBNAIL_HEIGHT",
    "Thumbnails",
    "check_page",
    "page_environment",
    "picture_uri",
    "render_page",
    "thumbnail",
    "thumbnails",
    "write_page",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "STYLE_SHEETS": "decaf.exploration.page.rendering",
        "THUMBNAIL_HEIGHT": "decaf.exploration.page.thumbnails",
        "Thumbnails": "decaf.exploration.page.thumbnails",
        "check_page": "decaf.exploration.page.rendering",
        "page_environment": "decaf.exploration.page.rendering",
        "picture_uri": "decaf.exploration.page.thumbnails",
        "render_page": "decaf.exploration.page.rendering",
        "thumbnail": "decaf.exploration.page.thumbnails",
        "thumbnails": "decaf.exploration.page.thumbnails",
        "write_page": "decaf.exploration.page.rendering",
    },
)
