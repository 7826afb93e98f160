"""Errors against scikit-learn's and torch's, at any number of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score

from decaf.errors import ImageError
from decaf.images.normalise import normalise
from decaf.images.preprocess import resized_crops
from decaf.images.spec import PreprocessSpec
from decaf.runtime.processes import World
from decaf.train.augment import Normaliser
from decaf.train.validate import validate

CPU = torch.device("cpu")
SPEC = PreprocessSpec("x", "shorter-side", 20, 16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2))


class FakeSplit:
    def __init__(self, count: int) -> None:
        random = np.random.default_rng(count)
        self.labels = np.concatenate([np.arange(8), random.integers(0, 8, count - 8)])
        self.images = random.integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int) -> np.ndarray:
        return self.images[index]


def network(images: torch.Tensor) -> torch.Tensor:
    weights = torch.randn(3 * 16 * 16, 8, generator=torch.Generator().manual_seed(0)) / 30
    return images.reshape(len(images), -1) @ weights


@pytest.mark.parametrize("count", [9, 128, 131, 300])
def test_errors_are_those_of_the_whole_set(count: int) -> None:
    split = FakeSplit(count)
    normaliser = Normaliser(SPEC, None, torch.float32, CPU)
    result = validate(network, split, SPEC, normaliser, World(CPU), workers=3)
    crops = np.concatenate([resized_crops(p, SPEC) for p in split.images])
    logits = network(normalise(torch.from_numpy(crops), SPEC)).double()
    top1, top5 = (
        100 - 100 * top_k_accuracy_score(split.labels, logits, k=k, labels=range(8)) for k in (1, 5)
    )
    assert result.images == count
    assert result.top1_error == pytest.approx(top1, abs=1e-9)
    assert result.top5_error == pytest.approx(top5, abs=1e-9)
    assert result.loss == pytest.approx(log_loss(split.labels, logits.softmax(1)), rel=1e-5)


@pytest.mark.parametrize(("value", "wrong"), [(0.0, (7 / 8, 3 / 8)), (np.nan, (1, 1))])
def test_ties_and_nans_are_no_luck(value: float, wrong: tuple[float, float]) -> None:
    """Of equal logits the first classes count as first; one that is no number is never right."""
    split = FakeSplit(8)

    def make(images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 8), value)

    normaliser = Normaliser(SPEC, None, torch.float32, CPU)
    result = validate(make, split, SPEC, normaliser, World(CPU), workers=1)
    assert (result.top1_error, result.top5_error) == (100 * wrong[0], 100 * wrong[1])


def test_five_classes_have_no_top5_error() -> None:
    split = FakeSplit(9)
    split.labels %= 5
    normaliser = Normaliser(SPEC, None, torch.float32, CPU)
    result = validate(lambda x: network(x)[:, :5], split, SPEC, normaliser, World(CPU), workers=1)
    assert result.top5_error is None
    assert 0 <= result.top1_error <= 100


def test_an_image_that_fails_is_told() -> None:
    split = FakeSplit(20)

    def fail(index: int) -> np.ndarray:
        raise ImageError("corrupt", f"image {index}")

    split.pixels = fail
    normaliser = Normaliser(SPEC, None, torch.float32, CPU)
    with pytest.raises(ImageError, match="image 0"):
        validate(network, split, SPEC, normaliser, World(CPU), workers=2)
