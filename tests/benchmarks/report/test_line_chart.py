"""Curves lie where their numbers say, and the drawing is well-formed SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import SettingError
from report import Lines, Series
from report.axes import Scale, nice_ticks, thinned
from report.line_chart import NARROW, WIDE, ChartSize, line_chart, standalone_chart

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)


@pytest.fixture
def lines() -> Lines:
    ours = Series("SVM", (1, 5, 30), (20.0, 40.0, 60.0), (2.0, 1.0, 4.0))
    theirs = Series("Yang & Co", (30, 5), (70.0, None), (), "Yang et al. 2009 <i>")
    return Lines("Few & many", (ours, theirs), "images", "accuracy")


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_points_lie_on_the_axes_they_are_read_from(lines: Lines, size: ChartSize) -> None:
    svg = parsed(line_chart(lines, size))
    curve = next(part for part in svg.iter("polyline"))
    points = [tuple(map(float, point.split(","))) for point in curve.attrib["points"].split()]
    ticks = {}
    for text in svg.iter("text"):
        if text.attrib.get("text-anchor") == "end":
            ticks[float(text.text or "")] = float(text.attrib["y"]) - 4.5
    (low, bottom), (high, top) = min(ticks.items()), max(ticks.items())
    for (_, y), value in zip(points, (20, 40, 60), strict=True):
        assert y == pytest.approx(bottom + (value - low) / (high - low) * (top - bottom), abs=0.02)
    xs = [x for x, _ in points]
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(4 / 29, abs=1e-3)
    spread = next(part for part in svg.iter("path") if part.attrib["class"] == "spread")
    ends = [
        float(y) for pair in re.findall(r" ([\d.]+)V([\d.]+)", spread.attrib["d"]) for y in pair
    ]
    heights = [low_end - high_end for low_end, high_end in zip(ends[::2], ends[1::2], strict=True)]
    scale = (bottom - top) / (high - low)
    assert heights == pytest.approx([4 * scale, 2 * scale, 8 * scale], abs=0.05)


def test_equal_ratios_are_equally_far_apart() -> None:
    lines = Lines("Few", (Series("a", (10, 100, 1000), (1.0, 2.0, 3.0)),), log_x=True)
    svg = parsed(line_chart(lines, WIDE))
    curve = next(part for part in svg.iter("polyline"))
    first, second, third = (float(p.split(",")[0]) for p in curve.attrib["points"].split())
    assert second - first == pytest.approx(third - second, abs=0.02)
    labels = [t.text for t in svg.iter("text") if t.attrib.get("text-anchor") == "middle"]
    assert labels[:3] == ["10", "100", "1000"]
    with pytest.raises(SettingError, match="log_x, and an x that is not above 0"):
        Lines("Few", (Series("a", (0, 1), (1.0, 2.0)),), log_x=True)


def test_every_point_says_its_numbers(lines: Lines) -> None:
    svg = parsed(line_chart(lines, WIDE))
    assert [title.text for title in svg.iter("title")] == [
        "SVM; images 1: 20.0 ± 2.0 %",
        "SVM; images 5: 40.0 ± 1.0 %",
        "SVM; images 30: 60.0 ± 4.0 %",
        "Yang & Co, published: Yang et al. 2009 <i>; images 30: 70.0 %",
    ]
    assert [part.attrib.get("class") for part in svg.iter("g")].count("s1 published") == 2


def test_curves_differ_by_marker_and_by_colour() -> None:
    many = Lines("x", tuple(Series(f"{k}", (0,), (k,)) for k in range(24)))
    svg = parsed(line_chart(many, NARROW))
    looks = set()
    for group in svg.iter("g"):
        marks = [part for part in group.iter() if part.attrib.get("class") == "mark"]
        if group.attrib.get("class", "").startswith("s") and len(marks) == 1:
            looks.add((group.attrib["class"], marks[0].attrib.get("d", "circle")))
    assert len(looks) == 24


@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize(
    "series",
    [(), (Series("a", (), ()),), (Series("a", (3,), (5.0,)),), (Series("a", (1, 2), (7.0, 7.0)),)],
)
def test_little_data_can_be_drawn(series: tuple[Series, ...], log_x: bool) -> None:
    svg = parsed(line_chart(Lines("t", series, log_x=log_x), NARROW))
    assert not re.search("nan|inf", ET.tostring(svg, encoding="unicode"))


@given(st.lists(st.text(st.characters(codec=None), max_size=60), min_size=1, max_size=3))
def test_the_file_is_well_formed_whatever_the_names(names: list[str]) -> None:
    series = tuple(Series(name, (1, 2), (1.0, 2.0), (0.5, 0.5), name) for name in names)
    root = parsed(standalone_chart(Lines(names[0], series, names[0], names[0])))
    assert root.tag == f"{SVG}svg"
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for part in root.iter(f"{SVG}circle"):
        assert 0 <= float(part.attrib["cx"]) <= width
        assert 0 <= float(part.attrib["cy"]) <= height
    assert not [part for part in root.iter() if part.tag in (f"{SVG}script", f"{SVG}image")]


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.integers(2, 12),
)
def test_ticks_are_even_and_reach_beyond_the_data(low: float, span: float, count: int) -> None:
    high = low + span
    ticks = nice_ticks(low, high, count)
    assert 2 <= len(ticks) <= count + 2
    steps = [b - a for a, b in pairwise(ticks)]
    slack = 1e-6 * max(span, abs(low) * 1e-6) + 1e-9 * max(abs(low), abs(high), span)
    assert max(steps) - min(steps) <= max(steps) * 1e-3 + slack
    assert ticks[0] <= low + max(steps) * 1e-3 + slack
    assert ticks[-1] >= high - max(steps) * 1e-3 - slack


def test_labels_that_would_touch_are_left_out() -> None:
    scale = Scale(0, 30, 0, 300)
    assert thinned([1, 3, 5, 10, 30], scale, 30) == [1, 5, 10, 30]
