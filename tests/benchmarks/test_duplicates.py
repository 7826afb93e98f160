"""The benchmark of copies counts what is right, and its hashes are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import duplicates


@pytest.fixture
def originals(tmp_path: Path) -> list[Path]:
    paths = []
    for name in ("Faces", "Faces_easy", "ant"):
        for number in range(2):
            path = tmp_path / name / f"image_{number:04}.jpg"
            path.parent.mkdir(exist_ok=True)
            seed = number + 10 * ("Faces" not in name)
            pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC).save(path)
            paths.append(path)
    return paths


def test_copies_are_planted_alike_each_time(originals: list[Path], tmp_path: Path) -> None:
    copies = duplicates.plant(originals, 4, 0, tmp_path / "a")
    again = duplicates.plant(originals, 4, 0, tmp_path / "b")
    assert {kind for _, kind in copies.values()} == set(duplicates.KINDS)
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in again]
    sizes = {}
    for path, (_, kind) in copies.items():
        with Image.open(path) as image:
            sizes[kind] = image.size
    whole = (80, 60)
    assert sizes == {
        "resized": (40, 30),
        "recompressed": whole,
        "mirrored": whole,
        "cropped": (72, 54),
    }


def test_right_and_wrong_pairs_are_counted(originals: list[Path], tmp_path: Path) -> None:
    paths = [*originals, tmp_path / "x.jpg", tmp_path / "y.jpg"]
    judge = duplicates.Judge(paths, 6, {(0, 6): "mirrored", (4, 7): "cropped"})
    # The copy of Faces/0 with its original, and with Faces_easy/0, which is the same photograph;
    # with an ant; two originals. The other copy is missed.
    figures = judge.of({(0, 6), (2, 6), (4, 6), (1, 3)})
    assert figures["recall"] == 0.5
    assert (figures["recall_of"]["mirrored"], figures["recall_of"]["cropped"]) == (1, 0)
    assert (figures["precision"], figures["wrong"], figures["originals"]) == (2 / 3, 1, 1)


def test_hashes_are_those_of_their_definitions(originals: list[Path]) -> None:
    hashes = duplicates.hashes_of(originals)
    plain, mirrored = hashes["dHash"]
    with Image.open(originals[4]) as image:
        grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS), int)
    bits = "".join("1" if grey[y, x + 1] > grey[y, x] else "0" for y in range(8) for x in range(8))
    assert int(plain[4]) == int(bits, 2)
    assert plain[0] == plain[2] != plain[4]
    for plain, mirrored in hashes.values():
        expected = {
            (a, b)
            for a in range(6)
            for b in range(a + 1, 6)
            if (int(plain[a]) ^ int(mirrored[b])).bit_count() <= 30
        }
        assert set(duplicates.near_hashes(plain, mirrored, 30)) == expected
