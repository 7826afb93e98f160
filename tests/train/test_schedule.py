"""Learning rates against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from decaf.train.presets import preset
from decaf.train.schedule import Schedule


def rates(steps: int = 120, steps_per_epoch: int = 10, **changes: object) -> np.ndarray:
    settings = preset("modern", epochs=12, lr=0.3, **changes)
    schedule = Schedule(settings, steps, steps_per_epoch)
    return np.array([schedule.rate(step) for step in range(steps)])


def test_cosine_with_warm_up() -> None:
    result = rates(warmup_epochs=2)
    np.testing.assert_allclose(result[:20], 0.3 * np.arange(1, 21) / 20)
    t = np.arange(100) / 100
    np.testing.assert_allclose(result[20:], 0.15 * (1 + np.cos(np.pi * t)))


def test_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    expected = []
    for _ in range(120):
        expected.append(torchs.get_last_lr()[0])
        optimizer.step()
        torchs.step()
    np.testing.assert_allclose(rates(warmup_epochs=0), expected, rtol=1e-9, atol=1e-12)


def test_steps_and_constant() -> None:
    result = rates(warmup_epochs=0, schedule="step", lr_factor=0.2)
    np.testing.assert_allclose(result, np.repeat([0.3, 0.06, 0.012], 40))
    np.testing.assert_allclose(rates(warmup_epochs=0, schedule="constant"), 0.3)


def test_plateau_divides_when_errors_stop_falling() -> None:
    settings = preset("alexnet-2012", patience=2, max_drops=2)
    schedule = Schedule(settings, 1000, 10)
    errors = [50, 40, 40, 41, 39, 39, 39, 39, 38.9, 39, 39]
    result = []
    for error in errors:
        schedule.validated(error)
        result.append((schedule.rate(0), schedule.finished))
    drops = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    ended = [False] * 10 + [True]
    assert [ended for _, ended in result] == ended
    np.testing.assert_allclose([rate for rate, _ in result], 0.01 * 0.1 ** np.array(drops))


def test_plateau_is_restored_in_the_middle() -> None:
    settings = preset("alexnet-2012", patience=3)
    random = np.random.default_rng(0)
    errors = random.integers(20, 60, 60).tolist()
    whole = Schedule(settings, 100, 10)
    for cut in range(0, 60, 7):
        part = Schedule(settings, 100, 10)
        for error in errors[:cut]:
            part.validated(error)
        again = Schedule(settings, 100, 10)
        again.restore(part.state())
        for error in errors[cut:]:
            again.validated(error)
        if cut == 0:
            for error in errors:
                whole.validated(error)
        assert again.state() == whole.state()
        assert again.rate(3) == whole.rate(3)


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_an_error_that_is_no_number_is_no_improvement(error: float) -> None:
    schedule = Schedule(preset("alexnet-2012", patience=1), 100, 10)
    schedule.validated(50)
    schedule.validated(error)
    assert schedule.rate(0) == pytest.approx(0.001)


def test_other_schedules_do_not_listen() -> None:
    schedule = Schedule(preset("modern", patience=1), 100, 10)
    for _ in range(9):
        schedule.validated(50)
    assert not schedule.finished
