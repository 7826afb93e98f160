"""How long does a page of `decaf explore` take, how large is it, and does it move at 60 frames?

    python benchmarks/speed/explore_page.py PHOTOGRAPHS --json benchmarks/results/explore_page.json

PHOTOGRAPHS is a folder. 5,000 of its photographs, evenly spaced among their names, are extracted
(pool5, fc6 and fc7), and a page is made of them, with thumbnails; another one is made of 50,000
made-up rows of 64 dimensions, without. Each is made once, after extraction. Then it is opened in
Chromium at 1,280 pixels, where that and Playwright are installed (pip install playwright), and its
last map is dragged for 240 frames.

The result goes to ``--json`` (and as Markdown beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, described, parser_of, say, table_row, tell
from top_patches import find_photographs

import decaf
from decaf.features.rows import Rows
from decaf.features.store.assemble import FileHead, write_feature_file

__all__ = ["evenly_spaced", "measure_page", "page_table"]

LAYERS = ["pool5", "fc6", "fc7"]
DIMENSIONS, CLUSTERS = 64, 40
TARGETS = {"seconds": 180, "MB": 60, "frames": 60}

# The last map is dragged by a step a frame: when each frame came, and how long each drawing took.
DRAGGED = """
(count) => new Promise((done) => {
  const view = window.decafPage.views.at(-1);
  const { x, y, width } = view.canvas.getBoundingClientRect();
  const came = [], drawn = [];
  const step = (now) => {
    came.push(now);
    if (came.length > count) return done({ came, drawn });
    const clientX = x + width * (0.5 + 0.3 * Math.sin(came.length / 10));
    view.canvas.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY: y + width / 2 }));
    const before = performance.now();
    window.decafPage.draw(view);
    drawn.push(performance.now() - before);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})
"""
FRAMES = 240

_row = partial(table_row, width=42)


def evenly_spaced(photographs: list[Path], count: int) -> list[Path]:
    """Take so many photographs, of all parts of the list alike.

    Parameters
    ----------
    photographs : list of Path
    count : int
    """
    count = min(count, len(photographs))
    return [photographs[place * len(photographs) // count] for place in range(count)]


def measure_page(photographs: list[Path], points: int) -> dict[str, Any]:
    """Make both pages, and look how they move.

    Parameters
    ----------
    photographs : list of Path
    points : int
        Rows of the page without thumbnails.

    Returns
    -------
    dict of str to dict
        For each page the seconds that it took, on the clock and of the processors, its bytes,
        images and thumbnails, frames a second, and milliseconds to draw a map; None for these two
        where there is no browser.
    """
    with tempfile.TemporaryDirectory(prefix="decaf-explore-") as scratch:
        folder = Path(scratch)
        decaf.extract(photographs, LAYERS, out=folder / "photographs.h5", labels="none").close()
        _write_rows(folder / "rows.h5", points)
        return {
            "photographs": _measured(folder / "photographs.h5", images=True),
            "made-up rows": _measured(folder / "rows.h5", images=False),
        }


def _measured(features: Path, *, images: bool) -> dict[str, Any]:
    say(f"page of {features.name}")
    page = features.with_suffix(".html")
    began = _processor_seconds()
    made = decaf.explore(features, page, images=images)
    processor = _processor_seconds() - began
    return {
        "images": made.shown,
        "thumbnails": made.thumbnails,
        "layers": len(made.trust),
        "seconds": made.seconds,
        "processor_s": processor,
        "bytes": made.bytes,
        **_moved(page),
    }


def _processor_seconds() -> float:
    """Return what this process and its ended children have taken of the cores."""
    return sum(os.times()[:4])


def _moved(page: Path) -> dict[str, float | None]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return {"frames_per_s": None, "draw_ms": None, "slow_draw_ms": None}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        window = browser.new_page(viewport={"width": 1280, "height": 900})
        window.goto(page.as_uri())
        canvas = window.locator(".map canvas").last
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        window.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        window.mouse.down()
        window.evaluate(DRAGGED, 30)  # warms up
        times = window.evaluate(DRAGGED, FRAMES)
        browser.close()
    came, drawn = np.array(times["came"]), np.array(times["drawn"])
    return {
        "frames_per_s": 1000 * FRAMES / float(came[-1] - came[0]),
        "draw_ms": float(np.median(drawn)),
        "slow_draw_ms": float(np.percentile(drawn, 95)),
    }


def _write_rows(path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    kinds = random.integers(0, CLUSTERS, count)
    centres = 4 * random.standard_normal((CLUSTERS, DIMENSIONS), np.float32)
    rows = Rows.empty(0, count)
    rows.features["fc7"] = centres[kinds] + random.standard_normal((count, DIMENSIONS), np.float32)
    head = FileHead(
        names=[b"%d.jpg" % row for row in range(count)],
        labels=kinds.astype(np.int64),
        class_names=tuple(f"class {kind}" for kind in range(CLUSTERS)),
        run={
            "layers": ["fc7"],
            "dtype": "float32",
            "weights": {"name": "none", "sha256": "0" * 64},
            "crops": "center",
            "precision": "fp32",
        },
        environment={},
        decaf_version=decaf.__version__,
        created="",
    )
    write_feature_file(path, head, {"fc7": (DIMENSIONS,)}, [rows])


def page_table(measured: dict[str, Any]) -> str:
    """Lay out what `measure_page` has returned.

    Parameters
    ----------
    measured : dict
    """
    lines = [_row("a page of", "made in s", "cpu s", "MB", "frames/s", "draw ms", "slow ms")]
    for name, each in measured.items():
        moved = [each[key] for key in ("frames_per_s", "draw_ms", "slow_draw_ms")]
        cells = [f"{each[key]:.0f}" for key in ("seconds", "processor_s")]
        cells.append(f"{each['bytes'] / 1e6:.1f}")
        cells += ["not seen" if value is None else f"{value:.1f}" for value in moved]
        pictures = "with thumbnails" if each["thumbnails"] else "without thumbnails"
        lines.append(_row(f"{each['images']:,} {name}, {pictures}", *cells))
    seconds, size, frames = TARGETS.values()
    return "\n".join(
        [*lines, f"targets of 5,000 photographs: {seconds} s, {size} MB, {frames} frames a second"]
    )


def main() -> None:
    args = _arguments()
    photographs = evenly_spaced(find_photographs(args.photographs), args.images)
    machine = describe()
    report = {
        "command": "python benchmarks/speed/explore_page.py PHOTOGRAPHS "
        f"--images {len(photographs)} --points {args.points}",
        "machine": machine,
        "page": measure_page(photographs, args.points),
    }
    table = f"{described(machine)}\n\n{page_table(report['page'])}"
    tell(report, "The page of decaf explore", table, args)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "explore_page")
    parser.add_argument("photographs", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=5000, help="how many (default: 5000)")
    parser.add_argument("--points", type=int, default=50_000, help="made up (default: 50000)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
