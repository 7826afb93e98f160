"""One step against formulas in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from decaf.backbone.weights.random_weights import random_state
from decaf.errors import ResumeError
from decaf.runtime.processes import World
from decaf.train.feed import Batch
from decaf.train.recipe import TrainSettings
from decaf.train.step import Trainer

pytestmark = pytest.mark.usefixtures("tiny")
Make = Callable[..., TrainSettings]


def trainer_of(settings: TrainSettings, steps_per_epoch: int = 10) -> Trainer:
    spec = settings.spec(4)
    state = random_state(spec, settings.seed, settings.init)
    return Trainer(spec, state, settings, World(torch.device("cpu")), steps_per_epoch)


def batch_of(step: int, count: int = 16) -> Batch:
    source = torch.Generator().manual_seed(step)
    images = torch.randn(count, 3, 32, 32, generator=source)
    return Batch(
        step,
        images.contiguous(memory_format=torch.channels_last),
        torch.randint(0, 4, (count,), generator=source),
    )


def gradients(trainer: Trainer, batch: Batch) -> dict[str, np.ndarray]:
    """Those of the smoothed cross-entropy, spelt out, in float64."""
    network = trainer.network.double().train()
    logits = network(batch.images.double(), trainer._masks(len(batch.labels)))
    smoothing = trainer.settings.label_smoothing
    target = torch.full_like(logits, smoothing / 4)
    target[torch.arange(len(logits)), batch.labels] += 1 - smoothing
    loss = -(target * (logits - logits.exp().sum(1, keepdim=True).log())).sum(1).mean()
    names = [name for name, p in network.named_parameters() if p.requires_grad]
    result = torch.autograd.grad(loss, [network.get_parameter(name) for name in names])
    network.float()
    return {name: each.numpy() for name, each in zip(names, result, strict=True)}


def parameters(trainer: Trainer) -> dict[str, np.ndarray]:
    return {
        name: p.detach().double().numpy().copy()
        for name, p in trainer.network.named_parameters()
        if p.requires_grad
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"nesterov": False, "dropout": 0.5},
        {"nesterov": True},
        {"momentum": 0.0, "nesterov": False},
        {"decay_all": True, "label_smoothing": 0.0},
        {"batch_norm": True, "nesterov": True},
        {"clip_norm": 0.05},
        {"arch": "tiny-2012", "activation": "tanh"},
    ],
    ids=str,
)
def test_steps_of_sgd_are_the_formula(settings_of: Make, changes: dict[str, object]) -> None:
    """v <- m v + g + d w; w <- w - r v, or w - r (g + d w + m v) with Nesterov's momentum."""
    first = {"batch_norm": False, "weight_decay": 0.01, "schedule": "constant", "average": 0.0}
    settings = settings_of(**{**first, "warmup_epochs": 0.5, **changes})
    trainer, copy = trainer_of(settings), trainer_of(settings)
    expected, velocity = parameters(trainer), {}
    for step in range(3):
        with torch.no_grad():
            for name, values in expected.items():
                copy.network.get_parameter(name).copy_(torch.from_numpy(values))
        copy.step = step
        batch = batch_of(step)
        result = gradients(copy, batch)
        if settings.clip_norm:
            norm = np.sqrt(sum((g**2).sum() for g in result.values()))
            assert norm > settings.clip_norm
            result = {name: g * settings.clip_norm / norm for name, g in result.items()}
        rate = settings.lr * min(1, (step + 1) / 5)
        for name, gradient in result.items():
            weight = expected[name]
            decay = settings.weight_decay if weight.ndim > 1 or settings.decay_all else 0.0
            gradient = gradient + decay * weight
            velocity[name] = settings.momentum * velocity.get(name, 0.0) + gradient
            direction = velocity[name]
            if settings.nesterov:
                direction = gradient + settings.momentum * direction
            expected[name] = weight - rate * direction
        trainer.take(batch)
        for name, values in parameters(trainer).items():
            np.testing.assert_allclose(values, expected[name], rtol=2e-4, atol=3e-6, err_msg=name)
    assert trainer.step == 3


def test_a_step_of_adamw_is_the_formula(settings_of: Make) -> None:
    settings = settings_of(
        optimizer="adamw", batch_norm=False, weight_decay=0.1, warmup_epochs=0, average=0.0
    )
    trainer = trainer_of(settings)
    before, found = parameters(trainer), gradients(trainer_of(settings), batch_of(0))
    trainer.take(batch_of(0))
    for name, values in parameters(trainer).items():
        decay = settings.weight_decay if values.ndim > 1 else 0.0
        # After one step both moments are unbiased to g and g^2.
        step = found[name] / (np.abs(found[name]) + 1e-8)
        expected = before[name] * (1 - settings.lr * decay) - settings.lr * step
        certain = np.abs(found[name]) > 1e-5
        np.testing.assert_allclose(values[certain], expected[certain], rtol=1e-3, atol=1e-5)


