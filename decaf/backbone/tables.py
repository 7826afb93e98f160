"""A summary as text for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from decaf.backbone.summary import LayerRow, Summary

__all__ = ["summary_markdown", "summary_text"]

_HEADS = (
    *("layer", "kind", "input", "output", "filters", "kernel", "stride", "pad", "groups"),
    *("parameters", "multiply-adds", "memory (KiB)"),
    *("receptive field", "eff. stride", "eff. pad"),
)
# Short enough for a terminal of 120 columns.
_SHORT = (
    *("layer", "kind", "input", "output", "filters", "kernel", "stride", "pad", "grp"),
    *("params", "mult-adds", "KiB", "field", "e.str", "e.pad"),
)
_LEGEND = (
    "grp: groups; KiB: the output in float32, for one image; field, e.str, e.pad: receptive\n"
    "field, effective stride and effective padding in input pixels"
)
_MARKDOWN_LEGEND = (
    "Memory is that of the layer's output in float32, for one image; receptive field, effective "
    "stride and effective padding are in input pixels."
)
_LEFT = 2  # the columns that hold words


def summary_text(summary: Summary) -> str:
    """Return the table as text of at most 120 columns, with totals and shares under it."""
    table = [_SHORT, *(_cells(row) for row in summary.rows), _total_cells(summary)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_SHORT))]
    lines = [_aligned(cells, widths) for cells in table]
    rule = "-" * max(map(len, lines))
    shares = [("share of", "params", "mult-adds", "memory"), *_share_cells(summary)]
    share_widths = [max(len(cells[column]) for cells in shares) for column in range(4)]
    return "\n".join(
        [
            _title(summary),
            "",
            lines[0],
            rule,
            *lines[1:-1],
            rule,
            lines[-1],
            "",
            *(_aligned(cells, share_widths, left=1) for cells in shares),
            "",
            _LEGEND,
        ]
    )


def summary_markdown(summary: Summary) -> str:
    """Return the table as Markdown, with totals and shares under it."""
    table = [_HEADS, *(_cells(row) for row in summary.rows), _total_cells(summary)]
    shares = [("share of", "parameters", "multiply-adds", "memory"), *_share_cells(summary)]
    return "\n\n".join(
        [
            _title(summary),
            _markdown_table(table, left=_LEFT),
            _markdown_table(shares, left=1),
            _MARKDOWN_LEGEND,
        ]
    )


def _title(summary: Summary) -> str:
    size = summary.input_size
    return f"{summary.architecture}, input 3×{size}×{size}"


def _cells(row: LayerRow) -> tuple[str, ...]:
    def or_dash(value: int | None) -> str:
        return "-" if value is None else str(value)

    return (
        row.layer,
        row.kind.replace("adaptive_pool", "average"),
        "×".join(map(str, row.input)),
        "×".join(map(str, row.output)),
        *map(or_dash, (row.filters, row.kernel, row.stride, row.padding, row.groups)),
        f"{row.parameters:,}",
        f"{row.multiply_adds:,}",
        _memory(row.activation_bytes),
        "all" if row.receptive_field is None else str(row.receptive_field),
        or_dash(row.effective_stride),
        or_dash(row.effective_padding),
    )


def _total_cells(summary: Summary) -> tuple[str, ...]:
    sums = (
        f"{summary.parameters:,}",
        f"{summary.multiply_adds:,}",
        _memory(summary.activation_bytes),
    )
    return ("total", *[""] * 8, *sums, "", "", "")


def _share_cells(summary: Summary) -> list[tuple[str, ...]]:
    return [
        (
            group.name,
            f"{group.parameters_share:.1%}",
            f"{group.multiply_adds_share:.1%}",
            f"{group.activation_bytes_share:.1%}",
        )
        for group in summary.groups
    ]


def _memory(size: int) -> str:
    return f"{size / 1024:,.1f}"


def _aligned(cells: Sequence[str], widths: Sequence[int], left: int = _LEFT) -> str:
    padded = [
        cell.ljust(width) if column < left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return " ".join(padded).rstrip()


def _markdown_table(table: Sequence[Sequence[str]], left: int) -> str:
    rule = [":--" if column < left else "--:" for column in range(len(table[0]))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table[0], rule, *table[1:]))
