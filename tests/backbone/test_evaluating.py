"""Borrowing a module leaves no trace, whatever the body does."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn

from decaf.backbone.evaluating import evaluating


@pytest.fixture
def mixed():
    """A module in training with one part that its owner has frozen."""
    module = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)))
    module.train()
    module[1][0].eval()
    return module


def modes(module):
    return [part.training for part in module.modules()]


def test_evaluates_without_gradients(mixed):
    with evaluating(mixed) as module:
        assert module is mixed
        assert not any(modes(mixed))
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("error", [None, ValueError("in the body"), KeyboardInterrupt()])
@pytest.mark.parametrize("grad", [False, True])
def test_puts_everything_back(mixed, error, grad):
    before = modes(mixed)
    with torch.set_grad_enabled(grad):
        with suppress(ValueError, KeyboardInterrupt), evaluating(mixed):
            if error is not None:
                raise error
        assert torch.is_grad_enabled() == grad
    assert modes(mixed) == before


def test_lets_the_error_through(mixed):
    with pytest.raises(KeyError, match="in the body"), evaluating(mixed):
        raise KeyError("in the body")


def test_puts_back_what_the_body_changed(mixed):
    before = modes(mixed)
    with evaluating(mixed):
        mixed.train()
        with evaluating(mixed):
            assert not any(modes(mixed))
        assert all(modes(mixed))
    assert modes(mixed) == before
