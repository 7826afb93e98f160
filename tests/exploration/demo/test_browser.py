"""The demo's page in a browser, where Playwright (``pip install playwright``) and Chromium are.

Names of the file and of the classes are hostile: what a page made markup of would change its title.
"""

from __future__ import annotations

import base64
import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import decaf
from browsers import needs_chromium
from decaf.backbone.model import Backbone
from decaf.backbone.weights.state import Weights

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, needs_chromium]

CLASSES = tuple(f"{letter}<script>document.title='hacked'</script>" for letter in "abcdefg")
FILE = "<img src=x onerror=document.title='hacked'>.png"
TITLE = "decaf demo"
SECONDS = 60_000

# What a user does with a file that is dropped or pasted.
GIVE = """
([how, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const given = new DataTransfer();
  given.items.add(new File([bytes], name, { type: "image/png" }));
  if (how === "paste") {
    const event = new ClipboardEvent("paste", { clipboardData: given, bubbles: true });
    document.body.dispatchEvent(event);
    return;
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const more = { dataTransfer: given, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new DragEvent(kind, more));
  }
}
"""

# Not Playwright's own way to wait, which the page's policy forbids.
UNTIL_FILMING = """
() => new Promise((done) => {
  const look = () => (document.getElementById("video").videoWidth ? done() : setTimeout(look, 20));
  look();
})
"""


@pytest.fixture(scope="module")
def backbone(make_weights: Callable[..., Weights]) -> Backbone:
    return decaf.load_backbone(make_weights(0, names=CLASSES))


@pytest.fixture(scope="module")
def address(
    backbone: Backbone, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    made = decaf.extract(
        folder,
        "fc7",
        out=tmp_path_factory.mktemp("features") / "f.h5",
        weights=backbone,
        workers=0,
        device="cpu",
    )
    assert isinstance(made, decaf.FeatureFile)
    stop: Any = threading.Event()
    addresses: queue.Queue[str] = queue.Queue()

    def serve() -> None:
        with made, suppress(decaf.Stopped):
            decaf.serve_demo(
                decaf.Classifier(weights=backbone),
                features=made,
                patches=str(folder),
                patch_layer="conv3",
                ready=addresses.put,
                device="cpu",
                progress=False,
                stop=stop,
            )

    thread = threading.Thread(target=serve)
    thread.start()
    yield addresses.get(timeout=60)
    stop.set()
    thread.join()


@pytest.fixture(params=[390, 1280])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """The page at a width; what it asked for, and what it complained of, is looked at after."""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda each: asked.append(each.url))
    page.on("pageerror", lambda each: complaints.append(str(each)))
    page.on("console", lambda each: complaints.append(each.text))
    page.goto(address)
    yield page
    assert page.title() == TITLE
    assert page.evaluate("document.documentElement.scrollWidth") == request.param
    page.close()
    assert all(each.startswith((address, "data:image/", "blob:")) for each in asked), asked
    # That a photograph is refused, with its status, the browser says itself.
    assert not [each for each in complaints if "422" not in each]


def give(page: Any, how: str, data: bytes) -> None:
    page.evaluate(GIVE, [how, FILE, base64.b64encode(data).decode()])


def test_a_photograph_that_is_dropped_is_answered(
    page: Any, photograph: bytes, folder: Path, backbone: Backbone
) -> None:
    give(page, "drop", photograph)
    page.wait_for_selector("article[aria-busy=false]", timeout=SECONDS)
    expected = backbone.classify(folder / "bee" / "0.png")[0]
    lines = page.locator(".classes li").all()
    assert [line.locator("span").first.inner_text() for line in lines] == [n for n, _ in expected]
    shown = [float(line.locator(".value").inner_text().removesuffix(" %")) for line in lines]
    assert shown == pytest.approx([100 * share for _, share in expected], abs=0.51)
    assert page.locator("article h2").inner_text().startswith(FILE)
    status = page.locator("#status")
    assert status.get_attribute("aria-live") == "polite"
    assert status.inner_text().startswith(f"{FILE}: {expected[0][0]}, ")
    assert "bee/0.png" in page.locator(".pictures figure").first.get_attribute("title")
    assert page.locator(".patches").count() > 0
    # By the keyboard: all pictures are there, and the page's policy lets them be shown.
    page.get_by_role("button", name="Where did the network look?").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".places img", timeout=SECONDS)
    assert page.locator(".places figure").count() == 2
    widths = page.evaluate("[...document.images].map((each) => each.naturalWidth)")
    assert len(widths) > 10
    assert all(widths)


def test_it_is_operated_by_the_keyboard(page: Any) -> None:
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["files", "paste", "camera"]
    labels = page.evaluate("[...document.querySelectorAll('button')].map((b) => b.innerText)")
    assert all(labels)


def test_photographs_are_chosen_pasted_and_taken(page: Any, photograph: bytes) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose photographs").click()
    files = [(f"{number}.png", photograph) for number in range(2)]
    files.append(("report.pdf", b"%PDF-1.7 no photograph"))
    chooser.value.set_files(
        [{"name": name, "mimeType": "", "buffer": data} for name, data in files]
    )
    page.wait_for_selector("article:nth-child(3)", timeout=SECONDS)
    give(page, "paste", photograph)
    page.wait_for_selector("article:nth-child(4)", timeout=SECONDS)
    page.get_by_role("button", name="Use the camera").click()
    page.evaluate(UNTIL_FILMING)
    page.get_by_role("button", name="Take the photograph").click()
    page.wait_for_selector("article:nth-child(5)[aria-busy=false]", timeout=SECONDS)
    page.wait_for_selector("[aria-busy=true]", state="detached", timeout=SECONDS)
    titles = [each.inner_text() for each in page.locator("article h2").all()]
    names = [re.sub(r" \d+ × \d+ pixels.*", "", title) for title in titles]
    assert names == ["the camera", FILE, "report.pdf", "1.png", "0.png"]
    assert page.locator(".classes").count() == 4
    (error,) = page.locator(".error").all_inner_texts()
    assert re.fullmatch(r"report\.pdf: not an image .* \(unsupported\)", error)
    page.get_by_role("button", name="Clear the answers").click()
    assert page.locator("article").count() == 0
