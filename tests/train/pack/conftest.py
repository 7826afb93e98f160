"""Small data sets with what ImageNet has: photographs of all shapes, CMYK, a PNG named .JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack

SIZE = 24
TRAIN, VAL = 5, 2


def picture(seed: int, width: int, height: int) -> Image.Image:
    """A smooth picture, so that JPEGs of it resemble it."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def write_dataset(root: Path) -> Path:
    """Classes n01 and n02: 5 training images and 2 for validation of each."""
    for number, name in enumerate(("n01", "n02")):
        for split, count in (("train", TRAIN), ("val", VAL)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = picture(100 * number + 10 * i + (split == "val"), 40 + 7 * i, 30 + 3 * i)
                (folder / f"{i}.JPEG").write_bytes(jpeg(image))
    first = root / "train" / "n01"
    (first / "1.JPEG").write_bytes(jpeg(picture(1, 40, 30).convert("CMYK")))
    picture(2, 33, 40).save(first / "2.JPEG", "PNG")
    # Of the pack's size: plain, grey, and turned by its EXIF.
    (first / "3.JPEG").write_bytes(jpeg(picture(3, SIZE, SIZE)))
    (first / "4.JPEG").write_bytes(jpeg(picture(4, SIZE, SIZE).convert("L")))
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "train" / "n02" / "0.JPEG").write_bytes(jpeg(picture(5, SIZE, SIZE), exif=exif))
    return root


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set of 10 and 4 images, all good."""
    return write_dataset(tmp_path / "data")


@pytest.fixture(scope="session")
def shared_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, for tests that do not change it."""
    return write_dataset(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture(scope="session")
def shared_packs(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packs of it, raw and of JPEGs."""
    root = tmp_path_factory.mktemp("packs")
    for encoding in ("raw", "jpeg"):
        make(shared_dataset, root / encoding, encoding=encoding).close()
    return {encoding: root / encoding for encoding in ("raw", "jpeg")}


def make(source: Path, out: Path, **options: Any) -> Pack:
    """Pack in this process, which starts no others."""
    return make_pack(source, out, **{"size": SIZE, "workers": 0, "progress": False, **options})


@pytest.fixture(name="make")
def _make() -> Callable[..., Pack]:
    return make


@pytest.fixture(name="jpeg_bytes")
def _jpeg_bytes() -> Callable[..., bytes]:
    return lambda seed, width, height: jpeg(picture(seed, width, height))


@pytest.fixture(name="write_dataset")
def _write_dataset() -> Callable[[Path], Path]:
    return write_dataset
