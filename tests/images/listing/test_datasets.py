"""Data sets of torchvision and Hugging Face, by what they have; real ones where installed."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import decaf
from decaf.errors import InputError
from decaf.images import collect

NET = "random:0:alexnet-64"


@pytest.fixture
def photos(rng: np.random.Generator) -> list[Image.Image]:
    return [Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(4)]


class Pairs:
    """A map-style data set of (image, label), which tells nothing but its items."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.made: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.made.append(index)
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


class Feature:
    """A feature of Hugging Face's, which is known by the name of its class."""

    def __init__(self, names: list[str] | None = None) -> None:
        if names is not None:
            self.names = names


def feature(kind: str, names: list[str] | None = None) -> Any:
    return type(kind, (Feature,), {})(names)


class Rows:
    """What a `datasets.Dataset` has, where that package is not installed."""

    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features
        self.column_names = list(columns)
        self.read: list[tuple[str, ...]] = []

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        self.read.append(tuple(self.columns))
        return {name: values[key] for name, values in self.columns.items()}

    def select_columns(self, names: list[str]) -> Rows:
        return Rows({name: self.columns[name] for name in names}, self.features)


def rows_of(photos: list[Any], **more: Any) -> Rows:
    columns = {"label": [1, 0, -1, 1], "photo": photos, "image_id": ["d", "c", "b", "a"], **more}
    features = {
        "label": feature("ClassLabel", ["fox", "owl"]),
        "photo": feature("Image"),
        **{name: feature("Value") for name in columns if name not in ("label", "photo")},
    }
    return Rows(columns, features)


def test_the_columns_of_hugging_face(photos: list[Image.Image]) -> None:
    images = collect(rows_of(photos))
    assert images.names == [b"d", b"c", b"b", b"a"]
    assert (images.class_names, images.labels.tolist()) == (("fox", "owl"), [1, 0, -1, 1])
    assert images.get(2) is photos[2]
    assert images.sources == ({"kind": "dataset", "path": "Rows", "images": 4},)
    # No other column is made for an image.
    assert images.objects.read == [("photo",)]
    # Ids that are not different are none.
    images = collect(rows_of(photos, image_id=["d", "c", "c", "a"]))
    assert images.names == [b"0", b"1", b"2", b"3"]
    assert collect(rows_of(photos), labels="none").labels.tolist() == [-1] * 4


