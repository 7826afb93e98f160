"""The network in training against the plain one, and what is folded out of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from decaf.backbone.network import AlexNet
from decaf.backbone.spec import ArchSpec, PoolSpec
from decaf.backbone.weights.random_weights import random_state
from decaf.train.trainable_network import NORMALISED, TrainedAlexNet
from tiny_network import TINY, TINY_2012

pytestmark = pytest.mark.usefixtures("tiny")
VARIANTS = {
    "plain": TINY,
    "2012": TINY_2012,
    "tanh": replace(TINY, activation="tanh"),
    "2/2 pooling": replace(TINY, pool=PoolSpec(2, 2)),
    "dropout at input": replace(TINY, dropout_at="input"),
    "adaptive": replace(TINY, adaptive_pool=2),
}


def images(count: int = 6, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def plain_of(spec: ArchSpec, state: dict[str, Tensor]) -> AlexNet:
    network = AlexNet(spec)
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
def test_without_extras_it_is_the_plain_network(spec: ArchSpec) -> None:
    """Bit for bit: pooling before a monotone activation changes nothing."""
    state = random_state(spec, 0)
    network = TrainedAlexNet(spec, state, batch_norm=False).train()
    plain = plain_of(replace(spec, dropout=0.0), state)
    x = images()
    assert torch.equal(network(x), plain(x))
    network(x).logsumexp(1).sum().backward()
    plain(x).logsumexp(1).sum().backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(
            network.get_parameter(f"plain.{name}").grad, parameter.grad, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
def test_folding_keeps_the_function(spec: ArchSpec) -> None:
    network = TrainedAlexNet(spec, random_state(spec, 0), batch_norm=True)
    source = torch.Generator().manual_seed(2)
    for layer in NORMALISED:
        norm = network.norms[layer]
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.data.normal_(0.3, 1.0, generator=source)
        norm.running_var.uniform_(0.01, 9.0, generator=source)
    folded = plain_of(spec, network.folded()).eval().double()
    network = network.double().eval()
    x = images().double()
    # What is folded is rounded to float32 once.
    torch.testing.assert_close(folded(x), network(x), rtol=2e-6, atol=2e-6)


def test_normalisation_is_torchs_in_training() -> None:
    network = TrainedAlexNet(TINY, random_state(TINY, 0), batch_norm=True).train()
    reference = nn.Sequential(
        *[
            part
            for i, conv in enumerate(network.plain.get_submodule(f"conv{n}") for n in range(1, 6))
            for part in (
                copy.deepcopy(conv),
                nn.BatchNorm2d(conv.out_channels),
                nn.ReLU(),
                nn.MaxPool2d(3, 2) if i in (0, 1, 4) else nn.Identity(),
            )
        ],
        nn.Flatten(),
        *[
            part
            for n in (6, 7)
            for part in (
                copy.deepcopy(network.plain.get_submodule(f"fc{n}")),
                nn.BatchNorm1d(TINY.hidden[n - 6]),
                nn.ReLU(),
            )
        ],
        copy.deepcopy(network.plain.fc8),
    )
    for seed in range(3):
        torch.testing.assert_close(network(images(8, seed)), reference(images(8, seed)))
    norms = [m for m in reference if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer, norm in zip(NORMALISED, norms, strict=True):
        torch.testing.assert_close(network.norms[layer].running_mean, norm.running_mean)
        torch.testing.assert_close(network.norms[layer].running_var, norm.running_var)
    network.eval(), reference.eval()
    torch.testing.assert_close(network(images()), reference(images()))


def test_biases_before_a_normalisation_move_into_it() -> None:
    state = random_state(TINY, 0, "paper")
    network = TrainedAlexNet(TINY, state, batch_norm=True)
    for layer in NORMALISED:
        assert torch.equal(network.norms[layer].bias, state[f"{layer}.bias"])
        assert not network.get_parameter(f"plain.{layer}.bias").any()
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert "plain.fc8.bias" in trained
    assert not trained & {f"plain.{layer}.bias" for layer in NORMALISED}


@pytest.mark.parametrize("size", [32, 48])
def test_calibrated_normalisations_leave_what_the_layers_compute(size: int) -> None:
    spec = replace(TINY, adaptive_pool=2)
    state = random_state(spec, 3, "paper")
    state["conv2.bias"] += 0.3
    network = TrainedAlexNet(spec, state, batch_norm=True)
    x = torch.rand(40, 3, size, size)
    network.calibrate(x, {layer: state[f"{layer}.bias"] for layer in NORMALISED})
    plain = plain_of(spec, state).eval()
    torch.testing.assert_close(network.train()(x), plain(x), rtol=1e-4, atol=1e-5)
    network.calibrate(x, {layer: state[f"{layer}.bias"] for layer in NORMALISED})
    torch.testing.assert_close(network.eval()(x), plain(x), rtol=1e-4, atol=1e-5)
    folded = network.folded()
    for key, tensor in folded.items():
        torch.testing.assert_close(tensor, state[key], rtol=1e-4, atol=1e-5)


def test_layers_that_are_not_calibrated_begin_normalised() -> None:
    spec = replace(TINY, adaptive_pool=2)
    state = random_state(spec, 3)
    network = TrainedAlexNet(spec, state, batch_norm=True)
    x = torch.rand(40, 3, 32, 32)
    network.calibrate(x, {"conv1": state["conv1.bias"]})
    assert torch.equal(network.norms["conv2"].weight, torch.ones(12))
    torch.testing.assert_close(network.eval()(x), network.train()(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("at", ["input", "output"])
def test_dropout_zeroes_and_scales(at: str) -> None:
    spec = replace(TINY, dropout_at=at, dropout=0.4)
    state = random_state(spec, 0)
    network = TrainedAlexNet(spec, state, batch_norm=False).train()
    plain = plain_of(spec, state).eval()
    x = images()
    widths = network.dropped_widths()
    assert widths == (spec.hidden if at == "output" else (plain.fc6.in_features, spec.hidden[0]))
    masks = [torch.rand(len(x), width) < 0.6 for width in widths]
    taps = plain.tap(x, ["pool5", "fc6", "fc7"])
    if at == "output":
        six = taps["fc6"] * masks[0] / 0.6
        seven = functional.relu(plain.fc7(six)) * masks[1] / 0.6
    else:
        six = functional.relu(plain.fc6(taps["pool5"].flatten(1) * masks[0] / 0.6))
        seven = functional.relu(plain.fc7(six * masks[1] / 0.6))
    torch.testing.assert_close(network(x, masks), plain.fc8(seven))
    assert torch.equal(network(x), plain(x))  # without masks nothing is dropped


def test_without_dropout_no_masks_are_wanted() -> None:
    spec = replace(TINY, dropout=0.0)
    network = TrainedAlexNet(spec, random_state(spec, 0), batch_norm=False)
    assert network.dropped == network.dropped_widths() == ()
