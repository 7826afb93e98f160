"""Scatter plots: every point is drawn, in its colour and with its marker, wherever it is shown."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from decaf.errors import SettingError
from report import (
    BenchmarkReport,
    Panel,
    Points,
    Scatter,
    Text,
    load_report,
    write_report,
)
from report.scatter_chart import SIDE, scatter_panel, standalone_scatter


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


def places(svg: ElementTree.Element) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each group by its name."""
    found = {}
    for path in svg.iter():
        title = path.find("./{*}title")
        if path.tag.endswith("path") and title is not None:
            starts = re.findall(r"M([\d.]+) ([\d.]+)", path.get("d", ""))
            found[title.text or ""] = [(float(x), float(y)) for x, y in starts]
    return found


def test_points_keep_their_places(scatter: Scatter) -> None:
    found = places(ElementTree.fromstring(scatter_panel(scatter.panels[0], scatter)))
    assert list(found) == ["dog, photo", "cat <3, sketch"]
    (x0, y0), (x1, y1), (x2, y2) = found["dog, photo"]
    # One unit is as long across as up, and up is up; the widest reaches from edge to edge.
    assert x1 - x0 == pytest.approx(x0 - x2) == pytest.approx(2 * (y0 - y1), abs=0.3)
    assert y2 > y0 > y1
    assert (x2, x1) == (12, SIDE - 12)
    ((x, y),) = found["cat <3, sketch"]
    assert (x - x0, y) == (pytest.approx((x1 - x0) / 4, abs=0.2), y1)


def test_one_point_and_none() -> None:
    one = Scatter("s", (Panel("p", (Points((2.0,), (3.0,), 0, 0),)),), ("dog",), ("photo",))
    found = places(ElementTree.fromstring(scatter_panel(one.panels[0], one)))
    assert found == {"dog, photo": [(SIDE / 2, SIDE / 2)]}
    empty = Scatter("s", (), ("dog",), ("photo",))
    ElementTree.fromstring(standalone_scatter(empty))


def test_a_file_of_its_own(scatter: Scatter) -> None:
    svg = ElementTree.fromstring(standalone_scatter(scatter))
    texts = {each.text for each in svg.iter() if each.tag.endswith("text")}
    assert texts == {"a & b", "Before", "After", "photo", "sketch", "dog", "cat <3"}
    assert len(places(svg)) == 2


def test_in_a_report(scatter: Scatter, tmp_path: Path) -> None:
    report = BenchmarkReport("r", "R", "what", (Text("t", "t"), scatter))
    files = [file.name for file in write_report(report, tmp_path)]
    assert files == ["r.json", "r.md", "r.html", "r-scatter.svg"]
    assert load_report(tmp_path / "r.json") == report
    assert "![a & b](r-scatter.svg)" in (tmp_path / "r.md").read_text()
    page = (tmp_path / "r.html").read_text()
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
