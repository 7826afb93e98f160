"""The estimate of the memory that a step of fine-tuning takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decaf.backbone.spec import architecture
from decaf.finetuning.settings import FinetuneSettings
from decaf.finetuning.training import step_memory


def test_the_estimate_grows_with_what_is_kept() -> None:
    spec = architecture("alexnet-127")
    plain = FinetuneSettings(optimizer="sgd", batch_size=8).training(100, "fp32")
    parameters = 29_513_288 * 4
    # Values, gradients, momentum, the best.
    assert step_memory(spec, plain) > 4 * parameters
    assert step_memory(spec, plain) < 5 * parameters
    adam = replace(plain, optimizer="adamw")
    assert step_memory(spec, adam) - step_memory(spec, plain) == pytest.approx(parameters, rel=0.02)
    one, two = (step_memory(spec, replace(plain, batch_size=n)) for n in (1000, 2000))
    assert 1e6 < (two - one) / 1000 < 20e6  # an image
