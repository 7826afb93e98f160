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
    from decaf.exploration.page.charts import (
        chart_file,
    )
    from decaf.exploration.page.record import (
        Record,
        from_plain,
        to_plain,
    )
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
    from decaf.exploration.page.wording import (
        MISSING,
        memory,
        number,
        table_marks,
    )

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "MISSING": "decaf.exploration.page.wording",
        "BEHIND_TEXT": "decaf.exploration.page.section_templates",
        "Bar": "decaf.exploration.page.sections",
        "Bars": "decaf.exploration.page.sections",
        "Cell": "decaf.exploration.page.sections",
        "Column": "decaf.exploration.page.sections",
        "Confusion": "decaf.exploration.page.sections",
        "ConfusionMatrix": "decaf.exploration.page.sections",
        "Confusions": "decaf.exploration.page.sections",
        "HeatMap": "decaf.exploration.page.sections",
        "Lines": "decaf.exploration.page.sections",
        "NearestImages": "decaf.exploration.page.sections",
        "Neighbour": "decaf.exploration.page.sections",
        "Neighbours": "decaf.exploration.page.sections",
        "Panel": "decaf.exploration.page.sections",
        "Points": "decaf.exploration.page.sections",
        "Record": "decaf.exploration.page.record",
        "Row": "decaf.exploration.page.sections",
        "SHEET_COLUMNS": "decaf.exploration.page.small_copies",
        "STYLE_SHEETS": "decaf.exploration.page.rendering",
        "Scatter": "decaf.exploration.page.sections",
        "Section": "decaf.exploration.page.sections",
        "Series": "decaf.exploration.page.sections",
        "SpriteSheets": "decaf.exploration.page.small_copies",
        "THUMBNAIL_HEIGHT": "decaf.exploration.page.small_copies",
        "Table": "decaf.exploration.page.sections",
        "Text": "decaf.exploration.page.sections",
        "Thumbnails": "decaf.exploration.page.small_copies",
        "chart_file": "decaf.exploration.page.charts",
        "charts_are_drawn": "decaf.exploration.page.section_templates",
        "check_page": "decaf.exploration.page.rendering",
        "from_plain": "decaf.exploration.page.record",
        "memory": "decaf.exploration.page.wording",
        "number": "decaf.exploration.page.wording",
        "page_environment": "decaf.exploration.page.rendering",
        "picture_uri": "decaf.exploration.page.small_copies",
        "render_page": "decaf.exploration.page.rendering",
        "section_environment": "decaf.exploration.page.section_templates",
        "sprite_sheets": "decaf.exploration.page.small_copies",
        "table_marks": "decaf.exploration.page.wording",
        "thumbnail": "decaf.exploration.page.small_copies",
        "thumbnails": "decaf.exploration.page.small_copies",
        "to_plain": "decaf.exploration.page.record",
        "write_page": "decaf.exploration.page.rendering",
    },
)
