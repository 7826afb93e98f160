"""The page is whole HTML that asks for nothing, escapes all names, and stays small."""

from __future__ import annotations

import base64
import functools
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from decaf.exploration.page import (
    BEHIND_TEXT,
    STYLE_SHEETS,
    THUMBNAIL_HEIGHT,
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
    Row,
    Series,
    Table,
    Text,
)
from report import BenchmarkReport, SplitRecord
from report.rendering import report_page, thumbnail

VOID = {"meta", "img", "input", "br", "hr"}
# Attributes through which a page could load or run something.
LOADS = {"src", "href", "srcset", "action", "background", "poster", "data"}


class Reader(HTMLParser):
    """Reads a page, and holds that every element is closed by its own end tag."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names)
        values = {name: value or "" for name, value in attrs}
        self.elements.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"g", "path", "rect", "text", "title", "use"}
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def check_self_contained(page: Reader) -> None:
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "base"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert not re.search(r"url\(|image", " ".join(attributes.get("style", "").split()))
        for name in LOADS & attributes.keys():
            value = attributes[name]
            assert value.startswith("data:image/jpeg;base64," if tag == "img" else "#"), value
    assert "url(" not in page.text
    assert "@import" not in page.text
    assert len(set(page.ids)) == len(page.ids)
    links = {of["href"][1:] for tag, of in page.elements if tag in {"a", "use"}}
    assert links <= set(page.ids)


def test_the_page_is_whole_and_asks_for_nothing(report: BenchmarkReport, images: Path) -> None:
    text = report_page(report, images)
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    page = Reader(text)
    check_self_contained(page)
    assert not re.search(r"//\w", re.sub(r"data:image/jpeg;base64,[\w+/=]*", "", text))
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    for part in (*report.sections, *report.appendix):
        assert part.title in page.texts
    for fact in (report.command, report.headline, "3 min 12 s", "3.0 GiB", "512 MiB", "split 0"):
        assert fact in page.texts
    assert report.notes[0] in page.texts
    assert "Mean ± standard deviation over 5 runs. " in page.texts


def test_published_numbers_and_the_best_are_marked(report: BenchmarkReport) -> None:
    text = report_page(report)
    cells = re.findall(r'<td class="([^"]*)" data-label="([^"]*)">([^<]*)', text)
    assert cells[:8] == [
        ("first number", "fc6", "51.2 ± 0.6"),
        ("number", "fc7", "50.0 ± 0.5"),
        ("published first number", "fc6, published [1]", "84.3 ± 1.6"),
        ("published number", "fc7, published [1]", "84.9 ± 0.6"),
        ("first number best", "fc6", "54.6 ± 0.7"),
        ("number", "fc7", "–"),
        ("published first number best", "fc6, published [1]", "84.8 ± 1.2"),
        ("published number", "fc7, published [1]", "–"),
    ]
    assert "[1] Donahue et al. 2014, table 1" in text


def test_the_lowest_can_be_best(table: Table) -> None:
    text = report_page(BenchmarkReport("r", "t", "w", (replace(table, best="lowest"),)))
    assert re.findall(r'best" data-label="[^"]*">([\d.]+)', text) == ["51.2", "84.3"]


def test_thumbnails_are_small_upright_copies(report: BenchmarkReport, images: Path) -> None:
    page = Reader(report_page(report, images))
    result = [attributes for tag, attributes in page.elements if tag == "img"]
    alts = ["cup, taken for lamp: cup/1.jpg", "lamp: lamp/1.png"]
    assert [attributes["alt"] for attributes in result] == alts
    for attributes in result:
        data = base64.b64decode(attributes["src"].partition(",")[2])
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG"
            assert image.size == (213, THUMBNAIL_HEIGHT)
    assert "cup/gone.jpg" in page.texts  # its name stands in its place


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "\0", "\ud800.png", "."])
def test_images_outside_the_folder_are_not_shown(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    assert thumbnail(folder, name) is None
    assert thumbnail(folder, str(tmp_path / "secret.png")) is None


@pytest.mark.posix("names")
def test_a_name_that_is_not_utf8_is_found_and_shown(tmp_path: Path) -> None:
    raw = bytes(tmp_path) + b"/caf\xe9.png"
    with open(raw, "wb") as file:
        Image.new("RGB", (8, 8)).save(file, "PNG")
    pair = Confusion("a", "b", 1, images=("caf\udce9.png",))
    report = BenchmarkReport("r", "t", "w", (Confusions("c", (pair,)),))
    page = Reader(report_page(report, tmp_path))
    assert [of["title"] for tag, of in page.elements if tag == "img"] == ["caf\\xe9.png"]


def test_nearest_images_are_shown_with_their_classes_and_distances() -> None:
    near = (Neighbour("train/b.jpg", "cup", 1.25), Neighbour("train/gone.jpg", "lamp", 2.0))
    part = NearestImages("Near", (Neighbours("val/a.jpg", "cup", near),), "By distance.")
    pictures = {
        name: np.full((200, 100, 3), colour, np.uint8)
        for name, colour in (("val/a.jpg", 40), ("train/b.jpg", 200))
    }
    text = report_page(BenchmarkReport("r", "t", "w", (part,)), pictures)
    page = Reader(text)
    check_self_contained(page)
    kinds = [of["class"] for tag, of in page.elements if tag == "figure"]
    assert kinds == ["self", "hit", "miss"]
    shown = [of for tag, of in page.elements if tag == "img"]
    assert [of["alt"] for of in shown] == ["cup: val/a.jpg", "cup: train/b.jpg"]
    for of, colour in zip(shown, (40, 200), strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(of["src"].partition(",")[2])))
        assert image.size == (80, THUMBNAIL_HEIGHT)
        assert abs(np.asarray(image).mean() - colour) < 2
    assert "train/gone.jpg" in page.texts
    assert [page.texts[k + 1] for k, each in enumerate(page.texts) if each.strip() == "cup"][
        1:
    ] == ["1.2"]


def test_commands_of_a_text_stand_apart() -> None:
    text = report_page(BenchmarkReport("r", "t", "w", (Text("How", "So:", "a --b <c>\nd"),)))
    assert "<pre><code>a --b &lt;c&gt;\nd\n</code></pre>" in text


names = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    ["</title><script>alert(1)</script>", '"><img src=x onerror=1>', "&lt;", "a\u202eb", "]]>", "'"]
)


def named(a: str, b: str, c: str) -> BenchmarkReport:
    """Return a report with these names wherever there can be one."""
    return BenchmarkReport(
        name="r",
        title=a,
        what=b,
        headline=c,
        sections=(
            Table(a, (Column(b), Column(c, a)), (Row(a, (Cell(1, 1, 1, b), c)),), c, caption=a),
            Lines(a, (Series(b, (1, 2), (1, 2), (1, 1)), Series(c, (1,), (1,), (), a)), b, c),
            ConfusionMatrix(a, (b, c), ((1, 2), (3, 4)), b),
            ConfusionMatrix(a, (b, c) * 11, np.eye(22, k=1, dtype=int)),  # type: ignore[arg-type]
            HeatMap(a, (b,), (c,), ((1.0,),), a, b, c, 1, a),
            Bars(a, (Bar(b, 1, 2, 3), Bar(c, None)), a, c),
            Confusions(a, (Confusion(a, b, 1, 2, (c,), (a,)),), b),
            NearestImages(a, (Neighbours(a, b, (Neighbour(c, b, 1.0), Neighbour(b, a, 2.0))),), c),
            Text(a, b, c),
        ),
        command=a,
        date=b,
        machine=c,
        versions={a: b},
        fingerprints={b: c},
        splits=(SplitRecord(a, 1, 1, b, c),),
        settings={c: a},
        timing={a: 1},
        notes=(a, b, c),
    )


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(names, min_size=3, max_size=3, unique=True))
def test_no_name_becomes_markup(given_names: list[str]) -> None:
    page = report_page(named(*given_names))
    check_self_contained(Reader(page))
    if all(given_names):
        assert _tags(page) == _plain_tags()


@functools.cache
def _plain_tags() -> list[str]:
    return _tags(report_page(named("a", "b", "c")))


def _tags(page: str) -> list[str]:
    """Return the elements of a page in some order, but for paragraphs and what is in charts.

    A name of two lines makes two paragraphs, and a long one leaves room for fewer ticks.
    """
    rest = re.sub(r'<svg class="chart".*?</svg>', "", page, flags=re.DOTALL)
    return sorted(tag for tag, _ in Reader(rest).elements if tag != "p")


@pytest.mark.slow
def test_a_hundred_classes_stay_below_three_megabytes(images: Path) -> None:
    classes = tuple(f"class_{k:03}" for k in range(102))
    counts = np.random.default_rng(0).poisson(1.0, (102, 102)) + 60 * np.eye(102, dtype=int)
    pairs = tuple(
        Confusion(name, "lamp", 9, 30, ("cup/1.jpg",) * 4, ("lamp/1.png",) * 2)
        for name in classes[:12]
    )
    report = BenchmarkReport(
        "r",
        "t",
        "w",
        (
            ConfusionMatrix("Confusions", classes, counts),  # type: ignore[arg-type]
            Confusions("Hardest", pairs),  # of noise, which JPEG cannot make small
            Bars("By class", tuple(Bar(name, 50.0, 1.0, 30) for name in classes)),
        ),
    )
    text = report_page(report, images)
    assert len(text.encode()) < 3e6
    page = Reader(text)
    check_self_contained(page)
    cells = "".join(of["d"] for tag, of in page.elements if tag == "path" and "class" in of)
    assert cells.count("M") == np.count_nonzero(counts)
    assert "class_000 taken for" in text


def test_bars_are_listed_from_the_lowest_and_can_be_sorted_by_name() -> None:
    bars = [Bar(name, mean) for name, mean in [("b", 30.0), ("a", 50.0), ("c", 10.0), ("d", None)]]
    page = report_page(BenchmarkReport("r", "t", "w", (Bars("x", tuple(bars * 7)),)))
    folded = page.partition("<details>")[2]
    orders = re.findall(r'"--worst:(\d+);--name:(\d+)" title="(\w)', folded)
    assert [name for _, _, name in orders] == ["c"] * 7 + ["b"] * 7 + ["a"] * 7 + ["d"] * 7
    by_name = sorted(orders, key=lambda order: int(order[1]))
    assert [name for _, _, name in by_name] == ["a"] * 7 + ["b"] * 7 + ["c"] * 7 + ["d"] * 7


def test_gains_and_losses_have_a_hue_and_a_sign_each() -> None:
    chart = HeatMap("Gain", ("a", "b"), ("c", "d"), ((4.0, -2.0), (0.0, None)))
    page = report_page(BenchmarkReport("r", "t", "w", (chart,)))
    cells = re.findall(r'<td class="(\w+)"(?: style="--a:([\d.]+)")?>([^<]*)', page)
    assert [(kind, text) for kind, _, text in cells] == [
        ("hit", "+4.0"),
        ("miss", "−2.0"),
        ("hit", "0.0"),
        ("zero", "–"),
    ]
    # As strong as the change is large, either way; nothing where there is none.
    strengths = [float(strength) for _, strength, _ in cells[:3]]
    assert strengths == pytest.approx([0.55, 0.29, 0.03], abs=0.01)
    assert "+ gain" in page
    plain = report_page(BenchmarkReport("r", "t", "w", (replace(chart, values=((1, 2), (3, 4))),)))
    assert "gain</p>" not in plain.lower()
    assert not re.search(r'class="miss"|>\+', plain)


def test_many_links_to_sections_are_folded() -> None:
    parts = tuple(Text(f"Part {k}", "text") for k in range(20))
    page = report_page(BenchmarkReport("r", "t", "w", parts))
    navigation = page.partition("<nav")[2].partition("</nav>")[0]
    assert "<details><summary>21 sections</summary>\n<a href" in navigation
    few = report_page(BenchmarkReport("r", "t", "w", parts[:5]))
    assert "<details>" not in few.partition("<nav")[2].partition("</nav>")[0]
    assert few.partition("<nav")[2].count("<a href") == 6


def _contrast(one: str, other: str) -> float:
    """Compare two colours as WCAG 2.2 does."""

    def luminance(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("place", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(place: int) -> None:
    style = (STYLE_SHEETS / "chart.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+):([^;]+);", style.split("@media")[place]))
    for text in ("ink", "soft"):
        for behind in ("paper", "panel"):
            assert _contrast(colours[text], colours[behind]) >= 4.5
    paper = [int(colours["paper"][k : k + 2], 16) for k in (1, 3, 5)]
    for hue in ("hit", "miss"):
        rgb = [int(part) for part in colours[hue].split(",")]
        mixed = [
            round(BEHIND_TEXT * a + (1 - BEHIND_TEXT) * b) for a, b in zip(rgb, paper, strict=True)
        ]
        assert _contrast(colours["ink"], "#" + "".join(f"{part:02x}" for part in mixed)) >= 4.5


# What of linear red, green and blue reaches a reader who lacks one kind of cone (Machado et al., "A
# physiologically-based model for simulation of color vision deficiency", 2009, severity 1).
EYES = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]  # of sRGB


@pytest.mark.parametrize("place", [0, 1], ids=["light", "dark"])
def test_colours_of_classes_stay_apart_for_every_eye(place: int) -> None:
    """Colours that are ten apart in L*a*b* (CIE 1976) are told from each other at a glance."""
    style = (STYLE_SHEETS / "chart.css").read_text(encoding="utf-8").split("@media")[place]
    colours = dict(re.findall(r"--([\w-]+):([^;]+);", style))
    hues = [colours[f"c{k}"] for k in range(8)]
    for hue in hues:
        assert min(_contrast(hue, colours[behind]) for behind in ("paper", "panel")) >= 3
    shares = np.array([[int(hue[k : k + 2], 16) / 255 for k in (1, 3, 5)] for hue in hues])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    for matrix in EYES.values():
        seen = (linear @ np.transpose(matrix)).clip(0, 1)
        xyz = seen @ np.transpose(XYZ) / np.sum(XYZ, axis=1)
        f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
        x, y, z = f.T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(8)
        assert apart.min() > 10


@pytest.mark.parametrize(
    ("sources", "across"),
    [(["", "", "", "A", "A", "A"], 3), ([""] * 4, 2), (["", "A", "B"], 3), ([""] * 7, 3)],
)
def test_lines_of_a_row_are_equally_full_on_a_telephone(sources: list[str], across: int) -> None:
    columns = tuple(Column("fc6", source) for source in sources)
    rows = (Row("30", (Cell(1.0),) * len(sources)), Row("SVM", (Cell(),) * len(sources)))
    page = report_page(BenchmarkReport("r", "t", "w", (Table("t", columns, rows, "images"),)))
    assert f'style="--across:{across}"' in page
    assert '<th scope="row" data-label="images">30</th>' in page
    assert '<th scope="row">SVM</th>' in page
