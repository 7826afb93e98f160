"""The one set of templates that pages come from: files that open from disk and ask for nothing.

A page extends ``base.html``, which has the style sheet, light and dark, and the policy that keeps
the browser from asking anything of a network. `render_page` fills it in, `write_page` writes it,
and `thumbnails` gives its pictures. A page of results is made of sections (`Table`, `Lines`,
`ConfusionMatrix`, …), plain data that ``sections.html`` shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.exploration.page.charts import chart_file
    from decaf.exploration.page.record import Record, from_plain, to_plain
    from decaf.exploration.page.rendering import (
        STYLE_SHEETS,
        check_page,
        page_environment,
        render_page,
        write_page,
    )
    from decaf.exploration.page.section_templates import (
        BEHIND_TEXT,
        charts_are_drawn,
        section_environment,
    )
    from decaf.exploration.page.sections import (
        Bar,
        Bars,
        Cell,
        Column,
        Confusion,
        ConfusionMatrix,
        Confusions,
        HeatMap,
        Lines,
        NearestImages,
        Neighbour,
        Neighbours,
        Panel,
        Points,
        Row,
        Scatter,
        Section,
        Series,
        Table,
        Text,
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
    from decaf.exploration.page.wording import MISSING, memory, number, table_marks

__all__ = [
    "BEHIND_TEXT",
    "MISSING",
    "SHEET_COLUMNS",
    "STYLE_SHEETS",
    "THUMBNAIL_HEIGHT",
    "Bar",
    "Bars",
    "Cell",
    "Column",
    "Confusion",
    "ConfusionMatrix",
    "Confusions",
    "HeatMap",
    "Lines",
    "NearestImages",
    "Neighbour",
    "Neighbours",
    "Panel",
    "Points",
    "Record",
    "Row",
    "Scatter",
    "Section",
    "Series",
    "SpriteSheets",
    "Table",
    "Text",
    "Thumbnails",
    "chart_file",
    "charts_are_drawn",
    "check_page",
    "from_plain",
    "memory",
    "number",
    "page_environment",
    "picture_uri",
    "render_page",
    "section_environment",
    "sprite_sheets",
    "table_marks",
    "thumbnail",
    "thumbnails",
    "to_plain",
    "write_page",
]

__getattr__, __dir__ = lazy_names(__name__)
