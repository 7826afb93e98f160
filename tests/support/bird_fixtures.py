"""Birds drawn for tests, in the layout of CUB-200-2011: a head and a body, apart and anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

__all__ = ["HEAD", "PART_NAMES", "Bird", "_draw_birds", "draw_birds"]

PART_NAMES = (
    "back",
    "beak",
    "belly",
    "breast",
    "crown",
    "forehead",
    "left eye",
    "left leg",
    "left wing",
    "nape",
    "right eye",
    "right leg",
    "right wing",
    "tail",
    "throat",
)
HEAD = ("beak", "crown", "forehead", "left eye", "nape", "right eye", "throat")
SIZE = (120, 100)
# The head is a square of 20 pixels, the body one of 40; a box is as large for every bird, so that
# the margin of the parts is.
SIDES = {"head": 20, "body": 40}
BOX = (90, 80)


@dataclass(frozen=True)
class Bird:
    """A bird of a test: where its head and its body begin, and the class that its head shows."""

    label: int
    train: bool
    head: tuple[int, int] = (20, 12)
    body: tuple[int, int] = (50, 45)
    box: tuple[int, int] = (15, 10)
    hidden: tuple[str, ...] = ()


def draw(bird: Bird) -> np.ndarray:
    """Return the pixels: the head has a pattern of its class on grey, the body one of no class."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    for part, seed in (("body", 99), ("head", bird.label)):
        (left, top), side = getattr(bird, part), SIDES[part]
        pattern = np.random.default_rng(seed).integers(0, 255, (side // 4, side // 4, 3))
        patch = pattern.repeat(4, 0).repeat(4, 1)
        pixels[top : top + side, left : left + side] = patch
    return pixels


def keypoints(bird: Bird) -> np.ndarray:
    """Return where each part is, inside the head or the body, (15, 2)."""
    places = []
    for number, name in enumerate(PART_NAMES):
        part = "head" if name in HEAD else "body"
        inside = np.random.default_rng(number).integers(1, SIDES[part] - 1, 2)
        places.append(np.add(getattr(bird, part), inside))
    return np.array(places)


def draw_birds(root: Path, birds: Sequence[Bird]) -> Path:
    """Write a data set, images as PNG whose names end in .jpg as those of the original do."""
    (root / "parts").mkdir(parents=True)
    lines: dict[str, list[str]] = {}

    def add(name: str, *cells: object) -> None:
        lines.setdefault(name, []).append(" ".join(map(str, cells)))

    for number, name in enumerate(PART_NAMES, 1):
        add("parts/parts.txt", number, name)
    for number, bird in enumerate(birds, 1):
        path = f"{bird.label + 1:03}.Bird_{bird.label}/bird_{number:04}.jpg"
        file = root / "images" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(bird)).save(file, "PNG")
        add("images.txt", number, path)
        add("image_class_labels.txt", number, bird.label + 1)
        add("train_test_split.txt", number, int(bird.train))
        add("bounding_boxes.txt", number, *(f"{side:.1f}" for side in (*bird.box, *BOX)))
        for part, (name, (x, y)) in enumerate(
            zip(PART_NAMES, keypoints(bird).tolist(), strict=True), 1
        ):
            place = ("0.0", "0.0", 0) if name in bird.hidden else (f"{x:.1f}", f"{y:.1f}", 1)
            add("parts/part_locs.txt", number, part, *place)
    for name, of_file in lines.items():
        (root / name).write_text("\n".join(of_file) + "\n")
    return root


@pytest.fixture(name="draw_birds")
def _draw_birds(tmp_path: Path) -> Callable[[Sequence[Bird]], Path]:
    return lambda birds: draw_birds(tmp_path / "CUB_200_2011", birds)
