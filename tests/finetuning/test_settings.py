"""Settings of fine-tuning: what they become, and what is refused."""

from __future__ import annotations

import math
import re

import pytest

from decaf.errors import SettingError
from decaf.finetuning.settings import FinetuneSettings, with_half_the_batch
from decaf.train.recipe import TrainSettings


def test_they_become_those_of_training() -> None:
    settings = FinetuneSettings(lr=2e-4, freeze="conv3", epochs=45, seed=3, batch_size=10)
    result = settings.training(500, "fp32")
    assert isinstance(result, TrainSettings)
    assert (result.lr, result.freeze, result.epochs, result.seed) == (2e-4, "conv3", 45, 3)
    assert (result.batch_size, result.precision, result.arch) == (10, "fp32", "weights")
    assert (result.keep_best, result.batch_norm, result.last_batch) == (True, False, "wrapped")
    assert (result.warmup_epochs, result.validate_every) == (3, 3)


@pytest.mark.parametrize(
    ("images", "size"), [(2, 8), (35, 8), (64, 16), (140, 32), (255, 32), (256, 64), (10_000, 64)]
)
def test_few_images_make_small_batches(images: int, size: int) -> None:
    assert FinetuneSettings().training(images, "fp32").batch_size == size


@pytest.mark.parametrize(
    ("images", "epochs"), [(2, 30), (666, 30), (2448, 8), (4000, 5), (1_000_000, 5)]
)
def test_many_images_are_gone_through_less_often(images: int, epochs: int) -> None:
    assert FinetuneSettings().training(images, "fp32").epochs == epochs
    assert FinetuneSettings(epochs=7.5).training(images, "fp32").epochs == 7.5


def test_processes_share_a_batch_evenly() -> None:
    assert FinetuneSettings().training(140, "fp32", 3).batch_size == 30
    assert FinetuneSettings().training(2, "fp32", 12).batch_size == 12
    assert FinetuneSettings(batch_size=7).training(140, "fp32", 3).batch_size == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "cold"}, "`start` must be one of head, new, got 'cold'"),
        (
            {"freeze": "conv9"},
            "`freeze` must be one of conv1, conv2, conv3, conv4, conv5, fc6, fc7, ",
        ),
        ({"freeze": "fc8"}, "`freeze` must be one of conv1, "),
        (
            {"lr_by_layer": "fc9=2"},
            "`lr_by_layer` must be layers with factors from 0 to 10000, such",
        ),
        ({"lr_by_layer": "fc8"}, "`lr_by_layer` must be layers with factors"),
        ({"lr_by_layer": "fc8=2,fc8=3"}, "`lr_by_layer` must be layers with factors"),
        ({"lr_by_layer": "fc8=nan"}, "`lr_by_layer` must be layers with factors"),
        (
            {"schedule": "plateau"},
            "`schedule` must be one of cosine, step, constant, got 'plateau'",
        ),
        ({"precision": "fp8"}, "`precision` must be one of fp32, bf16, fp16, got 'fp8'"),
        (
            {"head_epochs": 29.0},
            "`head_epochs` must be 0 or more, and with `warmup_epochs` at most",
        ),
        ({"class_weights": "equal"}, "`class_weights` must be one of none, balanced, got 'equal'"),
        ({"early_stopping": -1}, "`early_stopping` must be 0 or more, got -1"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more, got 0"),
        (
            {"freeze": "conv3", "lr_by_layer": "conv1=2,fc8=10"},
            "`lr_by_layer` 'conv1=2,fc8=10' gives a rate to conv1, which `freeze` 'conv3' lea",
        ),
        (
            {"class_weights": "balanced", "sampling": "balanced"},
            "`class_weights` and `sampling` are both 'balanced', which weighs small classes twice",
        ),
        ({"epochs": "many"}, "`epochs` must be a number, got 'many'"),
    ],
)
def test_mistakes_are_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)) as caught:
        FinetuneSettings(**changes)
    assert str(caught.value).startswith("fine-tuning: ")
    assert "\n" not in str(caught.value)


def test_a_mistake_is_told_once() -> None:
    with pytest.raises(SettingError) as caught:
        FinetuneSettings(epochs=0)
    assert str(caught.value) == "fine-tuning: `epochs` must be above 0 and at most 100,000, got 0"


def test_a_frozen_layer_may_have_the_rate_zero() -> None:
    assert FinetuneSettings(freeze="conv3", lr_by_layer="conv1=0,fc8=2").freeze == "conv3"


def test_half_the_batch_has_its_own_rate() -> None:
    first = FinetuneSettings(batch_size=48, lr=0.01, optimizer="sgd").training(500, "fp32")
    half = with_half_the_batch(first)
    assert half is not None
    assert (half.batch_size, half.lr) == (24, 0.005)
    adam = with_half_the_batch(
        FinetuneSettings(batch_size=48, lr=0.01, optimizer="adamw").training(500, "fp32")
    )
    assert adam is not None
    assert adam.lr == pytest.approx(0.01 * math.sqrt(0.5))
    shared = with_half_the_batch(first, processes=5)
    assert shared is not None
    assert (shared.batch_size, shared.lr) == (20, pytest.approx(0.01 * 20 / 48))
    one = FinetuneSettings(batch_size=1).training(500, "fp32")
    assert with_half_the_batch(one) is None
    assert with_half_the_batch(first, processes=48) is None
