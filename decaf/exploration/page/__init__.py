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
    from decaf.exploration.page.small_copies import (
        SHEET_COLUMNS,
        THUMBNAIL_HEIGHT,
        SpriteSheets,
        Thumbnails,
        picture_uri,
        sprite_sheets,
        thumbnail,
        thumbnails,
    )

__all__ = [
    "SHEET_COLUMNS",
    "STYLE_SHEETS",
    "THUMBNAIL_HEIGHT",
    "SpriteSheets",
    "Thumbnails",
    "check_page",
    "page_environment",
    "picture_uri",
    "render_page",
    "sprite_sheets",
    "thumbnail",
    "thumbnails",
    "write_page",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SHEET_COLUMNS": "decaf.exploration.page.small_copies",
        "STYLE_SHEETS": "decaf.exploration.page.rendering",
        "THUMBNAIL_HEIGHT": "decaf.exploration.page.small_copies",
        "SpriteSheets": "decaf.exploration.page.small_copies",
        "Thumbnails": "decaf.exploration.page.small_copies",
        "check_page": "decaf.exploration.page.rendering",
        "page_environment": "decaf.exploration.page.rendering",
        "picture_uri": "decaf.exploration.page.small_copies",
        "render_page": "decaf.exploration.page.rendering",
        "sprite_sheets": "decaf.exploration.page.small_copies",
        "thumbnail": "decaf.exploration.page.small_copies",
        "thumbnails": "decaf.exploration.page.small_copies",
        "write_page": "decaf.exploration.page.rendering",
    },
)
