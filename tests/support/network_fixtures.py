"""Small networks that know something, and labelled images to ask them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decaf.backbone.model import Backbone
from decaf.backbone.spec import ArchSpec, architecture
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.images.normalise import normalise
from decaf.images.preprocess import resized_crops
from decaf.images.spec import PreprocessSpec, named_preprocess

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
EACH = 4


def make_image(label: int, number: int) -> np.ndarray:
    """A noisy pattern of a class: (70, 90, 3) uint8."""
    generator = np.random.default_rng(100 * label + number)
    y, x = np.mgrid[0:70, 0:90]
    wave = np.sin(x / (3 + label) + number) + np.cos(y / (9 - label))
    noise = generator.standard_normal((70, 90, 3))
    return (128 + 40 * wave[:, :, None] + 50 * noise).clip(0, 255).astype(np.uint8)


def small_network(classes: int) -> ArchSpec:
    """`alexnet-64` with an eighth of its filters and few units."""
    spec = architecture("alexnet-64")
    convs = tuple(dataclasses.replace(c, channels=c.channels // 8) for c in spec.convs)
    return dataclasses.replace(spec, convs=convs, hidden=(96, 64), classes=classes)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads that wait for one another's tiny pieces are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_weights(
    seed: int,
    classes: Sequence[str] = CLASSES,
    *,
    preprocess: PreprocessSpec | None = None,
    names: Sequence[str] = (),
    name: str = "",
) -> Weights:
    """Random weights whose fc8 tells the classes above by their mean fc7, in a given order."""
    spec = small_network(len(classes))
    preprocess = preprocess or named_preprocess("decaf", 64)
    state = random_state(spec, seed, "he")
    backbone = Backbone(Weights.of("w", spec, preprocess, state))
    means = []
    for each in classes:
        label = CLASSES.index(each) if each in CLASSES else 50 + seed
        images = [make_image(label, number) for number in range(50, 54)]
        means.append(features(backbone, images, "fc7").mean(0))
    weight = np.stack(means) - np.mean(means, axis=0)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    state["fc8.weight"] = torch.from_numpy(20 * weight).float()
    state["fc8.bias"] = torch.from_numpy(-20 * weight @ np.mean(means, axis=0)).float()
    return Weights.of(
        name or f"net {seed}",
        spec,
        preprocess,
        state,
        class_names=names or classes,
        provenance={"wnids": list(classes)},
    )


def features(
    backbone: Backbone, images: Sequence[np.ndarray], layer: str, *, ten: bool = False
) -> np.ndarray:
    """The network's own pass on images one by one, in float64; with `ten`, (N, 10, D)."""
    rows = []
    for image in images:
        crops = torch.from_numpy(resized_crops(image, backbone.preprocess, ten))
        batch = normalise(crops, backbone.preprocess, ten=ten)
        if ten:
            batch = torch.cat([batch, batch.flip(-1)])
        result = backbone.features(batch, layer)[layer].double().numpy()
        rows.append(result if ten else result[0])
    return np.stack(rows)


@pytest.fixture(name="make_weights", scope="session")
def _make_weights() -> Callable[..., Weights]:
    return make_weights


@pytest.fixture(name="features", scope="session")
def _features() -> Callable[..., np.ndarray]:
    return features


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """The images of `folder`, in its order."""
    return [make_image(label, number) for label in range(len(CLASSES)) for number in range(EACH)]


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return np.repeat(np.arange(len(CLASSES)), EACH)


@pytest.fixture(scope="session")
def folder(images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as a folder a class; not to be written to."""
    root = tmp_path_factory.mktemp("data") / "animals"
    for number, image in enumerate(images):
        path = root / CLASSES[number // EACH] / f"{number % EACH}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


@pytest.fixture(scope="session")
def weights() -> Weights:
    return make_weights(0)
