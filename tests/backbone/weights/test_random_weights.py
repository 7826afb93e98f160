"""Random parameters: the published distributions, and nothing but the seed decides them."""

from __future__ import annotations

import math

import pytest
import torch

from decaf.backbone.spec import architecture, parameter_shapes
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import state_sha256
from decaf.errors import SettingError

SPEC = architecture("alexnet-64")


def test_he_initialisation_has_its_standard_deviations():
    state = random_state(SPEC, 0)
    assert {name: tuple(t.shape) for name, t in state.items()} == parameter_shapes(SPEC)
    for name, tensor in state.items():
        if name.endswith("bias"):
            assert not tensor.any()
            continue
        std = math.sqrt(2 / tensor[0].numel())
        # Five standard errors of the estimates, so that only a wrong formula fails.
        n = tensor.numel()
        assert abs(tensor.mean().item()) < 5 * std / math.sqrt(n), name
        assert abs(tensor.std().item() / std - 1) < 5 / math.sqrt(2 * n), name


def test_the_papers_initialisation_has_its_biases_and_deviations():
    state = random_state(SPEC, 0, "paper")
    ones = {name for name, t in state.items() if name.endswith("bias") and (t == 1).all()}
    zeros = {name for name, t in state.items() if name.endswith("bias") and (t == 0).all()}
    assert ones == {"conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"}
    assert zeros == {"conv1.bias", "conv3.bias", "fc8.bias"}
    for name in ("conv1.weight", "fc6.weight"):
        n = state[name].numel()
        assert abs(state[name].std().item() / 0.01 - 1) < 5 / math.sqrt(2 * n)


@pytest.mark.slow
def test_the_seed_alone_decides():
    expected = state_sha256(random_state(SPEC, 3))
    assert state_sha256(random_state(SPEC, 4)) != expected
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            state = random_state(SPEC, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert state_sha256(state) == expected
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_the_number_of_threads_does_not():
    threads = torch.get_num_threads()
    expected = state_sha256(random_state(SPEC, 3))
    torch.set_num_threads(3)
    try:
        assert state_sha256(random_state(SPEC, 3)) == expected
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "0"])
def test_what_is_no_seed(seed):
    with pytest.raises(SettingError, match="the seed must be a whole number from 0 to"):
        random_state(SPEC, seed)


def test_what_is_no_scheme():
    with pytest.raises(SettingError, match="must be he or paper, got 'xavier'"):
        random_state(SPEC, 0, "xavier")
