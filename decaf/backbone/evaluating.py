"""Borrowing a module for inference, and giving it back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Put a module into evaluation mode with no gradient recorded, for the length of the body.

    The mode of each submodule and the grad mode are put back also where the body raises; a
    module whose parts are in different modes (frozen normalisation in a network in training) gets
    each of them back.

    Parameters
    ----------
    module : torch.nn.Module

    Yields
    ------
    torch.nn.Module
        `module` itself.
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            yield module
    finally:
        for part, training in modes:
            part.training = training
