"""The page of `decaf explore` in a browser, where Playwright and Chromium are."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
import systems
from browsers import needs_chromium
from decaf.heads import FeatureIdentity, LogisticRegression, save_head
from made_features import made_file

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, needs_chromium]

ROWS = 30
TITLE = "f.h5, as the network sees it"
CLASSES = ("=cmd|'/C calc'!A0", "<script>document.title='hacked'</script>", "plain")
HOSTILE = systems.possible_name("<img src=x onerror=document.title='hacked'>.png")
# Names are so long that a line with one is broken, as those of whole paths are.
LONG = "a-folder-whose-name-is-long/" * 4

# Where a map shows an image: from the left and the top of its canvas, in pixels.
PLACE = """
(i) => {
  const view = window.decafPage.views[0];
  const scale = view.scale / 65535;
  return [view.ox + view.map.xy[2 * i] * scale, view.oy + view.map.xy[2 * i + 1] * scale];
}
"""
DRAWN = """
() => new Promise((done) => {
  const { views } = window.decafPage;
  const look = () => (views.every((each) => each.drawn) ? done() : setTimeout(look, 20));
  look();
})
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of images in three classes, of which the head takes row 5 for another."""
    folder = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    names, digests = [], np.zeros((ROWS, 32), np.uint8)
    for row in range(ROWS):
        path = folder / LONG / (HOSTILE if row == 4 else f"{row:02d}.png")
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(random.integers(0, 255, (20, 30, 3), np.uint8)).save(path)
        names.append(bytes(path))
        digests[row] = np.frombuffer(hashlib.sha256(path.read_bytes()).digest(), np.uint8)
    labels = np.arange(ROWS) % 3
    kind = labels.copy()
    kind[5] = 0
    fc7 = np.maximum(4 * random.normal(size=(3, 24))[kind] + random.normal(size=(ROWS, 24)), 0)
    file = made_file(
        folder / "f.h5",
        {"fc6": fc7, "fc7": fc7},
        names=names,
        labels=labels.tolist(),
        class_names=CLASSES,
        digests=digests,
        splits=["train", "test"] * (ROWS // 2),
    )
    with decaf.open_features(file) as features:
        identity = FeatureIdentity.of(features, "fc7")
    save_head(
        folder / "f.head",
        LogisticRegression(1.0).fit(fc7, labels),
        identity=identity,
        class_names=CLASSES,
    )
    out = folder / "page.html"
    decaf.explore(file, out, head=folder / "f.head", method="pca", progress=False)
    return out


@pytest.fixture(params=[(390, 844), (1280, 900)], ids=str)
def page(request: pytest.FixtureRequest, browser: Any, made: Path) -> Iterator[Any]:
    """The page in a window; what it asked for, and what it complained of, is looked at after."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda each: asked.append(each.url))
    page.on("pageerror", lambda each: complaints.append(str(each)))
    page.on("console", lambda each: complaints.append(each.text))
    page.goto(made.as_uri())
    page.evaluate(DRAWN)
    yield page
    assert page.title() == TITLE
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()
    assert all(each.startswith((made.as_uri(), "data:image/", "blob:")) for each in asked), asked
    assert not complaints


def told(page: Any) -> str:
    text: str = page.locator("#told").inner_text()
    return text


def saved(page: Any) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.locator("#save").click()
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))


def test_a_point_that_is_clicked_is_opened_in_sight(page: Any) -> None:
    canvas = page.locator(".map canvas").first
    canvas.evaluate("(each) => each.scrollIntoView({ block: 'center' })")
    name = page.evaluate("window.decafPage.data.names[7]")
    box = canvas.bounding_box()
    places = [page.evaluate(PLACE, row) for row in range(ROWS)]
    for x, y in places:  # nothing covers a point
        above = "([x, y]) => document.elementFromPoint(x, y).tagName"
        assert page.evaluate(above, [box["x"] + x, box["y"] + y]) == "CANVAS"
    x, y = places[7]
    # The pointer rests on the point first, and the line of its name must not move the map.
    page.mouse.move(box["x"] + x, box["y"] + y)
    playwright.expect(page.locator("#told")).to_contain_text(name)
    assert canvas.bounding_box() == box
    page.mouse.down()
    page.mouse.up()
    opened = page.locator("#opened")
    assert opened.locator("h3").inner_text() == name
    place = opened.bounding_box()
    height = page.viewport_size["height"]
    assert 0 < place["y"] < place["y"] + place["height"] <= height
    opened.get_by_role("button").click()
    assert page.locator("#open").bounding_box()["y"] < height / 2 or (
        page.locator("#open button").last.bounding_box()["y"] < height
    )
    assert page.locator("#open .near").count() == 2
    assert page.locator("#open .near").first.locator(".card").count() == 10


def test_images_are_found_by_their_names_and_saved(page: Any) -> None:
    page.locator("#find").fill("/1")
    assert told(page) == f"10 of {ROWS} images are highlighted."
    page.locator("#find").press("Enter")
    assert page.locator("#opened h3").inner_text().endswith("/10.png")
    page.locator("#choose-shown").click()
    lines = saved(page)
    found = [line["path"].rpartition("/")[2] for line in lines]
    assert found == [f"{n}.png" for n in range(10, 20)]
    # What a spreadsheet would compute is text.
    assert {line["class"] for line in lines} == {f"'{CLASSES[0]}", *CLASSES[1:]}
    assert {line["answer"] for line in lines} <= {f"'{CLASSES[0]}", *CLASSES[1:]}
    page.locator("#find").fill("onerror")
    page.locator("#find").press("Enter")
    assert page.locator("#opened h3").inner_text().endswith(HOSTILE)
    assert page.locator("#clear").is_enabled()


