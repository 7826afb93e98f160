"""ReLU beside tanh: what is read off a curve, how rates are tried, and what is learnt."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decaf.errors import DecafError, SettingError, Stopped
from harness.ablation import activation, make_report
from harness.ablation.activation import (
    Activations,
    ActivationSettings,
    Curve,
    compare_activations,
    epochs_until,
    error_curve,
    four_layers,
)
from harness.protocol.run import BenchmarkRun, ProtocolSettings


@pytest.mark.parametrize(
    ("errors", "epochs"),
    [
        ([90.0, 60.0, 40.0, 20.0], 3.75),  # three quarters of the way from 40 to 20
        ([25.0], 1.0),
        ([10.0], 65 / 80),  # from guessing, 90, at 0
        ([30.0, 20.0, 40.0, 10.0], 1.5),  # the first crossing
        ([30.0, 25.0001], None),
        ([], None),
    ],
)
def test_epochs_are_read_off_the_curve(errors: list[float], epochs: float | None) -> None:
    assert epochs_until(errors, 25.0, 90.0) == (None if epochs is None else pytest.approx(epochs))


@given(st.lists(st.floats(0, 60), min_size=1, max_size=30))
def test_a_falling_curve_is_read_as_numpy_reads_it(errors: list[float]) -> None:
    curve = sorted({90.0, *errors}, reverse=True)
    # numpy.interp wants rising x: error -> epoch, from the end.
    wanted = np.interp(25.0, curve[::-1], np.arange(len(curve))[::-1])
    read = epochs_until(curve[1:], 25.0, 90.0)
    assert read == (pytest.approx(wanted) if curve[-1] <= 25 else None)


def test_the_network_has_four_layers_with_weights_of_the_right_size() -> None:
    for name, gain in (("relu", 2**0.5), ("tanh", 5 / 3)):
        network = four_layers(name, 10, seed=0)
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
        convs = [each for each in network if isinstance(each, torch.nn.Conv2d)]
        learned = [each for each in network if list(each.parameters())]
        assert (len(convs), len(learned)) == (3, 4)
        for conv in convs:
            wanted = gain / (25 * conv.in_channels) ** 0.5
            assert float(conv.weight.detach().std()) == pytest.approx(wanted, rel=0.05)
            assert not conv.bias.any()


@pytest.mark.slow
def test_a_run_learns_ends_at_the_target_and_repeats() -> None:
    pixels, labels = two_classes()
    curve, again = (error_curve(pixels, labels, "relu", 0.01, seed=3, epochs=50) for _ in range(2))
    assert curve.errors == again.errors
    assert len(curve.errors) < 50
    assert curve.errors[-1] <= 25 < min(curve.errors[:-1], default=100)
    other = error_curve(pixels, labels, "relu", 0.01, seed=4, epochs=1)
    assert other.errors[0] != curve.errors[0]


def test_the_error_of_an_epoch_is_that_before_each_step() -> None:
    """With one batch an epoch the first error is that of the weights before any step."""
    pixels, labels = two_classes(each=60)
    (first,) = error_curve(pixels, labels, "tanh", 0.01, seed=0, epochs=1).errors
    mean, std = (
        getattr(pixels.float(), name)((0, 2, 3)).view(1, 3, 1, 1) for name in ("mean", "std")
    )
    with torch.no_grad():
        answers = four_layers("tanh", 2, 0)((pixels.float() - mean) / std).argmax(1)
    assert first == pytest.approx(100 * float((answers != labels).float().mean()))


def test_a_run_that_diverges_ends() -> None:
    pixels, labels = two_classes()
    curve = error_curve(pixels, labels, "relu", 1e38, seed=0, epochs=5)
    assert len(curve.errors) < 5


def test_a_run_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        error_curve(*two_classes(), "relu", 0.01, seed=0, epochs=5, stop=stop)


def test_rates_are_given_up_once_another_was_faster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, float, int, int]] = []
    slopes = {("relu", 0.1): 30.0, ("relu", 0.2): 50.0, ("tanh", 0.1): 5.0, ("tanh", 0.2): 2.0}

    def made_up(pixels: Any, labels: Any, name: str, rate: float, **others: Any) -> Curve:
        asked.append((name, rate, others["seed"], others["epochs"]))
        fall = slopes[name, rate] + others["seed"]
        errors = [50 - fall * (k + 1) for k in range(others["epochs"])]
        return Curve(tuple(e for k, e in enumerate(errors) if k == 0 or errors[k - 1] > 25), 1.0)

    monkeypatch.setattr(activation, "error_curve", made_up)
    data = small_pngs(tmp_path / "cifar")
    run = run_in(tmp_path)
    settings = ActivationSettings(data, rates=(0.1, 0.2), seeds=2, epochs=9)
    result = compare_activations(run, settings)
    # 0.1 reaches 25 % within the first epoch: 0.2 gets one. Of tanh neither rate is cut short
    # before 5 epochs, in which the first reaches it.
    assert asked == [
        ("relu", 0.1, 0, 9), ("relu", 0.2, 0, 1), ("relu", 0.2, 1, 9),
        ("tanh", 0.1, 0, 9), ("tanh", 0.2, 0, 5), ("tanh", 0.1, 1, 9),
    ]  # fmt: skip
    assert result.best == {"relu": 0.2, "tanh": 0.1}
    assert result.epochs("tanh") == pytest.approx([5.0, 25 / 6])
    assert result.epochs("relu") == pytest.approx([0.5, 25 / 51])

    compare_activations(run_in(tmp_path), settings)
    assert len(asked) == 6  # all were kept


def test_images_of_another_size_are_one_line(tmp_path: Path) -> None:
    data = small_pngs(tmp_path / "cifar", side=33)
    with pytest.raises(DecafError, match="32"):
        compare_activations(run_in(tmp_path), ActivationSettings(data))


@pytest.mark.parametrize(
    "wrong", [{"rates": ()}, {"rates": (0.0,)}, {"seeds": 0}, {"epochs": 0}, {"per_class": 0}]
)
def test_mistaken_settings(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingError):
        ActivationSettings(tmp_path, **wrong)


def two_classes(each: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise that is brighter on the left, or on the right."""
    random = np.random.default_rng(0)
    labels = np.arange(2 * each) % 2
    pixels = random.integers(0, 180, (2 * each, 3, 32, 32))
    pixels[labels == 0, :, :, :16] += 75
    pixels[labels == 1, :, :, 16:] += 75
    return torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels)


