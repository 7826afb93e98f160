"""Copies of real photographs are told from other photographs, whatever was done to them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from decaf.exploration.same_picture import Agreement, Picture, compare_pictures


def picture(image: Image.Image) -> Picture:
    return Picture(np.asarray(image.convert("RGB")))


def recompressed(image: Image.Image, quality: int = 30) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def cropped(image: Image.Image, left: float, top: float, share: float) -> Image.Image:
    w, h = image.size
    box = (left * w, top * h, (left + share) * w, (top + share) * h)
    return image.crop(tuple(map(round, box)))


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> list[Image.Image]:
    paths = sorted((shared_data / "pacs-mini" / "photo").glob("*/*.jpg"))[::9]
    return [Image.open(path).convert("RGB") for path in paths]


def test_copies_are_seen_and_how_they_were_made(photographs: list[Image.Image]) -> None:
    for image in photographs:
        whole = picture(image)
        for copy in (
            recompressed(image),
            recompressed(image.resize((114, 100), Image.Resampling.BICUBIC), 60),
            ImageEnhance.Brightness(image).enhance(0.8),
            image.convert("L"),
        ):
            agreement = compare_pictures(whole, picture(copy))
            assert agreement.same
            assert not agreement.mirrored
            assert agreement.share > 0.95
        for left, top, share in ((0.05, 0.05, 0.9), (0.1, 0.0, 0.9), (0.13, 0.02, 0.85)):
            part = recompressed(cropped(image, left, top, share), 75)
            for a, b in ((whole, picture(part)), (picture(part), whole)):
                agreement = compare_pictures(a, b)
                assert agreement.same
                assert agreement.share == pytest.approx(share**2, abs=0.03)
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        agreement = compare_pictures(whole, picture(recompressed(cropped(mirrored, 0, 0.1, 0.9))))
        assert (agreement.same, agreement.mirrored) == (True, True)


def test_other_photographs_are_no_copies(photographs: list[Image.Image]) -> None:
    pictures = [picture(image) for image in photographs]
    agreements = [
        compare_pictures(a, b).correlation
        for place, a in enumerate(pictures)
        for b in pictures[place + 1 :]
    ]
    assert max(agreements) < 0.9


def test_images_without_structure_agree_where_they_are_equally_bright() -> None:
    grey, lighter = (picture(Image.new("RGB", (40, 30), (v, v, v))) for v in (100, 101))
    white = picture(Image.new("RGB", (7, 300), (255, 255, 255)))
    pattern = Picture(np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8))
    assert compare_pictures(grey, lighter) == Agreement(1.0, False, 1.0)
    assert not compare_pictures(grey, white).same
    assert not compare_pictures(white, pattern).same
    assert compare_pictures(pattern, pattern).correlation == pytest.approx(1, abs=1e-5)
