"""The pages of a search, of units and of a fit in a browser, at 390 and 1,280 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import decaf
import systems
from browsers import needs_chromium
from decaf.backbone.weights.load import Weights, save_weights
from network_fixtures import make_image

pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, needs_chromium]

# Names are long, and would change the title if they were obeyed.
HOSTILE = systems.possible_name("<img src=x onerror=document.title='hacked'>")
CLASSES = (HOSTILE, "a-class-whose-name-is-long-" * 3, "bee")
TITLES = {
    "near": "Nearest images",
    "units": "What conv2 answers to",
    "filters": "The filters of conv1",
    "fit": "f.h5",
}


@pytest.fixture(scope="module")
def pages(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    for label, name in enumerate(CLASSES):
        (root / "images" / name).mkdir(parents=True)
        for number in range(6):
            path = root / "images" / name / f"{HOSTILE}{number}.png"
            Image.fromarray(make_image(label, number)).save(path)
    model = root / "w.safetensors"
    save_weights(model, weights)
    made = decaf.extract(
        root / "images", "fc7", out=root / "f.h5", weights=model, workers=0, progress=False
    )
    decaf.search(made, [0, 7], k=9, out=root / "near.html")
    made.close()
    decaf.visualize(model, out=root / "filters.html")
    decaf.visualize(
        *(model, root / "images"),
        out=root / "units.html",
        layer="conv2",
        units=range(4),
        importance="gradient",
        workers=0,
        progress=False,
    )
    fitted = decaf.fit(root / "f.h5", held_out=0.5, progress=False)
    decaf.write_fit_page(fitted, root / "fit.html")
    return root


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", TITLES)
def test_a_page_fits_its_window_and_asks_for_nothing(
    browser: Any, pages: Path, name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda each: asked.append(each.url))
    page.on("pageerror", lambda each: complaints.append(str(each)))
    page.on("console", lambda each: complaints.append(each.text))
    page.goto((pages / f"{name}.html").as_uri())
    assert page.locator("h1").inner_text().endswith(TITLES[name])
    pictures = page.locator("img")
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
    assert pictures.count() > 0
    assert all(page.evaluate("[...document.images].map((each) => each.naturalWidth)"))
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert "hacked" not in page.title()
    page.close()
    assert all(each.startswith(("file:", "data:image/")) for each in asked), asked
    assert not complaints