@pytest.mark.parametrize("mode", ["box", "lasso"])
def test_points_that_are_surrounded_are_chosen(page: Any, mode: str) -> None:
    canvas = page.locator(".map canvas").first
    page.locator(f"input[value={mode}]").check()
    canvas.evaluate("(each) => each.scrollIntoView({ block: 'center' })")
    box = canvas.bounding_box()
    side = box["width"]
    corners = [(0.01, 0.01), (0.6, 0.6)]
    if mode == "lasso":  # a triangle
        corners = [(0.01, 0.01), (0.99, 0.01), (0.01, 0.99)]
    page.mouse.move(box["x"] + corners[0][0] * side, box["y"] + corners[0][1] * side)
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x * side, box["y"] + y * side, steps=4)
    page.mouse.up()
    places = np.array([page.evaluate(PLACE, row) for row in range(ROWS)]) / side
    inside = (places < 0.6).all(axis=1) if mode == "box" else places.sum(axis=1) < 1
    assert 0 < inside.sum() < ROWS
    names = page.evaluate("window.decafPage.data.names")
    assert [line["path"] for line in saved(page)] == [names[n] for n in np.flatnonzero(inside)]


def test_colours_tell_classes_trust_splits_and_mistakes(page: Any) -> None:
    colours = {
        option.inner_text(): option.get_attribute("value")
        for option in page.locator("#colour option").all()
    }
    legends = {}
    for name, value in colours.items():
        page.locator("#colour").select_option(value)
        legends[name] = page.locator("#legend > *").all_inner_texts()
    assert legends["class"] == [f"{name} (10)" for name in CLASSES]
    assert legends["split"] == ["test (15)", "train (15)"]
    assert legends["right or wrong"] == ["answered rightly (29)", "answered wrongly (1)"]
    for name in ("trust of the map of fc6", "trust of the map of fc7", "certainty of the answer"):
        counts = [int(text.rpartition("(")[2][:-1]) for text in legends[name]]
        assert sum(counts) == ROWS
    cards = page.locator("[data-list=mistakes] .card").all()
    assert [card.get_attribute("title").partition(": ")[0][-6:] for card in cards] == ["05.png"]


def test_a_map_is_walked_by_the_keyboard(page: Any) -> None:
    canvas = page.locator(".map canvas").last
    canvas.focus()
    walked = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):  # the first is amid the map
        page.keyboard.press(key)
        walked.append(told(page))
    names = page.evaluate("window.decafPage.data.names")
    rows = [next(n for n, name in enumerate(names) if text.startswith(name)) for text in walked]
    places = np.array([page.evaluate(PLACE.replace("views[0]", "views.at(-1)"), n) for n in rows])
    assert places[1, 0] > places[0, 0]
    assert places[2, 1] > places[1, 1]
    page.keyboard.press(" ")
    assert page.locator("#chosen-count").inner_text() == f"1 of {ROWS} images are chosen."
    assert [line["path"] for line in saved(page)] == [names[rows[2]]]
    scale = "window.decafPage.views.at(-1).scale"
    before = page.evaluate(scale)
    canvas.focus()
    page.keyboard.press("+")
    assert page.evaluate(scale) == pytest.approx(1.5 * before)
    page.keyboard.press("0")
    assert page.evaluate(scale) == pytest.approx(before)
    page.keyboard.press("Enter")
    assert page.locator("#opened h3").inner_text() == names[rows[2]]
    assert page.evaluate("document.activeElement.tagName") == "H3"
    label = canvas.get_attribute("aria-label")
    assert label.startswith(f"Map of fc7, {ROWS} images. Arrow keys go to the next image")


def test_units_that_tell_two_classes_apart_are_chosen(page: Any) -> None:
    page.locator("#class-a").select_option("2")
    page.locator("#class-b").select_option("0")
    told_of = page.locator("#contrast > p").inner_text()
    assert told_of.startswith(f"The head prefers {CLASSES[2]} by ")
    shares = page.locator("#contrast .unit .caption").all_inner_texts()
    parts = [float(text.partition(" %")[0]) for text in shares]
    assert len(parts) > 3
    assert parts == sorted(parts, reverse=True)
    assert page.locator("#contrast .unit").first.locator(".card").count() > 0
    page.locator("#class-b").select_option("2")
    assert page.locator("#contrast").inner_text() == "Choose two different classes."


# 60 frames a second leave a frame 16.7 ms. The quickest of many drawings says what the page asks
# for, whatever else the machine does.
def test_maps_of_many_points_are_drawn_in_a_frame(browser: Any, tmp_path: Path) -> None:
    count = 50_000
    values = np.random.default_rng(0).random((count, 8))
    kinds = [f"kind {number}" for number in range(12)]
    labels = (np.arange(count) % len(kinds)).tolist()
    file = made_file(tmp_path / "f.h5", {"fc7": values}, labels=labels, class_names=kinds)
    made = decaf.explore(file, tmp_path / "p.html", method="pca", images=False, progress=False)
    assert made.shown == count
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(made.path.as_uri())
    page.evaluate(DRAWN)
    took = page.evaluate("""
        () => Array.from({ length: 40 }, () => {
          const view = window.decafPage.views[0];
          const before = performance.now();
          view.ox += 1;
          window.decafPage.draw(view);
          view.context.getImageData(0, 0, 1, 1);
          return performance.now() - before;
        })
    """)
    page.close()
    assert min(took) < 1000 / 60
