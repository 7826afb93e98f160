"""Curves and points lie where their numbers say, and a drawing is well-formed SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.errors import SettingError
from decaf.exploration.page import Lines, Panel, Points, Scatter, Series, Text
from decaf.exploration.page.charts import (
    NARROW,
    WIDE,
    ChartSize,
    chart_file,
    line_chart,
    scatter_legend,
    scatter_panel,
)
from report import BenchmarkReport, load_report, write_report

Place = tuple[float, float]


@pytest.fixture
def lines() -> Lines:
    ours = Series("SVM", (1, 5, 30), (20.0, 40.0, 60.0), (2.0, 1.0, 4.0))
    theirs = Series("Yang & Co", (30, 5), (70.0, None), (), "Yang et al. 2009 <i>")
    return Lines("Few & many", (ours, theirs), "images", "accuracy")


@pytest.fixture
def scatter() -> Scatter:
    before = Panel(
        "Before",
        (
            Points((0.0, 1.0, -1.0), (0.0, 0.5, -0.5), colour=0, marker=0),
            Points((0.25,), (0.5,), colour=1, marker=1),
        ),
    )
    return Scatter("a & b", (before, Panel("After", ())), ("dog", "cat <3"), ("photo", "sketch"))


def titled(svg: ET.Element) -> dict[str, list[Place]]:
    """Return the marks of what has a title, by the title."""
    return {
        group[0].text or "": [
            (float(use.attrib["x"]), float(use.attrib["y"])) for use in group.iter("use")
        ]
        for group in svg.iter("g")
        if len(group) and group[0].tag == "title"
    }


def texts(svg: ET.Element) -> list[tuple[str, float, float]]:
    """Return what is written, and where."""
    return [
        (part.text or "", float(part.attrib.get("x", "nan")), float(part.attrib.get("y", "nan")))
        for part in svg.iter()
        if part.tag.endswith("text")
    ]


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_points_lie_on_the_axes_they_are_read_from(lines: Lines, size: ChartSize) -> None:
    svg = ET.fromstring(line_chart(lines, size))
    (x1, y1), (x5, y5), (x30, y30) = (
        place for name, places in titled(svg).items() for place in places if name[:3] == "SVM"
    )
    ticks = {float(text): y for text, _, y in texts(svg) if text in ("20", "40", "60")}
    assert set(ticks) == {20, 40, 60}
    # The number stands on a line a little below its tick, always by as much.
    assert [ticks[20] - y1, ticks[40] - y5] == pytest.approx([ticks[60] - y30] * 2, abs=0.5)
    assert (x5 - x1) / (x30 - x1) == pytest.approx(4 / 29, abs=1e-3)
    scale = (y1 - y30) / 40
    spreads = [
        float(ends[0]) - float(ends[1])
        for path in svg.iter("path")
        if "opacity" in path.attrib.get("style", "")
        for ends in [re.findall(r"[ML] [\d.]+ ([\d.]+)", path.attrib["d"])]
    ]
    assert spreads == pytest.approx([4 * scale, 2 * scale, 8 * scale], abs=0.05)
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    assert width == size.width
    for x, y in (place for places in titled(svg).values() for place in places):
        assert 0 < x < width
        assert 0 < y < height


def test_equal_ratios_are_equally_far_apart() -> None:
    lines = Lines("Few", (Series("a", (10, 100, 1000), (1.0, 2.0, 3.0)),), log_x=True)
    svg = ET.fromstring(line_chart(lines, WIDE))
    first, second, third = (places[0][0] for places in titled(svg).values())
    assert second - first == pytest.approx(third - second, abs=0.02)
    assert [text for text, *_ in texts(svg)][:3] == ["10", "100", "1000"]
    one = Lines("One", (Series("a", (4,), (1.0,)),), log_x=True)
    many = Lines("Many", (Series("a", range(1, 99), range(1, 99)),), log_x=True)
    for lines, marks in ((one, {"4"}), (many, {"1", "10"})):
        shown = {text for text, *_ in texts(ET.fromstring(line_chart(lines, NARROW)))}
        assert marks <= shown
        assert not any("mathdefault" in text for text in shown)
    with pytest.raises(SettingError, match="log_x, and an x that is not above 0"):
        Lines("Few", (Series("a", (0, 1), (1.0, 2.0)),), log_x=True)


def test_labels_that_would_touch_are_left_out() -> None:
    lines = Lines("Few", (Series("a", (1, 3, 5, 10, 30), (1.0, 2.0, 3.0, 4.0, 5.0)),))
    for size, labels in ((NARROW, ["1", "5", "10", "30"]), (WIDE, ["1", "3", "5", "10", "30"])):
        svg = ET.fromstring(line_chart(lines, size))
        assert [text for text, *_ in texts(svg)][: len(labels)] == labels


def test_every_point_says_its_numbers(lines: Lines) -> None:
    assert list(titled(ET.fromstring(line_chart(lines, WIDE)))) == [
        "SVM; images 1: 20.0 ± 2.0 %",
        "SVM; images 5: 40.0 ± 1.0 %",
        "SVM; images 30: 60.0 ± 4.0 %",
        "Yang & Co, published: Yang et al. 2009 <i>; images 30: 70.0 %",
    ]


def test_curves_differ_by_marker_and_by_colour() -> None:
    many = Lines("x", tuple(Series(f"{k}", (0,), (k,), (), "A" * (k == 23)) for k in range(24)))
    svg = ET.fromstring(line_chart(many, NARROW))
    looks = {
        (use.attrib["href"], use.attrib["style"])
        for group in svg.iter("g")
        if len(group) and group[0].tag == "title"
        for use in group.iter("use")
    }
    assert len(looks) == 24
    assert sum("fill: var(--paper)" in look for _, look in looks) == 1  # the published one


def test_colours_are_those_of_the_page_in_which_the_chart_stands(lines: Lines) -> None:
    inside, alone = line_chart(lines, WIDE), chart_file(lines)
    assert not re.search(r"#[0-9a-f]{6}", inside)
    assert "prefers-color-scheme" not in inside
    assert "@media screen and (prefers-color-scheme:dark)" in alone
    assert {"var(--ink)", "var(--rule)", "var(--c0)", "var(--c1)"} <= set(
        re.findall(r"var\(--\w+\)", inside)
    )


@pytest.mark.slow
@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize(
    "series",
    [(), (Series("a", (), ()),), (Series("a", (3,), (5.0,)),), (Series("a", (1, 2), (7.0, 7.0)),)],
)
def test_little_data_can_be_drawn(series: tuple[Series, ...], log_x: bool) -> None:
    svg = ET.fromstring(line_chart(Lines("t", series, log_x=log_x), NARROW))
    assert not re.search("nan|inf", ET.tostring(svg, encoding="unicode"))


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=60), min_size=1, max_size=3))
def test_the_file_is_well_formed_whatever_the_names(names: list[str]) -> None:
    series = tuple(Series(name, (1, 2), (1.0, 2.0), (0.5, 0.5), name) for name in names)
    root = ET.fromstring(chart_file(Lines(names[0], series, names[0], names[0])))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [part for part in root.iter() if part.tag.endswith(("script", "image", "a"))]


def test_names_are_shown_letter_by_letter() -> None:
    lines = Lines("$x$ <b>", (Series("_hidden", (1, 2), (1.0, 2.0)),), "a $\\frac$", "é 中")
    shown = [text for text, *_ in texts(ET.fromstring(chart_file(lines)))]
    assert {"$x$ <b>", "_hidden", "a $\\frac$", "é 中 (%)"} <= set(shown)


def test_points_keep_their_places(scatter: Scatter) -> None:
    result = titled(ET.fromstring(scatter_panel(scatter.panels[0], scatter)))
    assert list(result) == ["dog, photo", "cat <3, sketch"]
    (x0, y0), (x1, y1), (x2, y2) = result["dog, photo"]
    # One unit is as long across as up, and up is up.
    assert x1 - x0 == pytest.approx(x0 - x2) == pytest.approx(2 * (y0 - y1), abs=0.3)
    assert y2 > y0 > y1
    ((x, y),) = result["cat <3, sketch"]
    assert (x - x0, y) == (pytest.approx((x1 - x0) / 4, abs=0.2), y1)


def test_one_point_and_none() -> None:
    one = Scatter("s", (Panel("p", (Points((2.0,), (3.0,), 0, 0),)),), ("dog",), ("photo",))
    result = titled(ET.fromstring(scatter_panel(one.panels[0], one)))
    assert result == {"dog, photo": [pytest.approx((150, 150), abs=1)]}
    empty = Scatter("s", (), ("dog",), ("photo",))
    ET.fromstring(chart_file(empty))


def test_a_scatter_plot_as_a_file_of_its_own(scatter: Scatter) -> None:
    svg = ET.fromstring(chart_file(scatter))
    written = {text for text, *_ in texts(svg)}
    assert written == {"a & b", "Before", "After", "photo", "sketch", "dog", "cat <3"}
    legend = {text for text, *_ in texts(ET.fromstring(scatter_legend(scatter, NARROW)))}
    assert legend == {"photo", "sketch", "dog", "cat <3"}


def test_in_a_report(scatter: Scatter, tmp_path: Path) -> None:
    report = BenchmarkReport("r", "R", "what", (Text("t", "t"), scatter))
    files = [file.name for file in write_report(report, tmp_path)]
    assert files == ["r.json", "r.md", "r.html", "r-scatter.svg"]
    assert load_report(tmp_path / "r.json") == report
    assert "![a & b](r-scatter.svg)" in (tmp_path / "r.md").read_text(encoding="utf-8")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<h3>Before</h3>" in page
    assert "cat &lt;3, sketch" in page
    assert "cat <3" not in page


@pytest.mark.parametrize(("colour", "marker"), [(2, 0), (-1, 0), (0, 2)])
def test_a_colour_or_marker_that_there_is_not(colour: int, marker: int) -> None:
    points = Points((1.0,), (1.0,), colour, marker)
    with pytest.raises(SettingError, match=f"points of colour {colour} and marker {marker}, and"):
        Scatter("s", (Panel("p", (points,)),), ("dog", "cat"), ("photo", "sketch"))


def test_points_that_are_no_points() -> None:
    with pytest.raises(SettingError, match="2 x and 1 y; expected as many"):
        Points((1.0, 2.0), (1.0,), 0, 0)
    with pytest.raises(SettingError, match="x is nan; expected a finite number"):
        Points((float("nan"),), (1.0,), 0, 0)
