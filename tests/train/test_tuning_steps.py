"""The steps of fine-tuning: rates by layer, frozen layers, the head alone, class weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from decaf.backbone.weights.random_weights import random_state
from decaf.runtime.processes import World
from decaf.train.augment import Normaliser
from decaf.train.feed import Batch, Feed
from decaf.train.recipe import LEARNED, TrainSettings
from decaf.train.schedule import Schedule
from decaf.train.step import Trainer

pytestmark = pytest.mark.usefixtures("tiny")
Make = Callable[..., TrainSettings]
CPU = torch.device("cpu")
PLAIN = {"batch_norm": False, "average": 0.0, "schedule": "constant", "warmup_epochs": 0.0}


def trainer_of(settings: TrainSettings, weight: torch.Tensor | None = None) -> Trainer:
    spec = settings.spec(4)
    return Trainer(spec, random_state(spec, 0), settings, World(CPU), 10, class_weight=weight)


def batch_of(step: int, count: int = 16) -> Batch:
    source = torch.Generator().manual_seed(step)
    images = torch.randn(count, 3, 32, 32, generator=source)
    labels = torch.randint(0, 4, (count,), generator=source)
    return Batch(step, images.contiguous(memory_format=torch.channels_last), labels)


def moved(trainer: Trainer, steps: int = 1) -> dict[str, torch.Tensor]:
    before = {name: p.detach().clone() for name, p in trainer.network.plain.named_parameters()}
    for step in range(trainer.step, trainer.step + steps):
        trainer.take(batch_of(step))
    return {name: p.detach() - before[name] for name, p in trainer.network.plain.named_parameters()}


def test_each_layer_has_its_own_rate(settings_of: Make) -> None:
    first = {**PLAIN, "momentum": 0.0, "nesterov": False, "weight_decay": 0.1}
    once = moved(trainer_of(settings_of(**first)))
    result = moved(trainer_of(settings_of(**first, lr_by_layer="conv1=0.25,fc8=10, fc7=0")))
    factors = {"conv1": 0.25, "fc8": 10.0, "fc7": 0.0}
    for name, change in once.items():
        factor = factors.get(name.partition(".")[0], 1.0)
        # To the rounding of the parameters that the steps are added to.
        torch.testing.assert_close(result[name], factor * change, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("freeze", ["conv1", "conv3", "fc7"])
def test_frozen_layers_get_neither_gradient_nor_decay(
    settings_of: Make, optimizer: str, freeze: str
) -> None:
    settings = settings_of(
        **PLAIN, optimizer=optimizer, nesterov=False, weight_decay=0.5, freeze=freeze, dropout=0.5
    )
    trainer = trainer_of(settings)
    still = {name for name, change in moved(trainer, 2).items() if not change.any()}
    assert still == {f"{n}.{kind}" for n in settings.frozen() for kind in ("weight", "bias")}
    state = trainer.optimizer.state
    frozen = [p for n, p in trainer.network.plain.named_parameters() if n in still]
    assert all(p.grad is None and not state.get(p) for p in frozen)


def test_the_graph_begins_behind_what_is_frozen(settings_of: Make) -> None:
    """The rest is trained as it would be without: the same steps, where nothing flows back."""
    free, frozen = (
        moved(trainer_of(settings_of(**PLAIN, dropout=0.4, **more)))
        for more in ({}, {"freeze": "conv4"})
    )
    for name, change in frozen.items():
        if name.partition(".")[0] in ("conv5", "fc6", "fc7", "fc8"):
            torch.testing.assert_close(change, free[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("freeze", [None, "conv2"])
def test_the_head_is_trained_alone_first(settings_of: Make, freeze: str | None) -> None:
    settings = settings_of(
        **{**PLAIN, "warmup_epochs": 0.2}, epochs=2.0, head_epochs=0.3, freeze=freeze,
        weight_decay=0.5,
    )  # fmt: skip
    trainer = trainer_of(settings)
    assert trainer.rate() == settings.lr  # without warm-up
    for _ in range(3):
        assert {n for n, change in moved(trainer).items() if change.any()} == {
            "fc8.weight", "fc8.bias"
        }  # fmt: skip
    assert trainer.rate() == pytest.approx(settings.lr / 2)  # the rest has its warm-up
    changed = {n.partition(".")[0] for n, change in moved(trainer).items() if change.any()}
    assert changed == set(LEARNED) - set(settings.frozen())


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_state_of_either_part_is_gone_on_from(settings_of: Make, stop: int) -> None:
    settings = settings_of(
        **{**PLAIN, "average": 0.5}, epochs=2.0, head_epochs=0.3, dropout=0.5, keep_best=True
    )
    one = trainer_of(settings)
    for step in range(stop):
        one.take(batch_of(step))
        one.validated(50.0 - step, 1.0)
    tensors = {key: tensor.clone() for key, tensor in one.tensors().items()}
    state = one.state()
    other = trainer_of(settings)
    other.restore(state, tensors)
    for trainer in (one, other):
        for step in range(stop, 8):
            trainer.take(batch_of(step))
            trainer.validated(60.0, 1.0)
    for key, tensor in one.tensors().items():
        assert torch.equal(tensor, other.tensors()[key]), key
    assert one.state() == other.state()


def test_losses_weigh_by_class(settings_of: Make) -> None:
    """The mean over the images of w[y] times the smoothed cross-entropy, in float64."""
    weight = torch.tensor([0.5, 2.0, 1.0, 4.0])
    trainer = trainer_of(settings_of(**PLAIN, dropout=0.0, label_smoothing=0.2), weight)
    batch = batch_of(0)
    with torch.no_grad():
        logits = trainer.network(batch.images).double()
    log = logits - logits.exp().sum(1, keepdim=True).log()
    own = log.gather(1, batch.labels[:, None])[:, 0]
    each = -(0.8 * own + 0.2 * log.mean(1))
    expected = (weight.double()[batch.labels] * each).mean()
    assert float(trainer.take(batch)) == pytest.approx(float(expected), rel=1e-5)


def test_the_best_is_kept(settings_of: Make) -> None:
    trainer = trainer_of(settings_of(**PLAIN, keep_best=True))
    states = []
    for step, (error, loss) in enumerate([(50, 1.0), (40, 1.2), (40, 1.1), (40, 1.3), (60, 0.1)]):
        trainer.take(batch_of(step))
        states.append(trainer.network.folded()["fc8.weight"].clone())
        assert trainer.validated(error, loss) == (step in (0, 1, 2))
    assert torch.equal(trainer.outcome()["fc8.weight"], states[2])
    last = trainer_of(settings_of(**PLAIN))
    last.take(batch_of(0))
    last.validated(50, 1.0)
    last.take(batch_of(1))
    assert torch.equal(last.outcome()["fc8.weight"], states[1])


def test_of_equals_what_was_begun_with_is_the_best(settings_of: Make) -> None:
    trainer = trainer_of(settings_of(**PLAIN, keep_best=True))
    begun = trainer.network.folded()["fc8.weight"].clone()
    assert trainer.validated(40, 1.2)
    trainer.take(batch_of(0))
    assert not trainer.validated(40, 1e-3)
    assert torch.equal(trainer.outcome()["fc8.weight"], begun)
    trainer.take(batch_of(1))
    assert trainer.validated(39, 5.0)
    assert trainer.validated(39, 4.0)


def test_a_run_ends_early(settings_of: Make) -> None:
    schedule = Schedule(settings_of(**PLAIN, early_stopping=2), 100, 10)
    for error, ended in ((50, False), (50, False), (49, False), (49, False), (50, True)):
        schedule.validated(error, 1.0)
        assert schedule.finished is ended
        again = Schedule(settings_of(**PLAIN, early_stopping=2), 100, 10)
        again.restore(schedule.state())
        assert again.state() == schedule.state()
    never = Schedule(settings_of(**PLAIN), 100, 10)
    for _ in range(50):
        never.validated(50, math.nan)
    assert not never.finished


class Numbers:
    """Images that are their own number."""

    def __init__(self, count: int) -> None:
        self.labels = np.arange(count)

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int) -> np.ndarray:
        return np.full((40, 40, 3), index, np.uint8)


@pytest.mark.parametrize(("count", "steps"), [(5, 1), (16, 1), (23, 1), (24, 2), (70, 4)])
def test_wrapped_batches_go_through_the_epochs_one_after_the_other(
    settings_of: Make, count: int, steps: int
) -> None:
    from decaf.images.spec import PreprocessSpec

    settings = settings_of(**PLAIN, last_batch="wrapped")
    spec: Any = PreprocessSpec("x", "warp", 36, 32)
    feed = Feed(
        Numbers(count), settings, side=40, pca=(np.ones(3), np.eye(3)),
        normaliser=Normaliser(spec, None, torch.float32, CPU), crop=32, device=CPU,
    )  # fmt: skip
    assert feed.steps_per_epoch == steps
    with feed.batches(0, 12) as batches:
        seen = np.concatenate([batch.labels.numpy() for batch in batches])
    assert len(seen) == 12 * 16
    for start in range(0, len(seen) - count + 1, count):
        assert sorted(seen[start : start + count].tolist()) == list(range(count))
    with feed.batches(7, 8) as batches:  # from any step on
        assert next(batches).labels.tolist() == seen[7 * 16 : 8 * 16].tolist()