def test_the_average_is_the_formula(settings_of: Make) -> None:
    trainer = trainer_of(settings_of(average=0.9, warmup_epochs=0))
    expected = {k: v.double().numpy().copy() for k, v in trainer.network.state_dict().items()}
    for step in range(30):
        trainer.take(batch_of(step))
        decay = min(0.9, (2 + step) / (11 + step))
        for name, value in trainer.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double().numpy()
    assert trainer.result() is trainer.average
    for name, value in trainer.average.state_dict().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)


def test_sums_tell_of_the_training(settings_of: Make) -> None:
    trainer = trainer_of(settings_of(average=0.0, batch_norm=False, dropout=0.0))
    losses, wrong = 0.0, 0
    for step in range(3):
        batch = batch_of(step)
        with torch.no_grad():
            logits = trainer.network(batch.images)
        wrong += int((logits.argmax(1) != batch.labels).sum())
        losses += 16 * float(trainer.take(batch))
    torch.testing.assert_close(trainer.sums, torch.tensor([48.0, losses, wrong]).double())


@pytest.mark.slow
def test_what_is_restored_goes_on_as_it_would_have(settings_of: Make) -> None:
    for changes in ({}, {"optimizer": "adamw", "nesterov": False}, {"precision": "bf16"}):
        settings = settings_of(dropout=0.5, **changes)
        one = trainer_of(settings)
        for step in range(4):
            one.take(batch_of(step))
        tensors = {key: tensor.clone() for key, tensor in one.tensors().items()}
        other = trainer_of(settings_of(dropout=0.5, **{**changes, "seed": settings.seed}))
        other.restore(one.state(), tensors)
        for trainer in (one, other):
            for step in range(4, 7):
                trainer.take(batch_of(step))
        for key, tensor in one.tensors().items():
            assert torch.equal(tensor, other.tensors()[key]), key
        assert one.state() == other.state()


def test_a_state_of_another_network_is_refused(settings_of: Make) -> None:
    one, other = trainer_of(settings_of()), trainer_of(settings_of(batch_norm=False))
    with pytest.raises(ResumeError, match="the checkpoint is of another network"):
        one.restore(other.state(), other.tensors())


def test_a_loss_that_is_no_number_changes_nothing(settings_of: Make) -> None:
    trainer = trainer_of(settings_of(batch_norm=False))
    trainer.take(batch_of(0))
    before = {key: tensor.clone() for key, tensor in trainer.tensors().items()}
    batch = batch_of(1)
    batch.images[3, 0, 0, 0] = torch.nan
    assert trainer.take(batch).isnan()
    assert trainer.step == 1
    for key, tensor in trainer.tensors().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize("where", ["network", "average"])
def test_one_weight_that_is_not_finite_is_noticed(settings_of: Make, where: str) -> None:
    trainer = trainer_of(settings_of())
    assert trainer.is_finite()
    network: nn.Module = getattr(trainer, where)
    network.get_parameter("plain.fc7.weight").data[1, 2] = torch.inf
    assert not trainer.is_finite()


def test_the_size_of_a_checkpoint_is_known_beforehand(settings_of: Make) -> None:
    for changes in ({"average": 0.0}, {"optimizer": "adamw"}, {}):
        trainer = trainer_of(settings_of(**changes))
        guess = trainer.bytes()
        trainer.take(batch_of(0))
        real = sum(t.numel() * t.element_size() for t in trainer.tensors().values())
        assert guess * 0.9 < real < guess * 1.1


def test_predictions_are_those_of_the_plain_network(settings_of: Make) -> None:
    from decaf.backbone.network import AlexNet

    trainer = trainer_of(settings_of(dropout=0.5))
    for step in range(5):
        trainer.take(batch_of(step))
    plain = AlexNet(trainer.network.plain.spec).eval()
    plain.load_state_dict(trainer.result().folded())
    x: Tensor = batch_of(9).images
    torch.testing.assert_close(trainer.predict(x), plain(x).detach(), rtol=1e-4, atol=1e-4)
    again = trainer.take(batch_of(6))  # training goes on, with dropout and batch statistics
    assert torch.isfinite(again)
    assert trainer.network.training
