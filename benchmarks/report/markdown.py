"""A report as Markdown, as GitHub and a terminal show it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from decaf.runtime.progress import duration
from report.benchmark import BenchmarkReport
from report.page import chart_table
from report.page_matrices import TABLE_CLASSES, mistakes_of
from report.sections import (
    Bars,
    Cell,
    ConfusionMatrix,
    Confusions,
    HeatMap,
    Lines,
    Scatter,
    Section,
    Table,
    Text,
)
from report.table_marks import spread_key, table_marks
from report.wording import memory, number, shown

__all__ = ["report_markdown", "table_markdown"]


def report_markdown(report: BenchmarkReport, charts: Mapping[int, str] | None = None) -> str:
    """Return a report as Markdown.

    Parameters
    ----------
    report : BenchmarkReport
    charts : mapping, optional
        Index of a section that is drawn → file of its drawing, beside the Markdown file.

    Returns
    -------
    str
    """
    blocks = [f"# {_text(report.title)}"]
    blocks += [f"**{_text(report.headline)}**"] if report.headline else []
    blocks.append(_text(report.what))
    for k, part in enumerate(report.sections):
        blocks += [f"## {_text(part.title)}", *_section(part, (charts or {}).get(k))]
        if k == 0 and report.notes:
            blocks.append("\n".join(f"- {_text(note)}" for note in report.notes))
    blocks += ["## How it was made", *_making(report)]
    for part in report.appendix:
        blocks += [f"### {_text(part.title)}", *_section(part, None)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def table_markdown(table: Table) -> str:
    """Return a table as Markdown: published numbers in columns of their own, the best in bold.

    Parameters
    ----------
    table : Table

    Returns
    -------
    str
        The table and, below it, its publications, remarks and caption.
    """
    marks = table_marks(table)
    unit = f" ({table.unit})" if table.unit else ""
    heads = [_text(f"{table.row_header}{unit}".strip())]
    for column in table.columns:
        if column.source:
            citation = marks.sources.index(column.source) + 1
            heads.append(f"{_text(column.name)}, published [{citation}]")
        else:
            heads.append(_text(column.name))
    rows = []
    for i, row in enumerate(table.rows):
        texts = [_text(row.name)]
        for j, cell in enumerate(row.cells):
            if isinstance(cell, Cell):
                text = number(cell.mean, cell.std, table.decimals)
            else:
                text = _text(cell)
            text = f"**{text}**" if (i, j) in marks.best else text
            if (i, j) in marks.remark_of:
                text += f" ({marks.remark_of[i, j] + 1})"
            texts.append(text)
        rows.append(texts)
    key = [spread_key(table), "Bold: best of its column." if marks.best else ""]
    below = [" ".join(filter(None, key))]
    below += [f"[{k}] {_text(source)}" for k, source in enumerate(marks.sources, 1)]
    below += [f"({k}) {_text(remark)}" for k, remark in enumerate(marks.remarks, 1)]
    below.append(_text(table.caption))
    grid = _grid(heads, rows)
    return "\n\n".join([grid, "  \n".join(filter(None, below))]).strip()


def _section(part: Section, chart: str | None) -> list[str]:
    if isinstance(part, Table):
        text = table_markdown(part)
        return [_folded("Show the table", text)] if part.collapsed else [text]
    if isinstance(part, Lines):
        picture = f"![{_text(part.title)}]({chart})" if chart else ""
        return [picture, _text(part.caption), table_markdown(chart_table(part))]
    if isinstance(part, Scatter):
        return [f"![{_text(part.title)}]({chart})" if chart else "", _text(part.caption)]
    if isinstance(part, ConfusionMatrix):
        return [_confusion_matrix(part), _text(part.caption)]
    if isinstance(part, HeatMap):
        corner = " \\ ".join(filter(None, (part.row_label, part.column_label)))
        unit = f" ({part.unit})" if part.unit else ""
        rows = [
            [_text(name), *(number(value, None, part.decimals) for value in values)]
            for name, values in zip(part.row_names, part.values, strict=True)
        ]
        heads = [_text(f"{corner}{unit}".strip()), *map(_text, part.column_names)]
        return [_grid(heads, rows), _text(part.caption)]
    if isinstance(part, Bars):
        return [_bars(part), _text(part.caption)]
    if isinstance(part, Confusions):
        rows = [
            [_text(pair.true), _text(pair.predicted), str(pair.count), str(pair.of or "")]
            for pair in part.pairs
        ]
        return [_grid(["True", "taken for", "images", "of"], rows, words=2), _text(part.caption)]
    return _paragraphs(part)


def _paragraphs(part: Text) -> list[str]:
    return [_text(text) for text in part.text.split("\n\n") if text.strip()]


def _confusion_matrix(matrix: ConfusionMatrix) -> str:
    names = [_text(name) for name in matrix.class_names]
    if len(names) <= TABLE_CLASSES:
        rows = [
            [name, *(str(count or "·") for count in row)]
            for name, row in zip(names, matrix.counts, strict=True)
        ]
        return _grid(["True \\\\ predicted", *names], rows)
    rows = []
    for i, name in enumerate(names):
        taken = ", ".join(f"{_text(other)} {count}" for other, count in mistakes_of(matrix, i))
        rows.append([name, f"{matrix.counts[i][i]} of {sum(matrix.counts[i])}", taken])
    table = _grid(["Class", "right", "most often taken for"], rows)
    return _folded("Row by row: what each class was taken for", table)


def _bars(part: Bars) -> str:
    unit = f" ({part.unit})" if part.unit else ""
    worst = sorted(part.bars, key=lambda bar: (bar.mean is None, bar.mean or 0.0, bar.name))
    rows = [
        [
            _text(bar.name),
            number(bar.mean, bar.std, part.decimals),
            "" if bar.n is None else str(bar.n),
        ]
        for bar in worst
    ]
    table = _grid(["", f"{_text(part.title)}{unit}", _text(part.n_label)], rows)
    return _folded(f"{len(rows)} rows, lowest first", table) if len(rows) > 20 else table


def _making(report: BenchmarkReport) -> list[str]:
    blocks = []
    if report.command:
        fence = "```" + "`" * len(max(re.findall("`+", report.command), default="", key=len))
        lines = "\n".join(shown(line) for line in report.command.splitlines())
        blocks.append(f"{fence}bash\n{lines}\n{fence}")
    facts = {"Date": report.date, "Machine": report.machine, **report.settings}
    if report.timing:
        times = [f"{stage} {duration(seconds)}" for stage, seconds in report.timing.items()]
        facts["Time"] = ", ".join(times)
    if report.peak_memory is not None:
        facts["Peak memory"] = memory(report.peak_memory)
    if report.peak_device_memory is not None:
        facts["Peak memory of the accelerator"] = memory(report.peak_device_memory)
    facts["Versions"] = ", ".join(f"{name} {of}" for name, of in report.versions.items())
    facts |= {f"Fingerprint of {what}": hexes for what, hexes in report.fingerprints.items()}
    listed = [f"- {_text(name)}: {_text(value)}" for name, value in facts.items() if value]
    blocks.append("\n".join(listed))
    if report.splits:
        rows = [
            [
                _text(split.name),
                str(split.n_train),
                str(split.n_test),
                _text(split.manifest),
                _text(split.sha256[:16]),
            ]
            for split in report.splits
        ]
        blocks.append(_grid(["Split", "training", "test", "manifest", "SHA-256"], rows))
    return blocks


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table whose cells are Markdown already; the first `words` columns are text."""
    rules = ["---" if k < words else "---:" for k in range(len(heads))]
    lines = [heads, rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _text(text: str) -> str:
    """Return text that Markdown shows as it is: nothing in it is a mark, a link or an element."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|~])", r"\\\1", shown(text))
    escaped = re.sub(r"&(?=[#\w]+;)", r"\\&", escaped)
    return re.sub(r"^(\s*)([#+=-]|\d+(?=[.)](?:\s|$)))", r"\1\\\2", escaped)
