"""A report as one page of HTML that needs nothing else: no script, no file, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from decaf.runtime.progress import duration
from report.benchmark import BenchmarkReport
from report.line_chart import NARROW, WIDE, line_chart
from report.markup import Markup, element, joined
from report.page_matrices import confusion_matrix, heat_map
from report.page_tables import bar_list, caption, folded, result_table
from report.scatter_chart import scatter_legend, scatter_panel
from report.sections import (
    Bars,
    Cell,
    Column,
    Confusion,
    ConfusionMatrix,
    Confusions,
    HeatMap,
    Lines,
    Row,
    Scatter,
    Section,
    Table,
    Text,
)
from report.style import page_style
from report.thumbnails import thumbnail
from report.wording import memory

__all__ = ["chart_table", "report_page"]

# The page may show what is in it and ask for nothing from elsewhere.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_IMAGES_OF_PAIR = 4
_EXAMPLES_OF_PAIR = 4
# More links to sections than this are folded: they would fill a telephone's first screen.
_FEW_LINKS = 6


def report_page(report: BenchmarkReport, images: Path | None = None) -> str:
    """Return a report as HTML.

    Parameters
    ----------
    report : BenchmarkReport
    images : Path, optional
        The folder that the paths of images are below. Without it there are names in place of
        thumbnails.

    Returns
    -------
    str
        A page that opens from disk.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", report.title),
        element("style", Markup(page_style())),
    )
    sections = [_section(f"s{k}", part, images) for k, part in enumerate(report.sections)]
    body = element(
        "body",
        _header(report),
        element("main", *sections[:1], _notes(report), *sections[1:], _making(report, images)),
        element("footer", f"Made by decaf. The record is {report.name}.json."),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _header(report: BenchmarkReport) -> Markup:
    links = [element("a", part.title, href=f"#s{k}") for k, part in enumerate(report.sections)] + [
        element("a", "How it was made", href="#making")
    ]
    origin = " · ".join(filter(None, (report.date, report.machine)))
    return element(
        "header",
        element("p", origin, class_="eyebrow") if origin else Markup(),
        element("h1", report.title),
        element("p", report.headline, class_="headline") if report.headline else Markup(),
        element("p", report.what),
        _navigation(links),
    )


def _navigation(links: Sequence[Markup]) -> Markup:
    if len(links) <= _FEW_LINKS:
        return element("nav", *links, aria_label="Sections")
    return element("nav", folded(f"{len(links)} sections", *links), aria_label="Sections")


def _notes(report: BenchmarkReport) -> Markup:
    if not report.notes:
        return Markup()
    items = element("ul", *(element("li", note) for note in report.notes))
    return element("div", element("strong", "Notes"), items, class_="notes", role="note")


def _section(name: str, part: Section, images: Path | None) -> Markup:
    return element("section", element("h2", part.title), _content(name, part, images), id=name)


def _content(name: str, part: Section, images: Path | None) -> Markup:
    if isinstance(part, Table):
        return result_table(part)
    if isinstance(part, Lines):
        return _lines(part)
    if isinstance(part, ConfusionMatrix):
        return confusion_matrix(part)
    if isinstance(part, HeatMap):
        return heat_map(part)
    if isinstance(part, Bars):
        return bar_list(part, f"sort-{name}")
    if isinstance(part, Confusions):
        pairs = [_pair(pair, images) for pair in part.pairs]
        return joined(element("div", *pairs, class_="pairs"), caption(part.caption))
    if isinstance(part, Scatter):
        return _scatter(part)
    return _paragraphs(part)


def _paragraphs(part: Text) -> Markup:
    return joined(*(element("p", text) for text in part.text.split("\n\n") if text.strip()))


def _lines(part: Lines) -> Markup:
    return element(
        "figure",
        line_chart(part, WIDE, class_="chart wide"),
        line_chart(part, NARROW, class_="chart narrow"),
        element("figcaption", caption(part.caption)) if part.caption else Markup(),
        folded("The numbers", result_table(chart_table(part))),
    )


def _scatter(part: Scatter) -> Markup:
    panels = [
        element("div", element("h3", panel.title), scatter_panel(panel, part))
        for panel in part.panels
    ]
    return element(
        "figure",
        element("div", *panels, class_="panels"),
        scatter_legend(part),
        element("figcaption", caption(part.caption)) if part.caption else Markup(),
    )


def chart_table(part: Lines) -> Table:
    """Return the numbers of curves as a table: a row for each x, a column for each curve.

    Parameters
    ----------
    part : Lines

    Returns
    -------
    Table
    """
    xs = sorted({x for series in part.series for x in series.x})
    cells = [
        {
            x: Cell(mean, series.std[k] if series.std else None)
            for k, (x, mean) in enumerate(zip(series.x, series.mean, strict=True))
        }
        for series in part.series
    ]
    rows = tuple(Row(f"{x:g}", tuple(of.get(x, Cell()) for of in cells)) for x in xs)
    columns = tuple(Column(series.name, series.source) for series in part.series)
    return Table(
        part.title,
        columns,
        rows,
        row_header=part.x_label,
        unit=part.unit,
        decimals=part.decimals,
        best="none",
    )


def _pair(pair: Confusion, images: Path | None) -> Markup:
    count = f"{pair.count} of {pair.of}" if pair.of is not None else f"{pair.count}"
    parts = [
        element("h3", f"{pair.true} → {pair.predicted}"),
        element("p", f"{count} images of {pair.true}"),
    ]
    shown = pair.images[:_IMAGES_OF_PAIR]
    alt = f"{pair.true}, taken for {pair.predicted}"
    if shown:
        parts.append(_thumbnails(shown, alt, images))
    if pair.examples:
        parts.append(element("p", f"For comparison, {pair.predicted}:"))
        parts.append(_thumbnails(pair.examples[:_EXAMPLES_OF_PAIR], pair.predicted, images))
    return element("article", *parts, class_="pair")


def _thumbnails(names: tuple[str, ...], alt: str, images: Path | None) -> Markup:
    parts = []
    for name in names:
        data = None if images is None else thumbnail(images, name)
        if data is None:
            parts.append(element("span", name, class_="gone"))
        else:
            file = f"{alt}: {name}"
            parts.append(element("img", src=data, alt=file, title=name, loading="lazy"))
    return element("div", *parts, class_="thumbs")


def _making(report: BenchmarkReport, images: Path | None) -> Markup:
    """Return how the report was made: all that makes it again, and what it took."""
    parts = [element("h2", "How it was made")]
    if report.command:
        parts.append(element("pre", element("code", report.command)))
    parts.append(_facts({"Date": report.date, "Machine": report.machine, **report.settings}))
    if report.timing:
        times = {stage: duration(seconds) for stage, seconds in report.timing.items()}
        parts += [element("h3", "Time"), _facts(times)]
    peaks = {
        "Process": report.peak_memory,
        "Accelerator": report.peak_device_memory,
    }
    known = {where: memory(size) for where, size in peaks.items() if size is not None}
    if known:
        parts += [element("h3", "Peak memory"), _facts(known)]
    if report.versions:
        parts += [element("h3", "Versions"), _facts(report.versions)]
    if report.fingerprints:
        parts += [element("h3", "Fingerprints"), _facts(report.fingerprints, mono=True)]
    if report.splits:
        parts += [element("h3", "Splits"), _splits(report)]
    for k, part in enumerate(report.appendix):
        parts += [element("h3", part.title), _content(f"a{k}", part, images)]
    return element("section", *parts, id="making")


def _facts(facts: Mapping[str, str], mono: bool = False) -> Markup:
    class_ = "mono" if mono else None
    pairs = [
        joined(element("dt", name), element("dd", value, class_=class_))
        for name, value in facts.items()
        if value
    ]
    return element("dl", *pairs, class_="facts") if pairs else Markup()


def _splits(report: BenchmarkReport) -> Markup:
    heads = ("Split", "training", "test", "manifest", "SHA-256")
    rows = [
        element(
            "tr",
            element("th", split.name, scope="row"),
            element("td", str(split.n_train)),
            element("td", str(split.n_test)),
            element("td", split.manifest),
            element("td", split.sha256[:16], class_="mono", title=split.sha256),
        )
        for split in report.splits
    ]
    head = element("thead", element("tr", *(element("th", text, scope="col") for text in heads)))
    return element("div", element("table", head, element("tbody", *rows)), class_="scroll")