def test_the_label_is_named_of_several(
    photos: list[Image.Image], caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(photos, site=["n", "s", "s", None])
    images = collect(rows, labels="site")
    assert (images.class_names, images.labels.tolist()) == (("n", "s"), [0, 1, 1, -1])
    rows.features["site"] = feature("ClassLabel", ["n", "s"])
    rows.columns["kind"] = rows.columns.pop("label")
    rows.features["kind"] = rows.features.pop("label")
    rows.column_names = list(rows.columns)
    with caplog.at_level(logging.WARNING):
        assert collect(rows).labels.tolist() == [-1] * 4
    assert "which column is the label, site or kind? Name it, as `labels='site'`" in caplog.text
    with pytest.raises(InputError, match=r"has no column 'specis' for the labels; it has photo \("):
        collect(rows, labels="specis")
    with pytest.raises(InputError, match=r"expected one of the feature Image, as dataset\.cast_co"):
        collect(Rows({"photo": photos}, {"photo": feature("Value")}))


def test_data_sets_by_their_splits(photos: list[Image.Image]) -> None:
    parts = {"train": rows_of(photos), "test": rows_of(photos[::-1])}
    images = collect(parts)
    assert images.splits == ("train",) * 4 + ("test",) * 4
    assert images.names[:1] + images.names[4:5] == [b"train/d", b"test/d"]
    assert images.labels.tolist() == [1, 0, -1, 1] * 2
    assert images.get(4) is photos[3]
    with pytest.raises(InputError, match=r"a dict of 'train', 'extra': give one of them, or call"):
        collect({"train": parts["train"], "extra": parts["test"]})
    parts["test"].features["label"] = feature("ClassLabel", ["fox", "elk"])
    with pytest.raises(InputError, match="the splits have other classes: train: fox, owl; test: f"):
        collect(parts)


def test_what_comes_in_passing_is_refused(photos: list[Image.Image]) -> None:
    class IterableDataset:
        def __iter__(self) -> Any:
            raise AssertionError

    with pytest.raises(InputError, match="a IterableDataset gives its images in passing, and rows"):
        collect(IterableDataset())


def test_labels_of_items_are_read_once(photos: list[Image.Image]) -> None:
    pairs = Pairs([(photo, np.int64(number % 3)) for number, photo in enumerate(photos)])
    images = collect(pairs)
    assert images.labels.tolist() == [0, 1, 2, 0]
    assert pairs.made == [0, 1, 2, 3]
    pairs = Pairs([(photo, torch.tensor(1)) for photo in photos])
    pairs.items[0] = OSError("gone")
    assert collect(pairs).labels.tolist() == [-1, 1, 1, 1]
    pairs = Pairs([(photo, 0) for photo in photos])
    assert collect(pairs, labels="none").labels.tolist() == [-1] * 4
    assert pairs.made == []
    for item in (photos[0], (photos[0], "owl"), (photos[0], 0.5)):
        pairs = Pairs([item] * 3)
        assert collect(pairs).labels.tolist() == [-1] * 3
        assert pairs.made == [0]


def test_data_sets_of_torchvision(photos: list[Image.Image], tmp_path: Path) -> None:
    from torch.utils.data import ConcatDataset, Subset
    from torchvision.datasets import CIFAR10, ImageFolder

    for number, photo in enumerate(photos):
        folder = tmp_path / ("ant", "bee")[number % 2]
        folder.mkdir(exist_ok=True)
        photo.save(folder / f"{number}.png")
    folder_set = ImageFolder(str(tmp_path))
    images = collect(folder_set)
    assert images.class_names == ("ant", "bee")
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert images.paths == [path for path, _ in folder_set.samples]
    part = collect(Subset(folder_set, [3, 0]))
    assert (part.labels.tolist(), part.class_names) == ([1, 0], ("ant", "bee"))
    assert part.paths == [folder_set.samples[3][0], folder_set.samples[0][0]]
    both = collect(ConcatDataset([folder_set, folder_set]))
    assert (both.labels.tolist(), both.class_names) == ([0, 0, 1, 1] * 2, ("ant", "bee"))

    class Cifar(CIFAR10):  # without its download
        def __init__(self) -> None:
            self.data = np.stack([np.asarray(photo) for photo in photos])
            self.targets, self.classes = [1, 0, 1, 1], ["cat", "dog"]
            self.transform = self.target_transform = None

    images = collect(Cifar())
    assert (images.labels.tolist(), images.class_names) == ([1, 0, 1, 1], ("cat", "dog"))
    rows = decaf.extract(Cifar(), weights=NET)
    np.testing.assert_array_equal(rows, decaf.extract(photos, weights=NET))


def test_tensors_of_bytes_are_images(photos: list[Image.Image]) -> None:
    tensors = [torch.from_numpy(np.asarray(photo).transpose(2, 0, 1).copy()) for photo in photos]
    rows = decaf.extract(Pairs([(tensor, 0) for tensor in tensors]), weights=NET)
    np.testing.assert_array_equal(rows, decaf.extract(photos, weights=NET))
    stacked = np.stack([tensor.numpy() for tensor in tensors])
    np.testing.assert_array_equal(decaf.extract(stacked, weights=NET), rows)


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Hugging Face's package, which is called as a folder of the benchmarks is."""
    benchmarks = Path(__file__).parents[3] / "benchmarks"
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p or ".") != benchmarks])
    ours = taken_away()
    sys.modules.update(THEIRS)  # it cannot be loaded twice
    try:
        yield pytest.importorskip("datasets")
    finally:
        THEIRS.update(taken_away())
        sys.modules.update(ours)


THEIRS: dict[str, Any] = {}


def taken_away() -> dict[str, Any]:
    names = [name for name in sys.modules if name.partition(".")[0] == "datasets"]
    return {name: sys.modules.pop(name) for name in names}


def encoded(photo: Image.Image) -> bytes:
    file = io.BytesIO()
    photo.save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("decode", [True, False])
def test_real_data_sets_of_hugging_face(
    photos: list[Image.Image], tmp_path: Path, datasets: Any, decode: bool
) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(decode=decode),
            "label": datasets.ClassLabel(names=["fox", "owl"]),
            "file_name": datasets.Value("string"),
        }
    )
    rows = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": encoded(photo), "path": None} for photo in photos],
            "label": [1, 0, 1, 1],
            "file_name": [f"{number}.png" for number in range(4)],
        },
        features=features,
    )
    out = tmp_path / "f.h5"
    with decaf.extract(rows, out=out, weights=NET) as file:
        assert (file.class_names, file.labels.tolist()) == (("fox", "owl"), [1, 0, 1, 1])
        assert file.paths.tolist() == ["0.png", "1.png", "2.png", "3.png"]
        np.testing.assert_array_equal(file["fc6"][:], decaf.extract(photos, weights=NET))
        (source,) = file.environment["sources"]
        assert rows._fingerprint in source["path"]
    chosen = collect(rows.select([2, 1]))
    assert (chosen.paths, chosen.labels.tolist()) == (["2.png", "1.png"], [1, 0])
    assert decaf.verify(out, images=rows).compared == 4
    divided = collect(datasets.DatasetDict({"train": rows, "validation": rows}))
    assert divided.split_counts == {"train": 4, "val": 4}
    with pytest.raises(InputError, match="IterableDataset gives its images in passing"):
        collect(rows.to_iterable_dataset())
    with pytest.raises(InputError, match=r"has no column 'x'.*label \(ClassLabel\)"):
        collect(rows, labels="x")