def small_pngs(root: Path, side: int = 32) -> Path:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(3):
            pixels = random.integers(0, 255, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{number}.png")
    return root


def run_in(folder: Path) -> BenchmarkRun[ProtocolSettings]:
    settings = ProtocolSettings(
        name="x", layers=(), cache=folder / "cache", device="cpu", workers=0
    )
    return BenchmarkRun(settings, folder / "out", progress=False)


def test_the_ratio_is_a_geometric_mean_with_its_interval(tmp_path: Path) -> None:
    def falling(epochs: float) -> Curve:
        """Reach 25 % from 50 % after so many epochs, a whole number, on a straight line."""
        return Curve(tuple(50 - 25 * (k + 1) / epochs for k in range(int(epochs))), 1.0)

    curves = {
        "relu": (falling(2), falling(1), falling(3)),
        "tanh": (falling(4), falling(8), falling(12)),
    }
    result = Activations(
        ActivationSettings(tmp_path, rates=(0.1,)),
        images=100,
        classes=2,
        grid={name: {0.1: own[0]} for name, own in curves.items()},
        best={"relu": 0.1, "tanh": 0.1},
        curves=curves,
    )
    report = make_report(run_in(tmp_path), result, None, None)
    # The ratios are 2, 8 and 4: their logarithms to base 2 are 1, 3 and 2, of mean 2 and
    # deviation 1, with an interval of 2 +- 4.303 / sqrt(3).
    ends = [2 ** (2 + sign * 4.302653 / 3**0.5) for sign in (-1, 1)]
    tanh = report.sections[0].rows[1]
    assert tanh.cells[3] == f"4.0 ({ends[0]:.1f} to {ends[1]:.1f})"
    assert report.headline == "tanh takes 4.0 times the epochs of ReLU to 25 % training error"
